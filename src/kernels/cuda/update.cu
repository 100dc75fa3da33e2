/*
 * The optimizer's update, and sums over vectors. One launch processes many pieces of a vector: a table tells which
 * blocks of the grid belong to which piece.
 */
#include "kernels/cuda/lanes.cuh"

/* ------------------------------------------------------------------------------------------------ AdamW */

/* A segment in the kernel's table: its blocks are those from first_block to the first_block of the next one. */
struct update_piece {
    int64_t offset, count, first_block;
    float decay, rate;
};
struct update_constants {
    float scale, root, keep1, new1, keep2, new2, eps, ema;
};
enum { UPDATE_BLOCK = 4 * 4 * THREADS, UPDATE_PIECES = 1 << 15 }; /* elements of a block; most pieces of a launch */

/* Return the last piece that begins at `block` or before; `Piece` has first_block, which is 0 for the first piece. */
template <class Piece> VJ_DEVICE int piece_of_block(const Piece *pieces, int count, int64_t block)
{
    int low = 0, high = count - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (pieces[middle].first_block <= block)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Update W elements from i on, with the arithmetic of cpu/update.c. */
template <int W>
VJ_DEVICE void update(const vj_adamw_vectors &v, const update_constants &c, float decay, float rate, int64_t i,
                      int64_t left)
{
    float w[W], g[W], m[W], u[W];
    load_part<W>(g, v.gradient + i, left);
    load_part<W>(m, v.first_moment + i, left);
    load_part<W>(u, v.second_moment + i, left);
    load_part<W>(w, v.w + i, left);
    VJ_UNROLL
    for (int k = 0; k < W; k++) {
        g[k] *= c.scale;
        m[k] = c.keep1 * m[k] + c.new1 * g[k];
        u[k] = c.keep2 * u[k] + c.new2 * (g[k] * g[k]);
        w[k] = (w[k] - decay * w[k]) - rate * (m[k] / (sqrtf(u[k]) * c.root + c.eps));
    }
    store_part<W>(v.first_moment + i, m, left);
    store_part<W>(v.second_moment + i, u, left);
    store_part<W>(v.w + i, w, left);
    if (v.rounded_w) store_part<W>(v.rounded_w + i, w, left);
    if (!v.target) return;
    float t[W];
    load_part<W>(t, v.target + i, left);
    VJ_UNROLL
    for (int k = 0; k < W; k++) t[k] += c.ema * (w[k] - t[k]);
    store_part<W>(v.target + i, t, left);
    if (v.rounded_target) store_part<W>(v.rounded_target + i, t, left);
}

/* Moves 28 bytes per element, 8 more for the moving average, 2 for each bf16 copy. */
__global__ void __launch_bounds__(THREADS)
    adamw_kernel(vj_adamw_vectors v, const update_piece *pieces, int count, update_constants c, int fours)
{
    const update_piece piece = pieces[piece_of_block(pieces, count, blockIdx.x)];
    const int64_t begin = ((int64_t)blockIdx.x - piece.first_block) * UPDATE_BLOCK;
    const int64_t end = begin + UPDATE_BLOCK < piece.count ? begin + UPDATE_BLOCK : piece.count;
    if (fours && piece.offset % 4 == 0)
        for (int64_t i = begin + 4 * (int)threadIdx.x; i < end; i += 4 * THREADS)
            update<4>(v, c, piece.decay, piece.rate, piece.offset + i, end - i);
    else
        for (int64_t i = begin + threadIdx.x; i < end; i += THREADS)
            update<1>(v, c, piece.decay, piece.rate, piece.offset + i, 1);
}

void vj_cuda_adamw(vj_backend *be, const vj_adamw_vectors *v, const vj_segment *segments, int count,
                   const vj_adamw_step *step)
{
    const update_constants c = {(float)step->gradient_scale,
                                (float)(1 / sqrt(step->correction2)),
                                (float)step->beta1,
                                (float)(1 - step->beta1),
                                (float)step->beta2,
                                (float)(1 - step->beta2),
                                (float)step->eps,
                                (float)(1 - step->ema)};
    const int fours = aligned_to(16, v->w, v->first_moment, v->second_moment, v->gradient, v->target) &&
                      aligned_to(8, v->rounded_w, v->rounded_target);
    for (int first = 0; first < count; first += UPDATE_PIECES) {
        const int pieces = count - first < UPDATE_PIECES ? count - first : UPDATE_PIECES;
        update_piece *host = (update_piece *)vj_calloc((size_t)pieces, sizeof *host);
        if (!host) {
            vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "cuda: no memory for a table of %d segments", pieces));
            return;
        }
        int64_t blocks = 0;
        for (int i = 0; i < pieces; i++) {
            const vj_segment *s = &segments[first + i];
            host[i] = update_piece{s->offset, s->count, blocks, (float)(s->lr * s->weight_decay),
                                   (float)(s->lr / step->correction1)};
            blocks += groups_of(s->count, UPDATE_BLOCK);
        }
        const update_piece *table = (const update_piece *)vj_cuda_table(be, host, pieces * (int64_t)sizeof *host);
        free(host);
        if (!table) return;
        launch_blocks(be, "adamw", adamw_kernel, dim3((unsigned)blocks), THREADS, 0, *v, table, pieces, c, fours);
    }
}

