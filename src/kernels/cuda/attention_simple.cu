/*
 * Attention for any width of heads and any alignment, in floats or with operands rounded to bf16: a warp takes one row,
 * and its 32 lanes take 32 rows of the other side. For tests, parity and unusual widths.
 */
#include "attention.h"

namespace
{

enum { MAX_WARPS = 8, LANES = 32 };

/*
 * Shared memory of a block, followed by four rows of d floats for each warp. `piece`: 32 columns of 32 rows of the
 * other side; the distance of rows is odd, so that lanes read different banks.
 */
struct room {
    float piece[LANES][LANES + 1];
    float weight[2][MAX_WARPS][LANES];
};

/* Return the four rows of a warp. */
VJ_DEVICE float *rows_of_warp(room &m, int warp, int d)
{
    return reinterpret_cast<float *>(&m + 1) + (int64_t)warp * 4 * d;
}

/* One operand: q, k, v or dout of one head, which is some columns of a segment's rows. */
struct side {
    vj_array array;
    int64_t at, stride;
    int rounded;
};

VJ_DEVICE float rounded_if(int rounded, float x)
{
    return rounded ? widen((bf16)pack(x, 0)) : x;
}
VJ_DEVICE float read_side(const side &s, int row, int x)
{
    return rounded_if(s.rounded, read_element(s.array, s.at + row * s.stride + x));
}

/* Return q, k or v (part 0, 1 or 2). */
VJ_DEVICE side side_of_qkv(const attention &a, const block_place &p, int part)
{
    return side{a.qkv, (p.first * 3 + part) * a.D + (int64_t)p.head * a.d, 3 * (int64_t)a.D, a.rounded};
}
VJ_DEVICE side side_of_dout(const attention &a, const block_place &p)
{
    return side{a.dout, p.first * a.D + (int64_t)p.head * a.d, a.D, a.rounded};
}

VJ_DEVICE void write_element(const vj_array &a, int64_t i, float x)
{
    if (a.type == VJ_TYPE_BF16)
        ((bf16 *)a.data)[i] = (bf16)pack(x, 0);
    else
        ((float *)a.data)[i] = x;
}

/* Copy the warp's own row, or zeros if it does not exist, to shared memory. */
VJ_DEVICE void keep_row(float *to, const side &from, int row, int length, int d)
{
    for (int x = (int)threadIdx.x % LANES; x < d; x += LANES) to[x] = row < length ? read_side(from, row, x) : 0;
}

/* Return the product of the warp's own row and row `row` + lane of the other side, which the whole block reads, piece
 * by piece. */
VJ_DEVICE float dot(room &m, const float *own, const side &other, int row, int length, int d)
{
    const int lane = (int)threadIdx.x % LANES;
    float sum = 0;
    for (int x = 0; x < d; x += LANES) {
        __syncthreads();
        for (int r = (int)threadIdx.x / LANES; r < LANES; r += (int)blockDim.x / LANES)
            m.piece[r][lane] = row + r < length && x + lane < d ? read_side(other, row + r, x + lane) : 0;
        __syncthreads();
        const int n = d - x < LANES ? d - x : LANES;
        for (int i = 0; i < n; i++) sum += own[x + i] * m.piece[lane][i];
    }
    return sum;
}

/* sum = sum * fade + weights times rows of the other side; lanes run along the row. */
VJ_DEVICE void add_rows(float *sum, float fade, const float *weight, const side &other, int row, int length, int d)
{
    const int n = length - row < LANES ? length - row : LANES;
    for (int x = (int)threadIdx.x % LANES; x < d; x += LANES) {
        float s = sum[x] * fade;
        for (int i = 0; i < n; i++) s += weight[i] * read_side(other, row + i, x);
        sum[x] = s;
    }
}

VJ_DEVICE float warp_sum(float x)
{
    for (int other = LANES / 2; other > 0; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}
VJ_DEVICE float warp_max(float x)
{
    for (int other = LANES / 2; other > 0; other /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

__global__ void __launch_bounds__(MAX_WARPS *LANES) simple_forward(attention a)
{
    const block_place p = place_of_block(a, (int)blockDim.x / LANES);
    if (p.row >= p.length) return;
    room &m = shared<room>();
    const int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES, query = p.row + warp, d = a.d;
    float *q = rows_of_warp(m, warp, d), *o = q + d;
    float *const weight = m.weight[0][warp];
    const side keys = side_of_qkv(a, p, 1), values = side_of_qkv(a, p, 2);
    keep_row(q, side_of_qkv(a, p, 0), query, p.length, d);
    for (int x = lane; x < d; x += LANES) o[x] = 0;

    float most = -1e30f, sum = 0;
    for (int key = 0; key < p.length; key += LANES) {
        const float score = dot(m, q, keys, key, p.length, d);
        const bool there = key + lane < p.length;
        const float top = fmaxf(most, warp_max(there ? score : -1e30f)), fade = exp2f((most - top) * a.factor);
        const float probability = there ? exp2f((score - top) * a.factor) : 0;
        most = top;
        sum = sum * fade + probability;
        weight[lane] = rounded_if(a.rounded, probability);
        __syncwarp();
        add_rows(o, fade, weight, values, key, p.length, d);
        __syncwarp();
    }
    sum = warp_sum(sum);
    if (query >= p.length) return;
    const int64_t row = p.first + query;
    for (int x = lane; x < d; x += LANES) write_element(a.out, row * a.D + (int64_t)p.head * d + x, o[x] / sum);
    if (a.lse && lane == 0) a.lse[row * a.heads + p.head] = most * a.scale + logf(sum);
}

/*
 * `of_keys`: a warp takes a key and sums its dk and dv over all queries; else it takes a query and sums its dq over all
 * keys. Scores are products with `one`, gradients of probabilities are products with `two`.
 */
template <bool of_keys> __global__ void __launch_bounds__(MAX_WARPS *LANES) simple_backward(attention a)
{
    const block_place p = place_of_block(a, (int)blockDim.x / LANES);
    if (p.row >= p.length) return;
    room &m = shared<room>();
    const int warp = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES, own = p.row + warp, d = a.d;
    float *own_one = rows_of_warp(m, warp, d), *own_two = own_one + d, *sum_one = own_two + d, *sum_two = sum_one + d;
    const side one = side_of_qkv(a, p, of_keys ? 0 : 1);
    const side two = of_keys ? side_of_dout(a, p) : side_of_qkv(a, p, 2);
    keep_row(own_one, side_of_qkv(a, p, of_keys ? 1 : 0), own, p.length, d);
    keep_row(own_two, of_keys ? side_of_qkv(a, p, 2) : side_of_dout(a, p), own, p.length, d);
    for (int x = lane; x < d; x += LANES) sum_one[x] = sum_two[x] = 0;

    const row_term *const terms = a.terms + p.head * a.rows + p.first;
    for (int row = 0; row < p.length; row += LANES) {
        const float score = dot(m, own_one, one, row, p.length, d), slope = dot(m, own_two, two, row, p.length, d);
        const int query = of_keys ? row + lane : own;
        float probability = 0, gradient = 0;
        if (row + lane < p.length && own < p.length) {
            const row_term term = terms[query];
            probability = exp2f(score * a.factor - term.lse2);
            gradient = probability * (slope - term.mean);
        }
        m.weight[0][warp][lane] = rounded_if(a.rounded, gradient);
        m.weight[1][warp][lane] = rounded_if(a.rounded, probability);
        __syncwarp();
        add_rows(sum_one, 1, m.weight[0][warp], one, row, p.length, d);
        if (of_keys) add_rows(sum_two, 1, m.weight[1][warp], two, row, p.length, d);
        __syncwarp();
    }
    if (own >= p.length) return;
    const int64_t to = (p.first + own) * 3 * a.D + (int64_t)p.head * d;
    for (int x = lane; x < d; x += LANES) {
        write_element(a.dqkv, to + (of_keys ? a.D : 0) + x, sum_one[x] * a.scale);
        if (of_keys) write_element(a.dqkv, to + 2 * a.D + x, sum_two[x]);
    }
}

/* Launch with as many warps in a block as shared memory has room for. */
cudaError_t launch_simple(void (*kernel)(attention), attention a, cudaStream_t stream)
{
    const size_t rows = 4 * (size_t)a.d * sizeof(float), most = 96 * 1024;
    int warps = MAX_WARPS;
    while (warps > 1 && (size_t)warps * rows > most) warps /= 2;
    const unsigned blocks = attention_tiles(&a, warps);
    return launch(kernel, blocks, (unsigned)warps * LANES, sizeof(room) + (size_t)warps * rows, stream, a);
}

} /* namespace */

cudaError_t attention_simple_forward(attention a, cudaStream_t stream)
{
    return launch_simple(simple_forward, a, stream);
}

cudaError_t attention_simple_backward(attention a, cudaStream_t stream)
{
    const cudaError_t error = launch_simple(simple_backward<true>, a, stream);
    return error != cudaSuccess ? error : launch_simple(simple_backward<false>, a, stream);
}
