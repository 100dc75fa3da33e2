/*
 * The quality of a classifier from its scores, and its uncertainty (docs/method.md, section 12.3): ranks, accuracies,
 * and their intervals and tests. Percentages are 0 to 100. Nothing here is collective.
 */
#ifndef VJ_PROBE_METRICS_H
#define VJ_PROBE_METRICS_H

#include "base/status.h"

/**
 * Return the rank of class `label` among `classes` scores: the number of larger scores, plus equal scores of a lower
 * class number. Top-k accuracy counts ranks below k. The label must be in [0, classes). With NaN among the scores the
 * rank has no meaning; vj_metrics_ranks() and the caller check for it.
 */
int32_t vj_metrics_rank(const double *scores, int classes, int32_t label);

/**
 * Compute the ranks [n] of the labels [n] in the scores [n, classes]. VJ_ERR_STATE, naming the sample, for a score that
 * is NaN; VJ_ERR_FORMAT for a label outside [0, classes).
 */
vj_status vj_metrics_ranks(int32_t *ranks, const double *scores, const int32_t *labels, int64_t n, int classes);

/** Return the class of rank 0: the one with the highest score, of equal ones that with the lowest number. */
int32_t vj_metrics_first(const double *scores, int classes);

/**
 * Combine the views of a sample: probability [classes] becomes the mean over views of the softmax of scores [views,
 * classes]. memory [classes] is overwritten.
 */
void vj_metrics_average_views(double *probability, double *memory, const double *scores, int views, int classes);

/** Write the mean over views of the scores [views, classes] to mean [classes], which may be their first row. */
void vj_metrics_mean_scores(double *mean, const double *scores, int views, int classes);

/** Return the percentage of ranks below k; NaN for n = 0. */
double vj_metrics_top(const int32_t *ranks, int64_t n, int k);

/**
 * Return top-1 in percent as the released code prints it. Each of `gpus` GPUs takes every gpus-th sample of a
 * permutation, which wraps around so that all GPUs have equally many samples, in batches of batch / gpus. The result is
 * the mean over the batches, the last of which may be smaller, of the mean over the GPUs. If the samples do not divide
 * evenly, it differs from vj_metrics_top() by the samples counted twice and by the weight of the last batch. The
 * permutation is keyed with `seed`; the released code uses another one. NaN for n = 0.
 */
double vj_metrics_as_published(const int32_t *ranks, int64_t n, int64_t gpus, int64_t batch, uint64_t seed);

/**
 * Return the mean over classes of the percentage of ranks that are 0; classes without samples are left out. NaN if no
 * class has any. Labels must be in [0, classes).
 */
double vj_metrics_mean_class(const int32_t *ranks, const int32_t *labels, int64_t n, int classes);

/** Count samples by true and predicted class: confusion [classes, classes] is overwritten. Both in [0, classes). */
void vj_metrics_confusion(int64_t *confusion, const int32_t *labels, const int32_t *predicted, int64_t n, int classes);

/* ------------------------------------------------------------------------------------------------ uncertainty */

/** Compute the 95 % interval of a probability, after a share `share` of `n` trials had success; all are shares of 1
 * (Wilson 1927). NaN for n < 1. */
void vj_wilson_interval(double share, double n, double *low, double *high);

/** Return the 97.5 % quantile of Student's t with `freedom` degrees of freedom (from 1): 12.706 for 1, 1.960 for
 * infinity. */
double vj_student_975(double freedom);

/**
 * Return half the width of the 95 % interval of a mean over `count` values with sample standard deviation `sd` (Student
 * 1908); NaN for fewer than 2 values.
 */
double vj_mean_half_width(double sd, double count);

/* Statistics of several runs. */
typedef struct {
    double mean, sd; /* sample standard deviation (n - 1); 0 for one value */
    double half;     /* half the width of the 95 % t-interval; NaN for one value */
} vj_runs_summary;

/** Summarise n >= 1 values. */
vj_runs_summary vj_metrics_runs(const double *values, int64_t n);

/**
 * Return the two-sided p-value of McNemar's exact test (McNemar 1947): on b clips only the first of two classifiers is
 * right, on c clips only the second. 1 if b + c = 0.
 */
double vj_mcnemar(int64_t b, int64_t c);

/* The number of clips on which both a and b are right, only a, and only b. */
typedef struct {
    int64_t both, only_a, only_b;
} vj_pair_counts;
/** Count them: right_a [n] and right_b [n] are 1 where a classifier is right, else 0. */
vj_pair_counts vj_metrics_pair(const uint8_t *right_a, const uint8_t *right_b, int64_t n);

/* The difference of the accuracies of a and b on the same clips, percentage points (a minus b), for the bootstrap. */
typedef struct {
    const int32_t *surplus; /* [clips] number of `runs` runs (such as seeds) in which a is right, minus that of b */
    int64_t runs;
    double low, high; /* the 95 % interval; output */
} vj_resampled;

/** Return that difference in a resample of n clips that contains clip i drawn[i] times. */
double vj_metrics_resampled(const vj_resampled *difference, const int32_t *drawn, int64_t n);

/**
 * Compute the 95 % intervals of `count` differences on the same n clips by the bootstrap over clips (Efron 1979):
 * quantiles 0.025 and 0.975 of `resamples` resamples of n clips each, drawn with replacement by the generator keyed
 * with (seed, resample). All differences use the same draws. VJ_ERR_MEMORY.
 */
vj_status vj_metrics_bootstrap(vj_resampled *differences, int64_t count, int64_t n, int64_t resamples, uint64_t seed);

/** Compute the quantiles 0.025 and 0.975 of n values, which are sorted in place; quantile q is at place q (n - 1),
 * linear between neighbours. */
void vj_metrics_interval(double *low, double *high, double *values, int64_t n);

#endif
