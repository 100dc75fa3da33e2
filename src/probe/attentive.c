/*
 * The attentive pooler (docs/method.md, section 12.1): q = q0 Wq^T + bq; a = attention(q, kv of LN1(tokens)), no output
 * projection; y = q0 + a; pooled = y + MLP(LN2(y)). Two forms of the attention: plain, as written, and folded
 * (probe.h). Both keep q scaled by 1/sqrt(d), so scores need no further factor.
 */
#include <math.h>

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
    vj_fold_gain(p->be, p->fold, p->back, gain, NH, D);
    vj_pool_forward(p->be, p->mix, p->prob, p->features, p->fold, B, N, D, NH);
    vj_affine_heads(p->be, p->value, p->mix, gain, bias, B, D, NH);
    for (int h = 0; h < NH; h++)
        vj_linear_forward(p->be, vj_f32(p->head + h * B * d), vj_f32(p->value + h * B * D),
                          vj_f32(W(KV_WEIGHT) + (int64_t)(D + h * d) * D), W(KV_BIAS) + D + h * d, NULL, 0, B, d, D);
    vj_join_heads(p->be, p->y, p->head, q0, B, D, NH);
}

/* dq and the gradients of norm1 and kv from dy. A constant added to all scores changes nothing, so the key's bias and
   the norm's bias through the keys have the gradient zero exactly. */
static void folded_backward(vj_probe *p)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    const float *gain = W(NORM1_WEIGHT);
    float *dgain = G(NORM1_WEIGHT), *dbias = G(NORM1_BIAS);
    vj_fill(p->be, G(KV_BIAS), 0.0f, D);
    vj_split_heads(p->be, p->dhead, p->dy, B, D, NH);
    for (int h = 0; h < NH; h++) {
        float *dhead = p->dhead + h * B * d, *dvalue = p->dvalue + h * B * D;
        int64_t row = D + h * d;
        vj_linear_backward_weight(p->be, G(KV_WEIGHT) + row * D, G(KV_BIAS) + row, vj_f32(dhead),
                                  vj_f32(p->value + h * B * D), 0, B, d, D);
        vj_linear_backward_input(p->be, vj_f32(dvalue), vj_f32(dhead), vj_f32(W(KV_WEIGHT) + row * D), B, d, D);
    }
    vj_affine_heads_backward(p->be, p->dmix, dgain, dbias, p->dvalue, p->mix, gain, B, D, NH);
    vj_pool_backward(p->be, p->dfold, p->dmix, p->mix, p->prob, p->features, B, N, D, NH);
    vj_fold_gain_backward(p->be, p->dback, dgain, p->dfold, p->back, gain, NH, D);
    for (int h = 0; h < NH; h++) {
        int64_t at = (int64_t)h * d * D;
        vj_linear_backward_weight(p->be, G(KV_WEIGHT) + at, NULL, vj_f32(p->q + h * d), vj_f32(p->dback + h * D), 0, 1,
                                  d, D);
        vj_linear_forward(p->be, vj_f32(p->dq + h * d), vj_f32(p->dback + h * D), vj_f32(W(KV_WEIGHT) + at), NULL, NULL,
                          0, 1, d, D);
    }
}

/* ------------------------------------------------------------------------------------------------ plain */

static void plain_forward(vj_probe *p)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads;
    vj_layernorm_forward(p->be, vj_f32(p->keyed), p->mean1, p->rstd1, p->features, W(NORM1_WEIGHT), W(NORM1_BIAS),
                         B * N, D, VJ_PROBE_EPS);
    vj_linear_forward(p->be, vj_f32(p->kv), vj_f32(p->keyed), vj_f32(W(KV_WEIGHT)), W(KV_BIAS), NULL, 0, B * N, 2 * D,
                      D);
    vj_query_attention_forward(p->be, p->y, p->prob, p->q, p->kv, W(QUERY), B, N, D, NH);
}

static void plain_backward(vj_probe *p, float *dfeatures)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads;
    vj_query_attention_backward(p->be, p->dq_clip, p->dkv, p->dy, p->prob, p->q, p->kv, B, N, D, NH);
    vj_fill(p->be, p->dq, 0.0f, D);
    for (int64_t b = 0; b < B; b++) vj_add(p->be, p->dq, p->dq_clip + b * D, D);
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
    vj_scale(p->be, p->q, scale, D);
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
    vj_scale(p->be, p->dq, scale, D);
    vj_linear_backward_weight(p->be, G(Q_WEIGHT), G(Q_BIAS), vj_f32(p->dq), vj_f32(W(QUERY)), 0, 1, D, D);
    vj_linear_backward_input(p->be, vj_f32(G(QUERY)), vj_f32(p->dq), vj_f32(W(Q_WEIGHT)), 1, D, D);
    for (int64_t b = 0; b < B; b++) vj_add(p->be, G(QUERY), p->dy + b * D, D);
}
