/*
 * Layer normalisation over rows. The standard deviation of a row may be small next to its mean, so differences from one
 * of its elements are summed (in backward, from its stored mean). The error is then relative to the standard deviation:
 * as good as sums in double, and twice as fast. Gradients of weight and bias are summed over a fixed number of chunks
 * of rows, then over the chunks in order, so that results do not depend on the number of threads.
 */
#include <math.h>

#include "cpu.h"
#include "vector.h"

enum {
    CHUNKS = 64,
    SIDE = 4 /* vectors that are summed side by side: each addition waits for the one before */
};

VJ_INLINE float sum_of(const vf sums[SIDE])
{
    return vsum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/* Return the sum of x - origin over a row. */
VJ_INLINE float sum_from(const float *x, float origin, int D)
{
    vf sums[SIDE] = {0};
    float last = 0;
    int d = 0;
    for (; d + SIDE * LANES <= D; d += SIDE * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++) sums[i] += vload(x + d + i * LANES) - origin;
    for (; d + LANES <= D; d += LANES) sums[0] += vload(x + d) - origin;
    for (; d < D; d++) last += x[d] - origin;
    return sum_of(sums) + last;
}

/* Return the sum of (x - origin) - centre over a row; *squares gets that of its squares. */
VJ_INLINE float moments_from(const float *x, float origin, float centre, int D, float *squares)
{
    vf sums[SIDE] = {0}, squared[SIDE] = {0};
    float last = 0, last_squared = 0;
    int d = 0;
    for (; d + SIDE * LANES <= D; d += SIDE * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++) {
            const vf difference = vload(x + d + i * LANES) - origin - centre;
            sums[i] += difference;
            squared[i] += difference * difference;
        }
    for (; d + LANES <= D; d += LANES) {
        const vf difference = vload(x + d) - origin - centre;
        sums[0] += difference;
        squared[0] += difference * difference;
    }
    for (; d < D; d++) {
        const float difference = x[d] - origin - centre;
        last += difference;
        last_squared += difference * difference;
    }
    *squares = sum_of(squared) + last_squared;
    return sum_of(sums) + last;
}

/* Write n elements of y from element `at` on, times weight plus bias unless they are NULL. */
VJ_INLINE void store_normalised(vj_array y, int64_t at, vf hat, const float *weight, const float *bias, int d, int n)
{
    if (weight) hat = hat * vload_part(weight + d, n) + vload_part(bias + d, n);
    vstore_to(y.data, y.type, at, hat, n);
}

void VJ_CPU(layernorm_forward)(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x,
                               const float *weight, const float *bias, int64_t R, int D, float eps)
{
#pragma omp parallel for schedule(dynamic, 16) num_threads(be->threads) if (be->threads > 1)
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * D, origin = row[0];
        float centre = sum_from(row, origin, D) / (float)D, squares;
        /* The sum of differences from the mean is its rounding error: the corrected two-pass algorithm. */
        const float rest = moments_from(row, origin, centre, D, &squares) / (float)D;
        centre += rest;
        const float scale = (float)(1 / sqrt((double)squares / D - (double)rest * rest + eps));
        if (mean) {
            mean[r] = origin + centre;
            rstd[r] = scale;
        }
        int d = 0;
        for (; d + LANES <= D; d += LANES)
            store_normalised(y, r * D + d, (vload(row + d) - origin - centre) * scale, weight, bias, d, LANES);
        if (d < D)
            store_normalised(y, r * D + d, (vload_part(row + d, D - d) - origin - centre) * scale, weight, bias, d,
                             D - d);
    }
}

/* The arguments of backward, and one row of them. */
typedef struct {
    float *dx;
    vj_array copy, y, dy;
    const float *x, *mean, *rstd, *weight, *bias;
    int accumulate, D;
} gradients;
typedef struct {
    int64_t at;                              /* of the row's first element */
    float mean, shift, rstd;                 /* shift: rounding error of `mean`, to be subtracted from x - mean */
    float along_one, along_x;                /* what the norm takes from a gradient */
    float *sum_dweight, *sum_dbias, *sum_dx; /* NULL, or sums over rows [D] to which the row is added */
} gradient_row;

VJ_INLINE vf normalised(const gradients *g, const gradient_row *row, int d, int n)
{
    return (vload_part(g->x + row->at + d, n) - row->mean - row->shift) * row->rstd;
}

VJ_INLINE vf weighted(const gradients *g, vf dy, int d, int n)
{
    return g->weight ? dy * vload_part(g->weight + d, n) : dy;
}

