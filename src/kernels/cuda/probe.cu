/*
 * Kernels of probes: small and simple, as cpu_probe.c defines them. Sums that are in double there are in double here.
 */
#include "kernels/cuda/lanes.cuh"

struct probe_shared {
    double sum[2][WARPS];
    float largest[WARPS];
};

/* ------------------------------------------------------------------------------------------------ units */

__global__ void __launch_bounds__(THREADS) add_units_kernel(int64_t *sums, const float *x, double units, int64_t n)
{
    const int64_t i = global_thread();
    if (i < n) sums[i] += llrint((double)x[i] * units);
}

__global__ void __launch_bounds__(THREADS)
    mean_of_units_kernel(float *x, const int64_t *sums, double units, double count, int64_t n)
{
    const int64_t i = global_thread();
    if (i < n) x[i] = (float)((double)sums[i] / units / count);
}

void vj_cuda_add_units(vj_backend *be, int64_t *sums, const float *x, double units, int64_t n)
{
    launch_threads(be, "add_units", add_units_kernel, n, sums, x, units, n);
}

void vj_cuda_mean_of_units(vj_backend *be, float *x, const int64_t *sums, double units, int64_t count, int64_t n)
{
    launch_threads(be, "mean_of_units", mean_of_units_kernel, n, x, sums, units, (double)count, n);
}

/* ------------------------------------------------------------------------------------------------ loss */

/* One block per clip. A label that is not a class gives NaN. */
__global__ void __launch_bounds__(THREADS) softmax_loss_kernel(double *row_loss, float *dlogits, const float *logits,
                                                               const int32_t *labels, int64_t B, int classes)
{
    probe_shared &s = shared<probe_shared>();
    const int64_t b = blockIdx.x;
    const float *z = logits + b * classes;
    const int label = labels[b];
    float largest = z[0];
    for (int c = threadIdx.x; c < classes; c += THREADS) largest = fmaxf(largest, z[c]);
    const double most = (double)largest_of_block(largest, s.largest);
    double sum = 0;
    for (int c = threadIdx.x; c < classes; c += THREADS) sum += exp((double)z[c] - most);
    sum = sum_of_block(sum, s.sum[0]);
    const double each = 1 / (sum * (double)B), share = 1 / (double)B;
    for (int c = threadIdx.x; c < classes; c += THREADS)
        dlogits[b * classes + c] = (float)(exp((double)z[c] - most) * each - (c == label ? share : 0.0));
    if (threadIdx.x == 0)
        row_loss[b] = label >= 0 && label < classes ? most + log(sum) - (double)z[label] : (double)NAN;
}

/* One block: the mean of n numbers. */
__global__ void __launch_bounds__(THREADS) mean_kernel(double *mean, const double *x, int64_t n)
{
    probe_shared &s = shared<probe_shared>();
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += x[i];
    sum = sum_of_block(sum, s.sum[0]);
    if (threadIdx.x == 0) *mean = sum / (double)n;
}

void vj_cuda_softmax_loss(vj_backend *be, double *loss, float *dlogits, const float *logits, const int32_t *labels,
                          int64_t B, int classes)
{
    double *row_loss = (double *)vj_cuda_scratch(be, B * (int64_t)sizeof(double));
    if (!row_loss) return;
    launch_blocks(be, "softmax_loss", softmax_loss_kernel, dim3((unsigned)B), THREADS, sizeof(probe_shared), row_loss,
                  dlogits, logits, labels, B, classes);
    launch_blocks(be, "softmax_loss", mean_kernel, dim3(1), THREADS, sizeof(probe_shared), loss,
                  (const double *)row_loss, B);
}

/* ------------------------------------------------------------------------------------------------ mean of tokens */

/* One thread per column of a clip, tokens in ascending order: the bits of vj_host_mean_tokens(). */
__global__ void __launch_bounds__(THREADS)
    mean_tokens_kernel(float *__restrict__ mean, const float *__restrict__ x, int64_t B, int64_t N, int D)
{
    const int64_t i = global_thread();
    if (i >= B * D) return;
    const float *from = x + i / D * N * D + i % D;
    double sum = 0;
    VJ_UNROLL_4
    for (int64_t n = 0; n < N; n++) sum += (double)from[n * D];
    mean[i] = (float)(sum / (double)N);
}

void vj_cuda_mean_tokens(vj_backend *be, float *mean, const float *x, int64_t B, int64_t N, int D)
{
    launch_threads(be, "mean_tokens", mean_tokens_kernel, B * D, mean, x, B, N, D);
}

