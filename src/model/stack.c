/*
 * Transformer blocks, forward and backward (docs/method.md, section 3): y = x + Attn(LN1 x), out = y + MLP(LN2 y). What
 * is divided over a tensor group is said in stack.h; for a rank that is alone its own rows are all rows, its share is
 * the whole, and nothing is exchanged.
 */
#include "model/stack.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/*
 * The tensors of a block in their published order; `out` and `in` are multiples of the width, -1 the hidden width.
 * Norms see own rows only.
 */
static const struct {
    const char *name;
    vj_start start;
    int out, in; /* in 0: one-dimensional */
    vj_share share;
    size_t field;
} tensors[] = {
    {"norm1.weight", VJ_START_ONE, 1, 0, VJ_SHARE_WHOLE, offsetof(vj_block, norm1_weight)},
    {"norm1.bias", VJ_START_ZERO, 1, 0, VJ_SHARE_WHOLE, offsetof(vj_block, norm1_bias)},
    {"attn.qkv.weight", VJ_START_WEIGHT, 3, 1, VJ_SHARE_THIRDS, offsetof(vj_block, qkv_weight)},
    {"attn.qkv.bias", VJ_START_ZERO, 3, 0, VJ_SHARE_THIRDS, offsetof(vj_block, qkv_bias)},
    {"attn.proj.weight", VJ_START_RESIDUAL, 1, 1, VJ_SHARE_COLUMNS, offsetof(vj_block, proj_weight)},
    {"attn.proj.bias", VJ_START_ZERO, 1, 0, VJ_SHARE_WHOLE, offsetof(vj_block, proj_bias)},
    {"norm2.weight", VJ_START_ONE, 1, 0, VJ_SHARE_WHOLE, offsetof(vj_block, norm2_weight)},
    {"norm2.bias", VJ_START_ZERO, 1, 0, VJ_SHARE_WHOLE, offsetof(vj_block, norm2_bias)},
    {"mlp.fc1.weight", VJ_START_WEIGHT, -1, 1, VJ_SHARE_ROWS, offsetof(vj_block, fc1_weight)},
    {"mlp.fc1.bias", VJ_START_ZERO, -1, 0, VJ_SHARE_ROWS, offsetof(vj_block, fc1_bias)},
    {"mlp.fc2.weight", VJ_START_RESIDUAL, 1, -1, VJ_SHARE_COLUMNS, offsetof(vj_block, fc2_weight)},
    {"mlp.fc2.bias", VJ_START_ZERO, 1, 0, VJ_SHARE_WHOLE, offsetof(vj_block, fc2_bias)},
};

static bool by_rows(const vj_stack *s)
{
    return s->tensor && s->tensor->sequence;
}

void vj_stack_add(vj_stack *stack, vj_params *ps, vj_network_part part, const char *prefix, const char *norm, int depth,
                  int width, int heads, int hidden, float eps, vj_positions positions, vj_tensor *tensor)
{
    const int shares = tensor ? tensor->size : 1;
    VJ_ASSERT(vj_stack_divides(heads, hidden, shares));
    *stack = (vj_stack){.depth = depth,
                        .width = width,
                        .heads = heads,
                        .hidden = hidden,
                        .eps = eps,
                        .positions = positions,
                        .tensor = tensor,
                        .share_width = width / shares,
                        .share_heads = heads / shares,
                        .share_hidden = hidden / shares};
    stack->block = vj_calloc(depth, sizeof *stack->block);
    VJ_ASSERT(stack->block);
    for (int l = 0; l < depth; l++)
        for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
            int64_t dim[2] = {tensors[i].out < 0 ? hidden : (int64_t)tensors[i].out * width,
                              tensors[i].in < 0 ? hidden : (int64_t)tensors[i].in * width};
            int64_t *offset = (int64_t *)((char *)&stack->block[l] + tensors[i].field);
            *offset = vj_params_add(ps, part, tensors[i].start, l + 1, tensor ? tensors[i].share : VJ_SHARE_WHOLE,
                                    tensors[i].in ? 2 : 1, dim, "%s.%d.%s", prefix, l, tensors[i].name);
            ps->item[ps->count - 1].by_rows = by_rows(stack) && strncmp(tensors[i].name, "norm", 4) == 0;
        }
    const int64_t D = width;
    stack->norm_weight = vj_params_add(ps, part, VJ_START_ONE, depth, VJ_SHARE_WHOLE, 1, &D, "%s.weight", norm);
    stack->norm_bias = vj_params_add(ps, part, VJ_START_ZERO, depth, VJ_SHARE_WHOLE, 1, &D, "%s.bias", norm);
}

