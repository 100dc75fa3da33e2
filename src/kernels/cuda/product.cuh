/*
 * Shared by the own products of bf16 (product.cu, product_wgmma.cu): the place of a tile, and the finish of the sums.
 */
#ifndef VJ_KERNELS_CUDA_PRODUCT_CUH
#define VJ_KERNELS_CUDA_PRODUCT_CUH

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/products.h"

/* ------------------------------------------------------------------------------------------------ arrays */

/* Load the first n of four neighbours; all of them at once if `fours`. */
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
        store_four(static_cast<bf16 *>(a.data) + at, pack(v[0], v[1]), pack(v[2], v[3]));
    else
        for (int j = 0; j < 4; j++)
            if (j < n) store_of<1>(a, at + j, v + j);
}

VJ_DEVICE vj_array floats(const float *data)
{
    return vj_array{const_cast<float *>(data), VJ_TYPE_F32};
}

/* ------------------------------------------------------------------------------------------------ finish */

/* Return n / by, and the remainder; divides in 32 bits if both fit, which takes a quarter of the instructions. */
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

/* What the finish of four neighbours reads from arrays as large as the result: the residual; the present result, if it
 * accumulates, or GELU's argument. */
struct beside {
    float residual[4], other[4];
};

/* Read it for n <= 4 columns of one row from element `at` on; `fours`: all arrays may be read and written four values
 * at a time. */
VJ_DEVICE void read_beside(beside &x, const vj_product &g, bool fours, int64_t row, int64_t at, int n)
{
    if (g.residual) {
        int64_t residual_row = row;
        if (g.residual_rows < g.M) (void)quotient(row, g.residual_rows, &residual_row);
        load_some(x.residual, floats(g.residual), at + (residual_row - row) * g.N, n, fours);
    }
    if (g.accumulate)
        load_some(x.other, g.c, at, n, fours);
    else if (g.finish == VJ_FINISH_GELU_GRADIENT)
        load_some(x.other, g.pre, at, n, fours);
}

/*
 * Compute results from sums: what the product adds, its nonlinearity, the result's type; columns as above. The thread
 * that writes an element has read it before, since the result may be the residual, or pre.
 */
VJ_DEVICE void finish(const vj_product &g, bool fours, int64_t at, int n, const float bias[4], const beside &x,
                      float v[4])
{
    float t[4];
    if (g.bias)
        for (int j = 0; j < 4; j++) v[j] += bias[j];
    if (g.residual)
        for (int j = 0; j < 4; j++) v[j] += x.residual[j];
    if (g.accumulate)
        for (int j = 0; j < 4; j++) v[j] += x.other[j];
    if (g.finish == VJ_FINISH_GELU) {
        if (g.pre.data) {
            store_some(g.pre, at, v, n, fours);
            for (int j = 0; j < 4 && g.pre.type == VJ_TYPE_BF16; j++) v[j] = rounded(v[j]);
        }
        for (int j = 0; j < 4; j++) v[j] = gelu(v[j]);
    } else if (g.finish == VJ_FINISH_GELU_GRADIENT) {
        for (int j = 0; j < 4; j++) v[j] *= gelu_slope(x.other[j], &t[j]);
        if (g.hidden.data) store_some(g.hidden, at, t, n, fours);
    }
    store_some(g.c, at, v, n, fours);
}

/* The same, and reads all that it needs. */
VJ_DEVICE void finish_at(const vj_product &g, bool fours, int64_t row, int64_t column, float v[4])
{
    const int n = g.N - column < 4 ? (int)(g.N - column) : 4;
    const int64_t at = row * g.N + column;
    float bias[4] = {};
    beside x = {};
    if (g.bias) load_some(bias, floats(g.bias), column, n, fours);
    read_beside(x, g, fours, row, at, n);
    finish(g, fours, at, n, bias, x, v);
}

