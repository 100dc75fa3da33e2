/*
 * The shape of a V-JEPA network and where its tensors lie: patch embedding, encoder, predictor (docs/method.md,
 * sections 1-4).
 */
#ifndef VJ_MODEL_NETWORK_H
#define VJ_MODEL_NETWORK_H

#include "base/config.h"
#include "model/grid.h"
#include "model/stack.h"

/* Everything that decides tensor shapes. Filled from a configuration, or by a test from its fixture. */
typedef struct {
    int channels, frames, height, width_px; /* a clip */
    int tubelet, patch;
    int width, depth, heads, hidden; /* encoder */
    int predictor_width, predictor_depth, predictor_heads, predictor_hidden;
    int mask_tokens, uniform_power;
    int prefix_tokens;      /* leading tokens of a clip that belong to no grid cell (class, registers) */
    vj_positions positions; /* the encoder's position encoding */
    float eps; /* of the norms of encoder and predictor; the target's norm has another (docs/method.md, section 17,
                  number 3) */
    vj_objective objective;
} vj_shape;

#define VJ_SHAPE_EPS 1e-6f /* eps of the networks that are trained here */

vj_shape vj_shape_from(const vj_config *config);
vj_grid vj_shape_grid(const vj_shape *shape);
/** Values of one tubelet: channels * tubelet * patch * patch. */
int vj_shape_patch_values(const vj_shape *shape);

typedef struct {
    vj_shape shape;
    vj_grid grid;
    int grid_tokens, tokens; /* of a clip; tokens: with prefix tokens, which come first */
    int patch_values, out;   /* out: width of a prediction */
    vj_tensor *tensor;       /* borrowed; whose ranks share the network; NULL: this rank has all of it */
    vj_params params;
    int64_t patch_weight, patch_bias;
    vj_stack encoder;
    int64_t embed_weight, embed_bias, mask_token, out_weight, out_bias;
    vj_stack predictor;
} vj_network;

/**
 * Lay out all tensors, under their published names. With `encoder_only` the predictor is left out. With `tensor` NULL
 * this rank holds whole tensors, else its shares: the encoder must be divisible by the group's size; a predictor that
 * is not is replicated on every rank.
 */
void vj_network_describe(vj_network *net, const vj_shape *shape, int encoder_only, vj_tensor *tensor);
void vj_network_release(vj_network *net);

/** Allocate and fill the position table of the encoder or the predictor, by `width`: device floats [tokens, width].
 * NULL: out of memory. */
float *vj_network_table(const vj_network *net, vj_backend *be, int width);

/* One pass of the encoder over `clips` clips. All is device memory but the struct and what it borrows. */
typedef struct {
    int64_t clips;
    vj_array patches;      /* [clips*grid_tokens, patch_values] */
    const vj_rows *rows;   /* the rows that the blocks see */
    const int32_t *picked; /* [rows] their tokens among those of all clips; NULL: all tokens of all clips, in order */
    float *tokens;         /* [clips*tokens, width] with `picked`: all tokens, and their gradient on the way back */
    vj_array features;     /* [rows, width] after the final norm: the result */
    float *mean, *rstd;    /* [rows] of that norm, for a backward pass, or both NULL */
} vj_encoder_pass;

/**
 * Run patch embedding with the position table, blocks and final norm. `memory` must have been taken for these rows,
 * with gradient if a backward pass follows. Collective over the tensor group.
 */
void vj_network_encode(const vj_network *net, vj_backend *be, vj_weights weights, const float *table,
                       vj_stack_memory *memory, const vj_encoder_pass *encoding);

/**
 * Backpropagate dfeatures [rows, width] to the encoder's weights: gradients are written, or added if `accumulate`;
 * `hook` is called after each layer. Collective over the tensor group.
 */
void vj_network_backward(const vj_network *net, vj_backend *be, vj_weights weights, float *gradient,
                         vj_stack_memory *memory, vj_stack_scratch *scratch, const vj_encoder_pass *encoding,
                         const float *dfeatures, int accumulate, const vj_gradient_hook *hook);

#endif