__global__ void __launch_bounds__(THREADS)
    mean_tokens_backward_kernel(float *__restrict__ dx, const float *__restrict__ dmean, int64_t n, int64_t N, int D)
{
    const int64_t i = global_thread();
    if (i < n) dx[i] = dmean[i / D / N * D + i % D] / (float)N;
}

void vj_cuda_mean_tokens_backward(vj_backend *be, float *dx, const float *dmean, int64_t B, int64_t N, int D)
{
    launch_threads(be, "mean_tokens_backward", mean_tokens_backward_kernel, B * N * D, dx, dmean, B * N * D, N, D);
}

/* ------------------------------------------------------------------------------------------------ folded */

/* Return the index in [heads, B, D / heads] of element i of [B, D]. */
VJ_DEVICE int64_t apart(int64_t i, int64_t B, int D, int heads)
{
    const int d = D / heads, column = (int)(i % D);
    return (column / d * B + i / D) * d + column % d;
}

__global__ void __launch_bounds__(THREADS)
    split_heads_kernel(float *__restrict__ heads_apart, const float *__restrict__ x, int64_t B, int D, int heads)
{
    const int64_t i = global_thread();
    if (i < B * D) heads_apart[apart(i, B, D, heads)] = x[i];
}

void vj_cuda_split_heads(vj_backend *be, float *heads_apart, const float *x, int64_t B, int D, int heads)
{
    launch_threads(be, "split_heads", split_heads_kernel, B * D, heads_apart, x, B, D, heads);
}

__global__ void __launch_bounds__(THREADS)
    join_heads_kernel(float *__restrict__ y, const float *__restrict__ heads_apart, const float *__restrict__ row,
                      int64_t B, int D, int heads)
{
    const int64_t i = global_thread();
    if (i < B * D) y[i] = row[i % D] + heads_apart[apart(i, B, D, heads)];
}

void vj_cuda_join_heads(vj_backend *be, float *y, const float *heads_apart, const float *row, int64_t B, int D,
                        int heads)
{
    launch_threads(be, "join_heads", join_heads_kernel, B * D, y, heads_apart, row, B, D, heads);
}

__global__ void __launch_bounds__(THREADS)
    fold_gain_kernel(float *y, const float *x, const float *gain, int64_t n, int D)
{
    const int64_t i = global_thread();
    if (i < n) y[i] = gain[i % D] * x[i];
}

void vj_cuda_fold_gain(vj_backend *be, float *y, const float *x, const float *gain, int R, int D)
{
    launch_threads(be, "fold_gain", fold_gain_kernel, (int64_t)R * D, y, x, gain, (int64_t)R * D, D);
}

/* One thread per column. */
__global__ void __launch_bounds__(THREADS)
    fold_gain_backward_kernel(float *dx, float *dgain, const float *dy, const float *x, const float *gain, int R, int D)
{
    const int d = (int)global_thread();
    if (d >= D) return;
    float sum = dgain[d];
    for (int64_t r = 0; r < R; r++) {
        const float back = dy[r * D + d];
        sum += back * x[r * D + d];
        dx[r * D + d] = gain[d] * back;
    }
    dgain[d] = sum;
}

void vj_cuda_fold_gain_backward(vj_backend *be, float *dx, float *dgain, const float *dy, const float *x,
                                const float *gain, int R, int D)
{
    launch_threads(be, "fold_gain_backward", fold_gain_backward_kernel, D, dx, dgain, dy, x, gain, R, D);
}

/* Return the index in [heads, B] of row i of [B, heads]. */
VJ_DEVICE int64_t turned(int64_t i, int64_t B, int heads)
{
    return i % heads * B + i / heads;
}

__global__ void __launch_bounds__(THREADS)
    affine_heads_kernel(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ gain,
                        const float *__restrict__ bias, int64_t B, int D, int heads)
{
    const int64_t i = global_thread(), d = i % D;
    if (i < B * heads * D) y[turned(i / D, B, heads) * D + d] = gain[d] * x[i] + bias[d];
}

void vj_cuda_affine_heads(vj_backend *be, float *y, const float *x, const float *gain, const float *bias, int64_t B,
                          int D, int heads)
{
    launch_threads(be, "affine_heads", affine_heads_kernel, B * heads * D, y, x, gain, bias, B, D, heads);
}

