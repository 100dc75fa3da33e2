/*
 * What the own products of bf16 share (product.cu, product_wgmma.cu): the place of a tile, and what follows the sums.
 */
#ifndef VJ_KERNELS_CUDA_PRODUCT_CUH
#define VJ_KERNELS_CUDA_PRODUCT_CUH

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/products.h"

/* ------------------------------------------------------------------------------------------------ arrays */

/* The first n of four neighbours; all of them at once if `fours`. */
VJ_DEVICE void load_some(float v[4], vj_array a, int64_t at, int n, bool fours)
{
    if (fours)
        load_of<4>(v, a, at);
    else
        for (int j = 0; j < 4; j++) {
            v[j] = 0.0f;
            if (j < n) load_of<1>(v + j, a, at + j);
        }
}

VJ_DEVICE void store_some(vj_array a, int64_t at, const float v[4], int n, bool fours)
{
    if (fours && a.type == VJ_TYPE_F32)
        store_four(static_cast<float *>(a.data) + at, v);
    else if (fours)
        store_of<4>(a, at, v);
    else
        for (int j = 0; j < 4; j++)
            if (j < n) store_of<1>(a, at + j, v + j);
}

VJ_DEVICE vj_array floats(const float *data)
{
    return vj_array{const_cast<float *>(data), VJ_TYPE_F32};
}

/* ------------------------------------------------------------------------------------------------ finish */

/* n / by, and what is left: of numbers of 32 bits where they are, which takes a quarter of the instructions. */
VJ_DEVICE int64_t quotient(int64_t n, int64_t by, int64_t *left)
{
    const bool small = (uint64_t)(n | by) >> 32 == 0;
    const int64_t q = small ? (int64_t)((uint32_t)n / (uint32_t)by) : n / by;
    *left = n - q * by;
    return q;
}

VJ_DEVICE float rounded(float x)
{
    return widen((bf16)pack(x, 0.0f));
}

/*
 * From sums to results: what the product adds, its nonlinearity, the result's type; n <= 4 columns of one row. `fours`:
 * all arrays may be read and written four values at a time. Each element is read before it is written and by the same
 * thread, since the result may be the residual, or pre.
 */
VJ_DEVICE void finish(const vj_product &g, bool fours, int64_t row, int64_t column, float v[4])
{
    const int64_t at = row * g.N + column;
    const int n = g.N - column < 4 ? (int)(g.N - column) : 4;
    float t[4];
    if (g.bias) {
        load_some(t, floats(g.bias), column, n, fours);
        for (int j = 0; j < 4; j++) v[j] += t[j];
    }
    if (g.residual) {
        int64_t residual_row;
        (void)quotient(row, g.residual_rows, &residual_row);
        load_some(t, floats(g.residual), residual_row * g.N + column, n, fours);
        for (int j = 0; j < 4; j++) v[j] += t[j];
    }
    if (g.accumulate) {
        load_some(t, g.c, at, n, fours);
        for (int j = 0; j < 4; j++) v[j] += t[j];
    }
    if (g.finish == VJ_FINISH_GELU) {
        if (g.pre.data) {
            store_some(g.pre, at, v, n, fours);
            for (int j = 0; j < 4 && g.pre.type == VJ_TYPE_BF16; j++) v[j] = rounded(v[j]);
        }
        for (int j = 0; j < 4; j++) v[j] = gelu(v[j]);
    } else if (g.finish == VJ_FINISH_GELU_GRADIENT) {
        load_some(t, g.pre, at, n, fours);
        for (int j = 0; j < 4; j++) v[j] *= gelu_slope(t[j], &t[j]);
        if (g.hidden.data) store_some(g.hidden, at, t, n, fours);
    }
    store_some(g.c, at, v, n, fours);
}

static bool all_in_fours(const vj_product *g)
{
    return g->N % 4 == 0 && aligned_to(16, g->bias, g->residual) && in_fours(g->c) && in_fours(g->pre) &&
           in_fours(g->hidden);
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* Which tile of the result is number `tile`. Tiles near each other share operands: `group` rows of tiles. */
VJ_DEVICE void place_of_tile(int64_t tile, int64_t tiles_m, int64_t tiles_n, int group, int64_t *m, int64_t *n)
{
    int64_t within;
    const int64_t first = quotient(tile, group * tiles_n, &within) * group, left = tiles_m - first;
    *n = quotient(within, left < group ? left : (int64_t)group, m);
    *m += first;
}

/*
 * A warp's sums become results 16 rows and 32 columns at a time, through shared memory: so it reads and writes whole
 * 128 bytes of each row. The pitch keeps the strip's rows in different banks.
 */
enum { STRIP_ROWS = 16, STRIP_COLUMNS = 32, STRIP_PITCH = 40 };

/* Sums of 32 columns into the warp's strip. Of eight columns a lane has four, as mma() leaves them. */
VJ_DEVICE void keep_strip(float (*strip)[STRIP_PITCH], const float *c)
{
    const int lane = lane_of_warp();
    VJ_UNROLL
    for (int j = 0; j < 4; j++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++)
            *reinterpret_cast<float2 *>(&strip[lane / 4 + 8 * half][8 * j + lane % 4 * 2]) =
                make_float2(c[4 * j + 2 * half], c[4 * j + 2 * half + 1]);
    }
}

/* What was kept becomes results from row0 and column0 on. */
VJ_DEVICE void finish_strip(const vj_product &g, bool fours, float (*strip)[STRIP_PITCH], int64_t row0, int64_t column0)
{
    const int lane = lane_of_warp();
    __syncwarp();
    for (int pass = 0; pass < 4; pass++) {
        const int r = lane / 8 + 4 * pass, column = lane % 8 * 4;
        const float4 sums = *reinterpret_cast<const float4 *>(&strip[r][column]);
        float v[4] = {sums.x, sums.y, sums.z, sums.w};
        if (row0 + r < g.M && column0 + column < g.N) finish(g, fours, row0 + r, column0 + column, v);
    }
    __syncwarp();
}

#endif
