/*
 * The cross-attention of the attentive pooler (docs/method.md, section 12.1): q = q0 Wq^T + bq; a = attention(q, kv of
 * LN1(tokens)), without output projection; y = q0 + a. There are two forms: plain, as written, and folded (probe.h).
 * Both store q scaled by 1/sqrt(d), so scores need no further factor. The steps after y are in query.c.
 */
#include <math.h>

#include "probe/parts.h"

#define W(id) vj_probe_weight(p, id)
#define G(id) vj_probe_gradient(p, id)

static void project_query(struct vj_probe *p)
{
    const int D = p->shape.D;
    vj_linear_forward(p->be, vj_f32(p->q), vj_f32(W(QUERY)), vj_f32(W(Q_WEIGHT)), W(Q_BIAS), NULL, 0, 1, D, D);
    vj_scale(p->be, p->q, 1.0f / sqrtf((float)(D / p->shape.heads)), D);
}

/* Compute the query's gradients: through its projection, and directly as the residual of each clip. */
static void query_gradients(struct vj_probe *p, int64_t B)
{
    const int D = p->shape.D;
    vj_scale(p->be, p->dq, 1.0f / sqrtf((float)(D / p->shape.heads)), D);
    vj_linear_backward_weight(p->be, G(Q_WEIGHT), G(Q_BIAS), vj_f32(p->dq), vj_f32(W(QUERY)), 0, 1, D, D);
    vj_linear_backward_input(p->be, vj_f32(G(QUERY)), vj_f32(p->dq), vj_f32(W(Q_WEIGHT)), 1, D, D);
    for (int64_t b = 0; b < B; b++) vj_add(p->be, G(QUERY), p->dy + b * D, D);
}

/* ------------------------------------------------------------------------------------------------ folded */

/* Fold the key projection and the gain into one vector per head. */
void vj_probe_fold(struct vj_probe *p)
{
    const int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    project_query(p);
    for (int h = 0; h < NH; h++)
        vj_linear_backward_input(p->be, vj_f32(p->back + h * D), vj_f32(p->q + h * d),
                                 vj_f32(W(KV_WEIGHT) + (int64_t)h * d * D), 1, d, D);
    vj_fold_gain(p->be, p->fold, p->back, W(NORM1_WEIGHT), NH, D);
}

/* Project the pooled tokens to values, and add the query: y. */
void vj_probe_project(struct vj_probe *p, int64_t first, int64_t count)
{
    const int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    vj_affine_heads(p->be, p->value, p->mix + first * NH * D, W(NORM1_WEIGHT), W(NORM1_BIAS), count, D, NH);
    for (int h = 0; h < NH; h++)
        vj_linear_forward(p->be, vj_f32(p->head + h * count * d), vj_f32(p->value + h * count * D),
                          vj_f32(W(KV_WEIGHT) + (int64_t)(D + h * d) * D), W(KV_BIAS) + D + h * d, NULL, 0, count, d,
                          D);
    vj_join_heads(p->be, p->y + first * D, p->head, W(QUERY), count, D, NH);
}

/* Compute dhead and dvalue from dy. */
static void values_backward(struct vj_probe *p, int64_t first, int64_t count)
{
    const int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    vj_split_heads(p->be, p->dhead, p->dy + first * D, count, D, NH);
    for (int h = 0; h < NH; h++)
        vj_linear_backward_input(p->be, vj_f32(p->dvalue + h * count * D), vj_f32(p->dhead + h * count * d),
                                 vj_f32(W(KV_WEIGHT) + (int64_t)(D + h * d) * D), count, d, D);
}

void vj_probe_project_backward(struct vj_probe *p, int64_t first, int64_t count)
{
    const int D = p->shape.D, NH = p->shape.heads;
    const int64_t at = first * NH * D;
    values_backward(p, first, count);
    vj_affine_heads_backward(p->be, p->dmix + at, p->sink, p->sink + D, p->dvalue, p->mix + at, W(NORM1_WEIGHT), count,
                             D, NH);
}

void vj_probe_project_gradients(struct vj_probe *p, int64_t B)
{
    const int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    values_backward(p, 0, B);
    vj_affine_heads(p->be, p->value, p->mix, W(NORM1_WEIGHT), W(NORM1_BIAS), B, D, NH);
    for (int h = 0; h < NH; h++) {
        const int64_t row = D + h * d;
        vj_linear_backward_weight(p->be, G(KV_WEIGHT) + row * D, G(KV_BIAS) + row, vj_f32(p->dhead + h * B * d),
                                  vj_f32(p->value + h * B * D), 0, B, d, D);
    }
    vj_affine_heads_backward(p->be, p->dmix, G(NORM1_WEIGHT), G(NORM1_BIAS), p->dvalue, p->mix, W(NORM1_WEIGHT), B, D,
                             NH);
}

