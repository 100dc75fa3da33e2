/*
 * A probe's parameters, class layer, loss and update. The attentive pooler is in attentive.c; average pooling, a mean
 * over the tokens, is here.
 */
#include "probe/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/arena.h"
#include "probe/parts.h"

const char *vj_pooling_name(vj_pooling pooling)
{
    return pooling == VJ_POOL_ATTENTIVE ? "attentive" : "average";
}

vj_status vj_pooling_parse(vj_pooling *pooling, const char *name)
{
    for (int i = VJ_POOL_ATTENTIVE; i <= VJ_POOL_AVERAGE; i++)
        if (strcmp(name, vj_pooling_name((vj_pooling)i)) == 0) {
            *pooling = (vj_pooling)i;
            return VJ_OK;
        }
    return vj_raise(VJ_ERR_USAGE, "there is no pooling '%s': attentive or average", name);
}

/* ------------------------------------------------------------------------------------------------ memory */

static void describe(vj_probe *p, int id, const char *name, int64_t rows, int64_t cols)
{
    int decay = id < NORM1_WEIGHT;
    p->tensor[id] = (vj_probe_tensor){.name = name, .rows = rows, .cols = cols, .decay = decay};
    p->size += rows * cols;
    if (decay) p->decayed += rows * cols;
}

static void describe_all(vj_probe *p)
{
    int64_t D = p->shape.D;
    describe(p, LINEAR_WEIGHT, "linear.weight", p->shape.classes, D);
    describe(p, LINEAR_BIAS, "linear.bias", p->shape.classes, 1);
    if (p->shape.pooling == VJ_POOL_AVERAGE) return;
    describe(p, QUERY, "pooler.query_tokens", 1, D);
    describe(p, NORM1_WEIGHT, "pooler.cross_attention_block.norm1.weight", D, 1);
    describe(p, NORM1_BIAS, "pooler.cross_attention_block.norm1.bias", D, 1);
    describe(p, Q_WEIGHT, "pooler.cross_attention_block.xattn.q.weight", D, D);
    describe(p, Q_BIAS, "pooler.cross_attention_block.xattn.q.bias", D, 1);
    describe(p, KV_WEIGHT, "pooler.cross_attention_block.xattn.kv.weight", 2 * D, D);
    describe(p, KV_BIAS, "pooler.cross_attention_block.xattn.kv.bias", 2 * D, 1);
    describe(p, NORM2_WEIGHT, "pooler.cross_attention_block.norm2.weight", D, 1);
    describe(p, NORM2_BIAS, "pooler.cross_attention_block.norm2.bias", D, 1);
    describe(p, FC1_WEIGHT, "pooler.cross_attention_block.mlp.fc1.weight", 4 * D, D);
    describe(p, FC1_BIAS, "pooler.cross_attention_block.mlp.fc1.bias", 4 * D, 1);
    describe(p, FC2_WEIGHT, "pooler.cross_attention_block.mlp.fc2.weight", D, 4 * D);
    describe(p, FC2_BIAS, "pooler.cross_attention_block.mlp.fc2.bias", D, 1);
}

/* Point everything into the arena. Called twice: to measure, then to place. */
static void place(vj_probe *p, vj_arena *arena)
{
    const vj_probe_shape *s = &p->shape;
    int64_t B = s->batch, D = s->D, N = s->tokens, NH = s->heads;
    p->weights = vj_arena_floats(arena, p->size);
    p->gradients = vj_arena_floats(arena, p->size);
    p->first_moment = vj_arena_floats(arena, p->size);
    p->second_moment = vj_arena_floats(arena, p->size);
    p->pooled = vj_arena_floats(arena, B * D);
    p->dpooled = vj_arena_floats(arena, B * D);
    p->logits = vj_arena_floats(arena, B * s->classes);
    p->dlogits = vj_arena_floats(arena, B * s->classes);
    p->sum = vj_arena_take(arena, sizeof(double));
    p->labels = vj_arena_ints(arena, B);
    if (s->pooling == VJ_POOL_AVERAGE) return;
    p->y = vj_arena_floats(arena, B * D);
    p->dy = vj_arena_floats(arena, B * D);
    p->normed = vj_arena_floats(arena, B * D);
    p->dnormed = vj_arena_floats(arena, B * D);
    p->mean2 = vj_arena_floats(arena, B);
    p->rstd2 = vj_arena_floats(arena, B);
    p->pre = vj_arena_floats(arena, B * 4 * D);
    p->hidden = vj_arena_floats(arena, B * 4 * D);
    p->q = vj_arena_floats(arena, D);
    p->dq = vj_arena_floats(arena, D);
    p->prob = vj_arena_floats(arena, B * NH * N);
    if (s->folded) {
        p->back = vj_arena_floats(arena, NH * D);
        p->dback = vj_arena_floats(arena, NH * D);
        p->fold = vj_arena_floats(arena, NH * D);
        p->dfold = vj_arena_floats(arena, NH * D);
        p->mix = vj_arena_floats(arena, B * NH * D);
        p->dmix = vj_arena_floats(arena, B * NH * D);
        p->value = vj_arena_floats(arena, NH * B * D);
        p->dvalue = vj_arena_floats(arena, NH * B * D);
        p->head = vj_arena_floats(arena, B * D);
        p->dhead = vj_arena_floats(arena, B * D);
    } else {
        p->keyed = vj_arena_floats(arena, B * N * D);
        p->dkeyed = vj_arena_floats(arena, B * N * D);
        p->mean1 = vj_arena_floats(arena, B * N);
        p->rstd1 = vj_arena_floats(arena, B * N);
        p->kv = vj_arena_floats(arena, B * N * 2 * D);
        p->dkv = vj_arena_floats(arena, B * N * 2 * D);
        p->dq_clip = vj_arena_floats(arena, B * D);
        p->dtokens = vj_arena_floats(arena, B * N * D);
    }
}

