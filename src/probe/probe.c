/*
 * A probe's parameters, class layer, loss and update. The attentive pooler is in attentive.c and query.c; average
 * pooling, a mean over the tokens, is here.
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

static void describe(struct vj_probe *p, int id, const char *name, int64_t rows, int64_t cols, vj_probe_draw start)
{
    p->tensor[id] = (vj_probe_tensor){.name = name,
                                      .rows = rows,
                                      .cols = cols,
                                      .decay = id < NORM1_WEIGHT,
                                      .start = start,
                                      .divisor = id == FC2_WEIGHT ? sqrt(2.0) : 1.0};
}

static void describe_all(struct vj_probe *p)
{
    const int64_t D = p->shape.D;
    const bool last = p->shape.norm_last;
    describe(p, LINEAR_WEIGHT, "linear.weight", p->shape.classes, D, VJ_DRAW_UNIFORM);
    describe(p, LINEAR_BIAS, "linear.bias", p->shape.classes, 1, VJ_DRAW_UNIFORM);
    if (p->shape.pooling == VJ_POOL_AVERAGE) return;
#define BLOCK "pooler.cross_attention_block."
    describe(p, QUERY, "pooler.query_tokens", 1, D, VJ_DRAW_NORMAL);
    describe(p, NORM1_WEIGHT, BLOCK "norm1.weight", D, 1, VJ_DRAW_ONE);
    describe(p, NORM1_BIAS, BLOCK "norm1.bias", D, 1, VJ_DRAW_ZERO);
    describe(p, Q_WEIGHT, BLOCK "xattn.q.weight", D, D, VJ_DRAW_NORMAL);
    describe(p, Q_BIAS, BLOCK "xattn.q.bias", D, 1, VJ_DRAW_ZERO);
    describe(p, KV_WEIGHT, BLOCK "xattn.kv.weight", 2 * D, D, VJ_DRAW_NORMAL);
    describe(p, KV_BIAS, BLOCK "xattn.kv.bias", 2 * D, 1, VJ_DRAW_ZERO);
    describe(p, NORM2_WEIGHT, last ? "pooler.norm.weight" : BLOCK "norm2.weight", D, 1, VJ_DRAW_ONE);
    describe(p, NORM2_BIAS, last ? "pooler.norm.bias" : BLOCK "norm2.bias", D, 1, VJ_DRAW_ZERO);
    describe(p, FC1_WEIGHT, BLOCK "mlp.fc1.weight", 4 * D, D, VJ_DRAW_NORMAL);
    describe(p, FC1_BIAS, BLOCK "mlp.fc1.bias", 4 * D, 1, VJ_DRAW_ZERO);
    describe(p, FC2_WEIGHT, BLOCK "mlp.fc2.weight", D, 4 * D, VJ_DRAW_NORMAL);
    describe(p, FC2_BIAS, BLOCK "mlp.fc2.bias", D, 1, VJ_DRAW_ZERO);
#undef BLOCK
    vj_probe_describe_blocks(p);
}

static void count_values(struct vj_probe *p)
{
    for (int id = 0; id < p->tensors; id++)
        if (p->tensor[id].name) p->size += p->tensor[id].rows * p->tensor[id].cols;
}

/* Tensors with weight decay come first: AdamW updates two contiguous segments. */
void vj_probe_place_tensors(struct vj_probe *p, float *weights, float *gradients)
{
    int64_t at = 0;
    p->weights = weights;
    p->gradients = gradients;
    for (int decay = 1; decay >= 0; decay--) {
        for (int id = 0; id < p->tensors; id++) {
            vj_probe_tensor *t = &p->tensor[id];
            if (!t->name || t->decay != decay) continue;
            t->weight = weights + at;
            t->gradient = gradients + at;
            at += t->rows * t->cols;
        }
        if (decay) p->decayed = at;
    }
    VJ_ASSERT(at == p->size);
}

