/* Transformer blocks, forward and backward (spec section 3): y = x + Attn(LN1 x), out = y + MLP(LN2 y). */
#include "model/stack.h"

#include <stddef.h>
#include <stdlib.h>

/* The tensors of a block in their published order; `out` and `in` are multiples of the width, -1 the hidden width. */
static const struct {
    const char *name;
    vj_start start;
    int out, in; /* in 0: one-dimensional */
    size_t field;
} tensors[] = {
    {"norm1.weight", VJ_START_ONE, 1, 0, offsetof(vj_block, norm1_weight)},
    {"norm1.bias", VJ_START_ZERO, 1, 0, offsetof(vj_block, norm1_bias)},
    {"attn.qkv.weight", VJ_START_WEIGHT, 3, 1, offsetof(vj_block, qkv_weight)},
    {"attn.qkv.bias", VJ_START_ZERO, 3, 0, offsetof(vj_block, qkv_bias)},
    {"attn.proj.weight", VJ_START_RESIDUAL, 1, 1, offsetof(vj_block, proj_weight)},
    {"attn.proj.bias", VJ_START_ZERO, 1, 0, offsetof(vj_block, proj_bias)},
    {"norm2.weight", VJ_START_ONE, 1, 0, offsetof(vj_block, norm2_weight)},
    {"norm2.bias", VJ_START_ZERO, 1, 0, offsetof(vj_block, norm2_bias)},
    {"mlp.fc1.weight", VJ_START_WEIGHT, -1, 1, offsetof(vj_block, fc1_weight)},
    {"mlp.fc1.bias", VJ_START_ZERO, -1, 0, offsetof(vj_block, fc1_bias)},
    {"mlp.fc2.weight", VJ_START_RESIDUAL, 1, -1, offsetof(vj_block, fc2_weight)},
    {"mlp.fc2.bias", VJ_START_ZERO, 1, 0, offsetof(vj_block, fc2_bias)},
};

void vj_stack_add(vj_stack *stack, vj_params *ps, vj_network_part part, const char *prefix, const char *norm, int depth,
                  int width, int heads, int hidden)
{
    *stack = (vj_stack){.depth = depth, .width = width, .heads = heads, .hidden = hidden};
    stack->block = vj_calloc(depth, sizeof *stack->block);
    VJ_ASSERT(stack->block);
    for (int l = 0; l < depth; l++)
        for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
            int64_t dim[2] = {tensors[i].out < 0 ? hidden : (int64_t)tensors[i].out * width,
                              tensors[i].in < 0 ? hidden : (int64_t)tensors[i].in * width};
            int64_t *offset = (int64_t *)((char *)&stack->block[l] + tensors[i].field);
            *offset = vj_params_add(ps, part, tensors[i].start, l + 1, tensors[i].in ? 2 : 1, dim, "%s.%d.%s", prefix,
                                    l, tensors[i].name);
        }
    const int64_t D = width;
    stack->norm_weight = vj_params_add(ps, part, VJ_START_ONE, depth, 1, &D, "%s.weight", norm);
    stack->norm_bias = vj_params_add(ps, part, VJ_START_ZERO, depth, 1, &D, "%s.bias", norm);
}

void vj_stack_release(vj_stack *stack)
{
    free(stack->block);
    stack->block = NULL;
}

vj_status vj_stack_memory_create(vj_stack_memory *memory, const vj_stack *stack, vj_type type, int gradient,
                                 vj_recompute recompute)
{
    *memory = (vj_stack_memory){.gradient = gradient, .recompute = recompute, .type = type};
    memory->x = vj_calloc(stack->depth + 1, sizeof *memory->x);
    memory->block = vj_calloc(stack->depth, sizeof *memory->block);
    return memory->x && memory->block ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d blocks", stack->depth);
}

void vj_stack_memory_release(vj_stack_memory *memory)
{
    free(memory->x);
    free(memory->block);
    *memory = (vj_stack_memory){0};
}

static void take_attention(vj_block_memory *m, const vj_stack *stack, vj_arena *arena, int64_t rows, vj_type type)
{
    m->qkv = vj_arena_array(arena, rows * 3 * stack->width, type);
    m->attended = vj_arena_array(arena, rows * stack->width, type);
    m->lse = vj_arena_floats(arena, rows * stack->heads);
}

