/* A model made from the attributes, weights and inputs of a fixture, for the kinds forward, step and pixel. */
#ifndef VJ_PARITY_NETWORK_H
#define VJ_PARITY_NETWORK_H

#include "model/model.h"
#include "parity/fixture.h"

typedef struct {
    vj_model *model;
    vj_mask_lists lists;
    const float *clips; /* [batch, channels, frames, height, width], owned by the fixture */
    int batch, masks;
} vj_parity_network;

/**
 * Read sizes, weights, clips and masks of `f` and make the model, with the file's loss for the feature objective, and
 * with normalised targets for pixels. If something is missing, it is counted, and n->model is NULL. Release the network
 * also after a failure.
 */
vj_status vj_parity_network_create(vj_parity_network *n, vj_fixture *f, vj_objective objective);
void vj_parity_network_release(vj_parity_network *n);

/** Make one forward and backward pass over the whole batch. Results and gradients are then in the model. losses
 * [masks]: the loss of each mask. */
vj_status vj_parity_network_run(vj_parity_network *n, double *losses, double *penalty);

/**
 * Compare every tensor of part `part` (at its offset in the flat device vector) with GROUP/<name>. GROUP must contain
 * nothing else. `qkv_bias` is the tolerance of qkv biases, whose key part is only rounding noise; `each` is that of all
 * other tensors. If the bound is relative to the norm, the key part is also compared separately by its absolute bound,
 * because its exact gradient is zero (docs/method.md, section 17, number 15).
 */
void vj_parity_network_compare(const vj_parity_network *n, vj_fixture *f, const char *group, vj_network_part part,
                               const float *flat, vj_tolerance each, vj_tolerance qkv_bias);

#endif
