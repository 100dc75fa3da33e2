/*
 * V-JEPA 2's deep probe (token_probe.h): the blocks on the tokens are a stack (model/stack.h), the rest is a plain
 * probe of one clip (parts.h). All weights are one flat vector: the probe's, then the stack's. Probes of one shape may
 * share all memory except weights and moments.
 */
#include "probe/token_probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stack.h"
#include "probe/parts.h"

/* Gradients are summed in units of 2^-44 = 6e-14, which is below the rounding of gradients that are large enough to
 * matter next to AdamW's eps. The sum of a batch may reach 2^62 units = 262144; each sample is checked to stay within
 * its share of that. */
#define UNITS       0x1p44
#define LARGEST_SUM 0x1p18

/* The memory that probes of one shape can share: that of a forward and a backward pass, and a sample's gradient. */
typedef struct {
    vj_backend *be; /* borrowed */
    vj_token_probe_shape shape;
    int users;       /* probes */
    vj_probe *cross; /* cross-attention, MLP and class layer; its weights are those of the probe that runs */
    vj_stack stack;
    vj_params params; /* of the stack, including a final norm that is not used */
    vj_stack_memory memory;
    vj_stack_scratch scratch;
    int64_t first, size; /* the stack's place in the flat vectors, and their length */
    void *room;          /* everything below points into it */
    float *gradient;     /* [size] gradient of the last sample, or of a batch */
    int32_t *offset;     /* [2] of the rows of the one sample */
} passes;

struct vj_token_probe {
    vj_backend *be; /* borrowed */
    vj_token_probe_shape shape;
    passes *passes;
    vj_probe_tensor *tensor; /* [tensors] the cross-attention's, then the blocks' */
    int tensors;
    vj_segment *segment; /* [tensors] */
    int64_t first, size; /* as in passes */
    float *state;        /* device, [3, size] */
};

/* ------------------------------------------------------------------------------------------------ names */

enum { MAX_DEPTH = 64 };

const char *vj_token_probe_name(char name[32], int depth)
{
    snprintf(name, 32, "tokens%d", depth);
    return name;
}

int vj_token_probe_depth(const char *name)
{
    char whole[32];
    for (int depth = 1; depth <= MAX_DEPTH; depth++)
        if (strcmp(name, vj_token_probe_name(whole, depth)) == 0) return depth;
    return 0;
}

/* ------------------------------------------------------------------------------------------------ memory */

static vj_probe_shape cross_shape(const vj_token_probe_shape *s)
{
    return (vj_probe_shape){.pooling = VJ_POOL_ATTENTIVE,
                            .D = s->D,
                            .heads = s->heads,
                            .classes = s->classes,
                            .tokens = s->tokens,
                            .batch = 1};
}

/* Return the size of all tensors of the cross-attention block and the class layer. */
static int64_t cross_size(const vj_token_probe_shape *s)
{
    const int64_t D = s->D;
    return s->classes * (D + 1) + 11 * D * D + 13 * D;
}

static void take_memory(passes *p, vj_arena *arena)
{
    p->gradient = vj_arena_floats(arena, p->size);
    p->offset = vj_arena_ints(arena, 2);
    vj_stack_kept_take(&p->memory, &p->stack, arena, p->shape.tokens);
    vj_stack_work_take(&p->memory, &p->stack, arena, p->shape.tokens);
    vj_stack_scratch_take(&p->scratch, &p->stack, arena, p->shape.tokens, p->memory.type);
}

/* Make everything but device memory. *bytes gets those of the cross-attention. */
static vj_status plan(passes *p, const vj_token_probe_shape *s, vj_type type, int64_t *bytes)
{
    const vj_probe_shape of_cross = cross_shape(s);
    p->shape = *s;
    if (s->depth < 1) return vj_raise(VJ_ERR_USAGE, "a probe has a depth of 1 or more, not %d", s->depth);
    *bytes = vj_probe_parts_bytes(&of_cross, VJ_PARTS_PASSES);
    if (*bytes == 0) return VJ_ERR_USAGE; /* reported */
    vj_stack_add(&p->stack, &p->params, VJ_ENCODER, "pooler.blocks", "unused", s->depth - 1, s->D, s->heads, 4 * s->D,
                 VJ_PROBE_EPS, VJ_POSITIONS_SINCOS, NULL);
    p->first = (cross_size(s) + 15) / 16 * 16;
    p->size = p->first + p->params.total;
    return vj_stack_memory_create(&p->memory, &p->stack, type, 1, VJ_RECOMPUTE_NONE);
}