/* Compute partial [parts, 2, D], dgain before dbias, and dx; one thread per column of the rows of a part (y). */
__global__ void __launch_bounds__(THREADS)
    affine_heads_backward_kernel(float *__restrict__ dx, float *__restrict__ partial, const float *__restrict__ dy,
                                 const float *__restrict__ x, const float *__restrict__ gain, int64_t B, int D,
                                 int heads, int64_t rows)
{
    const int d = (int)global_thread();
    const int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < B * heads ? first + rows : B * heads;
    if (d >= D) return;
    float dgain = 0, dbias = 0;
    for (int64_t r = first; r < end; r++) {
        const float back = dy[turned(r, B, heads) * D + d];
        dgain += back * x[r * D + d];
        dbias += back;
        dx[r * D + d] = gain[d] * back;
    }
    partial[(int64_t)blockIdx.y * 2 * D + d] = dgain;
    partial[((int64_t)blockIdx.y * 2 + 1) * D + d] = dbias;
}

void vj_cuda_affine_heads_backward(vj_backend *be, float *dx, float *dgain, float *dbias, const float *dy,
                                   const float *x, const float *gain, int64_t B, int D, int heads)
{
    const char *name = "affine_heads_backward";
    const int64_t R = B * heads, rows = rows_of_part(R), parts = groups_of(R, rows);
    float *partial = (float *)vj_cuda_scratch(be, parts * 2 * D * (int64_t)sizeof(float));
    if (!partial) return;
    launch_blocks(be, name, affine_heads_backward_kernel, dim3((unsigned)groups_of(D, THREADS), (unsigned)parts),
                  THREADS, 0, dx, partial, dy, x, gain, B, D, heads, rows);
    totals_of_parts(be, name, dgain, dbias, D, partial, parts, (int64_t)2 * D, 0);
}

/* ------------------------------------------------------------------------------------------------ one query */

/* Return the sum of weight[n] row[n * stride + i] over n, for i < 32 of the block's columns, in each warp. */
struct query_shared {
    double sum[WARPS][WARP];
    probe_shared block;
};
VJ_DEVICE double mix_column(const float *weight, const float *row, int64_t N, int stride, bool there,
                            double (*part)[WARP])
{
    double sum = 0;
    if (there)
        for (int64_t n = warp_of_block(); n < N; n += WARPS) sum += (double)weight[n] * (double)row[n * stride];
    __syncthreads(); /* `part` may be in use */
    part[warp_of_block()][lane_of_warp()] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < WARPS; w++) sum += part[w][lane_of_warp()];
    return sum;
}

VJ_DEVICE double dot_of_warp(const float *a, const float *b, int d)
{
    double sum = 0;
    for (int i = lane_of_warp(); i < d; i += WARP) sum += (double)a[i] * (double)b[i];
    return sum_of_warp(sum);
}

/* One block per head of a clip: scores (one warp per token), softmax, then the weighted sum of values by columns. */
__global__ void __launch_bounds__(THREADS)
    query_attention_kernel(float *y, float *prob, const float *q, const float *kv, const float *row, int64_t N, int D,
                           int heads)
{
    query_shared &s = shared<query_shared>();
    const int d = D / heads, h = (int)(blockIdx.x % heads), stride = 2 * D;
    const int64_t b = blockIdx.x / heads;
    const float *k = kv + b * N * stride + h * d, *v = k + D;
    float *p = prob + (int64_t)blockIdx.x * N;
    for (int64_t n = warp_of_block(); n < N; n += WARPS) {
        const double score = dot_of_warp(q + h * d, k + n * stride, d);
        if (lane_of_warp() == 0) p[n] = (float)score;
    }
    __syncthreads();
    float largest = -INFINITY;
    for (int64_t n = threadIdx.x; n < N; n += THREADS) largest = fmaxf(largest, p[n]);
    const double most = (double)largest_of_block(largest, s.block.largest);
    double sum = 0;
    for (int64_t n = threadIdx.x; n < N; n += THREADS) {
        p[n] = (float)exp((double)p[n] - most);
        sum += (double)p[n];
    }
    sum = sum_of_block(sum, s.block.sum[0]);
    for (int64_t n = threadIdx.x; n < N; n += THREADS) p[n] = (float)((double)p[n] / sum);
    __syncthreads();
    for (int first = 0; first < d; first += WARP) {
        const int i = first + lane_of_warp();
        const double mixed = mix_column(p, v + i, N, stride, i < d, s.sum);
        if (warp_of_block() == 0 && i < d) y[b * D + h * d + i] = (float)mixed + row[h * d + i];
    }
}

