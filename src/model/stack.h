/*
 * A stack of transformer blocks over packed rows (docs/method.md, section 3): the encoder's and the predictor's trunk
 * are one code. Rows of many sequences lie one after another, `offset` says where each begins, attention stays inside
 * its segment.
 *
 * A stack may be divided over a tensor group of t ranks (Shoeybi et al. 2019). Each rank holds a share of the heads -
 * their rows in q, k and v of qkv - and of the hidden layer, fc1's rows. What follows a head or a hidden value holds
 * columns, proj and fc2: its product is a part of a sum over the ranks, the only exchange of a half block. In the
 * backward pass the same holds the other way round, for the gradients of the norms' outputs. The stream, its norms and
 * the biases of proj and fc2, which one rank adds, are alike on all ranks, to the bit.
 *
 * With tensor_sequence (Korthikanti et al. 2022) a rank keeps only its own rows of the stream (vj_split): before a
 * product with rows of all sequences the normalised stream is gathered, behind one the sum ends in the rows' owners.
 * That is as much traffic, 1/t of the stream and its norms' work, and two more gathers in the backward pass. Outside of
 * the stack nothing is seen of it: its input and output are all rows, on all ranks. Only the gradients of the norms are
 * sums over own rows (vj_param.by_rows), which vj_model_complete_gradient() adds up.
 */
#ifndef VJ_MODEL_STACK_H
#define VJ_MODEL_STACK_H

#include "model/arena.h"
#include "model/trainable.h"

/* How tokens learn where they are: a table is added to them before the first block, computed or learned; or queries and
 * keys are turned by their place in each block. Encoders of this build have the first. */
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
    vj_tensor *tensor;                          /* borrowed; NULL: this rank has the whole stack */
    int share_width, share_heads, share_hidden; /* this rank's heads, how wide they are together, its hidden values */
    vj_block *block;                            /* [depth], owned */
    int64_t norm_weight, norm_bias;             /* the final norm; applied by the caller, who may pick rows first */
} vj_stack;

/** Can a stack of so many heads and hidden values be divided over so many ranks? */
static inline bool vj_stack_divides(int heads, int hidden, int ranks)
{
    return heads % ranks == 0 && hidden % ranks == 0;
}

/**
 * Record the stack's tensors: PREFIX.<l>.norm1.weight ..., then NORM.weight, NORM.bias. With `tensor` not NULL, shares
 * of them: the stack must divide.
 */
void vj_stack_add(vj_stack *stack, vj_params *ps, vj_network_part part, const char *prefix, const char *norm, int depth,
                  int width, int heads, int hidden, float eps, vj_positions positions, vj_tensor *tensor);
void vj_stack_release(vj_stack *stack);

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
 * Over t ranks the terms with e are divided by t; with tensor_sequence all are, and the statistics: then middle, mean,
 * rstd and x are of own rows, but for x[0] and x[depth].
 */
typedef struct {
    int gradient;
    vj_recompute recompute;
    vj_type type;           /* of operands; what bf16 loses beside the rounding of products: kernels.h */
    float **x;              /* [depth + 1], owned; points into the arena */
    vj_block_memory *block; /* [depth], owned; points into the arena */
    vj_array norm, hidden;  /* of the block at work: [rows, width], [rows, share_hidden] */
    float *sum;             /* [rows, width] what ends in own rows kept elsewhere; NULL: the sum is made in its place */
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
    vj_array dwide;     /* [rows, max(share_hidden, 3 share_width)]: dpre, then dqkv */
    vj_array dattended; /* [rows, share_width], in dnorm's place */
} vj_stack_scratch;
void vj_stack_scratch_take(vj_stack_scratch *scratch, const vj_stack *stack, vj_arena *arena, int64_t rows,
                           vj_type type);

/** memory->x[0] in, memory->x[depth] out. Like backward collective over the tensor group, if there is one. */
void vj_stack_forward(const vj_stack *stack, vj_backend *be, const float *weights, vj_stack_memory *memory,
                      const vj_rows *rows);

/**
 * scratch->dx: gradient of x[depth] in, of x[0] out. Gradients of the weights are written, or added if `accumulate`;
 * after each block `hook` is told.
 */
void vj_stack_backward(const vj_stack *stack, vj_backend *be, const float *weights, float *gradient,
                       vj_stack_memory *memory, const vj_rows *rows, vj_stack_scratch *scratch, int accumulate,
                       const vj_gradient_hook *hook);

#endif