static void release_passes(passes *p)
{
    if (!p || --p->users > 0) return;
    vj_probe_destroy(p->cross);
    if (p->room) vj_device_free(p->be, p->room);
    vj_stack_memory_release(&p->memory);
    vj_stack_release(&p->stack);
    vj_params_release(&p->params);
    free(p);
}

static vj_status build_passes(passes *p, vj_backend *be, const vj_token_probe_shape *shape)
{
    const vj_probe_shape of_cross = cross_shape(shape);
    const int32_t offset[2] = {0, (int32_t)shape->tokens};
    int64_t bytes;
    p->be = be;
    VJ_TRY(plan(p, shape, vj_backend_precision(be) == VJ_BF16 ? VJ_TYPE_BF16 : VJ_TYPE_F32, &bytes));
    VJ_TRY(vj_probe_create_parts(&p->cross, be, &of_cross, VJ_PARTS_PASSES));
    VJ_ASSERT(p->cross->size == cross_size(shape));
    vj_arena arena = {0};
    take_memory(p, &arena);
    p->room = vj_device_alloc(be, arena.peak);
    if (!p->room) return VJ_ERR_MEMORY; /* reported by the device */
    vj_fill(be, p->room, 0.0f, arena.peak / (int64_t)sizeof(float));
    arena = (vj_arena){.base = p->room};
    take_memory(p, &arena);
    vj_upload(be, p->offset, offset, (int64_t)sizeof offset);
    return VJ_OK;
}

/* List the tensors of both parts in one table, and their segments for AdamW. */
static vj_status list_tensors(vj_token_probe *p)
{
    const passes *shared = p->passes;
    const int blocks = p->shape.depth - 1, of_stack = shared->params.count - 2; /* without the unused norm */
    const int of_cross = shared->cross->tensors;
    p->tensors = of_cross + of_stack;
    p->tensor = vj_calloc(p->tensors, sizeof *p->tensor);
    p->segment = vj_calloc(p->tensors, sizeof *p->segment);
    if (!p->tensor || !p->segment) return vj_raise(VJ_ERR_MEMORY, "no memory for a probe's table of tensors");
    for (int i = 0; i < of_cross; i++) p->tensor[i] = shared->cross->tensor[i];
    if (blocks > 0) p->tensor[FC2_WEIGHT].divisor = sqrt(2.0 * blocks);
    for (int i = 0; i < of_stack; i++) {
        const vj_param *item = &shared->params.item[i];
        vj_probe_tensor *t = &p->tensor[of_cross + i];
        *t = (vj_probe_tensor){.name = item->name,
                               .rows = item->dim[0],
                               .cols = item->ndim > 1 ? item->dim[1] : 1,
                               .decay = item->ndim > 1,
                               .start = item->start == VJ_START_ONE    ? VJ_DRAW_ONE
                                        : item->start == VJ_START_ZERO ? VJ_DRAW_ZERO
                                                                       : VJ_DRAW_NORMAL,
                               .divisor = item->start == VJ_START_RESIDUAL ? sqrt(2.0 * item->layer) : 1.0,
                               .weight = p->state + p->first + item->offset,
                               .gradient = shared->gradient + p->first + item->offset};
    }
    return VJ_OK;
}

/* Build the rest of a probe, whose `passes` exist. */
static vj_status build(vj_token_probe *p)
{
    p->be = p->passes->be;
    p->shape = p->passes->shape;
    p->first = p->passes->first;
    p->size = p->passes->size;
    p->state = vj_device_alloc(p->be, 3 * p->size * (int64_t)sizeof(float));
    if (!p->state) return VJ_ERR_MEMORY; /* reported by the device */
    vj_fill(p->be, p->state, 0.0f, 3 * p->size);
    vj_probe_place_tensors(p->passes->cross, p->state, p->passes->gradient);
    VJ_TRY(list_tensors(p));
    return vj_sync(p->be);
}

