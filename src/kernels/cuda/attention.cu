/*
 * Attention: the choice of kernels, and the preparation of their operands. In VJ_BF16 heads of the usual widths are
 * computed on tensor cores, whatever the type of the arrays: arrays of floats are first rounded to a copy, so that the
 * results have the same bits. The simple kernels compute everything else.
 */
#include "attention.h"
#include "kernels/cuda/lanes.cuh"

namespace
{

/* ------------------------------------------------------------------------------------------------ preparations */

enum { TERM_LANES = 4, CHUNK = 8 };

struct alignas(16) chunk_of_bf16 {
    bf16 x[CHUNK];
};

/* Read elements i .. i + 7, those from `left` on as zeros; 16 bytes at a time if they are bf16 and aligned. */
VJ_DEVICE void read_chunk(float x[CHUNK], const vj_array &a, int64_t i, int left, int whole)
{
    if (whole) {
        const chunk_of_bf16 chunk = *(const chunk_of_bf16 *)((const bf16 *)a.data + i);
        for (int j = 0; j < CHUNK; j++) x[j] = widen(chunk.x[j]);
    } else {
        for (int j = 0; j < CHUNK; j++) x[j] = j < left ? read_element(a, i + j) : 0;
    }
}

/* Compute the terms of all queries; four lanes take one head of one row. Reads dout and out once. */
__global__ void __launch_bounds__(THREADS)
    row_terms(row_term *terms, attention a, const float *lse, int whole_dout, int whole_out)
{
    const int64_t task = (int64_t)blockIdx.x * (THREADS / TERM_LANES) + threadIdx.x / TERM_LANES;
    const int64_t row = task / a.heads;
    const int head = (int)(task % a.heads), part = (int)threadIdx.x % TERM_LANES;
    float sum = 0;
    if (row < a.rows)
        for (int x = part * CHUNK; x < a.d; x += TERM_LANES * CHUNK) {
            const int64_t at = row * a.D + (int64_t)head * a.d + x;
            float g[CHUNK], o[CHUNK];
            read_chunk(g, a.dout, at, a.d - x, whole_dout);
            read_chunk(o, a.out, at, a.d - x, whole_out);
            for (int j = 0; j < CHUNK; j++) sum += g[j] * o[j];
        }
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (row < a.rows && part == 0)
        terms[head * a.rows + row] = row_term{lse[row * a.heads + head] * 1.44269504088896340736f, sum};
}

/* to = from, rounded; n is even, and a thread takes two elements. */
__global__ void __launch_bounds__(THREADS) round_to(uint32_t *to, vj_array from, int64_t n)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 2;
    if (i < n) to[i / 2] = pack(read_element(from, i), read_element(from, i + 1));
}

/* ------------------------------------------------------------------------------------------------ choice */

bool aligned(vj_array a, int bytes)
{
    return (uintptr_t)a.data % (unsigned)bytes == 0;
}
bool is_operand(vj_array a)
{
    return a.type == VJ_TYPE_BF16 && aligned(a, 16);
}
int64_t padded(int64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Return whether tensor cores compute this call and write `result`, which they write in pairs of elements. */
bool takes_tiles(const attention *a, vj_array result)
{
    return a->rounded && attention_tiles_present(a->d) && (result.type == VJ_TYPE_F32 || aligned(result, 4));
}

/* Return `array` of n elements as tensor cores read it: itself, or a rounded copy at *scratch, which is advanced. */
vj_array operand_of(vj_backend *be, vj_array array, int64_t n, char **scratch, const char *what)
{
    if (is_operand(array)) return array;
    const vj_array copy = {*scratch, VJ_TYPE_BF16};
    *scratch += padded(n * 2);
    vj_cuda_check(be,
                  launch(round_to, (unsigned)groups_of(n, 2 * THREADS), THREADS, 0, vj_cuda_stream(be),
                         (uint32_t *)copy.data, array, n),
                  what);
    return copy;
}

attention describe(bool rounded, const vj_rows *rows, int D, int heads)
{
    attention a = {};
    a.offset = rows->offset;
    a.rows = rows->rows;
    a.segments = rows->segments;
    a.longest = (int)rows->longest;
    a.D = D;
    a.heads = heads;
    a.d = D / heads;
    a.scale = 1 / sqrtf((float)a.d);
    a.factor = a.scale * 1.44269504088896340736f;
    a.rounded = rounded;
    return a;
}

/* Return whether wgmma computes heads of this width: there is a kernel, and it was found to be correct. */
bool by_wgmma(const attention &a, const vj_cuda_wgmma *how)
{
    return how && attention_wgmma_present(a.d) && (how->attends >> a.d / 16 & 1);
}

/* Forward by wgmma if `how` is not NULL and says so, else by mma. */
cudaError_t forward_on_tensor_cores(const attention &a, cudaStream_t stream, const vj_cuda_wgmma *how)
{
    return by_wgmma(a, how) ? attention_wgmma_forward(a, stream, how) : attention_tiles_forward(a, stream);
}
cudaError_t backward_on_tensor_cores(const attention &a, cudaStream_t stream, const vj_cuda_wgmma *how)
{
    return by_wgmma(a, how) ? attention_wgmma_backward(a, stream, how) : attention_tiles_backward(a, stream);
}

/* Compute the terms of all queries from a.dout, a.out and lse. */
cudaError_t make_terms(const attention &a, row_term *terms, const float *lse, cudaStream_t stream)
{
    const bool chunks = a.d % CHUNK == 0;
    return launch(row_terms, (unsigned)groups_of(a.rows * a.heads, THREADS / TERM_LANES), THREADS, 0, stream, terms, a,
                  lse, chunks && is_operand(a.dout), chunks && is_operand(a.out));
}

} /* namespace */

