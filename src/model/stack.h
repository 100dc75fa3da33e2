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

/* What one block leaves for its backward pass. */
typedef struct {
    float *norm1, *mean1, *rstd1, *qkv, *lse, *attended, *middle, *norm2, *mean2, *rstd2, *pre, *hidden;
} vj_block_memory;

/*
 * Activations of a stack for up to `rows` rows. With gradient: x has depth + 1 entries (each block's input, then the
 * output); `block` has depth entries, or all are the same one when blocks are recomputed. Without gradient all
 * entries of x are one buffer, updated in place.
 */
typedef struct {
    int64_t rows;
    int gradient, recompute;
    float **x;              /* [depth + 1], owned; points into the arena */
    vj_block_memory *block; /* [depth], owned; points into the arena */
} vj_stack_memory;

/** Take the inputs x of all blocks from the arena; owns two small host arrays. vj_stack_blocks_take() completes it. */
void vj_stack_memory_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows, int gradient,
                          int recompute);
/** Take the insides of the blocks. With recompute, nothing in them has to outlive the forward or the backward pass. */
void vj_stack_blocks_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena);
void vj_stack_memory_release(vj_stack_memory *memory);

/* Scratch of the backward pass, shared by all stacks. */
typedef struct {
    float *dx, *dnorm, *dwide; /* [rows, width], [rows, width], [rows, max(hidden, 3 width)] */
} vj_stack_scratch;
void vj_stack_scratch_take(vj_stack_scratch *scratch, const vj_stack *stack, vj_arena *arena, int64_t rows);

/** memory->x[0] in, memory->x[depth] out. */
void vj_stack_forward(const vj_stack *stack, vj_backend *be, const float *weights, vj_stack_memory *memory,
                      const vj_rows *rows);

/** scratch->dx: gradient of x[depth] in, of x[0] out. Gradients of the weights are written, or added if `accumulate`.
 */
void vj_stack_backward(const vj_stack *stack, vj_backend *be, const float *weights, float *gradient,
                       vj_stack_memory *memory, const vj_rows *rows, vj_stack_scratch *scratch, int accumulate);

#endif
