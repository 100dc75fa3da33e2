/*
 * Shared by attention with mma.sync (attention_tiles.cu) and with wgmma (attention_wgmma.cu): rows of heads in memory,
 * and operations on scores and sums in registers. A warp has M times 16 rows; in each eight columns of a product its
 * lanes hold the elements that mma() gives them, and wgmma() the same.
 */
#ifndef VJ_CUDA_ATTENTION_ROWS_CUH
#define VJ_CUDA_ATTENTION_ROWS_CUH

#include "attention.h"

/* ------------------------------------------------------------------------------------------------ rows in memory */

/* Rows in global memory: bf16, 16-byte aligned. */
struct rows_at {
    const bf16 *at;
    int stride;
};

VJ_DEVICE rows_at rows_of_qkv(const attention &a, const block_place &p, int part)
{
    return rows_at{(const bf16 *)a.qkv.data + (p.first * 3 + part) * a.D + (int64_t)p.head * a.d, 3 * a.D};
}
VJ_DEVICE rows_at rows_of_dout(const attention &a, const block_place &p)
{
    return rows_at{(const bf16 *)a.dout.data + p.first * a.D + (int64_t)p.head * a.d, a.D};
}

/* Return the terms of a segment's queries in the block's head. */
VJ_DEVICE const row_term *terms_of(const attention &a, const block_place &p)
{
    return a.terms + p.head * a.rows + p.first;
}

/* ------------------------------------------------------------------------------------------------ registers */

/* A number for each row that a lane has elements of: two in each 16 rows. */
template <int M> struct row_numbers {
    float of[M][2];
};

template <int M> VJ_DEVICE row_numbers<M> all_rows(float x)
{
    row_numbers<M> numbers;
    VJ_UNROLL
    for (int m = 0; m < M; m++) numbers.of[m][0] = numbers.of[m][1] = x;
    return numbers;
}

/* Of a product's result c[m][n][i], a lane holds row row_of(m, i) and column column_of(n, i) of the warp's tile. */
VJ_DEVICE int row_of(int m, int i)
{
    return m * 16 + (int)threadIdx.x % 32 / 4 + i / 2 * 8;
}
VJ_DEVICE int column_of(int n, int i)
{
    return n * 8 + (int)threadIdx.x % 4 * 2 + i % 2;
}

/* Round the result of a product to the left operand of the next; lanes hold the same elements of both. */
template <int M, int N> VJ_DEVICE void as_operand(uint32_t a[M][N / 16][4], const float c[M][N / 8][4])
{
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int n = 0; n < N / 8; n++) {
            a[m][n / 2][n % 2 * 2] = pack(c[m][n][0], c[m][n][1]);
            a[m][n / 2][n % 2 * 2 + 1] = pack(c[m][n][2], c[m][n][3]);
        }
    }
}

/* Write elements i and i + 1; i is even. */
VJ_DEVICE void write_pair(const vj_array &a, int64_t i, float x, float y)
{
    if (a.type == VJ_TYPE_BF16) {
        *(uint32_t *)((bf16 *)a.data + i) = pack(x, y);
    } else {
        ((float *)a.data)[i] = x;
        ((float *)a.data)[i + 1] = y;
    }
}

/* Write the warp's rows of a result below `rows`, times their factors; row 0 is at element `at`. */
template <int M, int d>
VJ_DEVICE void write_rows(const vj_array &a, int64_t at, int64_t stride, int rows, const float c[M][d / 8][4],
                          const row_numbers<M> &factor)
{
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            const int row = row_of(m, half * 2);
            if (row < rows) {
                VJ_UNROLL
                for (int n = 0; n < d / 8; n++)
                    write_pair(a, at + row * stride + column_of(n, 0), c[m][n][half * 2] * factor.of[m][half],
                               c[m][n][half * 2 + 1] * factor.of[m][half]);
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------------ softmax */

/* Maximum and sum over the four lanes that hold a row. */
VJ_DEVICE float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
VJ_DEVICE float row_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* The running softmax of a warp's rows: largest score so far; sums relative to it, in each lane of its columns. */
template <int M> struct softmax_state {
    float most[M][2], sum[M][2];
};

template <int M> VJ_DEVICE void begin_softmax(softmax_state<M> &state)
{
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) state.most[m][half] = -1e30f, state.sum[m][half] = 0;
    }
}

/*
 * Replace the scores of a tile of keys, of which `keys` exist, by exponentials relative to the largest score so far.
 * Returns the factor for sums of earlier tiles. Keys that do not exist get minus infinity before the maximum is taken,
 * which is finite from the start, so no tile leads to a NaN.
 */
