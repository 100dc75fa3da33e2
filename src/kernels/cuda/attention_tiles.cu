/*
 * Attention on tensor cores (mma.sync, all GPUs from sm_80 on), for heads of some widths. A warp keeps 16 or 32 rows of
 * its own in registers as operands and multiplies them with the rows of the other side, tile by tile. Each tile is
 * copied by cp.async during the work on the previous one. Scores stay in registers: the result of a product has the
 * layout of the left operand of the next (order of work as in Dao 2022).
 *
 * Forward: own rows are queries. Backward is two kernels that share nothing, so no sum waits for another block and each
 * has a fixed order: own rows are keys (dk, dv: 4 products), then queries (dq: 3 products); both recompute the
 * probabilities from lse.
 *
 * What limits them: for 16 own rows and 16 others of width d = 64 a warp issues 16 mma, 8 ldmatrix and 8 exponentials
 * forward; 32 mma and 16 ldmatrix for keys, 24 and 12 for queries. With 32 own rows each ldmatrix serves twice as many
 * products. A multiprocessor of sm_80 takes two cycles for an mma, four for an ldmatrix, two for 32 exponentials: at 16
 * rows tensor cores and shared memory are equally busy, at 32 rows tensor cores are the limit. At d = 24 (6 mma, 3
 * ldmatrix, 8 exponentials) the exponentials are the limit, forward and for queries: so every eighth is made by
 * multiply-adds there. Global memory: a tile of the other side is read once for 64
 * or 128 own rows, mostly from the L2 cache.
 */
#include <type_traits>

#include "attention_rows.cuh"

