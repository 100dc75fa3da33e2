/*
 * The attentive pooler (spec 12.1): q = q0 Wq^T + bq; a = attention(q, kv of LN1(tokens)), no output projection;
 * y = q0 + a; pooled = y + MLP(LN2(y)). Two forms of the attention: plain, as written, and folded (probe.h).
 * Both keep q scaled by 1/sqrt(d), so scores need no further factor.
 */
#include <math.h>
#include <string.h>

#include "probe/parts.h"

#define W(id) vj_probe_weight(p, id)
#define G(id) vj_probe_gradient(p, id)

/* ------------------------------------------------------------------------------------------------ folded */

/* y from xhat: fold the key projection and the gain into one vector a head, pool, then project what is left. */
static void folded_forward(vj_probe *p)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    const float *gain = W(NORM1_WEIGHT), *bias = W(NORM1_BIAS), *q0 = W(QUERY);
    for (int h = 0; h < NH; h++)
        vj_linear_backward_input(p->be, vj_f32(p->back + h * D), vj_f32(p->q + h * d),
                                 vj_f32(W(KV_WEIGHT) + (int64_t)h * d * D), 1, d, D);
    for (int i = 0; i < NH * D; i++) p->fold[i] = gain[i % D] * p->back[i];
    vj_pool_forward(p->be, p->mix, p->prob, p->features, p->fold, B, N, D, NH);
    for (int h = 0; h < NH; h++) {
        for (int64_t b = 0; b < B; b++) {
            const float *mix = p->mix + (b * NH + h) * D;
            float *value = p->value + (h * B + b) * D;
            for (int i = 0; i < D; i++) value[i] = gain[i] * mix[i] + bias[i];
        }
        float *head = p->head + h * B * d;
        vj_linear_forward(p->be, vj_f32(head), vj_f32(p->value + h * B * D),
                          vj_f32(W(KV_WEIGHT) + (int64_t)(D + h * d) * D), W(KV_BIAS) + D + h * d, NULL, 0, B, d, D);
        for (int64_t b = 0; b < B; b++)
            for (int i = 0; i < d; i++) p->y[b * D + h * d + i] = q0[h * d + i] + head[b * d + i];
    }
}

/* dq and the gradients of norm1 and kv from dy. A constant added to all scores changes nothing, so the key's bias and
   the norm's bias through the keys have the gradient zero exactly. */
static void folded_backward(vj_probe *p)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    const float *gain = W(NORM1_WEIGHT);
    float *dgain = G(NORM1_WEIGHT), *dbias = G(NORM1_BIAS);
    memset(dgain, 0, sizeof(float) * (size_t)D);
    memset(dbias, 0, sizeof(float) * (size_t)D);
    memset(G(KV_BIAS), 0, sizeof(float) * (size_t)D);
    for (int h = 0; h < NH; h++) {
        float *dhead = p->dhead + h * B * d, *dvalue = p->dvalue + h * B * D;
        int64_t row = D + h * d;
        for (int64_t b = 0; b < B; b++) memcpy(dhead + b * d, p->dy + b * D + h * d, sizeof(float) * (size_t)d);
        vj_linear_backward_weight(p->be, G(KV_WEIGHT) + row * D, G(KV_BIAS) + row, vj_f32(dhead),
                                  vj_f32(p->value + h * B * D), 0, B, d, D);
        vj_linear_backward_input(p->be, vj_f32(dvalue), vj_f32(dhead), vj_f32(W(KV_WEIGHT) + row * D), B, d, D);
        for (int64_t b = 0; b < B; b++) {
            const float *mix = p->mix + (b * NH + h) * D, *dv = dvalue + b * D;
            float *dmix = p->dmix + (b * NH + h) * D;
            for (int i = 0; i < D; i++) {
                dmix[i] = gain[i] * dv[i];
                dgain[i] += dv[i] * mix[i];
                dbias[i] += dv[i];
            }
        }
    }
    vj_pool_backward(p->be, p->dfold, p->dmix, p->mix, p->prob, p->features, B, N, D, NH);
    for (int i = 0; i < NH * D; i++) {
        p->dback[i] = gain[i % D] * p->dfold[i];
        dgain[i % D] += p->dfold[i] * p->back[i];
    }
    for (int h = 0; h < NH; h++) {
        int64_t at = (int64_t)h * d * D;
        vj_linear_backward_weight(p->be, G(KV_WEIGHT) + at, NULL, vj_f32(p->q + h * d), vj_f32(p->dback + h * D), 0, 1,
                                  d, D);
        vj_linear_forward(p->be, vj_f32(p->dq + h * d), vj_f32(p->dback + h * D), vj_f32(W(KV_WEIGHT) + at), NULL, NULL,
                          0, 1, d, D);
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

/* Its gradients from dout: dk, dv and dq (all written). */
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

static void plain_forward(vj_probe *p)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    vj_layernorm_forward(p->be, vj_f32(p->keyed), p->mean1, p->rstd1, p->features, W(NORM1_WEIGHT), W(NORM1_BIAS),
                         B * N, D, VJ_PROBE_EPS);
    vj_linear_forward(p->be, vj_f32(p->kv), vj_f32(p->keyed), vj_f32(W(KV_WEIGHT)), W(KV_BIAS), NULL, 0, B * N, 2 * D,
                      D);
    for (int64_t b = 0; b < B; b++) {
        for (int h = 0; h < NH; h++) {
            const float *k = p->kv + b * N * 2 * D + h * d;
            attend(p->y + b * D + h * d, p->prob + (b * NH + h) * N, p->q + h * d, k, k + D, N, d, 2 * D);
        }
        for (int i = 0; i < D; i++) p->y[b * D + i] += W(QUERY)[i];
    }
}