void vj_cuda_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D,
                               int heads)
{
    if (rows->rows == 0) return;
    attention a = describe(be->precision == VJ_BF16, rows, D, heads);
    a.qkv = qkv;
    a.out = out;
    a.lse = lse;
    const bool tiles = takes_tiles(&a, out);
    if (tiles && !is_operand(qkv)) {
        const int64_t n = a.rows * 3 * D;
        char *scratch = (char *)vj_cuda_scratch(be, padded(n * 2));
        if (!scratch) return;
        a.qkv = operand_of(be, qkv, n, &scratch, "attention_forward");
    }
    const cudaStream_t stream = vj_cuda_stream(be);
    vj_cuda_check(be,
                  tiles ? forward_on_tensor_cores(a, stream, vj_cuda_attention_wgmma(be))
                        : attention_simple_forward(a, stream),
                  "attention_forward");
}

void vj_cuda_attention_backward(vj_backend *be, vj_array dqkv, float *dbias, vj_array dout, vj_array qkv, vj_array out,
                                const float *lse, int accumulate, const vj_rows *rows, int D, int heads)
{
    const char *name = "attention_backward";
    if (rows->rows == 0) return;
    attention a = describe(be->precision == VJ_BF16, rows, D, heads);
    a.qkv = qkv;
    a.out = out;
    a.dqkv = dqkv;
    a.dout = dout;
    const bool tiles = takes_tiles(&a, dqkv);
    a.sum_parts = (int)groups_of(a.longest, SUM_ROWS);
    const int64_t n = a.rows * D, terms_bytes = padded(a.rows * heads * (int64_t)sizeof(row_term));
    const int64_t parts = (int64_t)a.segments * a.sum_parts;
    const int64_t sums_bytes = tiles && dbias ? padded(parts * 3 * D * (int64_t)sizeof(float)) : 0;
    char *scratch =
        (char *)vj_cuda_scratch(be, terms_bytes + sums_bytes + (tiles && !is_operand(qkv) ? padded(3 * n * 2) : 0) +
                                        (tiles && !is_operand(dout) ? padded(n * 2) : 0));
    if (!scratch) return;
    row_term *terms = (row_term *)scratch;
    scratch += terms_bytes;
    a.terms = terms;
    if (sums_bytes) a.sums = (float *)scratch;
    scratch += sums_bytes;
    const cudaStream_t stream = vj_cuda_stream(be);
    vj_cuda_check(be, make_terms(a, terms, lse, stream), name);
    if (tiles) {
        a.qkv = operand_of(be, qkv, 3 * n, &scratch, name);
        a.dout = operand_of(be, dout, n, &scratch, name);
    }
    vj_cuda_check(be,
                  tiles ? backward_on_tensor_cores(a, stream, vj_cuda_attention_wgmma(be))
                        : attention_simple_backward(a, stream),
                  name);
    if (a.sums)
        totals_of_parts(be, name, dbias, dbias, 3 * D, a.sums, parts, 3 * D, accumulate);
    else if (dbias)
        vj_cuda_column_sums(be, dbias, dqkv, accumulate, a.rows, 3 * D);
}

cudaError_t vj_cuda_try_attention(cudaStream_t stream, const vj_cuda_wgmma *how, const vj_rows *rows, int D, int heads,
                                  const vj_cuda_attention *x)
{
    attention a = describe(true, rows, D, heads);
    a.qkv = x->qkv;
    a.out = vj_f32(x->out);
    a.lse = x->lse;
    cudaError_t error = forward_on_tensor_cores(a, stream, how);
    if (error != cudaSuccess) return error;
    a.dout = x->dout;
    a.dqkv = vj_f32(x->dqkv);
    row_term *terms = (row_term *)x->terms;
    a.terms = terms;
    error = make_terms(a, terms, x->lse, stream);
    return error == cudaSuccess ? backward_on_tensor_cores(a, stream, how) : error;
}
