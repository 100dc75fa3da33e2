/* Ranks and accuracies; Student's t by integrating its density; Wilson's interval in closed form; tests of pairs. */
#include "probe/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/sort.h"

int32_t vj_metrics_rank(const double *scores, int classes, int32_t label)
{
    int32_t rank = 0;
    for (int c = 0; c < classes; c++) rank += scores[c] > scores[label] || (scores[c] == scores[label] && c < label);
    return rank;
}

vj_status vj_metrics_ranks(int32_t *ranks, const double *scores, const int32_t *labels, int64_t n, int classes)
{
    for (int64_t i = 0; i < n; i++) {
        const double *row = scores + i * classes;
        if (labels[i] < 0 || labels[i] >= classes)
            return vj_raise(VJ_ERR_FORMAT, "sample %lld has label %d; there are classes 0 to %d", (long long)i,
                            labels[i], classes - 1);
        for (int c = 0; c < classes; c++)
            if (isnan(row[c]))
                return vj_raise(VJ_ERR_STATE, "the score of class %d of sample %lld is not a number", c, (long long)i);
        ranks[i] = vj_metrics_rank(row, classes, labels[i]);
    }
    return VJ_OK;
}

int32_t vj_metrics_first(const double *scores, int classes)
{
    int32_t best = 0;
    for (int c = 1; c < classes; c++)
        if (scores[c] > scores[best]) best = c;
    return best;
}

/* Write the softmax of the scores. A score that is NaN makes all NaN. */
static void softmax(double *probability, const double *scores, int classes)
{
    double largest = scores[vj_metrics_first(scores, classes)], sum = 0.0;
    for (int c = 0; c < classes; c++) sum += exp(scores[c] - largest);
    for (int c = 0; c < classes; c++) probability[c] = exp(scores[c] - largest) / sum;
}

void vj_metrics_average_views(double *probability, double *memory, const double *scores, int views, int classes)
{
    memset(probability, 0, sizeof *probability * (size_t)classes);
    for (int v = 0; v < views; v++) {
        softmax(memory, scores + (int64_t)v * classes, classes);
        for (int c = 0; c < classes; c++) probability[c] += memory[c] / views;
    }
}

void vj_metrics_mean_scores(double *mean, const double *scores, int views, int classes)
{
    for (int c = 0; c < classes; c++) {
        double sum = 0.0;
        for (int v = 0; v < views; v++) sum += scores[(int64_t)v * classes + c] / views;
        mean[c] = sum;
    }
}

double vj_metrics_top(const int32_t *ranks, int64_t n, int k)
{
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) right += ranks[i] < k;
    return n > 0 ? 100.0 * (double)right / (double)n : NAN;
}

/* Key of the permutation, different from those of epochs. */
#define PUBLISHED_KEY UINT64_C(0x500000000)

double vj_metrics_as_published(const int32_t *ranks, int64_t n, int64_t gpus, int64_t batch, uint64_t seed)
{
    const int64_t each = batch > gpus ? batch / gpus * gpus : gpus, all = (n + gpus - 1) / gpus * gpus;
    const int64_t batches = (all + each - 1) / each;
    double sum = 0.0;
    for (int64_t first = 0; first < all; first += each) {
        const int64_t last = first + each < all ? first + each : all;
        int64_t right = 0;
        for (int64_t i = first; i < last; i++) right += ranks[vj_permute(seed, PUBLISHED_KEY, n, i % n)] == 0;
        sum += (double)right / (double)(last - first);
    }
    return n > 0 ? 100.0 * sum / (double)batches : NAN;
}

double vj_metrics_mean_class(const int32_t *ranks, const int32_t *labels, int64_t n, int classes)
{
    double sum = 0.0;
    int seen = 0;
    for (int c = 0; c < classes; c++) {
        int64_t right = 0, all = 0;
        for (int64_t i = 0; i < n; i++) {
            all += labels[i] == c;
            right += labels[i] == c && ranks[i] == 0;
        }
        if (all == 0) continue;
        sum += (double)right / (double)all;
        seen++;
    }
    return seen > 0 ? 100.0 * sum / seen : NAN;
}

void vj_metrics_confusion(int64_t *confusion, const int32_t *labels, const int32_t *predicted, int64_t n, int classes)
{
    memset(confusion, 0, sizeof *confusion * (size_t)classes * (size_t)classes);
    for (int64_t i = 0; i < n; i++) confusion[(int64_t)labels[i] * classes + predicted[i]]++;
}

/* ------------------------------------------------------------------------------------------------ intervals */

