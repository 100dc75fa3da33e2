/*
 * What the scores of a classifier say, and how sure that is (docs/method.md, section 12.3): ranks, accuracies, and
 * their intervals and tests. Percentages are 0 to 100. Nothing here is collective.
 */
#ifndef VJ_PROBE_METRICS_H
#define VJ_PROBE_METRICS_H

#include "base/status.h"

/**
 * Return the rank of class `label` among `classes` scores: the number of larger scores, plus equal ones of a lower
 * class number. Top-k accuracy counts ranks below k. The label must be in [0, classes); NaN among the scores gives a
 * rank without meaning: vj_metrics_ranks() and the caller check for it.
 */
int32_t vj_metrics_rank(const double *scores, int classes, int32_t label);

/**
 * Ranks [n] of the labels [n] in the scores [n, classes]. VJ_ERR_STATE, naming the sample, for a score that is NaN;
 * VJ_ERR_FORMAT for a label outside [0, classes).
 */
vj_status vj_metrics_ranks(int32_t *ranks, const double *scores, const int32_t *labels, int64_t n, int classes);

/** Return the class of rank 0: the highest score, the lowest class number of equals. */
int32_t vj_metrics_first(const double *scores, int classes);

/** Write the softmax of the scores. A score that is NaN makes all NaN. May be in place. */
void vj_metrics_softmax(double *probability, const double *scores, int classes);

/**
 * Write what the views of a sample say together: probability [classes] is the mean over views of the softmax of scores
 * [views, classes]. memory [classes] is overwritten.
 */
void vj_metrics_average_views(double *probability, double *memory, const double *scores, int views, int classes);

/** Write the mean over views of the scores [views, classes] themselves to mean [classes], which may be their first row.
 */
void vj_metrics_mean_scores(double *mean, const double *scores, int views, int classes);

/** Return the percentage of ranks below k; NaN for n = 0. */
double vj_metrics_top(const int32_t *ranks, int64_t n, int k);

/**
 * Return the mean over classes of the percentage of ranks that are 0; classes without samples are left out. NaN if no
 * class has any. Labels must be in [0, classes).
 */
double vj_metrics_mean_class(const int32_t *ranks, const int32_t *labels, int64_t n, int classes);

/** Count samples by true and predicted class: confusion [classes, classes] is overwritten. Both in [0, classes). */
void vj_metrics_confusion(int64_t *confusion, const int32_t *labels, const int32_t *predicted, int64_t n, int classes);

/* ------------------------------------------------------------------------------------------------ uncertainty */

/** The 95 % interval of a probability of which a share of `n` trials was seen, all as shares of 1 (Wilson 1927); NaN
 * for n < 1. */
void vj_wilson_interval(double share, double n, double *low, double *high);

/** The 97.5 % quantile of Student's t with `freedom` degrees of freedom (from 1): 12.706 for 1, 1.960 for infinity. */
double vj_student_975(double freedom);

/**
 * Half the width of the 95 % interval of a mean over `count` values with sample standard deviation `sd` (Student 1908);
 * NaN below 2 values.
 */
double vj_mean_half_width(double sd, double count);

/* Results of several runs. */
typedef struct {
    double mean, sd; /* sample standard deviation (n - 1); 0 for one value */
    double half;     /* half the width of the 95 % t-interval; NaN for one value */
} vj_runs_summary;

/** Summarise n values, 1 or more. */
vj_runs_summary vj_metrics_runs(const double *values, int64_t n);

/**
 * Return the two-sided p-value of McNemar's exact test (McNemar 1947): of b + c clips on which just one of two
 * classifiers is right, b of one kind and c of the other. 1 if there are none.
 */
double vj_mcnemar(int64_t b, int64_t c);

/* Of the clips that both a and b classified: on how many each is right alone, and both are. */
typedef struct {
    int64_t both, only_a, only_b;
} vj_pair_counts;
vj_pair_counts vj_metrics_pair(const uint8_t *right_a, const uint8_t *right_b, int64_t n);

/* The difference of the accuracies of a and b on the same clips, in percentage points (a minus b), to be resampled. */
typedef struct {
    const int32_t *surplus; /* [clips] in how many of `runs` runs (such as seeds) a is right, minus in how many b is */
    int64_t runs;
    double low, high; /* of the 95 % interval, written */
} vj_resampled;

/** That difference in one resample of n clips, of which drawn[i] are clip i. */
double vj_metrics_resampled(const vj_resampled *difference, const int32_t *drawn, int64_t n);

/**
 * The 95 % intervals of `count` differences on the same n clips by the bootstrap (Efron 1979) of clips: `resamples` of
 * n clips each, drawn with replacement by the generator keyed with (seed, resample); quantiles 0.025 and 0.975. The
 * draws are made once for all. VJ_ERR_MEMORY.
 */
vj_status vj_metrics_bootstrap(vj_resampled *differences, int64_t count, int64_t n, int64_t resamples, uint64_t seed);

/** The quantiles 0.025 and 0.975 of n values, which are sorted in place; linear between neighbours, place q (n - 1). */
void vj_metrics_interval(double *low, double *high, double *values, int64_t n);

#endif