static void plain_backward(vj_probe *p, float *dfeatures)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    memset(p->dq, 0, sizeof(float) * (size_t)D);
    for (int64_t b = 0; b < B; b++) {
        float *dq = p->dq_clip + b * D;
        for (int h = 0; h < NH; h++) {
            int64_t at = b * N * 2 * D + h * d;
            attend_backward(dq + h * d, p->dkv + at, p->dkv + at + D, p->dy + b * D + h * d, p->prob + (b * NH + h) * N,
                            p->q + h * d, p->kv + at, p->kv + at + D, N, d, 2 * D);
        }
        for (int i = 0; i < D; i++) p->dq[i] += dq[i];
    }
    vj_linear_backward_weight(p->be, G(KV_WEIGHT), G(KV_BIAS), vj_f32(p->dkv), vj_f32(p->keyed), 0, B * N, 2 * D, D);
    vj_linear_backward_input(p->be, vj_f32(p->dkeyed), vj_f32(p->dkv), vj_f32(W(KV_WEIGHT)), B * N, 2 * D, D);
    vj_layernorm_backward(p->be, dfeatures ? dfeatures : p->dtokens, (vj_array){0}, G(NORM1_WEIGHT), G(NORM1_BIAS),
                          p->dkeyed, p->features, p->mean1, p->rstd1, W(NORM1_WEIGHT), NULL, 0, 0, B * N, D);
}

/* ------------------------------------------------------------------------------------------------ both */

void vj_probe_attend_forward(vj_probe *p)
{
    int64_t B = p->B;
    int D = p->shape.D;
    float scale = 1.0f / sqrtf((float)(D / p->shape.heads));
    vj_linear_forward(p->be, vj_f32(p->q), vj_f32(W(QUERY)), vj_f32(W(Q_WEIGHT)), W(Q_BIAS), NULL, 0, 1, D, D);
    for (int i = 0; i < D; i++) p->q[i] *= scale;
    if (p->shape.folded)
        folded_forward(p);
    else
        plain_forward(p);
    vj_layernorm_forward(p->be, vj_f32(p->normed), p->mean2, p->rstd2, p->y, W(NORM2_WEIGHT), W(NORM2_BIAS), B, D,
                         VJ_PROBE_EPS);
    vj_linear_gelu_forward(p->be, vj_f32(p->hidden), vj_f32(p->pre), vj_f32(p->normed), vj_f32(W(FC1_WEIGHT)),
                           W(FC1_BIAS), B, 4 * D, D);
    vj_linear_forward(p->be, vj_f32(p->pooled), vj_f32(p->hidden), vj_f32(W(FC2_WEIGHT)), W(FC2_BIAS), p->y, B, B, D,
                      4 * D);
}

void vj_probe_attend_backward(vj_probe *p, float *dfeatures)
{
    int64_t B = p->B;
    int D = p->shape.D;
    float scale = 1.0f / sqrtf((float)(D / p->shape.heads));
    /* MLP and its norm; dy = dpooled + what comes through them. pre becomes its own gradient. */
    vj_linear_backward_weight(p->be, G(FC2_WEIGHT), G(FC2_BIAS), vj_f32(p->dpooled), vj_f32(p->hidden), 0, B, D, 4 * D);
    vj_linear_gelu_backward_input(p->be, vj_f32(p->pre), (vj_array){0}, vj_f32(p->dpooled), vj_f32(W(FC2_WEIGHT)),
                                  vj_f32(p->pre), B, D, 4 * D);
    vj_linear_backward_weight(p->be, G(FC1_WEIGHT), G(FC1_BIAS), vj_f32(p->pre), vj_f32(p->normed), 0, B, 4 * D, D);
    vj_linear_backward_input(p->be, vj_f32(p->dnormed), vj_f32(p->pre), vj_f32(W(FC1_WEIGHT)), B, 4 * D, D);
    vj_copy(p->be, p->dy, p->dpooled, B * D);
    vj_layernorm_backward(p->be, p->dy, (vj_array){0}, G(NORM2_WEIGHT), G(NORM2_BIAS), p->dnormed, p->y, p->mean2,
                          p->rstd2, W(NORM2_WEIGHT), NULL, 1, 0, B, D);
    if (p->shape.folded)
        folded_backward(p);
    else
        plain_backward(p, dfeatures);
    /* The query: through its projection, and directly as the residual of every clip. */
    for (int i = 0; i < D; i++) p->dq[i] *= scale;
    vj_linear_backward_weight(p->be, G(Q_WEIGHT), G(Q_BIAS), vj_f32(p->dq), vj_f32(W(QUERY)), 0, 1, D, D);
    vj_linear_backward_input(p->be, vj_f32(G(QUERY)), vj_f32(p->dq), vj_f32(W(Q_WEIGHT)), 1, D, D);
    for (int64_t b = 0; b < B; b++)
        for (int i = 0; i < D; i++) G(QUERY)[i] += p->dy[b * D + i];
}
