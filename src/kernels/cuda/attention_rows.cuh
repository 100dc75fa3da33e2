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

/* Round N columns of a product's result to the left operand of the next; lanes hold the same elements of both. */
template <int M, int N, int TO, int FROM> VJ_DEVICE void as_operand(uint32_t (*a)[TO][4], float (*c)[FROM][4])
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

/* ------------------------------------------------------------------------------------------------ sums of columns */

/* to[column] = sum over the warp's rows below `rows`, times a factor. Lanes 16 to 31 sum the second of two columns. */
template <int M, int d> VJ_DEVICE void sum_columns(float *to, const float c[M][d / 8][4], int rows, float factor)
{
    const int lane = (int)threadIdx.x % 32, second = lane / 16;
    VJ_UNROLL
    for (int n = 0; n < d / 8; n++) {
        float x = 0, y = 0;
        VJ_UNROLL
        for (int m = 0; m < M; m++) {
            VJ_UNROLL
            for (int half = 0; half < 2; half++) {
                const bool exists = row_of(m, half * 2) < rows;
                x += exists ? c[m][n][half * 2] : 0;
                y += exists ? c[m][n][half * 2 + 1] : 0;
            }
        }
        float sum = (second ? y : x) + __shfl_xor_sync(0xffffffffu, second ? x : y, 16);
        sum += __shfl_xor_sync(0xffffffffu, sum, 8);
        sum += __shfl_xor_sync(0xffffffffu, sum, 4);
        if (lane / 4 % 4 == 0) to[column_of(n, second)] = sum * factor;
    }
}

/* Write the sums of dq, dk or dv (`which` 0, 1 or 2) over the SUM_ROWS rows from `row` on, from those of their warps in
 * shared memory. Threads 0 to d - 1 write a column each. */
template <int d>
VJ_DEVICE void write_sums(const attention &a, const block_place &p, int row, int which, const float (*of_warp)[d],
                          int warps, int thread)
{
    if (row / SUM_ROWS >= a.sum_parts || thread >= d) return;
    float sum = 0;
    for (int w = 0; w < warps; w++) sum += of_warp[w][thread];
    const int64_t part = (int64_t)p.segment * a.sum_parts + row / SUM_ROWS;
    a.sums[(part * 3 + which) * a.D + (int64_t)p.head * d + thread] = sum;
}
/* Write zeros there for rows that do not exist, if sums are wanted. */
template <int d, bool of_keys>
VJ_DEVICE void write_no_sums(const attention &a, const block_place &p, int row, int thread)
{
    if (!a.sums) return;
    write_sums<d>(a, p, row, of_keys ? 1 : 0, nullptr, 0, thread);
    if (of_keys) write_sums<d>(a, p, row, 2, nullptr, 0, thread);
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

/* Of N columns, give `value` to the elements in those from `columns` on, which belong to rows of the other side that do
 * not exist. */
template <int M, int N, int ALL> VJ_DEVICE void set_missing(float (*c)[ALL][4], int columns, float value)
{
    if (columns >= N) return;
    VJ_UNROLL
    for (int n = 0; n < N / 8; n++) {
        VJ_UNROLL
        for (int i = 0; i < 4; i++) {
            VJ_UNROLL
            for (int m = 0; m < M; m++)
                if (column_of(n, i) >= columns) c[m][n][i] = value;
        }
    }
}

/* Of a product's result: 2^x for element i of columns n. With `mixed` every eighth is made by products, so that the
 * unit for exponentials has less to do. */
template <bool mixed> VJ_DEVICE float exponential(float x, int n, int i)
{
    return mixed && n % 2 == 1 && i == n % 4 ? power_of_two_by_products(x) : power_of_two(x);
}

/*
 * The running softmax of a warp's rows. Exponentials are relative to a reference of each row: the largest score when it
 * was set. It is set again, and all sums are scaled, only when a score exceeds it by more than LEEWAY in base 2: so
 * exponentials are at most 2^LEEWAY, and most tiles scale nothing. Each row decides for itself, so that its bits do not
 * depend on other rows.
 */
constexpr float LEEWAY = 8;
template <int M> struct softmax_state {
    float limit[M][2];     /* a score above it sets the reference again */
    float reference[M][2]; /* times `factor` */
    float sum[M][2];       /* of exponentials, in each lane of its columns */
};

/* No reference is set yet. It is finite, so that no tile leads to a NaN. */
template <int M> VJ_DEVICE void begin_softmax(softmax_state<M> &state)
{
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++)
            state.limit[m][half] = -INFINITY, state.reference[m][half] = -1e30f, state.sum[m][half] = 0;
    }
}

/* Set the references of rows whose largest score, in any of their lanes, is above the limit. Returns the factors for
 * sums of earlier tiles, exactly 1 for the other rows. */
template <int M>
VJ_DEVICE row_numbers<M> set_references(softmax_state<M> &state, const row_numbers<M> &largest, float factor)
{
    row_numbers<M> fade;
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            const float top = row_max(largest.of[m][half]), before = state.reference[m][half];
            const bool above = top > state.limit[m][half];
            const float reference = above ? top * factor : before;
            fade.of[m][half] = power_of_two(before - reference);
            if (above) state.limit[m][half] = top + LEEWAY * reciprocal(factor);
            state.reference[m][half] = reference;
            state.sum[m][half] *= fade.of[m][half];
        }
    }
    return fade;
}

/*
 * Replace the scores of a tile of N keys by exponentials relative to the rows' references. Before, if a reference has
 * to be set, scale(factors) is called by the whole warp to scale what was summed with earlier ones.
 */
template <int M, int N, bool mixed, int ALL, class F>
VJ_DEVICE void soften(float (*s)[ALL][4], softmax_state<M> &state, float factor, const F &scale)
{
    row_numbers<M> largest;
    bool above = false;
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            float top = fmaxf(s[m][0][half * 2], s[m][0][half * 2 + 1]);
            VJ_UNROLL
            for (int n = 1; n < N / 8; n++) top = fmaxf(top, fmaxf(s[m][n][half * 2], s[m][n][half * 2 + 1]));
            largest.of[m][half] = top;
            above = above || top > state.limit[m][half];
        }
    }
    if (__any_sync(0xffffffffu, above)) scale(set_references(state, largest, factor));
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int half = 0; half < 2; half++) {
            VJ_UNROLL
            for (int n = 0; n < N / 8; n++) {
                VJ_UNROLL
                for (int i = half * 2; i < half * 2 + 2; i++) {
                    s[m][n][i] = exponential<mixed>(s[m][n][i] * factor - state.reference[m][half], n, i);
                    state.sum[m][half] += s[m][n][i];
                }
            }
        }
    }
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

constexpr float LN2 = 0.69314718055994530942f;

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
                a.lse[(first + row) * a.heads + head] = state.reference[m][half] * LN2 + logf(sum);
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
template <int M, int N, bool mixed, class F>
VJ_DEVICE void probabilities(float p[M][N / 8][4], float factor, int columns, const F &term)
{
    VJ_UNROLL
    for (int n = 0; n < N / 8; n++) {
        VJ_UNROLL
        for (int i = 0; i < 4; i++) {
            VJ_UNROLL
            for (int m = 0; m < M; m++) p[m][n][i] = exponential<mixed>(p[m][n][i] * factor - term(m, n, i).lse2, n, i);
        }
    }
    set_missing<M, N>(p, columns, 0);
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
