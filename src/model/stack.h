/*
 * A stack of transformer blocks over packed rows (docs/method.md, section 3): the encoder's and the predictor's trunk
 * are one code. Rows of many sequences lie one after another, `offset` says where each begins, attention stays inside
 * its segment.
 *
 * A stack may be divided over a tensor group of t ranks (Shoeybi et al. 2019). Each rank holds a share of the heads -
 * their rows in q, k and v of qkv - and of the hidden layer, fc1's rows. Of the weights that follow, proj and fc2, it
 * holds the matching columns, so its product is a partial sum; summing it over the ranks is the only communication of a
 * half block. In the backward pass it is the gradients of the norms' outputs that are partial and summed. The residual
 * stream, its norms and the biases of proj and fc2, which one rank adds, are bitwise equal on all ranks.
 *
 * With tensor_sequence (Korthikanti et al. 2022) a rank keeps only its own rows of the stream (vj_split): an all-gather
 * of the normalised stream precedes qkv and fc1, a reduce-scatter to the rows' owners follows proj and fc2. The traffic
 * is the same, the stream's memory and the work of its norms are 1/t, and the backward pass has two more gathers. The
 * stack's input and output are still all rows, on all ranks. Only the gradients of the norms are partial sums over own
 * rows (vj_param.by_rows), which vj_model_complete_gradient() sums.
 */
#ifndef VJ_MODEL_STACK_H
#define VJ_MODEL_STACK_H

#include "model/arena.h"
#include "model/trainable.h"

/* Position encoding: a table is added to the tokens before the first block, computed or learned; or queries and keys
 * are rotated by their position in each block (RoPE). Encoders of this build use VJ_POSITIONS_SINCOS. */
typedef enum { VJ_POSITIONS_SINCOS, VJ_POSITIONS_LEARNED, VJ_POSITIONS_ROTARY } vj_positions;

/* Offsets of one block's tensors in the flat vectors. */
typedef struct {
    int64_t norm1_weight, norm1_bias, qkv_weight, qkv_bias, proj_weight, proj_bias;
    int64_t norm2_weight, norm2_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
} vj_block;

typedef struct {
    int depth, width, heads, hidden;
    float eps; /* of its norms */
    vj_positions positions;
    vj_tensor *tensor; /* borrowed; NULL: this rank has the whole stack */
    int share_width, share_heads,
        share_hidden;               /* this rank's: width of its heads together, number of heads, hidden values */
    vj_block *block;                /* [depth], owned */
    int64_t norm_weight, norm_bias; /* the final norm; applied by the caller, who may pick rows first */
} vj_stack;

/** Return how many elements of the flat vectors the largest block takes: the size of vj_weights.block. */
int64_t vj_stack_block_elements(const vj_stack *stack);

/** True if a stack with so many heads and hidden values can be divided over `ranks` ranks. */
static inline bool vj_stack_divides(int heads, int hidden, int ranks)
{
    return heads % ranks == 0 && hidden % ranks == 0;
}

/**
 * Record the stack's tensors: PREFIX.<l>.norm1.weight ..., then NORM.weight, NORM.bias. With `tensor` not NULL, record
 * this rank's shares; vj_stack_divides() must hold.
 */
void vj_stack_add(vj_stack *stack, vj_params *ps, vj_network_part part, const char *prefix, const char *norm, int depth,
                  int width, int heads, int hidden, float eps, vj_positions positions, vj_tensor *tensor);
void vj_stack_release(vj_stack *stack);

/*
 * Activations that one block keeps for its backward pass, besides its input. The outputs of the norms and of GELU are
 * not kept: the backward pass recomputes them from values that it reads anyway.
 */
typedef struct {
    float *mean1, *rstd1, *lse, *middle, *mean2, *rstd2; /* middle: the stream after attention */
    vj_array qkv, attended, pre;                         /* pre: the MLP's hidden layer before its GELU */
} vj_block_memory;

/*
 * Activations of a stack for `rows` rows. With gradient: x has depth + 1 entries (each block's input, then the output)
 * and `block` depth entries; activations that are recomputed share one buffer. Without gradient all entries of x are
 * one buffer, updated in place, and nothing is kept.
 *
 * Bytes per row and block with gradient, by `recompute`; D = width, e = bytes of `type`, hidden = 4 D, statistics left
 * out: none 8 D + 8 D e, attention 8 D + 4 D e, block 4 D (plus, once, the recomputed activations of one block).
 * Over t ranks the terms with e are divided by t; with tensor_sequence all are, and the statistics: then middle, mean,
 * rstd and x are of own rows, but for x[0] and x[depth].
 */
typedef struct {
    int gradient;
    vj_recompute recompute;
    vj_type type;           /* of operands; kernels.h says what else is rounded with bf16 */
    float **x;              /* [depth + 1], owned; points into the arena */
    vj_block_memory *block; /* [depth], owned; points into the arena */
    vj_array norm, hidden;  /* of the current block: [rows, width], [rows, share_hidden] */
    float **copy; /* [depth + 1], owned. If copy[l] is not NULL, the forward pass also writes the stream after l
                     blocks there; it points to device memory [rows, width] of the caller. Not with a
                     tensor group */
    float *sum;   /* [rows, width] buffer for a partial sum whose result, own rows only, is kept elsewhere; NULL:
                     partial sums are made where the result is kept */
} vj_stack_memory;

/** Allocate the small host arrays, once. `type`: see above. */
vj_status vj_stack_memory_create(vj_stack_memory *memory, const vj_stack *stack, vj_type type, int gradient,
                                 vj_recompute recompute);
void vj_stack_memory_release(vj_stack_memory *memory);

/** Place in the arena, for `rows` rows, the activations that outlive the forward pass. Call first. */
void vj_stack_kept_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows);
/** Place in the arena, for `rows` rows, the buffers used only while a forward or backward pass of the stack runs. */
void vj_stack_work_take(vj_stack_memory *memory, const vj_stack *stack, vj_arena *arena, int64_t rows);

/* Buffers for the gradients of activations in the backward pass of a stack. */
typedef struct {
    float *dx;          /* [rows, width] */
    vj_array dnorm;     /* [rows, width] of a norm's output; floats where a tensor group sums it */
    vj_array dwide;     /* [rows, max(share_hidden, 3 share_width)]: dpre, then dqkv */
    vj_array dattended; /* [rows, share_width], in dnorm's place */
    vj_array dx_copy;   /* [rows, width] dx as operand of products; none where activations are kept as floats */
} vj_stack_scratch;
void vj_stack_scratch_take(vj_stack_scratch *scratch, const vj_stack *stack, vj_arena *arena, int64_t rows,
                           vj_type type);

/** Read memory->x[0], write memory->x[depth]. Collective over the tensor group, if there is one; so is backward. */
void vj_stack_forward(const vj_stack *stack, vj_backend *be, vj_weights weights, vj_stack_memory *memory,
                      const vj_rows *rows);

/**
 * scratch->dx holds the gradient of x[depth] on entry and of x[0] on return. Gradients of the weights are written, or
 * added if `accumulate`; `hook` is called after each block.
 */
void vj_stack_backward(const vj_stack *stack, vj_backend *be, vj_weights weights, float *gradient,
                       vj_stack_memory *memory, const vj_rows *rows, vj_stack_scratch *scratch, int accumulate,
                       const vj_gradient_hook *hook);

#endif
