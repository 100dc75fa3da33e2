/* Intervals of results: over seeds (Student 1908) and of a share of clips (Wilson 1927). */
#ifndef VJ_REPORT_INTERVALS_H
#define VJ_REPORT_INTERVALS_H

/** The 97.5 % quantile of Student's t with `freedom` degrees of freedom (from 1): 12.706 for 1, 1.960 for infinity. */
double vj_student_975(double freedom);

/**
 * Half the width of the 95 % interval of a mean over `count` values with sample standard deviation `sd`; NaN below 2
 * values.
 */
double vj_mean_half_width(double sd, double count);

/** The 95 % interval of a probability of which a share of `n` trials was seen, all as shares of 1; NaN for n < 1. */
void vj_wilson_interval(double share, double n, double *low, double *high);

#endif