/* The end of block l in the flat vectors. */
static int64_t block_end(const vj_stack *s, int l)
{
    return l + 1 < s->depth ? s->block[l + 1].norm1_weight : s->norm_weight;
}

int64_t vj_stack_block_elements(const vj_stack *s)
{
    int64_t most = 0;
    for (int l = 0; l < s->depth; l++) {
        const int64_t count = block_end(s, l) - s->block[l].norm1_weight;
        if (count > most) most = count;
    }
    return most;
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
    memory->copy = vj_calloc(stack->depth + 1, sizeof *memory->copy);
    if (memory->x && memory->block && memory->copy) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for %d blocks", stack->depth);
}

void vj_stack_memory_release(vj_stack_memory *memory)
{
    free(memory->x);
    free(memory->block);
    free(memory->copy);
    *memory = (vj_stack_memory){0};
}

/* ------------------------------------------------------------------------------------------------ memory */

/* This rank's own rows of the stream. */
typedef struct {
    int64_t first, count;
} span;

static span own_rows(const vj_stack *s, int64_t rows)
{
    int64_t first = 0, last = rows;
    if (by_rows(s)) vj_split(rows, s->tensor->size, s->tensor->rank, &first, &last);
    return (span){first, last - first};
}

static void take_attention(vj_block_memory *m, const vj_stack *stack, vj_arena *arena, int64_t rows, vj_type type)
{
    m->qkv = vj_arena_array(arena, rows * 3 * stack->share_width, type);
    m->attended = vj_arena_array(arena, rows * stack->share_width, type);
    m->lse = vj_arena_floats(arena, rows * stack->share_heads);
}

static void take_rest(vj_block_memory *m, const vj_stack *stack, vj_arena *arena, int64_t rows, vj_type type)
{
    const int64_t own = own_rows(stack, rows).count;
    m->middle = vj_arena_floats(arena, own * stack->width);
    m->pre = vj_arena_array(arena, rows * stack->share_hidden, type);
    m->mean1 = vj_arena_floats(arena, own);
    m->rstd1 = vj_arena_floats(arena, own);
    m->mean2 = vj_arena_floats(arena, own);
    m->rstd2 = vj_arena_floats(arena, own);
}

void vj_stack_kept_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows)
{
    const int64_t own = own_rows(stack, rows).count;
    memory->x[0] = vj_arena_floats(arena, rows * stack->width);
    for (int l = 1; l <= stack->depth; l++)
        memory->x[l] =
            memory->gradient ? vj_arena_floats(arena, (l < stack->depth ? own : rows) * stack->width) : memory->x[0];
    if (!memory->gradient) return;
    for (int l = 0; l < stack->depth; l++) {
        vj_block_memory *m = &memory->block[l];
        if (memory->recompute == VJ_RECOMPUTE_NONE) take_attention(m, stack, arena, rows, memory->type);
        if (memory->recompute != VJ_RECOMPUTE_BLOCK) take_rest(m, stack, arena, rows, memory->type);
    }
}

/* This rank's rows of the stream before block l. */
static float *stream(const vj_stack *s, const vj_stack_memory *memory, int l, int64_t rows)
{
    const bool all = !memory->gradient || l == 0 || l == s->depth;
    return memory->x[l] + (all ? own_rows(s, rows).first * s->width : 0);
}