/* Add n elements' share of the gradient along a row of ones, and along the normalised row. */
VJ_INLINE void add_along(const gradients *g, const gradient_row *row, int d, int n, vf *one, vf *along)
{
    const vf gradient = weighted(g, vload_of(g->dy.data, g->dy.type, row->at + d, n), d, n);
    *one += gradient;
    *along += gradient * normalised(g, row, d, n);
}

VJ_INLINE void add_part(float *sum, vf v, int n)
{
    vstore_part(sum, vload_part(sum, n) + v, n);
}

/* Compute n elements of all results. */
VJ_INLINE void backward_part(const gradients *g, const gradient_row *row, int d, int n)
{
    const int64_t at = row->at + d;
    const vf dy = vload_of(g->dy.data, g->dy.type, at, n), hat = normalised(g, row, d, n);
    vf dx = row->rstd * (weighted(g, dy, d, n) - row->along_one - hat * row->along_x);
    if (g->accumulate) dx += vload_part(g->dx + at, n);
    vstore_part(g->dx + at, dx, n);
    if (row->sum_dweight) {
        add_part(row->sum_dweight + d, dy * hat, n);
        add_part(row->sum_dbias + d, dy, n);
    }
    if (row->sum_dx) add_part(row->sum_dx + d, dx, n);
    if (g->y.data) store_normalised(g->y, at, hat, g->weight, g->bias, d, n);
    if (g->copy.data) vstore_to(g->copy.data, g->copy.type, at, dx, n);
}

/* Compute all results of one row. */
VJ_INLINE void backward_row(const gradients *g, gradient_row row)
{
    const int D = g->D;
    row.shift = sum_from(g->x + row.at, row.mean, D) / (float)D;
    vf one[SIDE] = {0}, along[SIDE] = {0};
    int d = 0;
    for (; d + SIDE * LANES <= D; d += SIDE * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++) add_along(g, &row, d + i * LANES, LANES, &one[i], &along[i]);
    for (; d + LANES <= D; d += LANES) add_along(g, &row, d, LANES, &one[0], &along[0]);
    if (d < D) add_along(g, &row, d, D - d, &one[0], &along[0]);
    row.along_one = sum_of(one) / (float)D;
    row.along_x = sum_of(along) / (float)D;
    for (d = 0; d + LANES <= D; d += LANES) backward_part(g, &row, d, LANES);
    if (d < D) backward_part(g, &row, d, D - d);
}

/* Compute `count` rows from row `first` on, and their sums. */
VJ_INLINE void backward_rows(const gradients *g, int64_t first, int64_t count, float *sums, bool of_dx)
{
    float *const dbias = sums ? sums + g->D : NULL, *const dx = of_dx ? sums + 2 * (int64_t)g->D : NULL;
    for (int64_t r = first; r < first + count; r++)
        backward_row(g, (gradient_row){.at = r * g->D,
                                       .mean = g->mean[r],
                                       .rstd = g->rstd[r],
                                       .sum_dweight = sums,
                                       .sum_dbias = dbias,
                                       .sum_dx = dx});
}

void VJ_CPU(layernorm_backward)(vj_backend *be, float *dx, vj_array copy, vj_array y, float *dweight, float *dbias,
                                float *sums, vj_array dy, const float *x, const float *mean, const float *rstd,
                                const float *weight, const float *bias, int accumulate_dx, int accumulate_dw, int64_t R,
                                int D)
{
    const int64_t rows = parts(R, CHUNKS), chunks = R > 0 ? parts(R, rows) : 0;
    float *const to[] = {dweight, dbias, sums};
    const int kinds = sums ? 3 : 2; /* of sums over rows */
    float *partial = NULL;          /* [CHUNKS, kinds, D], if sums are wanted */
    if (dweight && !(partial = vj_scratch(be, CHUNKS * kinds * (int64_t)D))) return;

#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        float *of_chunk = partial ? partial + chunk * kinds * D : NULL;
        if (partial) memset(of_chunk, 0, (size_t)kinds * (size_t)D * sizeof(float));
        gradients g = {dx, copy, y, dy, x, mean, rstd, weight, bias, accumulate_dx, D};
        const int64_t first = chunk * rows, count = least(rows, R - first);
        if (g.dy.type == VJ_TYPE_F32) { /* a constant in each copy of the loop */
            g.dy.type = VJ_TYPE_F32;
            backward_rows(&g, first, count, of_chunk, sums != NULL);
        } else {
            g.dy.type = VJ_TYPE_BF16;
            backward_rows(&g, first, count, of_chunk, sums != NULL);
        }
    }
    for (int kind = 0; kind < kinds && dweight; kind++)
        VJ_CPU(add_chunks)(be, to[kind], partial + kind * D, kinds * (int64_t)D, chunks, accumulate_dw, D);
}
