/*
 * The deep probe of V-JEPA 2 (2025; docs/method.md, section 12.1): depth - 1 ordinary transformer blocks on all tokens
 * of a sample, then the cross-attention block and the class layer of the plain attentive probe. A published probe has
 * depth 4, and costs about as much as the encoder; nothing of it can be folded.
 *
 * It is trained one sample at a time by any number of ranks that all hold the same weights. Gradients of samples are
 * added as integers, so that the result does not depend on their order or on which rank has which sample:
 *
 *     each rank: sum = 0; for its samples { vj_token_probe_forward(); vj_token_probe_backward(sum) }
 *     MPI_Allreduce(MPI_IN_PLACE, sum, vj_token_probe_size(), MPI_INT64_T, MPI_SUM)
 *     each rank: vj_token_probe_update(sum)
 *
 * Device arrays are memory of the backend. Nothing here is collective.
 */
#ifndef VJ_PROBE_TOKEN_PROBE_H
#define VJ_PROBE_TOKEN_PROBE_H

#include "probe/head.h"

typedef struct {
    int D, heads, classes; /* heads, of the blocks and of the cross-attention, must divide D */
    int depth;             /* blocks in all: depth - 1 on the tokens, and the cross-attention block */
    int64_t tokens;        /* N, tokens of a sample */
} vj_token_probe_shape;

typedef struct vj_token_probe vj_token_probe;

/** Write the name of such a probe in settings and tables, "tokens4" for depth 4. Returns `name`. */
const char *vj_token_probe_name(char name[32], int depth);
/** Return the depth, 1 to 64, that such a name gives; 0 for another word. */
int vj_token_probe_depth(const char *name);

/** Create a probe with all weights zero. `be` is borrowed. VJ_ERR_USAGE, reported, for an impossible shape. */
vj_status vj_token_probe_create(vj_token_probe **probe, vj_backend *be, const vj_token_probe_shape *shape);
/**
 * Create a probe of the same shape as `other`, with weights and moments of its own, which shares the memory of the
 * other's passes: results of forward and backward passes are valid until the next pass of either. They may be destroyed
 * in any order.
 */
vj_status vj_token_probe_create_beside(vj_token_probe **probe, vj_token_probe *other);
void vj_token_probe_destroy(vj_token_probe *probe);
/** Return the bytes of device memory of `count` probes, one from vj_token_probe_create() and the others created beside
 * it. 0, reported, for an impossible shape. */
int64_t vj_token_probe_bytes(const vj_token_probe_shape *shape, int64_t count);
/** Return the floating-point operations (2 a multiply-add) of one sample's forward pass; backward takes twice as many.
 */
double vj_token_probe_flops(const vj_token_probe_shape *shape);

/**
 * Draw the initial weights as vj_probe_init() does, with other divisors of the standard deviation: sqrt(2(i+1)) for
 * attn.proj and mlp.fc2 of block i = 0, 1, ... and for the cross-attention's fc2 that of the last block (sqrt 2 without
 * blocks).
 */
vj_status vj_token_probe_init(vj_token_probe *probe, uint64_t seed, double std);

/** Return the number of tensors, and tensor i: names as published, weights and the last sample's gradients. */
int vj_token_probe_tensor_count(const vj_token_probe *probe);
const vj_probe_tensor *vj_token_probe_tensor_at(const vj_token_probe *probe, int i);
/** Return weights, first and second moments as flat arrays of `size` floats each (device), for checkpoints. */
float *vj_token_probe_state(vj_token_probe *probe);
/** Return `size`, the length of all weights with the gaps between them, which stay zero. */
int64_t vj_token_probe_size(const vj_token_probe *probe);

/** Compute the class scores of one sample from its tokens [N, D] as they come from the encoder. Both on the device;
 * the scores [classes] stay until the next call. */
const float *vj_token_probe_forward(vj_token_probe *probe, const float *tokens);
/** Return the cross-attention's weights [heads, N] (device) of the last forward pass. */
const float *vj_token_probe_attention(const vj_token_probe *probe);
/** Return the class layer's input [D] (device) of the last forward pass. */
const float *vj_token_probe_pooled(const vj_token_probe *probe);

/**
 * Compute the cross-entropy of the last forward pass's sample, *loss, and its gradients, and add them to sum [size]
 * (device). VJ_ERR_STATE, reported, if one is not a number or so large that the sum of `batch` such samples might leave
 * the range of its integers.
 */
vj_status vj_token_probe_backward(vj_token_probe *probe, int32_t label, double *loss, int64_t *sum, int64_t batch);
/** Return the gradient of the last sample's tokens [N, D] (device). */
const float *vj_token_probe_token_gradient(const vj_token_probe *probe);

/** Update the weights with the mean gradient of `batch` samples, whose gradients have been added to sum [size]
 * (device).
 */
vj_status vj_token_probe_update(vj_token_probe *probe, const int64_t *sum, int64_t batch, const vj_head_step *step);

#endif