/* ------------------------------------------------------------------------------------------------ sums of squares */

struct sum_piece {
    int64_t offset, count, first_block;
};
enum { SUM_BLOCK = 64 * THREADS, SUM_PIECES = 1 << 15 };

struct double_sum_shared {
    double part[WARPS];
};

/* Compute partial [blocks]: a block sums SUM_BLOCK elements of one span. */
__global__ void __launch_bounds__(THREADS)
    sum_squares_kernel(double *partial, const float *x, const sum_piece *pieces, int count)
{
    double_sum_shared &s = shared<double_sum_shared>();
    const sum_piece piece = pieces[piece_of_block(pieces, count, blockIdx.x)];
    const int64_t begin = ((int64_t)blockIdx.x - piece.first_block) * SUM_BLOCK;
    const int64_t end = begin + SUM_BLOCK < piece.count ? begin + SUM_BLOCK : piece.count;
    const float *from = x + piece.offset;
    double sum = 0;
    if ((uintptr_t)from % 16 == 0) VJ_UNROLL_4
    for (int64_t i = begin + 4 * (int)threadIdx.x; i < end; i += 4 * THREADS) {
        float v[4];
        load_part<4>(v, from + i, end - i);
        VJ_UNROLL
        for (int k = 0; k < 4; k++) sum += (double)v[k] * (double)v[k];
    }
    else VJ_UNROLL_4 for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) sum +=
        (double)from[i] * (double)from[i];
    sum = sum_of_block(sum, s.part);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/* One block per span: the sum of its partial sums. */