static void place_attention(struct vj_probe *p, vj_arena *arena)
{
    const vj_probe_shape *s = &p->shape;
    const int64_t B = s->batch, D = s->D, N = s->tokens, NH = s->heads;
    p->q = vj_arena_floats(arena, D);
    p->dq = vj_arena_floats(arena, D);
    if (p->parts != VJ_PARTS_ROWS) p->prob = vj_arena_floats(arena, B * NH * N);
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

/* Point everything into the arena. Called twice: to measure the size, then to place. */
static void place(struct vj_probe *p, vj_arena *arena)
{
    const vj_probe_shape *s = &p->shape;
    if (p->parts != VJ_PARTS_PASSES) { /* the state of a checkpoint is one array: weights and moments */
        p->weights = vj_arena_floats(arena, 3 * p->size);
        p->first_moment = p->weights + p->size;
        p->second_moment = p->weights + 2 * p->size;
        p->gradients = vj_arena_floats(arena, p->size);
    }
    p->logits = vj_arena_floats(arena, s->batch * s->classes);
    p->dlogits = vj_arena_floats(arena, s->batch * s->classes);
    p->sum = vj_arena_take(arena, sizeof(double));
    p->labels = vj_arena_ints(arena, s->batch);
    if (s->pooling == VJ_POOL_AVERAGE) {
        p->pooled = vj_arena_floats(arena, s->batch * s->D);
        p->dpooled = vj_arena_floats(arena, s->batch * s->D);
        return;
    }
    vj_probe_place_stages(p, arena);
    place_attention(p, arena);
}

static vj_status check_shape(const vj_probe_shape *s)
{
    if (s->D < 1 || s->classes < 1 || s->tokens < 1 || s->batch < 1)
        return vj_raise(VJ_ERR_USAGE, "a probe of width %d, %d classes, %lld tokens and batch %lld is impossible", s->D,
                        s->classes, (long long)s->tokens, (long long)s->batch);
    if (s->pooling == VJ_POOL_ATTENTIVE && (s->heads < 1 || s->D % s->heads != 0))
        return vj_raise(VJ_ERR_USAGE, "%d heads do not divide the features' width %d", s->heads, s->D);
    if (s->blocks < 0 || (s->blocks > 0 && (s->pooling == VJ_POOL_AVERAGE || s->norm_last)))
        return vj_raise(VJ_ERR_USAGE, "an %s probe%s has no %d further blocks", vj_pooling_name(s->pooling),
                        s->norm_last ? " with its norm behind the MLP" : "", s->blocks);
    return VJ_OK;
}

/* Make a probe without its device memory, and compute how many bytes it needs. */
static vj_status plan(struct vj_probe **probe, const vj_probe_shape *shape, vj_probe_parts parts, int64_t *bytes)
{
    *probe = NULL;
    VJ_TRY(check_shape(shape));
    struct vj_probe *p = vj_calloc(1, sizeof *p);
    if (p) {
        const int more = BLOCK_TENSORS * shape->blocks;
        p->shape = *shape;
        p->parts = parts;
        p->tensors = TENSORS + more;
        p->tensor = vj_calloc(p->tensors, sizeof *p->tensor);
        p->block_name = vj_calloc(more + 1, sizeof *p->block_name);
        p->stage = vj_calloc(1 + shape->blocks, sizeof *p->stage);
    }
    if (!p || !p->tensor || !p->block_name || !p->stage) {
        vj_probe_destroy(p);
        return vj_raise(VJ_ERR_MEMORY, "no memory for a probe");
    }
    describe_all(p);
    count_values(p);
    vj_arena arena = {0};
    place(p, &arena);
    *bytes = arena.peak;
    *probe = p;
    return VJ_OK;
}

int64_t vj_probe_parts_bytes(const vj_probe_shape *shape, vj_probe_parts parts)
{
    struct vj_probe *p;
    int64_t bytes = 0;
    if (plan(&p, shape, parts, &bytes) == VJ_OK) vj_probe_destroy(p);
    return bytes;
}

vj_status vj_probe_create_parts(struct vj_probe **probe, vj_backend *be, const vj_probe_shape *shape,
                                vj_probe_parts parts)
{
    int64_t bytes;
    VJ_TRY(plan(probe, shape, parts, &bytes));
    struct vj_probe *p = *probe;
    p->be = be;
    p->memory = vj_device_alloc(be, bytes);
    if (!p->memory) {
        vj_probe_destroy(p);
        *probe = NULL;
        return VJ_ERR_MEMORY; /* reported by the device */
    }
    vj_fill(be, p->memory, 0.0f, bytes / (int64_t)sizeof(float));
    vj_arena arena = {.base = p->memory};
    place(p, &arena);
    if (parts != VJ_PARTS_PASSES) vj_probe_place_tensors(p, p->weights, p->gradients);
    return VJ_OK;
}

vj_status vj_probe_create(struct vj_probe **probe, vj_backend *be, const vj_probe_shape *shape)
{
    return vj_probe_create_parts(probe, be, shape, VJ_PARTS_ALL);
}

void vj_probe_destroy(struct vj_probe *p)
{
    if (!p) return;
    if (p->memory) vj_device_free(p->be, p->memory);
    free(p->tensor);
    free(p->block_name);
    free(p->stage);
    free(p);
}

/* ------------------------------------------------------------------------------------------------ parameters */

int vj_probe_tensor_count(const vj_probe *p)
{
    return p->shape.pooling == VJ_POOL_AVERAGE ? 2 : p->tensors;
}

vj_probe_tensor *vj_probe_tensor_at(vj_probe *p, int i)
{
    VJ_ASSERT(i >= 0 && i < vj_probe_tensor_count(p));
    for (int id = 0; id < p->tensors; id++)
        if (p->tensor[id].name && i-- == 0) return &p->tensor[id];
    return NULL;
}

void vj_probe_draw_tensor(float *weight, const vj_probe_tensor *t, int id, uint64_t seed, double std, int D)
{
    vj_rng rng;
    vj_rng_init(&rng, seed, VJ_RNG_PROBE, (uint64_t)id);
    const double limit = 1.0 / sqrt(D);
    for (int64_t i = 0; i < t->rows * t->cols; i++) {
        double w = 0.0;
        if (t->start == VJ_DRAW_UNIFORM)
            w = limit * (2.0 * vj_rng_uniform(&rng) - 1.0);
        else if (t->start == VJ_DRAW_ONE)
            w = 1.0;
        else if (t->start == VJ_DRAW_NORMAL)
            w = std / t->divisor * vj_rng_normal(&rng);
        weight[i] = (float)w;
    }
}

vj_status vj_probe_init(vj_probe *p, uint64_t seed, double std)
{
    float *host = vj_calloc(p->size, sizeof *host);
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory to draw a probe's weights");
    for (int id = 0; id < p->tensors; id++)
        if (p->tensor[id].name)
            vj_probe_draw_tensor(host + (p->tensor[id].weight - p->weights), &p->tensor[id], id, seed, std, p->shape.D);
    vj_upload(p->be, p->weights, host, p->size * (int64_t)sizeof *host);
    const vj_status status = vj_sync(p->be);
    free(host);
    return status;
}

void vj_probe_update(vj_probe *p, int64_t update, double lr, double weight_decay, double clip)
{
    vj_probe_update_parts(p, update, lr, weight_decay, clip, 0);
}

vj_adamw_step vj_probe_adamw(vj_backend *be, int64_t update, const float *gradient, int64_t n, double *sum, double clip)
{
    vj_adamw_step step = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .gradient_scale = 1.0};
    step.correction1 = 1.0 - pow(step.beta1, (double)update);
    step.correction2 = 1.0 - pow(step.beta2, (double)update);
    if (clip > 0.0) {
        vj_sum_squares(be, sum, gradient, n);
        double squares;
        vj_download(be, &squares, sum, (int64_t)sizeof squares);
        step.gradient_scale = fmin(1.0, clip / (sqrt(squares) + 1e-6));
    }
    return step;
}