namespace
{

enum { WARPS = 4, THREADS = 32 * WARPS };

/*
 * How a kernel divides its work, by the width of heads: as many own rows as fit in registers without spilling, and so
 * little shared memory that `blocks` blocks run on a multiprocessor of sm_80 (164 KB).
 */
struct plan {
    int sixteens; /* own rows of a warp / 16 */
    int tile;     /* rows of the other side in shared memory */
    int part;     /* of these rows, how many are multiplied at a time */
    int blocks;   /* least number of blocks on a multiprocessor */
};

/*
 * Elements between rows in shared memory: an odd number of 16-byte pieces, so that the eight rows of an 8x8 matrix lie
 * in different banks.
 */
template <int d> constexpr int stride_of = (d / 8 | 1) * 8;
/* Whether exponentials are the limit. */
template <int d> constexpr bool narrow = d <= 32;
/* Number of fragments, of depth 16, of a left operand of depth d; the last one may be half used. */
template <int d> constexpr int steps_of = (d + 15) / 16;

/* ------------------------------------------------------------------------------------------------ tiles of rows */

/*
 * Start to copy rows row .. row + n - 1; those from `length` on become zeros. A thread copies the same 16 bytes of
 * every `together`-th row, so that all its addresses are one address plus constants.
 */
template <int d, int n> VJ_DEVICE void fetch(bf16 *to, const rows_at &from, int row, int length)
{
    constexpr int pieces = d / 8, together = THREADS / pieces; /* rows at once */
    const int mine = (int)threadIdx.x / pieces, piece = (int)threadIdx.x % pieces;
    if (together * pieces < THREADS && mine >= together) return;
    const bf16 *source = from.at + (int64_t)(row + mine) * from.stride + piece * 8;
    to += mine * stride_of<d> + piece * 8;
    VJ_UNROLL
    for (int r = 0; r < n; r += together) {
        if (r + together <= n || r + mine < n) copy_async(to + r * stride_of<d>, source, row + r + mine < length);
        source += together * from.stride;
    }
}

/* ------------------------------------------------------------------------------------------------ products */

/* Load the warp's 16 M rows of depth d as left operands. */
template <int M, int d> VJ_DEVICE void load_operand(uint32_t a[M][steps_of<d>][4], const bf16 *rows)
{
    const int lane = (int)threadIdx.x % 32;
    VJ_UNROLL
    for (int m = 0; m < M; m++) {
        VJ_UNROLL
        for (int k = 0; k < d; k += 16) {
            const int column = k + 8 < d ? k + lane / 16 * 8 : k;
            ldmatrix4(a[m][k / 16], rows + (m * 16 + lane % 16) * stride_of<d> + column);
        }
    }
}

/* c[16 M, N] = a[16 M, d] times N rows of shared memory: scores. The sums begin with first[m], which has two numbers
 * for each of a lane's rows. */
template <int M, int N, int d>
VJ_DEVICE void times_rows(float c[M][N / 8][4], const uint32_t a[M][steps_of<d>][4], const bf16 *rows,
                          const float first[M][4])
{
    static_assert(N % (d % 16 ? 32 : 16) == 0, "whole steps");
    const int lane = (int)threadIdx.x % 32;
    VJ_UNROLL
    for (int k = 0; k + 16 <= d; k += 16) {
        VJ_UNROLL
        for (int n = 0; n < N; n += 16) {
            uint32_t b[4];
            ldmatrix4(b, rows + (n + lane % 8 + lane / 16 * 8) * stride_of<d> + k + lane / 8 % 2 * 8);
            VJ_UNROLL
            for (int m = 0; m < M; m++) {
                mma(c[m][n / 8], a[m][k / 16], b, k > 0 ? c[m][n / 8] : first[m]);
                mma(c[m][n / 8 + 1], a[m][k / 16], b + 2, k > 0 ? c[m][n / 8 + 1] : first[m]);
            }
        }
    }
    if (d % 16) {
        VJ_UNROLL
        for (int n = 0; n < N; n += 32) {
            uint32_t b[4];
            ldmatrix4(b, rows + (n + lane) * stride_of<d> + d - 8);
            VJ_UNROLL
            for (int i = 0; i < 4; i++) {
                VJ_UNROLL
                for (int m = 0; m < M; m++) mma_half(c[m][n / 8 + i], a[m][d / 16], b[i]);
            }
        }
    }
}

/* c[16 M, d] += a[16 M, K] times K rows of shared memory: weighted sums of rows. */
template <int M, int K, int d>
VJ_DEVICE void times_columns(float c[M][d / 8][4], const uint32_t a[M][K / 16][4], const bf16 *rows)
{
    static_assert(K % (d % 16 ? 32 : 16) == 0, "whole steps");
    const int lane = (int)threadIdx.x % 32;
    VJ_UNROLL
    for (int k = 0; k < K; k += 16) {
        VJ_UNROLL
        for (int n = 0; n + 16 <= d; n += 16) {
            uint32_t b[4];
            ldmatrix4_transposed(b, rows + (k + lane % 16) * stride_of<d> + n + lane / 16 * 8);
            VJ_UNROLL
            for (int m = 0; m < M; m++) {
                mma(c[m][n / 8], a[m][k / 16], b);
                mma(c[m][n / 8 + 1], a[m][k / 16], b + 2);
            }
        }
    }
    if (d % 16) {
        VJ_UNROLL
        for (int k = 0; k < K; k += 32) {
            uint32_t b[4];
            ldmatrix4_transposed(b, rows + (k + lane) * stride_of<d> + d - 8);
            VJ_UNROLL
            for (int m = 0; m < M; m++) {
                mma(c[m][d / 8 - 1], a[m][k / 16], b);
                mma(c[m][d / 8 - 1], a[m][k / 16 + 1], b + 2);
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------------ forward */

// clang-format off
template <int d> constexpr plan forward_plan = /* all columns of a tile at once, because each tile scales the sums again */
    d <= 24 ? plan{2, 64, 64, 3} :
    d <= 64 ? plan{2, 64, 64, 2} :
    d <= 80 ? plan{2, 48, 48, 2} :
    d <= 96 ? plan{1, 64, 64, 3} :
              plan{1, 48, 48, 2};
// clang-format on

template <int d> struct forward_room {
    bf16 queries[WARPS * 16 * forward_plan<d>.sixteens * stride_of<d>];
    bf16 keys[2][forward_plan<d>.tile * stride_of<d>], values[2][forward_plan<d>.tile * stride_of<d>];
};

/* Process one tile of keys, of which `keys` exist: scores, softmax, sum of values. */
template <int M, int TILE, int d>
VJ_DEVICE void forward_tile(float o[M][d / 8][4], softmax_state<M> &state, const uint32_t q[M][steps_of<d>][4],
                            const bf16 *key_rows, const bf16 *value_rows, int keys, float factor)
{
    const float zeros[M][4] = {};
    float s[M][TILE / 8][4];
    times_rows<M, TILE, d>(s, q, key_rows, zeros);
    set_missing<M, TILE>(s, keys, -INFINITY);
    soften<M, TILE, narrow<d>>(s, state, factor, [&](const row_numbers<M> &fade) { scale_rows<M, d>(o, fade); });
    uint32_t p[M][TILE / 16][4];
    as_operand<M, TILE>(p, s);
    times_columns<M, TILE, d>(o, p, value_rows);
}

template <int d> __global__ void __launch_bounds__(THREADS, forward_plan<d>.blocks) tiles_forward(attention a)
{
    constexpr int M = forward_plan<d>.sixteens, rows = WARPS * 16 * M, TILE = forward_plan<d>.tile;
    const block_place place = place_of_block(a, rows);
    if (place.row >= place.length) return;
    forward_room<d> &room = shared<forward_room<d>>();
    const rows_at keys = rows_of_qkv(a, place, 1), values = rows_of_qkv(a, place, 2);
    const int own = (int)threadIdx.x / 32 * 16 * M;  /* the warp's first row in the block */
    const int left = place.length - place.row - own; /* its rows in the segment; some warps may have none */

    fetch<d, rows>(room.queries, rows_of_qkv(a, place, 0), place.row, place.length);
    fetch<d, TILE>(room.keys[0], keys, 0, place.length);
    fetch<d, TILE>(room.values[0], values, 0, place.length);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    uint32_t q[M][steps_of<d>][4];
    load_operand<M, d>(q, room.queries + own * stride_of<d>);

    float o[M][d / 8][4] = {};
    softmax_state<M> state;
    begin_softmax(state);
    for (int key = 0, stage = 0; key < place.length; key += TILE, stage ^= 1) {
        if (key + TILE < place.length) {
            fetch<d, TILE>(room.keys[stage ^ 1], keys, key + TILE, place.length);
            fetch<d, TILE>(room.values[stage ^ 1], values, key + TILE, place.length);
            copy_commit();
        }
        if (left > 0)
            forward_tile<M, TILE, d>(o, state, q, room.keys[stage], room.values[stage], place.length - key, a.factor);
        copy_wait<0>();
        __syncthreads();
    }
    if (left <= 0) return;

    const block_place end = place_of_block(a, rows); /* computed again, to free registers until here */
    const int64_t first = end.first + end.row + own;
    const row_numbers<M> inverse = finish_softmax(state, a, first, left, end.head);
    write_rows<M, d>(a.out, first * a.D + (int64_t)end.head * d, a.D, left, o, inverse);
}

/* ------------------------------------------------------------------------------------------------ backward */

/*
 * Own rows are keys (`of_keys`) or queries. The scores with a tile of the other side are computed some columns at a
 * time, since only sums live longer. So registers suffice for two operands and up to two sums.
 */
// clang-format off
template <int d> constexpr plan keys_plan =
    d <= 24 ? plan{2, 64, 32, 3} :
    d <= 32 ? plan{2, 64, 32, 2} :
    d <= 96 ? plan{1, 64, 32, 2} :
              plan{1, 32, 16, 2};
template <int d> constexpr plan queries_plan =
    d <= 24 ? plan{2, 64, 32, 3} :
    d <= 48 ? plan{2, 64, 32, 2} :
    d <= 64 ? plan{2, 64, 16, 2} :
    d <= 80 ? plan{2, 32, 16, 2} :
    d <= 96 ? plan{1, 64, 32, 2} :
              plan{1, 32, 16, 2};
// clang-format on
template <int d, bool of_keys> constexpr plan backward_plan = of_keys ? keys_plan<d> : queries_plan<d>;

template <int d, bool of_keys> struct backward_room {
    bf16 own[2][WARPS * 16 * backward_plan<d, of_keys>.sixteens * stride_of<d>];
    bf16 other[2][2][backward_plan<d, of_keys>.tile * stride_of<d>]; /* stage, side */
    row_term terms[2][backward_plan<d, of_keys>.tile];               /* of_keys: of the queries */
    float sums[of_keys ? 2 : 1][WARPS][d];                           /* of columns, by warp */
};

template <int d, bool of_keys>
__global__ void __launch_bounds__(THREADS, backward_plan<d, of_keys>.blocks) tiles_backward(attention a)
{
    constexpr int M = backward_plan<d, of_keys>.sixteens, rows = WARPS * 16 * M, TILE = backward_plan<d, of_keys>.tile,
                  PART = backward_plan<d, of_keys>.part;
    const block_place place = place_of_block(a, rows);
    const int thread = (int)threadIdx.x;
    if (place.row >= place.length) {
        for (int part = 0; part < M; part++) write_no_sums<d, of_keys>(a, place, place.row + part * SUM_ROWS, thread);
        return;
    }
    constexpr bool again = of_keys && d > 96; /* the second operand does not fit in registers too and is loaded again */
    typedef backward_room<d, of_keys> room_type;
    room_type &room = shared<room_type>();
    /* Scores are products of the sides 0, gradients of probabilities are products of the sides 1. */
    const rows_at other0 = rows_of_qkv(a, place, of_keys ? 0 : 1);
    const rows_at other1 = of_keys ? rows_of_dout(a, place) : rows_of_qkv(a, place, 2);
    const row_term *const terms = terms_of(a, place);
    const int own = thread / 32 * 16 * M, left = place.length - place.row - own;

    fetch<d, rows>(room.own[0], rows_of_qkv(a, place, of_keys ? 1 : 0), place.row, place.length);
    fetch<d, rows>(room.own[1], of_keys ? rows_of_qkv(a, place, 2) : rows_of_dout(a, place), place.row, place.length);
    fetch<d, TILE>(room.other[0][0], other0, 0, place.length);
    fetch<d, TILE>(room.other[0][1], other1, 0, place.length);
    copy_commit();
    /* Each thread loads the term of one query of a tile. */
    if (of_keys && thread < TILE) room.terms[0][thread] = thread < place.length ? terms[thread] : row_term{0, 0};
    copy_wait<0>();
    __syncthreads();
    uint32_t own0[M][steps_of<d>][4], own1[M][steps_of<d>][4];
    load_operand<M, d>(own0, room.own[0] + own * stride_of<d>);
    if (!again) load_operand<M, d>(own1, room.own[1] + own * stride_of<d>);
    row_term own_terms[M][2];
    float zeros[M][4] = {}, minus_mean[M][4] = {}; /* of queries: subtracted by the product */
    if (!of_keys) {
        load_terms<M>(own_terms, terms + place.row + own, left);
        VJ_UNROLL
        for (int m = 0; m < M; m++) {
            VJ_UNROLL
            for (int i = 0; i < 4; i++) minus_mean[m][i] = -own_terms[m][i / 2].mean;
        }
    }

    float sum0[M][d / 8][4] = {}, sum1[of_keys ? M : 1][of_keys ? d / 8 : 1][4] = {};
    for (int row = 0, stage = 0; row < place.length; row += TILE, stage ^= 1) {
        row_term next = {0, 0};
        if (row + TILE < place.length) {
            fetch<d, TILE>(room.other[stage ^ 1][0], other0, row + TILE, place.length);
            fetch<d, TILE>(room.other[stage ^ 1][1], other1, row + TILE, place.length);
            copy_commit();
            if (of_keys && thread < TILE && row + TILE + thread < place.length) next = terms[row + TILE + thread];
        }
        const int others = place.length - row;
        if (left > 0)
            for (int part = 0; part < TILE && part < others; part += PART) {
                const bf16 *const rows0 = room.other[stage][0] + part * stride_of<d>;
                const bf16 *const rows1 = room.other[stage][1] + part * stride_of<d>;
                float p[M][PART / 8][4], ds[M][PART / 8][4];
                times_rows<M, PART, d>(p, own0, rows0, zeros);
                if (again) load_operand<M, d>(own1, room.own[1] + own * stride_of<d>);
                times_rows<M, PART, d>(ds, own1, rows1, minus_mean);
                const auto term = [&](int m, int n, int i) {
                    return of_keys ? room.terms[stage][part + column_of(n, i)] : row_term{own_terms[m][i / 2].lse2, 0};
                };
                /* With of_keys the columns are queries; those that do not exist have zeros in q and dout and add
                 * nothing. */
                probabilities<M, PART, narrow<d> && !of_keys>(p, a.factor, of_keys ? PART : others - part, term);
                score_gradients<M, PART>(ds, p, term);
                uint32_t operand[M][PART / 16][4];
                as_operand<M, PART>(operand, ds);
                times_columns<M, PART, d>(sum0, operand, rows0);
                if constexpr (of_keys) {
                    as_operand<M, PART>(operand, p);
                    times_columns<M, PART, d>(sum1, operand, rows1);
                }
            }
        if (of_keys && thread < TILE) room.terms[stage ^ 1][thread] = next;
        copy_wait<0>();
        __syncthreads();
    }

    const block_place end = place_of_block(a, rows); /* as in forward */
    if (a.sums) {
        constexpr int warps = WARPS / M; /* that have SUM_ROWS rows */
        static_assert(warps * 16 * M == SUM_ROWS, "or sums are over more rows");
        sum_columns<M, d>(room.sums[0][thread / 32], sum0, left, a.scale);
        if constexpr (of_keys) sum_columns<M, d>(room.sums[1][thread / 32], sum1, left, 1);
        __syncthreads();
        VJ_UNROLL
        for (int part = 0; part < M; part++) {
            const int row = end.row + part * SUM_ROWS;
            write_sums<d>(a, end, row, of_keys ? 1 : 0, room.sums[0] + part * warps, warps, thread);
            if constexpr (of_keys) write_sums<d>(a, end, row, 2, room.sums[1] + part * warps, warps, thread);
        }
    }
    if (left <= 0) return;
    const int64_t to = (end.first + end.row + own) * 3 * a.D + (int64_t)end.head * d;
    write_rows<M, d>(a.dqkv, to + (of_keys ? a.D : 0), 3 * (int64_t)a.D, left, sum0, all_rows<M>(a.scale));
    if constexpr (of_keys) write_rows<M, d>(a.dqkv, to + 2 * a.D, 3 * (int64_t)a.D, left, sum1, all_rows<M>(1));
}

/* ------------------------------------------------------------------------------------------------ launches */

enum { MIN_SHARED = 99 * 1024 }; /* shared memory that a block may have on any GPU since sm_80 */

template <int d> cudaError_t forward_of(attention a, cudaStream_t stream)
{
    static_assert(sizeof(forward_room<d>) <= MIN_SHARED, "shared memory");
    const unsigned blocks = attention_tiles(&a, WARPS * 16 * forward_plan<d>.sixteens);
    return launch(tiles_forward<d>, blocks, THREADS, sizeof(forward_room<d>), stream, a);
}

template <int d, bool of_keys> cudaError_t backward_of(attention a, cudaStream_t stream)
{
    static_assert(sizeof(backward_room<d, of_keys>) <= MIN_SHARED, "shared memory");
    const unsigned blocks = attention_tiles(&a, WARPS * 16 * backward_plan<d, of_keys>.sixteens);
    return launch(tiles_backward<d, of_keys>, blocks, THREADS, sizeof(backward_room<d, of_keys>), stream, a);
}

/* Call f with the width as a constant; returns false if there is no kernel for it. */
template <int... widths, class F> bool for_width(int d, F f)
{
    return ((d == widths && (f(std::integral_constant<int, widths>()), true)) || ...);
}
template <class F> bool for_each_width(int d, F f)
{
    return for_width<16, 24, 32, 48, 64, 80, 96, 128>(d, f);
}

} /* namespace */

bool attention_tiles_present(int d)
{
    return for_each_width(d, [](auto) {});
}

cudaError_t attention_tiles_forward(attention a, cudaStream_t stream)
{
    cudaError_t error = cudaErrorInvalidValue;
    for_each_width(a.d, [&](auto width) { error = forward_of<decltype(width)::value>(a, stream); });
    return error;
}

cudaError_t attention_tiles_backward(attention a, cudaStream_t stream)
{
    cudaError_t error = cudaErrorInvalidValue;
    for_each_width(a.d, [&](auto width) {
        error = backward_of<decltype(width)::value, true>(a, stream);
        if (error == cudaSuccess) error = backward_of<decltype(width)::value, false>(a, stream);
    });
    return error;
}