__global__ void __launch_bounds__(THREADS)
    sum_partials_kernel(double *sums, const double *partial, const sum_piece *pieces)
{
    double_sum_shared &s = shared<double_sum_shared>();
    const sum_piece piece = pieces[blockIdx.x];
    const int64_t blocks = (piece.count + SUM_BLOCK - 1) / SUM_BLOCK;
    double sum = 0;
    VJ_UNROLL_4
    for (int64_t i = threadIdx.x; i < blocks; i += THREADS) sum += partial[piece.first_block + i];
    sum = sum_of_block(sum, s.part);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

void vj_cuda_sum_squares_many(vj_backend *be, double *sums, const float *x, const vj_span *spans, int64_t count)
{
    for (int64_t first = 0; first < count; first += SUM_PIECES) {
        const int pieces = count - first < SUM_PIECES ? (int)(count - first) : (int)SUM_PIECES;
        sum_piece *host = (sum_piece *)vj_calloc((size_t)pieces, sizeof *host);
        if (!host) {
            vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "cuda: no memory for a table of %d spans", pieces));
            return;
        }
        int64_t blocks = 0;
        for (int i = 0; i < pieces; i++) {
            host[i] = sum_piece{spans[first + i].offset, spans[first + i].count, blocks};
            blocks += groups_of(spans[first + i].count, SUM_BLOCK);
        }
        const sum_piece *table = (const sum_piece *)vj_cuda_table(be, host, pieces * (int64_t)sizeof *host);
        free(host);
        double *partial = (double *)vj_cuda_scratch(be, blocks * (int64_t)sizeof(double));
        if (!table || !partial) return;
        launch_blocks(be, "sum_squares_many", sum_squares_kernel, dim3((unsigned)blocks), THREADS,
                      sizeof(double_sum_shared), partial, x, table, pieces);
        launch_blocks(be, "sum_squares_many", sum_partials_kernel, dim3((unsigned)pieces), THREADS,
                      sizeof(double_sum_shared), sums + first, partial, table);
    }
}

/* ------------------------------------------------------------------------------------------------ spans */

struct copied_piece {
    int64_t to, from, count;
};
enum { COPY_PIECES = 1 << 15 };

/* One block per span, because spans are short. */
__global__ void __launch_bounds__(THREADS) copy_spans_kernel(float *to, const float *from, const copied_piece *pieces)
{
    const copied_piece piece = pieces[blockIdx.x];
    for (int64_t i = threadIdx.x; i < piece.count; i += THREADS) to[piece.to + i] = from[piece.from + i];
}

void vj_cuda_copy_spans(vj_backend *be, float *to, const float *from, const vj_span *spans, int64_t count, int unpack)
{
    int64_t at = 0; /* position in the packed array */
    for (int64_t first = 0; first < count; first += COPY_PIECES) {
        const int pieces = count - first < COPY_PIECES ? (int)(count - first) : (int)COPY_PIECES;
        copied_piece *host = (copied_piece *)vj_calloc((size_t)pieces, sizeof *host);
        if (!host) {
            vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "cuda: no memory for a table of %d spans", pieces));
            return;
        }
        for (int i = 0; i < pieces; i++) {
            const vj_span *s = &spans[first + i];
            host[i] = copied_piece{unpack ? s->offset : at, unpack ? at : s->offset, s->count};
            at += s->count;
        }
        const copied_piece *table = (const copied_piece *)vj_cuda_table(be, host, pieces * (int64_t)sizeof *host);
        free(host);
        if (!table) return;
        launch_blocks(be, "copy_spans", copy_spans_kernel, dim3((unsigned)pieces), THREADS, 0, to, from, table);
    }
}

/* ------------------------------------------------------------------------------------------------ sums of arrays */

/*
 * The tree of base/tree_sum.h as a list: an array is pushed on a stack, then the two topmost entries are replaced by
 * their sum `adds` times. The top of the stack is in registers, the rest in shared memory, separate for each thread.
 */
struct tree_term {
    const float *in;
    int64_t adds;
};
enum { TREE_THREADS = 128 };

/* Append the tree of in[0 .. count) to `terms`; returns the largest height of the stack. */
static int tree_terms(tree_term *terms, const float *const *in, int count)
{
    if (count == 1) {
        terms[0] = tree_term{in[0], 0};
        return 1;
    }
    const int left = tree_terms(terms, in, count / 2);
    const int right = 1 + tree_terms(terms + count / 2, in + count / 2, count - count / 2);
    terms[count - 1].adds++;
    return left > right ? left : right;
}