static void take_rest(vj_block_memory *m, const vj_stack *stack, vj_arena *arena, int64_t rows, vj_type type)
{
    m->middle = vj_arena_floats(arena, rows * stack->width);
    m->pre = vj_arena_array(arena, rows * stack->hidden, type);
    m->mean1 = vj_arena_floats(arena, rows);
    m->rstd1 = vj_arena_floats(arena, rows);
    m->mean2 = vj_arena_floats(arena, rows);
    m->rstd2 = vj_arena_floats(arena, rows);
}

void vj_stack_kept_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows)
{
    memory->x[0] = vj_arena_floats(arena, rows * stack->width);
    for (int l = 1; l <= stack->depth; l++)
        memory->x[l] = memory->gradient ? vj_arena_floats(arena, rows * stack->width) : memory->x[0];
    if (!memory->gradient) return;
    for (int l = 0; l < stack->depth; l++) {
        vj_block_memory *m = &memory->block[l];
        if (memory->recompute == VJ_RECOMPUTE_NONE) take_attention(m, stack, arena, rows, memory->type);
        if (memory->recompute != VJ_RECOMPUTE_BLOCK) take_rest(m, stack, arena, rows, memory->type);
    }
}

void vj_stack_work_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows)
{
    vj_block_memory shared = {0};
    memory->norm = vj_arena_array(arena, rows * stack->width, memory->type);
    memory->hidden = vj_arena_array(arena, rows * stack->hidden, memory->type);
    if (!memory->gradient || memory->recompute != VJ_RECOMPUTE_NONE)
        take_attention(&shared, stack, arena, rows, memory->type);
    if (memory->gradient && memory->recompute == VJ_RECOMPUTE_BLOCK)
        take_rest(&shared, stack, arena, rows, memory->type);
    for (int l = 0; l < stack->depth; l++) {
        vj_block_memory *m = &memory->block[l];
        if (!memory->gradient) {
            /* The stream is updated in place; statistics, log-sum-exp and pre are not kept. */
            *m = (vj_block_memory){.qkv = shared.qkv, .attended = shared.attended, .middle = memory->x[0]};
        } else if (memory->recompute == VJ_RECOMPUTE_BLOCK) {
            *m = shared;
        } else if (memory->recompute == VJ_RECOMPUTE_ATTENTION) {
            m->qkv = shared.qkv;
            m->attended = shared.attended;
            m->lse = shared.lse;
        }
    }
}

void vj_stack_scratch_take(vj_stack_scratch *scratch, const vj_stack *stack, vj_arena *arena, int64_t rows,
                           vj_type type)
{
    const int64_t D = stack->width, wide = stack->hidden > 3 * D ? stack->hidden : 3 * D;
    scratch->dx = vj_arena_floats(arena, rows * D);
    scratch->dnorm = vj_arena_floats(arena, rows * D);
    scratch->dwide = vj_arena_array(arena, rows * wide, type);
    scratch->dattended = (vj_array){scratch->dnorm, type};
}

/* x + Attn(LN1 x), up to the attention's output. */
static void attend(const vj_stack *s, const vj_block *b, vj_backend *be, const float *w, const vj_stack_memory *memory,
                   const vj_block_memory *m, const float *x, const vj_rows *rows)
{
    const int64_t R = rows->rows;
    const int D = s->width;
    vj_layernorm_forward(be, memory->norm, m->mean1, m->rstd1, x, w + b->norm1_weight, w + b->norm1_bias, R, D,
                         VJ_MODEL_EPS);
    vj_linear_forward(be, m->qkv, memory->norm, w + b->qkv_weight, w + b->qkv_bias, NULL, 0, R, 3 * D, D);
    vj_attention_forward(be, m->attended, m->lse, m->qkv, rows->offset, rows->segments, rows->longest, R, D, s->heads);
}

/* The rest, up to the hidden layer of the MLP. */
static void widen(const vj_stack *s, const vj_block *b, vj_backend *be, const float *w, const vj_stack_memory *memory,
                  const vj_block_memory *m, const float *x, const vj_rows *rows)
{
    const int64_t R = rows->rows;
    const int D = s->width;
    vj_linear_forward(be, vj_f32(m->middle), m->attended, w + b->proj_weight, w + b->proj_bias, x, R, R, D, D);
    vj_layernorm_forward(be, memory->norm, m->mean2, m->rstd2, m->middle, w + b->norm2_weight, w + b->norm2_bias, R, D,
                         VJ_MODEL_EPS);
    vj_linear_gelu_forward(be, memory->hidden, m->pre, memory->norm, w + b->fc1_weight, w + b->fc1_bias, R, s->hidden,
                           D);
}

