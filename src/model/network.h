/*
 * The shape of a V-JEPA network and where its tensors lie: patch embedding, encoder, predictor (spec sections 1-4).
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
    vj_objective objective;
} vj_shape;

vj_shape vj_shape_from(const vj_config *config);
vj_grid vj_shape_grid(const vj_shape *shape);
/** Values of one tubelet: channels * tubelet * patch * patch. */
int vj_shape_patch_values(const vj_shape *shape);

typedef struct {
    vj_shape shape;
    vj_grid grid;
    int tokens, patch_values, out; /* out: width of a prediction */
    vj_tensor *tensor;             /* borrowed; whose ranks share the network; NULL: this rank has all of it */
    vj_params params;
    int64_t patch_weight, patch_bias;
    vj_stack encoder;
    int64_t embed_weight, embed_bias, mask_token, out_weight, out_bias;
    vj_stack predictor;
} vj_network;

/**
 * Lay out all tensors, under their published names. With `encoder_only` the predictor is left out. `tensor` NULL: all
 * of them, else shares; the encoder must divide, a predictor that does not is whole on every rank.
 */
void vj_network_describe(vj_network *net, const vj_shape *shape, int encoder_only, vj_tensor *tensor);
void vj_network_release(vj_network *net);

/** The encoder's (width) or the predictor's position table, float, on the device, [tokens, width]; NULL: no memory. */
float *vj_network_table(const vj_network *net, vj_backend *be, int width);

/**
 * Encode all tokens of `clips` clips without gradient (target encoder, frozen encoder):
 * features [clips*tokens, width] after the final norm. memory: taken without gradient, for clips*tokens rows; offset:
 * device [clips + 1], k*tokens.
 */
void vj_network_encode(const vj_network *net, vj_backend *be, const float *weights, const float *table,
                       vj_stack_memory *memory, const int32_t *offset, const float *patches, int64_t clips,
                       float *features);

#endif