void vj_cuda_query_attention_forward(vj_backend *be, float *y, float *prob, const float *q, const float *kv,
                                     const float *row, int64_t B, int64_t N, int D, int heads)
{
    launch_blocks(be, "query_attention_forward", query_attention_kernel, dim3((unsigned)(B * heads)), THREADS,
                  sizeof(query_shared), y, prob, q, kv, row, N, D, heads);
}

/* One block per head of a clip: dscore [B, heads, N], computed from dprob [B, heads, N]. */
__global__ void __launch_bounds__(THREADS)
    query_scores_backward_kernel(double *dprob, float *dscore, const float *dy, const float *prob, const float *kv,
                                 int64_t N, int D, int heads)
{
    probe_shared &s = shared<probe_shared>();
    const int d = D / heads, h = (int)(blockIdx.x % heads), stride = 2 * D;
    const int64_t b = blockIdx.x / heads, head = (int64_t)blockIdx.x * N;
    const float *v = kv + b * N * stride + h * d + D;
    for (int64_t n = warp_of_block(); n < N; n += WARPS) {
        const double dot = dot_of_warp(dy + b * D + h * d, v + n * stride, d);
        if (lane_of_warp() == 0) dprob[head + n] = dot;
    }
    __syncthreads();
    double along = 0; /* sum over n of prob * dprob */
    for (int64_t n = threadIdx.x; n < N; n += THREADS) along += (double)prob[head + n] * dprob[head + n];
    along = sum_of_block(along, s.sum[0]);
    for (int64_t n = threadIdx.x; n < N; n += THREADS)
        dscore[head + n] = (float)((double)prob[head + n] * (dprob[head + n] - along));
}

/* One thread per element of dkv: k's half from dscore and q, v's half from prob and dy. */
__global__ void __launch_bounds__(THREADS)
    query_tokens_backward_kernel(float *__restrict__ dkv, const float *__restrict__ dscore,
                                 const float *__restrict__ dy, const float *__restrict__ prob,
                                 const float *__restrict__ q, int64_t n, int64_t N, int D, int heads)
{
    const int64_t i = global_thread(), token = i / (2 * D), b = token / N;
    if (i >= n) return;
    const int column = (int)(i % (2 * D)), of_v = column >= D, d = of_v ? column - D : column;
    const int64_t at = (b * heads + d / (D / heads)) * N + token % N;
    dkv[i] = of_v ? prob[at] * dy[b * D + d] : dscore[at] * q[d];
}

/* One block per head of a clip: dq, by columns. */
__global__ void __launch_bounds__(THREADS)
    query_backward_kernel(float *dq, const float *dscore, const float *kv, int64_t N, int D, int heads)
{
    query_shared &s = shared<query_shared>();
    const int d = D / heads, h = (int)(blockIdx.x % heads);
    const int64_t b = blockIdx.x / heads;
    const float *k = kv + b * N * 2 * D + h * d;
    for (int first = 0; first < d; first += WARP) {
        const int i = first + lane_of_warp();
        const double mixed = mix_column(dscore + blockIdx.x * N, k + i, N, 2 * D, i < d, s.sum);
        if (warp_of_block() == 0 && i < d) dq[b * D + h * d + i] = (float)mixed;
    }
}

void vj_cuda_query_attention_backward(vj_backend *be, float *dq, float *dkv, const float *dy, const float *prob,
                                      const float *q, const float *kv, int64_t B, int64_t N, int D, int heads)
{
    const char *name = "query_attention_backward";
    const int64_t scores = B * heads * N, n = B * N * 2 * D;
    double *dprob = (double *)vj_cuda_scratch(be, scores * (int64_t)(sizeof(double) + sizeof(float)));
    if (!dprob) return;
    const dim3 each_head((unsigned)(B * heads));
    float *dscore = (float *)(dprob + scores);
    launch_blocks(be, name, query_scores_backward_kernel, each_head, THREADS, sizeof(probe_shared), dprob, dscore, dy,
                  prob, kv, N, D, heads);
    launch_threads(be, name, query_tokens_backward_kernel, n, dkv, dscore, dy, prob, q, n, N, D, heads);
    launch_blocks(be, name, query_backward_kernel, each_head, THREADS, sizeof(query_shared), dq, dscore, kv, N, D,
                  heads);
}