void vj_stack_forward(const vj_stack *s, vj_backend *be, const float *w, vj_stack_memory *memory, const vj_rows *rows)
{
    for (int l = 0; l < s->depth; l++) {
        const vj_block *b = &s->block[l];
        const vj_block_memory *m = &memory->block[l];
        attend(s, b, be, w, memory, m, memory->x[l], rows);
        widen(s, b, be, w, memory, m, memory->x[l], rows);
        vj_linear_forward(be, vj_f32(memory->x[l + 1]), memory->hidden, w + b->fc2_weight, w + b->fc2_bias, m->middle,
                          rows->rows, rows->rows, s->width, s->hidden);
    }
}

/* Backward through one block. Norms and hidden layer are made again where their layers' gradients are at hand. */
static void block_backward(const vj_stack *s, const vj_block *b, vj_backend *be, const float *w, float *g,
                           const vj_stack_memory *memory, const vj_block_memory *m, const float *x, const vj_rows *rows,
                           vj_stack_scratch *t, int accumulate)
{
    const int64_t R = rows->rows;
    const int D = s->width, H = s->hidden;
    const vj_array dx = vj_f32(t->dx), dnorm = vj_f32(t->dnorm);
    vj_linear_gelu_backward_input(be, t->dwide, memory->hidden, dx, w + b->fc2_weight, m->pre, R, D, H);
    vj_linear_backward_weight(be, g + b->fc2_weight, g + b->fc2_bias, dx, memory->hidden, accumulate, R, D, H);
    vj_linear_backward_input(be, dnorm, t->dwide, w + b->fc1_weight, R, H, D);
    vj_layernorm_backward(be, t->dx, memory->norm, g + b->norm2_weight, g + b->norm2_bias, t->dnorm, m->middle,
                          m->mean2, m->rstd2, w + b->norm2_weight, w + b->norm2_bias, 1, accumulate, R, D);
    vj_linear_backward_weight(be, g + b->fc1_weight, g + b->fc1_bias, t->dwide, memory->norm, accumulate, R, H, D);

    vj_linear_backward_weight(be, g + b->proj_weight, g + b->proj_bias, dx, m->attended, accumulate, R, D, D);
    vj_linear_backward_input(be, t->dattended, dx, w + b->proj_weight, R, D, D);
    vj_attention_backward(be, t->dwide, t->dattended, m->qkv, m->attended, m->lse, rows->offset, rows->segments,
                          rows->longest, R, D, s->heads);
    vj_linear_backward_input(be, dnorm, t->dwide, w + b->qkv_weight, R, 3 * D, D);
    vj_layernorm_backward(be, t->dx, memory->norm, g + b->norm1_weight, g + b->norm1_bias, t->dnorm, x, m->mean1,
                          m->rstd1, w + b->norm1_weight, w + b->norm1_bias, 1, accumulate, R, D);
    vj_linear_backward_weight(be, g + b->qkv_weight, g + b->qkv_bias, t->dwide, memory->norm, accumulate, R, 3 * D, D);
    /* A bias of the keys shifts all scores of a query alike, so its gradient is zero. Sums of floats leave rounding
     * noise instead, which Adam would turn into steps of the size of lr (spec, trap 15). */
    vj_fill(be, g + b->qkv_bias + D, 0.0f, D);
}

void vj_stack_backward(const vj_stack *s, vj_backend *be, const float *w, float *g, vj_stack_memory *memory,
                       const vj_rows *rows, vj_stack_scratch *scratch, int accumulate)
{
    for (int l = s->depth - 1; l >= 0; l--) {
        const vj_block_memory *m = &memory->block[l];
        if (memory->recompute != VJ_RECOMPUTE_NONE) attend(s, &s->block[l], be, w, memory, m, memory->x[l], rows);
        if (memory->recompute == VJ_RECOMPUTE_BLOCK) widen(s, &s->block[l], be, w, memory, m, memory->x[l], rows);
        block_backward(s, &s->block[l], be, w, g, memory, m, memory->x[l], rows, scratch, accumulate);
    }
}