/* Weights and gradients of each tensor, in the order of the enum. */
static void place_tensors(vj_probe *p)
{
    int64_t at = 0;
    for (int id = 0; id < TENSORS; id++) {
        vj_probe_tensor *t = &p->tensor[id];
        if (!t->name) continue;
        t->weight = p->weights + at;
        t->gradient = p->gradients + at;
        at += t->rows * t->cols;
    }
}

vj_status vj_probe_create(vj_probe **probe, vj_backend *be, const vj_probe_shape *shape)
{
    *probe = NULL;
    if (shape->D < 1 || shape->classes < 1 || shape->tokens < 1 || shape->batch < 1)
        return vj_raise(VJ_ERR_USAGE, "a probe of width %d, %d classes, %lld tokens and batch %lld is impossible",
                        shape->D, shape->classes, (long long)shape->tokens, (long long)shape->batch);
    if (shape->pooling == VJ_POOL_ATTENTIVE && (shape->heads < 1 || shape->D % shape->heads != 0))
        return vj_raise(VJ_ERR_USAGE, "%d heads do not divide the features' width %d", shape->heads, shape->D);
    vj_probe *p = vj_calloc(1, sizeof *p);
    if (!p) return vj_raise(VJ_ERR_MEMORY, "no memory for a probe");
    p->be = be;
    p->shape = *shape;
    describe_all(p);
    vj_arena arena = {0};
    place(p, &arena);
    int64_t bytes = arena.peak;
    p->memory = vj_device_alloc(be, bytes);
    if (!p->memory) {
        free(p);
        return VJ_ERR_MEMORY;
    }
    vj_fill(be, p->memory, 0.0f, bytes / (int64_t)sizeof(float));
    arena = (vj_arena){.base = p->memory};
    place(p, &arena);
    place_tensors(p);
    *probe = p;
    return VJ_OK;
}

void vj_probe_destroy(vj_probe *p)
{
    if (!p) return;
    vj_device_free(p->be, p->memory);
    free(p);
}

/* ------------------------------------------------------------------------------------------------ parameters */

int vj_probe_tensor_count(const vj_probe *p)
{
    return p->shape.pooling == VJ_POOL_AVERAGE ? 2 : TENSORS;
}

vj_probe_tensor *vj_probe_tensor_at(vj_probe *p, int i)
{
    VJ_ASSERT(i >= 0 && i < vj_probe_tensor_count(p));
    for (int id = 0; id < TENSORS; id++)
        if (p->tensor[id].name && i-- == 0) return &p->tensor[id];
    return NULL;
}

/* What a tensor starts from: normal with a deviation, uniform with a limit, or one value. */
static void draw(float *weight, const vj_probe_tensor *t, int id, uint64_t seed, double std, int D)
{
    vj_rng rng;
    vj_rng_init(&rng, seed, VJ_RNG_PROBE, (uint64_t)id);
    double limit = 1.0 / sqrt(D);
    for (int64_t i = 0; i < t->rows * t->cols; i++) {
        double w = 0.0;
        if (id == LINEAR_WEIGHT || id == LINEAR_BIAS)
            w = limit * (2.0 * vj_rng_uniform(&rng) - 1.0);
        else if (id == NORM1_WEIGHT || id == NORM2_WEIGHT)
            w = 1.0;
        else if (id == FC2_WEIGHT)
            w = std / sqrt(2.0) * vj_rng_normal(&rng);
        else if (t->decay)
            w = std * vj_rng_normal(&rng);
        weight[i] = (float)w;
    }
}

