/*
 * Attention pooling with one learned query per head, always in fp32, in three steps: products of each token with the
 * queries, softmax, weighted sums of the tokens. The first and third read x once for a group of heads.
 */
#include "kernels/cuda/lanes.cuh"

enum { POOL_HEADS = 8 }; /* heads that share a read of x */

/*
 * One warp per token: out[b, h, n] = x[b, n] . query[b, h], or, with prob, the gradient of the score: prob times (that
 * product minus mean[b, h]). stride: floats from one clip's queries to the next clip's; 0: all clips have the same
 * queries.
 */
__global__ void __launch_bounds__(THREADS)
    token_dots_kernel(float *__restrict__ out, const float *__restrict__ x, const float *__restrict__ query,
                      int64_t stride, const float *__restrict__ prob, const float *__restrict__ mean, int64_t B,
                      int64_t N, int D, int heads)
{
    const int64_t token = global_warp();
    if (token >= B * N) return;
    const int64_t b = token / N, n = token % N;
    const float *row = x + token * D;
    for (int first = 0; first < heads; first += POOL_HEADS) {
        float sum[POOL_HEADS] = {};
        for (int d = lane_of_warp(); d < D; d += WARP) {
            const float v = row[d];
            VJ_UNROLL
            for (int h = 0; h < POOL_HEADS; h++)
                if (first + h < heads) sum[h] += v * query[b * stride + (int64_t)(first + h) * D + d];
        }
        VJ_UNROLL
        for (int h = 0; h < POOL_HEADS; h++) {
            const float dot = sum_of_warp(sum[h]);
            const int64_t head = b * heads + first + h;
            if (first + h >= heads || lane_of_warp() != 0) continue;
            out[head * N + n] = prob ? prob[head * N + n] * (dot - mean[head]) : dot;
        }
    }
}

/* One block per row of n: its softmax, in place. */
struct pool_softmax_shared {
    float largest[WARPS];
    double sum[WARPS];
};
__global__ void __launch_bounds__(THREADS) pool_softmax_kernel(float *x, int64_t n)
{
    pool_softmax_shared &s = shared<pool_softmax_shared>();
    float *row = x + (int64_t)blockIdx.x * n, largest = row[0];
    int unknown = 0; /* whether there is a NaN, which fmaxf() ignores */
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        largest = fmaxf(largest, row[i]);
        unknown |= row[i] != row[i];
    }
    largest = largest_of_block(largest, s.largest);
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += (double)(row[i] = expf(row[i] - largest));
    sum = sum_of_block(unknown ? (double)NAN : sum, s.sum);
    for (int64_t i = threadIdx.x; i < n; i += THREADS) row[i] = (float)(row[i] / sum);
}

/*
 * y[b, h] = sum over n of weight[b, h, n] x[b, n]. A block has 32 columns of a clip (y) and POOL_HEADS heads (z); the
 * warps take the tokens in turn, then the warps' sums are added.
 */
struct weighted_shared {
    float sum[WARPS][POOL_HEADS][WARP];
};
__global__ void __launch_bounds__(THREADS)
    weighted_tokens_kernel(float *__restrict__ y, const float *__restrict__ weight, const float *__restrict__ x,
                           int64_t B, int64_t N, int D, int heads)
{
    weighted_shared &s = shared<weighted_shared>();
    const int d = (int)blockIdx.x * WARP + lane_of_warp(), first = (int)blockIdx.z * POOL_HEADS;
    for (int64_t b = blockIdx.y; b < B; b += gridDim.y) {
        float sum[POOL_HEADS] = {};
        if (d < D)
            for (int64_t n = warp_of_block(); n < N; n += WARPS) {
                const float v = x[(b * N + n) * D + d];
                VJ_UNROLL
                for (int h = 0; h < POOL_HEADS; h++)
                    if (first + h < heads) sum[h] += weight[(b * heads + first + h) * N + n] * v;
            }
        VJ_UNROLL
        for (int h = 0; h < POOL_HEADS; h++) s.sum[warp_of_block()][h][lane_of_warp()] = sum[h];
        __syncthreads();
        const int h = warp_of_block(); /* as many warps as heads */
        float all = 0;
        for (int w = 0; w < WARPS; w++) all += s.sum[w][h][lane_of_warp()];
        if (d < D && first + h < heads) y[(b * heads + first + h) * D + d] = all;
        __syncthreads();
    }
}
static_assert((int)POOL_HEADS == (int)WARPS, "a warp sums up a head");

static void weighted_tokens(vj_backend *be, const char *name, float *y, const float *weight, const float *x, int64_t B,
                            int64_t N, int D, int heads)
{
    const dim3 grid((unsigned)groups_of(D, WARP), (unsigned)(B < 65535 ? B : 65535),
                    (unsigned)groups_of(heads, POOL_HEADS));
    launch_blocks(be, name, weighted_tokens_kernel, grid, THREADS, sizeof(weighted_shared), y, weight, x, B, N, D,
                  heads);
}

void vj_cuda_pool_forward(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                          int64_t N, int D, int heads)
{
    const char *name = "pool_forward";
    launch_warps(be, name, token_dots_kernel, B * N, prob, x, query, 0, (const float *)NULL, (const float *)NULL, B, N,
                 D, heads);
    launch_blocks(be, name, pool_softmax_kernel, dim3((unsigned)(B * heads)), THREADS, sizeof(pool_softmax_shared),
                  prob, N);
    weighted_tokens(be, name, pooled, prob, x, B, N, D, heads);
}

/* One warp per row: dot[r] = a[r] . b[r]. */
__global__ void __launch_bounds__(THREADS)
    row_dots_kernel(float *__restrict__ dot, const float *__restrict__ a, const float *__restrict__ b, int64_t R, int D)
{
    const int64_t r = global_warp();
    if (r >= R) return;
    float sum = 0;
    for (int d = lane_of_warp(); d < D; d += WARP) sum += a[r * D + d] * b[r * D + d];
    sum = sum_of_warp(sum);
    if (lane_of_warp() == 0) dot[r] = sum;
}

void vj_cuda_pool_backward(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                           const float *x, int64_t B, int64_t N, int D, int heads)
{
    const char *name = "pool_backward";
    const int64_t share = (int64_t)heads * D, rows = B * heads;
    float *each = (float *)vj_cuda_scratch(be, (B * share + rows * N + rows) * (int64_t)sizeof(float)); /* [B, share] */
    if (!each) return;
    float *dscore = each + B * share, *mean = dscore + rows * N;
    launch_warps(be, name, row_dots_kernel, rows, mean, dpooled, pooled, rows, D);
    launch_warps(be, name, token_dots_kernel, B * N, dscore, x, dpooled, share, prob, (const float *)mean, B, N, D,
                 heads);
    weighted_tokens(be, name, each, dscore, x, B, N, D, heads);
    totals_of_parts(be, name, dquery, dquery, share, each, B, share, 0);
}
