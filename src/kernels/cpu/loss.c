/* The prediction loss and the spread penalty, each with its gradient. Sums in double, in a fixed order. */
#include <math.h>

#include "cpu.h"

/* The loss of one row, sum of |difference|^e / e, here with e = 1. dpred, unless NULL, gets its gradient times weight:
 * 0 for difference 0, NaN for NaN. */
static double absolute_row(float *dpred, const float *pred, const float *target, float weight, int D)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < D; d++) sum += fabsf(pred[d] - target[d]);
    if (dpred)
        for (int d = 0; d < D; d++) {
            float difference = pred[d] - target[d];
            dpred[d] = difference > 0 ? weight : difference < 0 ? -weight : difference * weight;
        }
    return sum;
}

static double power_row(float *dpred, const float *pred, const float *target, float weight, int D, double exponent)
{
    double sum = 0;
    for (int d = 0; d < D; d++) {
        double difference = (double)pred[d] - target[d], size = fabs(difference);
        sum += pow(size, exponent) / exponent;
        if (dpred) dpred[d] = size == 0 ? 0 : (float)(weight * copysign(pow(size, exponent - 1), difference));
    }
    return sum;
}

static double square_row(float *dpred, const float *pred, const float *target, float weight, int D)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < D; d++) {
        float difference = pred[d] - target[d];
        sum += 0.5 * difference * difference;
    }
    if (dpred)
        for (int d = 0; d < D; d++) dpred[d] = weight * (pred[d] - target[d]);
    return sum;
}

void VJ_CPU(prediction_loss)(vj_backend *be, double *loss, float *dpred, const float *pred, const float *target,
                             const int32_t *target_row, const float *weight, const int32_t *group, int64_t R, int D,
                             double exponent)
{
    double *row_loss = (double *)vj_scratch(be, 2 * R); /* a double is two floats */
    if (!row_loss) return;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t r = 0; r < R; r++) {
        const float *want = target + (int64_t)target_row[r] * D;
        float *d = dpred ? dpred + r * D : NULL;
        double sum = exponent == 1   ? absolute_row(d, pred + r * D, want, weight[r], D)
                     : exponent == 2 ? square_row(d, pred + r * D, want, weight[r], D)
                                     : power_row(d, pred + r * D, want, weight[r], D, exponent);
        row_loss[r] = weight[r] * sum;
    }
    for (int64_t r = 0; r < R; r++) loss[group[r]] += row_loss[r];
}

/* Compute mean and inverse standard deviation of each column of one segment; with fewer than two rows the variance is
 * 0. */
static void column_spread(double *mean, double *inverse, const float *x, int64_t rows, int D)
{
    for (int d = 0; d < D; d++) mean[d] = inverse[d] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int d = 0; d < D; d++) mean[d] += x[r * D + d];
    for (int d = 0; d < D; d++) mean[d] /= (double)(rows > 0 ? rows : 1);
    for (int64_t r = 0; r < rows; r++)
        for (int d = 0; d < D; d++) inverse[d] += (x[r * D + d] - mean[d]) * (x[r * D + d] - mean[d]);
    for (int d = 0; d < D; d++) inverse[d] = 1 / sqrt(inverse[d] / (double)(rows > 1 ? rows - 1 : 1) + 1e-4);
}

/* Return the penalty of one clip; `spread` is working memory, [masks, 2, D]. */
static double clip_penalty(double *spread, float *dpred, const float *pred, const int32_t *offset, int masks, int64_t B,
                           int64_t b, int D, double scale)
{
    double penalty = 0;
    for (int i = 0; i < masks; i++) {
        int64_t first = offset[i * B + b], rows = offset[i * B + b + 1] - first;
        column_spread(spread + 2 * i * D, spread + (2 * i + 1) * D, pred + first * D, rows, D);
    }
    for (int d = 0; d < D; d++) {
        double mean_spread = 0;
        for (int i = 0; i < masks; i++) mean_spread += 1 / spread[(2 * i + 1) * D + d] / masks;
        double lack = 1 - mean_spread;
        penalty += lack < 0 ? 0 : lack; /* NaN is added */
        if (lack < 0)
            for (int i = 0; i < masks; i++) spread[(2 * i + 1) * D + d] = 0; /* no gradient */
    }
    if (dpred)
        for (int i = 0; i < masks; i++) {
            int64_t first = offset[i * B + b], end = offset[i * B + b + 1];
            const double *mean = spread + 2 * i * D, *inverse = mean + D;
            double factor = -scale / masks / (double)(end - first > 1 ? end - first - 1 : 1);
            for (int64_t r = first; r < end; r++)
                for (int d = 0; d < D; d++)
                    dpred[r * D + d] += (float)(factor * (pred[r * D + d] - mean[d]) * inverse[d]);
        }
    return penalty;
}

void VJ_CPU(spread_penalty)(vj_backend *be, double *penalty, float *dpred, const float *pred, const int32_t *offset,
                            int masks, int64_t B, int D, double scale)
{
    int64_t room = 2 * (int64_t)masks * D;
    double *clips = (double *)vj_scratch(be, 2 * (B + B * room)); /* a double is two floats */
    if (!clips) return;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t b = 0; b < B; b++)
        clips[b] = clip_penalty(clips + B + b * room, dpred, pred, offset, masks, B, b, D, scale);
    double sum = 0;
    for (int64_t b = 0; b < B; b++) sum += clips[b];
    *penalty += scale * sum;
}
