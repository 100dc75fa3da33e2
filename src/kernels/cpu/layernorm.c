/*
 * Layer normalisation over rows. The standard deviation of a row may be small next to its mean, so differences from one
 * of its elements are summed (in backward, from its stored mean). The error is then relative to the standard deviation:
 * as good as sums in double, and twice as fast. Gradients of weight and bias are summed over a fixed number of chunks
 * of rows, then over the chunks in order, so that results do not depend on the number of threads.
 */
#include <math.h>

#include "cpu.h"
#include "vector.h"

enum { CHUNKS = 64 };

/* Write D elements of y from element `at` on: ((x - origin) - centre) * scale, times weight plus bias unless they are
 * NULL. */
VJ_INLINE void normalised(vj_array y, int64_t at, const float *x, float origin, float centre, float scale,
                          const float *weight, const float *bias, int D)
{
    for (int d = 0; d < D; d += LANES) {
        const int n = D - d;
        vf hat = (vload_part(x + d, n) - origin - centre) * scale;
        if (weight) hat = hat * vload_part(weight + d, n) + vload_part(bias + d, n);
        vstore_to(y.data, y.type, at + d, hat, n);
    }
}

void VJ_CPU(layernorm_forward)(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x,
                               const float *weight, const float *bias, int64_t R, int D, float eps)
{
#pragma omp parallel for schedule(dynamic, 16) num_threads(be->threads) if (be->threads > 1)
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * D;
        float origin = row[0], sum = 0, rest = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < D; d++) sum += row[d] - origin;
        float centre = sum / (float)D;
#pragma omp simd reduction(+ : rest, squares)
        for (int d = 0; d < D; d++) {
            float difference = row[d] - origin - centre;
            rest += difference; /* rounding error of the mean: corrected two-pass algorithm */
            squares += difference * difference;
        }
        rest /= (float)D;
        centre += rest;
        float scale = (float)(1 / sqrt((double)squares / D - (double)rest * rest + eps));
        if (mean) {
            mean[r] = origin + centre;
            rstd[r] = scale;
        }
        normalised(y, r * D, row, origin, centre, scale, weight, bias, D);
    }
}

/*
 * Backward of one row; adds its share of dweight and dbias to the sums unless they are NULL. Returns the rounding error
 * of `mean`, to be subtracted from x - mean.
 */
static float backward_row(float *dx, float *sum_dweight, float *sum_dbias, const float *dy, const float *x, float mean,
                          float rstd, const float *weight, int accumulate, int D)
{
    float rest = 0, sum = 0, product = 0;
#pragma omp simd reduction(+ : rest)
    for (int d = 0; d < D; d++) rest += x[d] - mean;
    float shift = rest / (float)D;
#pragma omp simd reduction(+ : sum, product)
    for (int d = 0; d < D; d++) {
        float g = weight ? dy[d] * weight[d] : dy[d];
        sum += g;
        product += g * ((x[d] - mean - shift) * rstd);
    }
    float along_one = sum / (float)D, along_x = product / (float)D;
    for (int d = 0; d < D; d++) {
        float hat = (x[d] - mean - shift) * rstd, g = weight ? dy[d] * weight[d] : dy[d];
        float gradient = rstd * (g - along_one - hat * along_x);
        dx[d] = accumulate ? dx[d] + gradient : gradient;
    }
    if (sum_dweight)
        for (int d = 0; d < D; d++) {
            sum_dweight[d] += dy[d] * ((x[d] - mean - shift) * rstd);
            sum_dbias[d] += dy[d];
        }
    return shift;
}

void VJ_CPU(layernorm_backward)(vj_backend *be, float *dx, vj_array copy, vj_array y, float *dweight, float *dbias,
                                float *sums, vj_array dy, const float *x, const float *mean, const float *rstd,
                                const float *weight, const float *bias, int accumulate_dx, int accumulate_dw, int64_t R,
                                int D)
{
    const int64_t rows = parts(R, CHUNKS), chunks = R > 0 ? parts(R, rows) : 0;
    float *const to[] = {dweight, dbias, sums};
    const int kinds = sums ? 3 : 2; /* of sums over rows */
    /* Scratch: sums [CHUNKS, kinds, D], if they are wanted, and a row of dy as floats for each chunk, if it has to be
     * widened. */
    const int64_t of_sums = dweight ? CHUNKS * kinds * (int64_t)D : 0;
    const int64_t of_rows = dy.type == VJ_TYPE_F32 ? 0 : CHUNKS * (int64_t)D;
    float *scratch = NULL;
    if (of_sums + of_rows > 0 && !(scratch = vj_scratch(be, of_sums + of_rows))) return;
    float *partial = dweight ? scratch : NULL;

#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        float *sum_dweight = partial ? partial + chunk * kinds * D : NULL;
        float *sum_dbias = partial ? sum_dweight + D : NULL, *sum_dx = sums ? sum_dweight + 2 * (int64_t)D : NULL;
        if (partial) memset(sum_dweight, 0, (size_t)kinds * (size_t)D * sizeof(float));
        float *const widened = of_rows ? scratch + of_sums + chunk * D : NULL;
        for (int64_t r = chunk * rows; r < least(R, (chunk + 1) * rows); r++) {
            for (int d = 0; d < D && widened; d += LANES)
                vstore_part(widened + d, vload_of(dy.data, dy.type, r * D + d, D - d), D - d);
            const float *row_dy = widened ? widened : (const float *)dy.data + r * D;
            const float shift = backward_row(dx + r * D, sum_dweight, sum_dbias, row_dy, x + r * D, mean[r], rstd[r],
                                             weight, accumulate_dx, D);
            if (y.data) normalised(y, r * D, x + r * D, mean[r], shift, rstd[r], weight, bias, D);
            for (int d = 0; d < D && copy.data; d += LANES)
                vstore_to(copy.data, copy.type, r * D + d, vload_part(dx + r * D + d, D - d), D - d);
            if (sum_dx)
                for (int d = 0; d < D; d++) sum_dx[d] += dx[r * D + d];
        }
    }
    for (int kind = 0; kind < kinds && dweight; kind++)
        for (int d = 0; d < D; d++) {
            double sum = accumulate_dw ? to[kind][d] : 0;
            for (int64_t chunk = 0; chunk < chunks; chunk++) sum += partial[(chunk * kinds + kind) * D + d];
            to[kind][d] = (float)sum;
        }
}