void vj_stack_work_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows)
{
    vj_block_memory shared = {0};
    memory->norm = vj_arena_array(arena, rows * stack->width, memory->type);
    memory->hidden = vj_arena_array(arena, rows * stack->share_hidden, memory->type);
    memory->sum = by_rows(stack) && memory->gradient ? vj_arena_floats(arena, rows * stack->width) : NULL;
    if (!memory->gradient || memory->recompute != VJ_RECOMPUTE_NONE)
        take_attention(&shared, stack, arena, rows, memory->type);
    if (memory->gradient && memory->recompute == VJ_RECOMPUTE_BLOCK)
        take_rest(&shared, stack, arena, rows, memory->type);
    for (int l = 0; l < stack->depth; l++) {
        vj_block_memory *m = &memory->block[l];
        if (!memory->gradient) {
            /* Without gradient: the stream is updated in place, and statistics, log-sum-exp and pre are not kept. */
            *m = (vj_block_memory){.qkv = shared.qkv, .attended = shared.attended};
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
    const int64_t D = stack->width, A = 3 * stack->share_width, H = stack->share_hidden;
    scratch->dx = vj_arena_floats(arena, rows * D);
    scratch->dnorm = vj_arena_array(arena, rows * D, stack->tensor ? VJ_TYPE_F32 : type);
    scratch->dwide = vj_arena_array(arena, rows * (H > A ? H : A), type);
    scratch->dattended = (vj_array){scratch->dnorm.data, type};
    scratch->dx_copy = (vj_array){0};
    if (type == VJ_TYPE_BF16) scratch->dx_copy = vj_arena_array(arena, rows * D, type);
}

/* ------------------------------------------------------------------------------------------------ exchange */

/* The part of an array that begins with row `first`; rows have `width` elements. */
static vj_array from_row(vj_array x, int64_t first, int64_t width)
{
    return (vj_array){(char *)x.data + first * width * vj_type_bytes(x.type), x.type};
}

/* All-gather x [R, width], of which each rank has computed its own rows. */
static void gather(const vj_stack *s, vj_backend *be, vj_array x, int64_t R)
{
    if (by_rows(s)) vj_tensor_gather_rows(s->tensor, be, x, R, s->width);
}

/* Sum x [R, width] over the ranks; each rank gets the sum of its own rows. */
static void sum(const vj_stack *s, vj_backend *be, float *x, int64_t R)
{
    if (by_rows(s))
        vj_tensor_sum_rows(s->tensor, be, x, R, s->width);
    else
        vj_tensor_sum(s->tensor, be, x, R * s->width);
}

/*
 * y = residual + x W^T + bias: y and residual are own rows of the stream, x [R, K] has all rows of this rank's columns.
 * Bias and residual are added to each row by one rank only: by its owner, or without tensor_sequence by rank 0. The sum
 * is made in y or, if only own rows are kept, in memory->sum.
 */
static void add_to_stream(const vj_stack *s, vj_backend *be, const vj_stack_memory *memory, float *y, vj_array x,
                          vj_array weight, const float *bias, const float *residual, int64_t R, int K)
{
    const int D = s->width;
    const span own = own_rows(s, R), all = {0, R}, none = {R, 0};
    const span mine = by_rows(s) ? own : !s->tensor || s->tensor->rank == 0 ? all : none;
    const int64_t end = mine.first + mine.count;
    const vj_array to = vj_f32(memory->sum ? memory->sum : y - own.first * D);
    if (mine.first > 0) vj_linear_forward(be, to, x, weight, NULL, NULL, 0, mine.first, D, K);
    if (mine.count > 0)
        vj_linear_forward(be, from_row(to, mine.first, D), from_row(x, mine.first, K), weight, bias, residual,
                          mine.count, mine.count, D, K);
    if (end < R) vj_linear_forward(be, from_row(to, end, D), from_row(x, end, K), weight, NULL, NULL, 0, R - end, D, K);
    sum(s, be, to.data, R);
    if (memory->sum) vj_copy(be, y, memory->sum + own.first * D, own.count * D);
}

/* The weights of block l, in weights.block if they are rounded there, until the next block's are. */
static vj_weights block_weights(const vj_stack *s, int l, vj_backend *be, vj_weights weights)
{
    if (!weights.block) return weights;
    weights.first = s->block[l].norm1_weight;
    weights.rounded = weights.block;
    vj_round_bf16(be, weights.block, weights.exact + weights.first, block_end(s, l) - weights.first);
    return weights;
}

/* ------------------------------------------------------------------------------------------------ forward */

/* Compute the first part of a block, x + Attn(LN1 x), up to the output of attention. */
static void attend(const vj_stack *s, const vj_block *b, vj_backend *be, vj_weights weights,
                   const vj_stack_memory *memory, const vj_block_memory *m, const float *x, const vj_rows *rows)
{
    const float *w = weights.exact;
    const int64_t R = rows->rows;
    const span own = own_rows(s, R);
    const int D = s->width, A = s->share_width;
    vj_layernorm_forward(be, from_row(memory->norm, own.first, D), m->mean1, m->rstd1, x, w + b->norm1_weight,
                         w + b->norm1_bias, own.count, D, s->eps);
    gather(s, be, memory->norm, R);
    vj_linear_forward(be, m->qkv, memory->norm, vj_weight_matrix(weights, b->qkv_weight), w + b->qkv_bias, NULL, 0, R,
                      3 * A, D);
    vj_attention_forward(be, m->attended, m->lse, m->qkv, rows, A, s->share_heads);
}

/* Compute the second part, up to the hidden layer of the MLP. */
static void widen(const vj_stack *s, const vj_block *b, vj_backend *be, vj_weights weights,
                  const vj_stack_memory *memory, const vj_block_memory *m, const float *x, const vj_rows *rows)
{
    const float *w = weights.exact;
    const int64_t R = rows->rows;
    const span own = own_rows(s, R);
    const int D = s->width;
    add_to_stream(s, be, memory, m->middle, m->attended, vj_weight_matrix(weights, b->proj_weight), w + b->proj_bias, x,
                  R, s->share_width);
    vj_layernorm_forward(be, from_row(memory->norm, own.first, D), m->mean2, m->rstd2, m->middle, w + b->norm2_weight,
                         w + b->norm2_bias, own.count, D, s->eps);
    gather(s, be, memory->norm, R);
    vj_linear_gelu_forward(be, memory->hidden, m->pre, memory->norm, vj_weight_matrix(weights, b->fc1_weight),
                           w + b->fc1_bias, R, s->share_hidden, D);
}

void vj_stack_forward(const vj_stack *s, vj_backend *be, vj_weights weights, vj_stack_memory *memory,
                      const vj_rows *rows)
{
    const int64_t R = rows->rows;
    for (int l = 0; l < s->depth; l++) {
        const vj_block *b = &s->block[l];
        const vj_weights of_block = block_weights(s, l, be, weights);
        vj_block_memory *m = &memory->block[l];
        float *x = stream(s, memory, l, R);
        if (!memory->gradient) m->middle = x; /* own rows of these R rows; there may be memory for more */
        attend(s, b, be, of_block, memory, m, x, rows);
        widen(s, b, be, of_block, memory, m, x, rows);
        add_to_stream(s, be, memory, stream(s, memory, l + 1, R), memory->hidden,
                      vj_weight_matrix(of_block, b->fc2_weight), of_block.exact + b->fc2_bias, m->middle, R,
                      s->share_hidden);
        if (memory->copy[l + 1]) vj_copy(be, memory->copy[l + 1], stream(s, memory, l + 1, R), R * s->width);
    }
    gather(s, be, vj_f32(memory->x[s->depth]), R);
}

/* ------------------------------------------------------------------------------------------------ backward */

/* Gather dx of own rows on all ranks, and the copy of dx for products with it. */
static void gather_gradient(const vj_stack *s, vj_backend *be, const vj_stack_scratch *t, int64_t R)
{
    gather(s, be, vj_f32(t->dx), R);
    if (t->dx_copy.data) gather(s, be, t->dx_copy, R);
}

/*
 * Backward pass of block l; t->dx has all rows, before and after. The outputs of norms and of the hidden layer are
 * recomputed where they are needed. The gradient of a bias that is added to the stream is the column sums of dx as it
 * is there. The norm that writes dx makes them, if it has all rows: that before the block's MLP for this block's
 * proj_bias, the first one for fc2_bias of the block before.
 */
static void block_backward(const vj_stack *s, int l, vj_backend *be, vj_weights weights, float *g,
                           const vj_stack_memory *memory, const vj_block_memory *m, const float *x, const vj_rows *rows,
                           vj_stack_scratch *t, int accumulate)
{
    const vj_block *b = &s->block[l];
    const float *w = weights.exact;
    const int64_t R = rows->rows;
    const span own = own_rows(s, R);
    const int D = s->width, A = s->share_width, H = s->share_hidden;
    float *const proj_bias = g + b->proj_bias, *const fc2_bias_before = l > 0 ? g + s->block[l - 1].fc2_bias : NULL;
    const vj_array dx = vj_f32(t->dx), own_norm = from_row(memory->norm, own.first, D);
    const vj_array operand = t->dx_copy.data ? t->dx_copy : dx;
    const vj_array own_copy = t->dx_copy.data ? from_row(t->dx_copy, own.first, D) : t->dx_copy;
    const vj_array own_dnorm = from_row(t->dnorm, own.first, D);
    float *own_dx = t->dx + own.first * D;
    vj_linear_gelu_backward_input(be, t->dwide, memory->hidden, g + b->fc1_bias, operand,
                                  vj_weight_matrix(weights, b->fc2_weight), m->pre, accumulate, R, D, H);
    vj_linear_backward_weight(be, g + b->fc2_weight, NULL, operand, memory->hidden, accumulate, R, D, H);
    vj_linear_backward_input(be, t->dnorm, t->dwide, vj_weight_matrix(weights, b->fc1_weight), R, H, D);
    sum(s, be, t->dnorm.data, R);
    vj_layernorm_backward(be, own_dx, own_copy, own_norm, g + b->norm2_weight, g + b->norm2_bias,
                          by_rows(s) ? NULL : proj_bias, own_dnorm, m->middle, m->mean2, m->rstd2, w + b->norm2_weight,
                          w + b->norm2_bias, 1, accumulate, own.count, D);
    gather(s, be, memory->norm, R);
    gather_gradient(s, be, t, R);
    if (by_rows(s)) vj_linear_backward_bias(be, proj_bias, dx, accumulate, R, D);
    vj_linear_backward_weight(be, g + b->fc1_weight, NULL, t->dwide, memory->norm, accumulate, R, H, D);

    vj_linear_backward_weight(be, g + b->proj_weight, NULL, operand, m->attended, accumulate, R, D, A);
    vj_linear_backward_input(be, t->dattended, operand, vj_weight_matrix(weights, b->proj_weight), R, D, A);
    vj_attention_backward(be, t->dwide, g + b->qkv_bias, t->dattended, m->qkv, m->attended, m->lse, accumulate, rows, A,
                          s->share_heads);
    vj_linear_backward_input(be, t->dnorm, t->dwide, vj_weight_matrix(weights, b->qkv_weight), R, 3 * A, D);
    sum(s, be, t->dnorm.data, R);
    vj_layernorm_backward(be, own_dx, own_copy, own_norm, g + b->norm1_weight, g + b->norm1_bias,
                          by_rows(s) ? NULL : fc2_bias_before, own_dnorm, x, m->mean1, m->rstd1, w + b->norm1_weight,
                          w + b->norm1_bias, 1, accumulate, own.count, D);
    gather(s, be, memory->norm, R);
    gather_gradient(s, be, t, R);
    if (by_rows(s) && l > 0) vj_linear_backward_bias(be, fc2_bias_before, dx, accumulate, R, D);
    vj_linear_backward_weight(be, g + b->qkv_weight, NULL, t->dwide, memory->norm, accumulate, R, 3 * A, D);
    /* A bias of the keys shifts all scores of a query alike, so its gradient is zero. Sums of floats leave rounding
     * noise instead, which Adam would turn into steps of the size of lr (docs/method.md, section 17, number 15). Keys
     * that are turned by their place shift each score differently. */
    if (s->positions != VJ_POSITIONS_ROTARY) vj_fill(be, g + b->qkv_bias + A, 0.0f, A);
}

void vj_stack_backward(const vj_stack *s, vj_backend *be, vj_weights weights, float *g, vj_stack_memory *memory,
                       const vj_rows *rows, vj_stack_scratch *scratch, int accumulate, const vj_gradient_hook *hook)
{
    if (scratch->dx_copy.data) vj_round_bf16(be, scratch->dx_copy.data, scratch->dx, rows->rows * s->width);
    if (s->depth > 0)
        vj_linear_backward_bias(be, g + s->block[s->depth - 1].fc2_bias, vj_f32(scratch->dx), accumulate, rows->rows,
                                s->width);
    for (int l = s->depth - 1; l >= 0; l--) {
        const vj_block_memory *m = &memory->block[l];
        const vj_weights of_block = block_weights(s, l, be, weights);
        const float *x = stream(s, memory, l, rows->rows);
        if (memory->recompute != VJ_RECOMPUTE_NONE) attend(s, &s->block[l], be, of_block, memory, m, x, rows);
        if (memory->recompute == VJ_RECOMPUTE_BLOCK) widen(s, &s->block[l], be, of_block, memory, m, x, rows);
        block_backward(s, l, be, of_block, g, memory, m, x, rows, scratch, accumulate);
        vj_gradient_made(hook, be, s->block[l].norm1_weight);
    }
}
