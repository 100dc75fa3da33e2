/* Sums over all elements or over columns, in an order that does not depend on the number of threads. */
#include <math.h>

#include "base/tree_sum.h"
#include "cpu.h"

enum {
    BLOCK = 1 << 14, /* elements summed by one thread */
    STRIP = 16,      /* columns: one cache line */
    CHUNKS = 64      /* of rows */
};

static double sum_squares(vj_backend *be, const float *x, int64_t n)
{
    int64_t blocks = parts(n, BLOCK);
    double *partial = (double *)vj_scratch(be, 2 * blocks); /* a double is two floats */
    if (!partial) return NAN;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t block = 0; block < blocks; block++) {
        double s = 0;
        int64_t end = least(n, (block + 1) * BLOCK);
#pragma omp simd reduction(+ : s)
        for (int64_t i = block * BLOCK; i < end; i++) s += (double)x[i] * x[i];
        partial[block] = s;
    }
    double all = 0;
    for (int64_t block = 0; block < blocks; block++) all += partial[block];
    return all;
}

void VJ_CPU(sum_squares_many)(vj_backend *be, double *sums, const float *x, const vj_span *spans, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] = spans[i].count > 0 ? sum_squares(be, x + spans[i].offset, spans[i].count) : 0;
}

void VJ_CPU(sum_arrays)(vj_backend *be, float *out, const float *const *in, int count, int64_t n)
{
    vj_tree_sum(out, in, count, n, be->threads);
}

void VJ_CPU(add_chunks)(vj_backend *be, float *sums, const float *partial, int64_t stride, int64_t chunks,
                        int accumulate, int D)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1 && chunks * D >= BLOCK)
    for (int strip = 0; strip < D; strip += STRIP) {
        const int width = (int)least(STRIP, D - strip);
        double s[STRIP] = {0};
        for (int d = 0; d < width && accumulate; d++) s[d] = sums[strip + d];
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int d = 0; d < width; d++) s[d] += partial[chunk * stride + strip + d];
        for (int d = 0; d < width; d++) sums[strip + d] = (float)s[d];
    }
}

void VJ_CPU(column_sums)(vj_backend *be, float *sums, vj_array x, int accumulate, int64_t R, int D)
{
    /* Sums over a fixed number of chunks of rows, in floats, then over the chunks in double: independent of the
     * threads. */
    const int64_t rows = parts(R, CHUNKS), chunks = R > 0 ? parts(R, rows) : 0, width = parts(D, LANES) * LANES;
    float *partial = vj_scratch(be, CHUNKS * width);
    if (!partial) return;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        float *to = partial + chunk * width;
        memset(to, 0, (size_t)width * sizeof *to);
        for (int64_t r = chunk * rows; r < least(R, (chunk + 1) * rows); r++)
            for (int d = 0; d < D; d += LANES)
                vstore(to + d, vload(to + d) + vload_of(x.data, x.type, r * D + d, D - d));
    }
    VJ_CPU(add_chunks)(be, sums, partial, width, chunks, accumulate, D);
}

void VJ_CPU(column_moments)(vj_backend *be, double *sums, const float *x, int64_t R, int D)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int strip = 0; strip < D; strip += STRIP) {
        int width = (int)least(STRIP, D - strip);
        double s[STRIP] = {0}, squares[STRIP] = {0};
        for (int64_t r = 0; r < R; r++)
            for (int d = 0; d < width; d++) {
                double v = x[r * D + strip + d];
                s[d] += v;
                squares[d] += v * v;
            }
        for (int d = 0; d < width; d++) {
            sums[strip + d] += s[d];
            sums[D + strip + d] += squares[d];
        }
    }
}
