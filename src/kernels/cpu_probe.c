/* The cpu's kernels of probes, and the other rows of VJ_PLAIN_KERNELS such as rounding, in plain C. */
#include <math.h>
#include <string.h>

#include "kernels/cpu_device.h"

#define KERNEL(name, ...) void vj_cpu_##name(__attribute__((unused)) vj_backend *be, __VA_ARGS__)

KERNEL(round_bf16, uint16_t *y, const float *x, int64_t n)
{
#pragma omp parallel for num_threads(be->threads)
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        const bool nan = (bits & 0x7fffffff) > 0x7f800000;
        y[i] = nan ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

KERNEL(copy_spans, float *to, const float *from, const vj_span *spans, int64_t count, int unpack)
{
    for (int64_t i = 0, at = 0; i < count; at += spans[i++].count)
        if (spans[i].count > 0)
            memcpy(to + (unpack ? spans[i].offset : at), from + (unpack ? at : spans[i].offset),
                   (size_t)spans[i].count * sizeof *to);
}

KERNEL(scale, float *x, float factor, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

KERNEL(add_units, int64_t *sums, const float *x, double units, int64_t n)
{
#pragma omp parallel for num_threads(be->threads)
    for (int64_t i = 0; i < n; i++) sums[i] += llrint((double)x[i] * units);
}

KERNEL(mean_of_units, float *x, const int64_t *sums, double units, int64_t count, int64_t n)
{
#pragma omp parallel for num_threads(be->threads)
    for (int64_t i = 0; i < n; i++) x[i] = (float)((double)sums[i] / units / (double)count);
}

KERNEL(softmax_loss, double *loss, float *dlogits, const float *logits, const int32_t *labels, int64_t B, int classes)
{
    double all = 0.0;
    for (int64_t b = 0; b < B; b++) {
        const float *z = logits + b * classes;
        double most = z[0], sum = 0.0;
        VJ_ASSERT(labels[b] >= 0 && labels[b] < classes);
        for (int c = 1; c < classes; c++) most = fmax(most, z[c]);
        for (int c = 0; c < classes; c++) sum += exp(z[c] - most);
        all += most + log(sum) - z[labels[b]];
        for (int c = 0; c < classes; c++)
            dlogits[b * classes + c] = (float)((exp(z[c] - most) / sum - (c == labels[b])) / (double)B);
    }
    *loss = all / (double)B;
}

KERNEL(mean_tokens, float *mean, const float *x, int64_t B, int64_t N, int D)
{
    vj_host_mean_tokens(mean, x, B, N, D);
}

KERNEL(mean_tokens_backward, float *dx, const float *dmean, int64_t B, int64_t N, int D)
{
    for (int64_t r = 0; r < B * N; r++)
        for (int64_t i = 0; i < D; i++) dx[r * D + i] = dmean[r / N * D + i] / (float)N;
}

/* Takes columns in small groups, so that the sums stay in registers. */
void vj_host_mean_tokens(float *mean, const float *x, int64_t B, int64_t N, int D)
{
    enum { GROUP = 16 };
    for (int64_t b = 0; b < B; b++)
        for (int first = 0; first < D; first += GROUP) {
            const float *from = x + b * N * D + first;
            int width = D - first < GROUP ? D - first : GROUP;
            double sum[GROUP] = {0};
            for (int64_t n = 0; n < N; n++)
                for (int i = 0; i < width; i++) sum[i] += from[n * D + i];
            for (int i = 0; i < width; i++) mean[b * D + first + i] = (float)(sum[i] / (double)N);
        }
}

/* ------------------------------------------------------------------------------------------------ folded */

KERNEL(split_heads, float *heads_apart, const float *x, int64_t B, int D, int heads)
{
    const int d = D / heads;
    for (int h = 0; h < heads; h++)
        for (int64_t b = 0; b < B; b++) memcpy(heads_apart + (h * B + b) * d, x + b * D + h * d, sizeof *x * (size_t)d);
}

KERNEL(join_heads, float *y, const float *heads_apart, const float *row, int64_t B, int D, int heads)
{
    const int d = D / heads;
    for (int h = 0; h < heads; h++)
        for (int64_t b = 0; b < B; b++)
            for (int i = 0; i < d; i++) y[b * D + h * d + i] = row[h * d + i] + heads_apart[(h * B + b) * d + i];
}

KERNEL(fold_gain, float *y, const float *x, const float *gain, int R, int D)
{
    for (int i = 0; i < R * D; i++) y[i] = gain[i % D] * x[i];
}

KERNEL(fold_gain_backward, float *dx, float *dgain, const float *dy, const float *x, const float *gain, int R, int D)
{
    for (int i = 0; i < R * D; i++) {
        dx[i] = gain[i % D] * dy[i];
        dgain[i % D] += dy[i] * x[i];
    }
}

KERNEL(affine_heads, float *y, const float *x, const float *gain, const float *bias, int64_t B, int D, int heads)
{
    for (int h = 0; h < heads; h++)
        for (int64_t b = 0; b < B; b++) {
            const float *from = x + (b * heads + h) * D;
            float *to = y + (h * B + b) * D;
            for (int i = 0; i < D; i++) to[i] = gain[i] * from[i] + bias[i];
        }
}

KERNEL(affine_heads_backward, float *dx, float *dgain, float *dbias, const float *dy, const float *x, const float *gain,
       int64_t B, int D, int heads)
{
    memset(dgain, 0, sizeof *dgain * (size_t)D);
    memset(dbias, 0, sizeof *dbias * (size_t)D);
    for (int h = 0; h < heads; h++)
        for (int64_t b = 0; b < B; b++) {
            const float *from = x + (b * heads + h) * D, *back = dy + (h * B + b) * D;
            float *to = dx + (b * heads + h) * D;
            for (int i = 0; i < D; i++) {
                to[i] = gain[i] * back[i];
                dgain[i] += back[i] * from[i];
                dbias[i] += back[i];
            }
        }
}

/* ------------------------------------------------------------------------------------------------ plain */

/* One clip, one head: out [d] = softmax(k q) v; rows of k and v are 2D apart. */
static void attend(float *out, float *prob, const float *q, const float *k, const float *v, int64_t N, int d,
                   int stride)
{
    double most = -INFINITY, sum = 0.0;
    for (int64_t n = 0; n < N; n++) {
        double score = 0.0;
        for (int i = 0; i < d; i++) score += (double)q[i] * k[n * stride + i];
        prob[n] = (float)score;
        most = fmax(most, prob[n]);
    }
    for (int64_t n = 0; n < N; n++) {
        prob[n] = (float)exp(prob[n] - most);
        sum += prob[n];
    }
    for (int64_t n = 0; n < N; n++) prob[n] = (float)(prob[n] / sum);
    for (int i = 0; i < d; i++) {
        double mixed = 0.0;
        for (int64_t n = 0; n < N; n++) mixed += (double)prob[n] * v[n * stride + i];
        out[i] = (float)mixed;
    }
}

/* Write its gradients dq, dk and dv from dout. */
static void attend_backward(float *dq, float *dk, float *dv, const float *dout, const float *prob, const float *q,
                            const float *k, const float *v, int64_t N, int d, int stride)
{
    double along = 0.0; /* sum over n of prob * dprob */
    for (int64_t n = 0; n < N; n++)
        for (int i = 0; i < d; i++) along += (double)prob[n] * dout[i] * v[n * stride + i];
    memset(dq, 0, sizeof(float) * (size_t)d);
    for (int64_t n = 0; n < N; n++) {
        double dprob = 0.0;
        for (int i = 0; i < d; i++) dprob += (double)dout[i] * v[n * stride + i];
        float dscore = (float)(prob[n] * (dprob - along));
        for (int i = 0; i < d; i++) {
            dv[n * stride + i] = prob[n] * dout[i];
            dk[n * stride + i] = dscore * q[i];
            dq[i] += dscore * k[n * stride + i];
        }
    }
}

KERNEL(query_attention_forward, float *y, float *prob, const float *q, const float *kv, const float *row, int64_t B,
       int64_t N, int D, int heads)
{
    const int d = D / heads;
    for (int64_t b = 0; b < B; b++) {
        for (int h = 0; h < heads; h++) {
            const float *k = kv + b * N * 2 * D + h * d;
            attend(y + b * D + h * d, prob + (b * heads + h) * N, q + h * d, k, k + D, N, d, 2 * D);
        }
        for (int i = 0; i < D; i++) y[b * D + i] += row[i];
    }
}

KERNEL(query_attention_backward, float *dq, float *dkv, const float *dy, const float *prob, const float *q,
       const float *kv, int64_t B, int64_t N, int D, int heads)
{
    const int d = D / heads;
    for (int64_t b = 0; b < B; b++)
        for (int h = 0; h < heads; h++) {
            int64_t at = b * N * 2 * D + h * d;
            attend_backward(dq + b * D + h * d, dkv + at, dkv + at + D, dy + b * D + h * d, prob + (b * heads + h) * N,
                            q + h * d, kv + at, kv + at + D, N, d, 2 * D);
        }
}