/* A constant added to all scores changes nothing, so the gradients of the key's bias, and of the norm's bias through
 * the keys, are exactly zero. */
void vj_probe_fold_gradients(struct vj_probe *p, int64_t B)
{
    const int D = p->shape.D, NH = p->shape.heads, d = D / NH;
    vj_fill(p->be, G(KV_BIAS), 0.0f, D);
    vj_fold_gain_backward(p->be, p->dback, G(NORM1_WEIGHT), p->dfold, p->back, W(NORM1_WEIGHT), NH, D);
    for (int h = 0; h < NH; h++) {
        const int64_t at = (int64_t)h * d * D;
        vj_linear_backward_weight(p->be, G(KV_WEIGHT) + at, NULL, vj_f32(p->q + h * d), vj_f32(p->dback + h * D), 0, 1,
                                  d, D);
        vj_linear_forward(p->be, vj_f32(p->dq + h * d), vj_f32(p->dback + h * D), vj_f32(W(KV_WEIGHT) + at), NULL, NULL,
                          0, 1, d, D);
    }
    query_gradients(p, B);
}

/* ------------------------------------------------------------------------------------------------ plain */

static void plain_forward(struct vj_probe *p)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads;
    project_query(p);
    vj_layernorm_forward(p->be, vj_f32(p->keyed), p->mean1, p->rstd1, p->features, W(NORM1_WEIGHT), W(NORM1_BIAS),
                         B * N, D, VJ_PROBE_EPS);
    vj_linear_forward(p->be, vj_f32(p->kv), vj_f32(p->keyed), vj_f32(W(KV_WEIGHT)), W(KV_BIAS), NULL, 0, B * N, 2 * D,
                      D);
    vj_query_attention_forward(p->be, p->y, p->prob, p->q, p->kv, W(QUERY), B, N, D, NH);
}

static void plain_backward(struct vj_probe *p, float *dfeatures)
{
    int64_t B = p->B, N = p->shape.tokens;
    int D = p->shape.D, NH = p->shape.heads;
    vj_query_attention_backward(p->be, p->dq_clip, p->dkv, p->dy, p->prob, p->q, p->kv, B, N, D, NH);
    vj_fill(p->be, p->dq, 0.0f, D);
    for (int64_t b = 0; b < B; b++) vj_add(p->be, p->dq, p->dq_clip + b * D, D);
    vj_linear_backward_weight(p->be, G(KV_WEIGHT), G(KV_BIAS), vj_f32(p->dkv), vj_f32(p->keyed), 0, B * N, 2 * D, D);
    vj_linear_backward_input(p->be, vj_f32(p->dkeyed), vj_f32(p->dkv), vj_f32(W(KV_WEIGHT)), B * N, 2 * D, D);
    vj_layernorm_backward(p->be, dfeatures ? dfeatures : p->dtokens, (vj_array){0}, (vj_array){0}, G(NORM1_WEIGHT),
                          G(NORM1_BIAS), NULL, vj_f32(p->dkeyed), p->features, p->mean1, p->rstd1, W(NORM1_WEIGHT),
                          NULL, 0, 0, B * N, D);
    query_gradients(p, B);
}

/* ------------------------------------------------------------------------------------------------ both */

void vj_probe_attend(struct vj_probe *p)
{
    if (!p->shape.folded) {
        plain_forward(p);
        return;
    }
    vj_probe_fold(p);
    vj_pool_forward(p->be, p->mix, p->prob, p->features, p->fold, p->B, p->shape.tokens, p->shape.D, p->shape.heads);
    vj_probe_project(p, 0, p->B);
}

void vj_probe_attend_gradients(struct vj_probe *p, float *dfeatures)
{
    if (!p->shape.folded) {
        plain_backward(p, dfeatures);
        return;
    }
    vj_probe_project_gradients(p, p->B);
    vj_pool_backward(p->be, p->dfold, p->dmix, p->mix, p->prob, p->features, p->B, p->shape.tokens, p->shape.D,
                     p->shape.heads);
    vj_probe_fold_gradients(p, p->B);
}
