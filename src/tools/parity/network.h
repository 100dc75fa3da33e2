/* A model set up from a fixture's attributes, weights and inputs: what the forward, step and pixel kinds share. */
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
 * Read sizes, weights, clips and masks of `f` and make the model: with the file's loss for the feature objective, with
 * normalised targets for pixels. What is missing is counted, and the network is left incomplete: model NULL. Release
 * in any case.
 */
vj_status vj_parity_network_create(vj_parity_network *n, vj_fixture *f, vj_objective objective);
void vj_parity_network_release(vj_parity_network *n);

/** One pass over the whole batch: results and gradients are then in the model; losses [masks] are the masks' own. */
vj_status vj_parity_network_run(vj_parity_network *n, double *losses, double *penalty);

/**
 * Compare every tensor of part `part` (at its offset in the flat device vector) with GROUP/<name>. GROUP must hold
 * nothing else. qkv_bias: for those, whose key part is noise. With a bound relative to the norm the key part is also
 * compared by itself, absolutely: its exact gradient is zero (docs/method.md, section 17, number 15).
 */
void vj_parity_network_compare(const vj_parity_network *n, vj_fixture *f, const char *group, vj_network_part part,
                               const float *flat, vj_tolerance each, vj_tolerance qkv_bias);

#endif