void vj_wilson_interval(double share, double n, double *low, double *high)
{
    const double q = 1.959963984540054, centre = (share + q * q / (2.0 * n)) / (1.0 + q * q / n);
    const double half = q / (1.0 + q * q / n) * sqrt(share * (1.0 - share) / n + q * q / (4.0 * n * n));
    const bool known = n >= 1.0 && share >= 0.0 && share <= 1.0;
    *low = known ? centre - half : NAN;
    *high = known ? centre + half : NAN;
}

/* Return the probability of [0, t], by Simpson's rule over u = atan(t / sqrt(freedom)), where the density is a power of
 * the cosine. */
static double student_part(double t, double freedom)
{
    enum { PIECES = 2000 };
    const double end = atan(t / sqrt(freedom)), h = end / PIECES;
    const double norm = exp(lgamma((freedom + 1.0) / 2.0) - lgamma(freedom / 2.0)) / sqrt(M_PI);
    double sum = 0.0;
    for (int i = 0; i <= PIECES; i++)
        sum += (i == 0 || i == PIECES ? 1.0 : i % 2 ? 4.0 : 2.0) * pow(cos(i * h), freedom - 1.0);
    return norm * sum * h / 3.0;
}

double vj_student_975(double freedom)
{
    double low = 1.9, high = 13.0;
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        if (student_part(middle, freedom) < 0.475)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double vj_mean_half_width(double sd, double count)
{
    return count >= 2.0 ? vj_student_975(count - 1.0) * sd / sqrt(count) : NAN;
}

vj_runs_summary vj_metrics_runs(const double *values, int64_t n)
{
    vj_runs_summary s = {0};
    double squares = 0.0;
    for (int64_t i = 0; i < n; i++) s.mean += values[i] / (double)n;
    for (int64_t i = 0; i < n; i++) squares += pow(values[i] - s.mean, 2.0);
    s.sd = n > 1 ? sqrt(squares / (double)(n - 1)) : 0.0;
    s.half = vj_mean_half_width(s.sd, (double)n);
    return s;
}

/* ------------------------------------------------------------------------------------------------ pairs */

/* Computes the largest term by logarithms, and each smaller one from the one before by their ratio. */
double vj_mcnemar(int64_t b, int64_t c)
{
    const double n = (double)b + (double)c, least = (double)(b < c ? b : c);
    double term = exp(lgamma(n + 1.0) - lgamma(least + 1.0) - lgamma(n - least + 1.0) - n * M_LN2), sum = 0.0;
    for (double i = least; i >= 0.0 && sum + term > sum; i--) {
        sum += term;
        term *= i / (n - i + 1.0);
    }
    return fmin(1.0, 2.0 * sum);
}

vj_pair_counts vj_metrics_pair(const uint8_t *right_a, const uint8_t *right_b, int64_t n)
{
    vj_pair_counts counts = {0};
    for (int64_t i = 0; i < n; i++) {
        counts.both += right_a[i] && right_b[i];
        counts.only_a += right_a[i] && !right_b[i];
        counts.only_b += right_b[i] && !right_a[i];
    }
    return counts;
}

double vj_metrics_resampled(const vj_resampled *difference, const int32_t *drawn, int64_t n)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (int64_t)difference->surplus[i] * drawn[i];
    return 100.0 * (double)sum / (double)(n * difference->runs);
}

static double quantile(const double *sorted, int64_t n, double q)
{
    const double place = q * (double)(n - 1);
    const int64_t below = (int64_t)place, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

void vj_metrics_interval(double *low, double *high, double *values, int64_t n)
{
    vj_sort_doubles(values, n);
    *low = quantile(values, n, 0.025);
    *high = quantile(values, n, 0.975);
}

vj_status vj_metrics_bootstrap(vj_resampled *differences, int64_t count, int64_t n, int64_t resamples, uint64_t seed)
{
    double *values = vj_calloc(count * resamples, sizeof *values); /* [count, resamples] */
    int32_t *drawn = vj_calloc(n, sizeof *drawn);
    if (!values || !drawn) {
        free(values);
        free(drawn);
        return vj_raise(VJ_ERR_MEMORY, "no memory for %lld resamples of %lld clips", (long long)resamples,
                        (long long)n);
    }
    for (int64_t r = 0; r < resamples; r++) {
        vj_rng rng;
        vj_rng_init(&rng, seed, VJ_RNG_RESAMPLE, (uint64_t)r);
        memset(drawn, 0, (size_t)n * sizeof *drawn);
        for (int64_t i = 0; i < n; i++) drawn[vj_rng_below(&rng, n)]++;
        for (int64_t k = 0; k < count; k++) values[k * resamples + r] = vj_metrics_resampled(&differences[k], drawn, n);
    }
    for (int64_t k = 0; k < count; k++)
        vj_metrics_interval(&differences[k].low, &differences[k].high, values + k * resamples, resamples);
    free(values);
    free(drawn);
    return VJ_OK;
}