/* One level of the stack; a launch has memory for as many as the tree needs. */
template <int W> struct alignas(16) tree_shared {
    float at[TREE_THREADS][W];
};
template <int W>
__global__ void __launch_bounds__(TREE_THREADS)
    sum_arrays_kernel(float *out, const tree_term *terms, int count, int64_t n)
{
    tree_shared<W> *stack = &shared<tree_shared<W>>();
    const int64_t i = global_thread() * W;
    if (i >= n) return;
    float top[W];
    load_part<W>(top, terms[0].in + i, n - i);
    int height = 0; /* number of entries below the top */
    for (int t = 1; t < count; t++) {
        store<W>(stack[height++].at[threadIdx.x], top);
        load_part<W>(top, terms[t].in + i, n - i);
        for (int64_t adds = terms[t].adds; adds > 0; adds--) {
            float left[W];
            load<W>(left, stack[--height].at[threadIdx.x]);
            VJ_UNROLL
            for (int k = 0; k < W; k++) top[k] = left[k] + top[k];
        }
    }
    store_part<W>(out + i, top, n - i);
}

void vj_cuda_sum_arrays(vj_backend *be, float *out, const float *const *in, int count, int64_t n)
{
    tree_term *host = (tree_term *)vj_calloc((size_t)count, sizeof *host);
    if (!host) {
        vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "cuda: no memory for a table of %d arrays", count));
        return;
    }
    const int height = tree_terms(host, in, count);
    bool fours = aligned_to(16, out);
    for (int i = 0; i < count; i++) fours = fours && aligned_to(16, in[i]);
    const tree_term *terms = (const tree_term *)vj_cuda_table(be, host, count * (int64_t)sizeof *host);
    free(host);
    if (!terms) return;
    const int W = fours ? 4 : 1;
    launch_blocks(be, "sum_arrays", fours ? sum_arrays_kernel<4> : sum_arrays_kernel<1>,
                  dim3((unsigned)groups_of(n, (int64_t)W * TREE_THREADS)), TREE_THREADS,
                  (size_t)height * (fours ? sizeof(tree_shared<4>) : sizeof(tree_shared<1>)), out, terms, count, n);
}

/* ------------------------------------------------------------------------------------------------ column moments */

/* Compute partial [parts, 2, D]: sums and sums of squares over the rows of a part (y); warps take rows in turn. */
struct moments_shared {
    double sum[WARPS][2][WARP];
};
__global__ void __launch_bounds__(THREADS)
    column_moments_kernel(double *__restrict__ partial, const float *__restrict__ x, int64_t R, int D, int64_t rows)
{
    moments_shared &s = shared<moments_shared>();
    const int d = (int)blockIdx.x * WARP + lane_of_warp(), w = warp_of_block();
    const int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < R ? first + rows : R;
    double sum = 0, squares = 0;
    if (d < D) VJ_UNROLL_4
    for (int64_t r = first + w; r < end; r += WARPS) {
        const double v = (double)x[r * D + d];
        sum += v;
        squares += v * v;
    }
    s.sum[w][0][lane_of_warp()] = sum;
    s.sum[w][1][lane_of_warp()] = squares;
    __syncthreads();
    if (w > 1 || d >= D) return; /* warp 0 adds the sums, warp 1 the squares */
    double all = 0;
    for (int other = 0; other < WARPS; other++) all += s.sum[other][w][lane_of_warp()];
    partial[((int64_t)blockIdx.y * 2 + w) * D + d] = all;
}

void vj_cuda_column_moments(vj_backend *be, double *sums, const float *x, int64_t R, int D)
{
    const int64_t rows = rows_of_part(R), parts = groups_of(R, rows), columns = (int64_t)2 * D;
    double *partial = (double *)vj_cuda_scratch(be, parts * columns * (int64_t)sizeof(double));
    if (!partial) return;
    launch_blocks(be, "column_moments", column_moments_kernel, dim3((unsigned)groups_of(D, WARP), (unsigned)parts),
                  THREADS, sizeof(moments_shared), partial, x, R, D, rows);
    totals_of_parts(be, "column_moments", sums, sums, columns, partial, parts, columns, 1);
}