static vj_status create(vj_token_probe **probe, passes *shared)
{
    vj_token_probe *p = vj_calloc(1, sizeof *p);
    *probe = NULL;
    shared->users++;
    if (!p) {
        release_passes(shared);
        return vj_raise(VJ_ERR_MEMORY, "no memory for a probe");
    }
    p->passes = shared;
    const vj_status status = build(p);
    if (status == VJ_OK)
        *probe = p;
    else
        vj_token_probe_destroy(p);
    return status;
}

vj_status vj_token_probe_create(vj_token_probe **probe, vj_backend *be, const vj_token_probe_shape *shape)
{
    passes *shared = vj_calloc(1, sizeof *shared);
    *probe = NULL;
    if (!shared) return vj_raise(VJ_ERR_MEMORY, "no memory for a probe");
    const vj_status status = build_passes(shared, be, shape);
    if (status == VJ_OK) return create(probe, shared);
    release_passes(shared);
    return status;
}

vj_status vj_token_probe_create_beside(vj_token_probe **probe, vj_token_probe *other)
{
    return create(probe, other->passes);
}

void vj_token_probe_destroy(vj_token_probe *p)
{
    if (!p) return;
    if (p->state) vj_device_free(p->be, p->state);
    free(p->tensor);
    free(p->segment);
    release_passes(p->passes);
    free(p);
}

int64_t vj_token_probe_bytes(const vj_token_probe_shape *shape, int64_t count)
{
    passes *p = vj_calloc(1, sizeof *p);
    int64_t bytes = 0;
    if (p && plan(p, shape, VJ_TYPE_F32, &bytes) == VJ_OK) {
        vj_arena arena = {0};
        take_memory(p, &arena);
        bytes += arena.peak + count * 3 * p->size * (int64_t)sizeof(float);
    }
    release_passes(p);
    return bytes;
}

double vj_token_probe_flops(const vj_token_probe_shape *s)
{
    const double N = (double)s->tokens, D = s->D;
    const double block = N * (24.0 * D * D + 4.0 * N * D), cross = N * (4.0 * D * D + 4.0 * D) + 18.0 * D * D;
    return (s->depth - 1) * block + cross + 2.0 * D * s->classes;
}

/* ------------------------------------------------------------------------------------------------ weights */

vj_status vj_token_probe_init(vj_token_probe *p, uint64_t seed, double std)
{
    float *host = vj_calloc(p->size, sizeof *host);
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory to draw a probe's weights");
    for (int id = 0; id < p->tensors; id++)
        vj_probe_draw_tensor(host + (p->tensor[id].weight - p->state), &p->tensor[id], id, seed, std, p->shape.D);
    vj_upload(p->be, p->state, host, p->size * (int64_t)sizeof *host);
    const vj_status status = vj_sync(p->be);
    free(host);
    return status;
}

int vj_token_probe_tensor_count(const vj_token_probe *p)
{
    return p->tensors;
}

const vj_probe_tensor *vj_token_probe_tensor_at(const vj_token_probe *p, int i)
{
    VJ_ASSERT(i >= 0 && i < p->tensors);
    return &p->tensor[i];
}

float *vj_token_probe_state(vj_token_probe *p)
{
    return p->state;
}

int64_t vj_token_probe_size(const vj_token_probe *p)
{
    return p->size;
}

/* ------------------------------------------------------------------------------------------------ passes */

static vj_rows rows_of(const vj_token_probe *p)
{
    const int64_t N = p->shape.tokens;
    return (vj_rows){
        .rows = N, .longest = N, .segments = 1, .offset = p->passes->offset, .squares = (double)N * (double)N};
}

static vj_weights stack_weights(const vj_token_probe *p)
{
    return (vj_weights){.exact = p->state + p->first};
}

