/*
 * A stack of transformer blocks over packed rows (spec section 3): the encoder's and the predictor's trunk are one
 * code. Rows of many sequences lie one after another, `offset` says where each begins, attention stays inside its
 * segment.
 */
#ifndef VJ_MODEL_STACK_H
#define VJ_MODEL_STACK_H

#include "model/arena.h"
#include "model/params.h"

#define VJ_MODEL_EPS 1e-6f /* layer norms of encoder and predictor; the target norm has another (spec, trap 3) */

/* Offsets of one block's tensors in the flat vectors. */
typedef struct {
    int64_t norm1_weight, norm1_bias, qkv_weight, qkv_bias, proj_weight, proj_bias;
    int64_t norm2_weight, norm2_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
} vj_block;

typedef struct {
    int depth, width, heads, hidden;
    vj_block *block;                /* [depth], owned */
    int64_t norm_weight, norm_bias; /* the final norm; applied by the caller, who may pick rows first */
} vj_stack;

/** Record the stack's tensors: PREFIX.<l>.norm1.weight ..., then NORM.weight, NORM.bias. */
void vj_stack_add(vj_stack *stack, vj_params *ps, vj_network_part part, const char *prefix, const char *norm, int depth,
                  int width, int heads, int hidden);
void vj_stack_release(vj_stack *stack);

/* Packed rows of `segments` sequences; offset is device memory [segments + 1]. */
typedef struct {
    int64_t rows, longest;
    int segments;
    const int32_t *offset;
} vj_rows;

/*
 * What one block keeps for its backward pass, next to its input. What is only ever an operand of products (norms, the
 * hidden layer) is not here: the backward pass makes it again on its way, from what it reads anyway.
 */
typedef struct {
    float *mean1, *rstd1, *lse, *middle, *mean2, *rstd2; /* middle: the stream after attention */
    vj_array qkv, attended, pre;                         /* pre: the MLP's hidden layer before its GELU */
} vj_block_memory;

/*
 * Activations of a stack for `rows` rows. With gradient: x has depth + 1 entries (each block's input, then the output)
 * and `block` depth entries, which share what is computed again (recompute). Without gradient all entries of x are one
 * buffer, updated in place, and nothing is kept.
 *
 * Bytes a row and block with gradient, D = width, e = bytes of `type`, hidden = 4 D, statistics left out:
 *   none 8 D + 8 D e    attention 8 D + 4 D e    block 4 D    (and one block's share of what is computed again)
 */
typedef struct {
    int gradient;
    vj_recompute recompute;
    vj_type type;           /* of operands; what bf16 loses beside the rounding of products: kernels.h */
    float **x;              /* [depth + 1], owned; points into the arena */
    vj_block_memory *block; /* [depth], owned; points into the arena */
    vj_array norm, hidden;  /* of the block at work: [rows, width], [rows, hidden] */
} vj_stack_memory;

/** Allocate the small host arrays, once. `type`: see above. */
vj_status vj_stack_memory_create(vj_stack_memory *memory, const vj_stack *stack, vj_type type, int gradient,
                                 vj_recompute recompute);
void vj_stack_memory_release(vj_stack_memory *memory);

/** Point into the arena for `rows` rows: first what outlives the forward pass, ... */
void vj_stack_kept_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows);
/** ... then what only lives while the stack is at work, forward or backward. */
void vj_stack_work_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows);

/* Gradients on their way through a stack. */
typedef struct {
    float *dx, *dnorm;  /* [rows, width] */
    vj_array dwide;     /* [rows, max(hidden, 3 width)]: dpre, then dqkv */
    vj_array dattended; /* [rows, width], in dnorm's place */
} vj_stack_scratch;
void vj_stack_scratch_take(vj_stack_scratch *scratch, const vj_stack *stack, vj_arena *arena, int64_t rows,
                           vj_type type);

/** memory->x[0] in, memory->x[depth] out. */
void vj_stack_forward(const vj_stack *stack, vj_backend *be, const float *weights, vj_stack_memory *memory,
                      const vj_rows *rows);

/** scratch->dx: gradient of x[depth] in, of x[0] out. Gradients of the weights are written, or added if `accumulate`.
 */
void vj_stack_backward(const vj_stack *stack, vj_backend *be, const float *weights, float *gradient,
                       vj_stack_memory *memory, const vj_rows *rows, vj_stack_scratch *scratch, int accumulate);

#endif