void vj_probe_update_parts(struct vj_probe *p, int64_t update, double lr, double weight_decay, double clip,
                           int decay_all)
{
    const vj_adamw_step step = vj_probe_adamw(p->be, update, p->gradients, p->size, p->sum, clip);
    const vj_adamw_vectors v = {
        .w = p->weights, .first_moment = p->first_moment, .second_moment = p->second_moment, .gradient = p->gradients};
    const vj_segment segments[] = {
        {.count = p->decayed, .lr = lr, .weight_decay = weight_decay},
        {.offset = p->decayed, .count = p->size - p->decayed, .lr = lr, .weight_decay = decay_all ? weight_decay : 0.0},
    };
    vj_adamw(p->be, &v, segments, 2, &step);
}

/* ------------------------------------------------------------------------------------------------ passes */

void vj_probe_classify(struct vj_probe *p, int64_t first, int64_t count)
{
    const int D = p->shape.D, classes = p->shape.classes;
    vj_linear_forward(p->be, vj_f32(p->logits + first * classes), vj_f32(p->pooled + first * D),
                      vj_f32(vj_probe_weight(p, LINEAR_WEIGHT)), vj_probe_weight(p, LINEAR_BIAS), NULL, 0, count,
                      classes, D);
}

void vj_probe_classify_backward(struct vj_probe *p, int64_t first, int64_t count)
{
    const int D = p->shape.D, classes = p->shape.classes;
    vj_linear_backward_input(p->be, vj_f32(p->dpooled + first * D), vj_f32(p->dlogits + first * classes),
                             vj_f32(vj_probe_weight(p, LINEAR_WEIGHT)), count, classes, D);
}

void vj_probe_classify_gradients(struct vj_probe *p, int64_t B)
{
    vj_linear_backward_weight(p->be, vj_probe_gradient(p, LINEAR_WEIGHT), vj_probe_gradient(p, LINEAR_BIAS),
                              vj_f32(p->dlogits), vj_f32(p->pooled), 0, B, p->shape.classes, p->shape.D);
}

void vj_probe_forward(vj_probe *p, const float *features, int64_t B)
{
    VJ_ASSERT(B >= 1 && B <= p->shape.batch && p->parts != VJ_PARTS_ROWS);
    p->B = B;
    p->features = features;
    if (p->shape.pooling == VJ_POOL_AVERAGE)
        vj_mean_tokens(p->be, p->pooled, features, B, p->shape.tokens, p->shape.D);
    else {
        vj_probe_attend(p);
        vj_probe_stages(p, 0, B);
    }
    vj_probe_classify(p, 0, B);
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
    vj_probe_classify_gradients(p, p->B);
    if (p->shape.pooling == VJ_POOL_AVERAGE && !dfeatures) return;
    vj_probe_classify_backward(p, 0, p->B);
    if (p->shape.pooling == VJ_POOL_AVERAGE) {
        vj_mean_tokens_backward(p->be, dfeatures, p->dpooled, p->B, p->shape.tokens, p->shape.D);
        return;
    }
    vj_probe_stages_backward(p, 0, p->B);
    vj_probe_stages_gradients(p, p->B);
    vj_probe_attend_gradients(p, dfeatures);
}

void vj_probe_normalise(vj_backend *be, float *xhat, const float *x, int64_t R, int D)
{
    vj_layernorm_forward(be, vj_f32(xhat), NULL, NULL, x, NULL, NULL, R, D, VJ_PROBE_EPS);
}