vj_status vj_probe_init(vj_probe *p, uint64_t seed, double std)
{
    float *host = vj_calloc(p->size, sizeof *host);
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory to draw a probe's weights");
    for (int id = 0; id < TENSORS; id++)
        if (p->tensor[id].name)
            draw(host + (p->tensor[id].weight - p->weights), &p->tensor[id], id, seed, std, p->shape.D);
    vj_upload(p->be, p->weights, host, p->size * (int64_t)sizeof *host);
    const vj_status status = vj_sync(p->be);
    free(host);
    return status;
}

void vj_probe_update(vj_probe *p, int64_t update, double lr, double weight_decay, double clip)
{
    vj_adamw_step step = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .gradient_scale = 1.0};
    step.correction1 = 1.0 - pow(step.beta1, (double)update);
    step.correction2 = 1.0 - pow(step.beta2, (double)update);
    if (clip > 0.0) {
        vj_sum_squares(p->be, p->sum, p->gradients, p->size);
        double squares;
        vj_download(p->be, &squares, p->sum, (int64_t)sizeof squares);
        step.gradient_scale = fmin(1.0, clip / (sqrt(squares) + 1e-6));
    }
    const vj_adamw_vectors v = {
        .w = p->weights, .first_moment = p->first_moment, .second_moment = p->second_moment, .gradient = p->gradients};
    const vj_segment segments[] = {
        {.count = p->decayed, .lr = lr, .weight_decay = weight_decay},
        {.offset = p->decayed, .count = p->size - p->decayed, .lr = lr},
    };
    vj_adamw(p->be, &v, segments, 2, &step);
}

/* ------------------------------------------------------------------------------------------------ passes */

void vj_probe_forward(vj_probe *p, const float *features, int64_t B)
{
    VJ_ASSERT(B >= 1 && B <= p->shape.batch);
    p->B = B;
    p->features = features;
    if (p->shape.pooling == VJ_POOL_AVERAGE)
        vj_mean_tokens(p->be, p->pooled, features, B, p->shape.tokens, p->shape.D);
    else
        vj_probe_attend_forward(p);
    vj_linear_forward(p->be, vj_f32(p->logits), vj_f32(p->pooled), vj_f32(vj_probe_weight(p, LINEAR_WEIGHT)),
                      vj_probe_weight(p, LINEAR_BIAS), NULL, 0, B, p->shape.classes, p->shape.D);
}

const float *vj_probe_pooled(const vj_probe *p)
{
    return p->pooled;
}
const float *vj_probe_logits(const vj_probe *p)
{
    return p->logits;
}

double vj_probe_loss(vj_probe *p, const int32_t *labels)
{
    double loss;
    for (int64_t b = 0; b < p->B; b++) VJ_ASSERT(labels[b] >= 0 && labels[b] < p->shape.classes);
    vj_upload(p->be, p->labels, labels, p->B * (int64_t)sizeof *labels);
    vj_softmax_loss(p->be, p->sum, p->dlogits, p->logits, p->labels, p->B, p->shape.classes);
    vj_download(p->be, &loss, p->sum, (int64_t)sizeof loss);
    return loss;
}

void vj_probe_backward(vj_probe *p, float *dfeatures)
{
    VJ_ASSERT(!dfeatures || p->shape.pooling == VJ_POOL_AVERAGE || !p->shape.folded);
    vj_linear_backward_weight(p->be, vj_probe_gradient(p, LINEAR_WEIGHT), vj_probe_gradient(p, LINEAR_BIAS),
                              vj_f32(p->dlogits), vj_f32(p->pooled), 0, p->B, p->shape.classes, p->shape.D);
    if (p->shape.pooling == VJ_POOL_AVERAGE && !dfeatures) return;
    vj_linear_backward_input(p->be, vj_f32(p->dpooled), vj_f32(p->dlogits), vj_f32(vj_probe_weight(p, LINEAR_WEIGHT)),
                             p->B, p->shape.classes, p->shape.D);
    if (p->shape.pooling == VJ_POOL_AVERAGE)
        vj_mean_tokens_backward(p->be, dfeatures, p->dpooled, p->B, p->shape.tokens, p->shape.D);
    else
        vj_probe_attend_backward(p, dfeatures);
}

void vj_probe_normalise(vj_backend *be, float *xhat, const float *x, int64_t R, int D)
{
    vj_layernorm_forward(be, vj_f32(xhat), NULL, NULL, x, NULL, NULL, R, D, VJ_PROBE_EPS);
}
