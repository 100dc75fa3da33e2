/*
 * Rows moved by index lists. Threads sum into rows by strips of columns, so that each element is summed by one thread
 * in ascending order of rows, however often an index repeats.
 */
#include "cpu.h"

enum { STRIP = 16 }; /* columns: one cache line */

void VJ_CPU(fill)(vj_backend *be, float *x, float value, int64_t n)
{
    enum { BLOCK = 1 << 14 };
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t block = 0; block < n; block += BLOCK)
        for (int64_t i = block; i < least(n, block + BLOCK); i++) x[i] = value;
}

void VJ_CPU(add)(vj_backend *be, float *y, const float *x, int64_t n)
{
    enum { BLOCK = 1 << 14 };
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t block = 0; block < n; block += BLOCK)
#pragma omp simd
        for (int64_t i = block; i < least(n, block + BLOCK); i++) y[i] += x[i];
}

void VJ_CPU(gather_rows)(vj_backend *be, float *y, const float *x, const int32_t *index, int64_t R, int D)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t r = 0; r < R; r++) memcpy(y + r * D, x + (int64_t)index[r] * D, (size_t)D * sizeof *y);
}

void VJ_CPU(scatter_add_rows)(vj_backend *be, float *dx, const float *dy, const int32_t *index, int64_t R, int D)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int strip = 0; strip < D; strip += STRIP) {
        int end = (int)least(D, strip + STRIP);
        for (int64_t r = 0; r < R; r++) {
            float *to = dx + (int64_t)index[r] * D;
            for (int d = strip; d < end; d++) to[d] += dy[r * D + d];
        }
    }
}

void VJ_CPU(predictor_input_forward)(vj_backend *be, float *s, const float *u, const float *mask_tokens,
                                     const float *table, const int32_t *source, const int32_t *position, int64_t R,
                                     int D)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t from = source[r];
        const float *token = from >= 0 ? u + from * D : mask_tokens + (-1 - from) * D;
        const float *place = table + (int64_t)position[r] * D;
        for (int d = 0; d < D; d++) s[r * D + d] = place[d] + token[d];
    }
}

void VJ_CPU(predictor_input_backward)(vj_backend *be, float *du, float *dmask_tokens, const float *ds,
                                      const int32_t *source, int64_t R, int D, int tokens, int accumulate)
{
    if (!accumulate) memset(dmask_tokens, 0, (size_t)tokens * (size_t)D * sizeof *dmask_tokens);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int strip = 0; strip < D; strip += STRIP) {
        int end = (int)least(D, strip + STRIP);
        for (int64_t r = 0; r < R; r++) {
            int64_t from = source[r];
            if (from >= 0)
                for (int d = strip; d < end; d++) du[from * D + d] = ds[r * D + d];
            else
                for (int d = strip; d < end; d++) dmask_tokens[(-1 - from) * D + d] += ds[r * D + d];
        }
    }
}