template <int M, int TILE>
VJ_DEVICE row_numbers<M> soften(float s[M][TILE / 8][4], softmax_state<M> &state, int keys, float factor)
{
    if (keys < TILE) {
        VJ_UNROLL
        for (int n = 0; n < TILE / 8; n++) {
            VJ_UNROLL
            for (int i = 0; i < 4; i++) {
                VJ_UNROLL
                for (int m = 0; m < M; m++)
                    if (column_of(n, i) >= keys) s[m][n][i] = -INFINITY;
            }
        }
    }
    row_numbers<M> fade;
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            float top = state.most[m][half];
            VJ_UNROLL
            for (int n = 0; n < TILE / 8; n++) top = fmaxf(top, fmaxf(s[m][n][half * 2], s[m][n][half * 2 + 1]));
            top = row_max(top);
            const float shift = top * factor;
            fade.of[m][half] = power_of_two(state.most[m][half] * factor - shift);
            state.most[m][half] = top;
            float sum = state.sum[m][half] * fade.of[m][half];
            VJ_UNROLL
            for (int n = 0; n < TILE / 8; n++) {
                VJ_UNROLL
                for (int i = half * 2; i < half * 2 + 2; i++) {
                    s[m][n][i] = power_of_two(s[m][n][i] * factor - shift);
                    sum += s[m][n][i];
                }
            }
            state.sum[m][half] = sum;
        }
    }
    return fade;
}

template <int M, int d> VJ_DEVICE void scale_rows(float c[M][d / 8][4], const row_numbers<M> &factor)
{
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int n = 0; n < d / 8; n++) {
            VJ_UNROLL
            for (int i = 0; i < 4; i++) c[m][n][i] *= factor.of[m][i / 2];
        }
    }
}

/*
 * After the last tile, return the factors for sums of values. Writes lse of the warp's rows below `rows`; `first` is
 * the number of its first row among all.
 */
template <int M>
VJ_DEVICE row_numbers<M> finish_softmax(const softmax_state<M> &state, const attention &a, int64_t first, int rows,
                                        int head)
{
    row_numbers<M> inverse;
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            const float sum = row_sum(state.sum[m][half]);
            const int row = row_of(m, half * 2);
            inverse.of[m][half] = 1 / sum;
            if (a.lse && row < rows && threadIdx.x % 4 == 0)
                a.lse[(first + row) * a.heads + head] = state.most[m][half] * a.scale + logf(sum);
        }
    }
    return inverse;
}

/* ------------------------------------------------------------------------------------------------ backward */

/* Load the terms of the warp's rows, which are queries; those below `rows` exist. */
template <int M> VJ_DEVICE void load_terms(row_term term[M][2], const row_term *from, int rows)
{
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            const int row = row_of(m, half * 2);
            term[m][half] = row < rows ? from[row] : row_term{0, 0};
        }
    }
}

/*
 * Compute probabilities from scores, in place; columns from `columns` on are keys that do not exist and become zero.
 * term(m, n, i) is the term of the query of an element.
 */
template <int M, int N, class F>
VJ_DEVICE void probabilities(float p[M][N / 8][4], float factor, int columns, const F &term)
{
    VJ_UNROLL
    for (int n = 0; n < N / 8; n++) {
        VJ_UNROLL
        for (int i = 0; i < 4; i++) {
            VJ_UNROLL
            for (int m = 0; m < M; m++) p[m][n][i] = power_of_two(p[m][n][i] * factor - term(m, n, i).lse2);
        }
    }
    if (columns < N) {
        VJ_UNROLL
        for (int n = 0; n < N / 8; n++) {
            VJ_UNROLL
            for (int i = 0; i < 4; i++) {
                VJ_UNROLL
                for (int m = 0; m < M; m++)
                    if (column_of(n, i) >= columns) p[m][n][i] = 0;
            }
        }
    }
}

/* Compute gradients of scores, without the scale, from gradients of probabilities p, in place. */
template <int M, int N, class F>
VJ_DEVICE void score_gradients(float ds[M][N / 8][4], const float p[M][N / 8][4], const F &term)
{
    VJ_UNROLL
    for (int n = 0; n < N / 8; n++) {
        VJ_UNROLL
        for (int i = 0; i < 4; i++) {
            VJ_UNROLL
            for (int m = 0; m < M; m++) ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - term(m, n, i).mean);
        }
    }
}

#endif