const float *vj_token_probe_forward(vj_token_probe *p, const float *tokens)
{
    const vj_rows rows = rows_of(p);
    passes *by = p->passes;
    vj_copy(p->be, by->memory.x[0], tokens, p->shape.tokens * p->shape.D);
    vj_stack_forward(&by->stack, p->be, stack_weights(p), &by->memory, &rows);
    vj_probe_place_tensors(by->cross, p->state, by->gradient);
    vj_probe_forward(by->cross, by->memory.x[by->stack.depth], 1);
    return vj_probe_logits(by->cross);
}

const float *vj_token_probe_pooled(const vj_token_probe *p)
{
    return vj_probe_pooled(p->passes->cross);
}

const float *vj_token_probe_attention(const vj_token_probe *p)
{
    return p->passes->cross->prob;
}

const float *vj_token_probe_token_gradient(const vj_token_probe *p)
{
    return p->passes->scratch.dx;
}

/* Check on the host that each element of the gradient is small enough. */
static vj_status check_elements(vj_token_probe *p, float largest, int64_t batch)
{
    const int64_t piece = VJ_MAP_BYTES / (int64_t)sizeof(float);
    float wrong = 0.0f;
    for (int64_t first = 0; first < p->size; first += piece) {
        const int64_t n = p->size - first < piece ? p->size - first : piece;
        float *gradient = vj_map(p->be, p->passes->gradient + first, n * (int64_t)sizeof *gradient, VJ_MAP_READ);
        for (int64_t i = 0; i < n; i++)
            if (!(fabsf(gradient[i]) <= largest)) wrong = gradient[i];
        vj_unmap(p->be, gradient);
    }
    if (wrong == 0.0f) return VJ_OK;
    return vj_raise(VJ_ERR_STATE,
                    "a deep probe's gradient has an element %g; at most %g can be summed over a batch of %lld: a "
                    "lower learning rate?",
                    (double)wrong, (double)largest, (long long)batch);
}

vj_status vj_token_probe_backward(vj_token_probe *p, int32_t label, double *loss, int64_t *sum, int64_t batch)
{
    const vj_rows rows = rows_of(p);
    const vj_gradient_hook none = {0};
    passes *by = p->passes;
    *loss = vj_probe_loss(by->cross, &label);
    vj_probe_backward(by->cross, by->scratch.dx);
    vj_stack_backward(&by->stack, p->be, stack_weights(p), by->gradient + p->first, &by->memory, &rows, &by->scratch, 0,
                      &none);
    /* If the sum of squares is small enough, so is each element; usually no other check is needed. */
    const float largest = (float)(LARGEST_SUM / (double)batch);
    double squares;
    vj_sum_squares(p->be, by->cross->sum, by->gradient, p->size);
    vj_download(p->be, &squares, by->cross->sum, (int64_t)sizeof squares);
    if (!(squares <= (double)largest * largest)) VJ_TRY(check_elements(p, largest, batch));
    vj_add_units(p->be, sum, by->gradient, UNITS, p->size);
    return vj_sync(p->be);
}

vj_status vj_token_probe_update(vj_token_probe *p, const int64_t *sum, int64_t batch, const vj_head_step *how)
{
    vj_mean_of_units(p->be, p->passes->gradient, sum, UNITS, batch, p->size);
    const vj_adamw_step step =
        vj_probe_adamw(p->be, how->update, p->passes->gradient, p->size, p->passes->cross->sum, how->clip);
    const vj_adamw_vectors v = {.w = p->state,
                                .first_moment = p->state + p->size,
                                .second_moment = p->state + 2 * p->size,
                                .gradient = p->passes->gradient};
    for (int i = 0; i < p->tensors; i++) {
        const vj_probe_tensor *t = &p->tensor[i];
        p->segment[i] = (vj_segment){.offset = t->weight - p->state,
                                     .count = t->rows * t->cols,
                                     .lr = how->lr,
                                     .weight_decay = t->decay || how->decay_all ? how->weight_decay : 0.0};
    }
    vj_adamw(p->be, &v, p->segment, p->tensors, &step);
    return vj_sync(p->be);
}