static bool all_in_fours(const vj_product *g)
{
    return g->N % 4 == 0 && aligned_to(16, g->bias, g->residual) && in_fours(g->c) && in_fours(g->pre) &&
           in_fours(g->hidden);
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* Compute the place of tile number `tile`. The order goes by groups of `group` rows of tiles, so that tiles that run
 * together share operands. */
VJ_DEVICE void place_of_tile(int64_t tile, int64_t tiles_m, int64_t tiles_n, int group, int64_t *m, int64_t *n)
{
    int64_t within;
    const int64_t first = quotient(tile, group * tiles_n, &within) * group, left = tiles_m - first;
    *n = quotient(within, left < group ? left : (int64_t)group, m);
    *m += first;
}

/*
 * A warp finishes its sums 16 rows and 32 columns at a time, through shared memory (a strip), so that it reads and
 * writes whole 128 bytes of each row. Groups of eight columns are permuted in a strip, depending on the row, so that
 * neither writing nor reading it has bank conflicts.
 */
enum { STRIP_ROWS = 16, STRIP_COLUMNS = 32, STRIP_FLOATS = STRIP_ROWS * STRIP_COLUMNS };

VJ_DEVICE float *strip_at(float *strip, int row, int column)
{
    return strip + row * STRIP_COLUMNS + (column ^ row % 4 * 8);
}

/* Write sums of 32 columns to the strip. In each eight columns a lane has four sums, as mma() gives them. */
VJ_DEVICE void keep_strip(float *strip, const float *c)
{
    const int lane = lane_of_warp();
    VJ_UNROLL
    for (int j = 0; j < 4; j++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++)
            *reinterpret_cast<float2 *>(strip_at(strip, lane / 4 + 8 * half, 8 * j + lane % 4 * 2)) =
                make_float2(c[4 * j + 2 * half], c[4 * j + 2 * half + 1]);
    }
}

VJ_DEVICE void take_four(float v[4], const float *strip)
{
    const float4 sums = *reinterpret_cast<const float4 *>(strip);
    v[0] = sums.x, v[1] = sums.y, v[2] = sums.z, v[3] = sums.w;
}

/*
 * keep() writes sums to the strip; then they are finished, in passes of four rows, to the result from row0 and column0
 * on. If all rows and columns exist, the values that AHEAD passes need from other arrays are loaded first, so that the
 * warp waits for memory once for all of them, and writes its sums meanwhile.
 */
template <int AHEAD, class F>
VJ_DEVICE void finish_strip(const vj_product &g, bool fours, float *strip, int64_t row0, int64_t column0, const F &keep)
{
    enum { PASS_ROWS = 4, PASSES = STRIP_ROWS / PASS_ROWS };
    const int r = lane_of_warp() / 8, c = lane_of_warp() % 8 * 4;
    const int64_t row = row0 + r, column = column0 + c;
    const float *const mine = strip_at(strip, r, c);
    if (fours && row0 + STRIP_ROWS <= g.M && column0 + STRIP_COLUMNS <= g.N) {
        const int64_t at = row * g.N + column, step = PASS_ROWS * g.N;
        float bias[4] = {};
        beside x[AHEAD] = {};
        if (g.bias) load_some(bias, floats(g.bias), column, 4, true);
        VJ_UNROLL
        for (int i = 0; i < AHEAD && AHEAD == PASSES; i++)
            read_beside(x[i], g, true, row + i * PASS_ROWS, at + i * step, 4);
        keep();
        __syncwarp();
        VJ_ROLLED
        for (int first = 0; first < PASSES; first += AHEAD) {
            VJ_UNROLL
            for (int i = 0; i < AHEAD && AHEAD < PASSES; i++)
                read_beside(x[i], g, true, row + (first + i) * PASS_ROWS, at + (first + i) * step, 4);
            VJ_UNROLL
            for (int i = 0; i < AHEAD; i++) {
                float v[4];
                take_four(v, mine + (first + i) * PASS_ROWS * STRIP_COLUMNS);
                finish(g, true, at + (first + i) * step, 4, bias, x[i], v);
            }
        }
    } else {
        keep();
        __syncwarp();
        VJ_ROLLED
        for (int pass = 0; pass < STRIP_ROWS; pass += PASS_ROWS) {
            float v[4];
            take_four(v, mine + pass * STRIP_COLUMNS);
            if (row + pass < g.M && column < g.N) finish_at(g, fours, row + pass, column, v);
        }
    }
    __syncwarp();
}

#endif
