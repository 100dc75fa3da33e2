/*
 * What ranks with parallel.zero = 1 give one another after an update: each its slice of the weights and of the target
 * encoder. Where kernels read bf16 copies of the matrices (model/params.h) these are gathered, which are half as many
 * bytes, and of the weights themselves only what kernels read as floats (biases, gains of norms, mask tokens), packed.
 * The bits that kernels read are those of gathered floats, rounded. Of the matrices themselves a rank then has only its
 * slice: who wants all of them, a checkpoint, gets them from their owners.
 */
#ifndef VJ_TRAIN_WEIGHT_GATHER_H
#define VJ_TRAIN_WEIGHT_GATHER_H

#include "model/params.h"
#include "parallel/device_gather.h"

/* Vectors in the order of vector[]: weights, or their copies; then the target's; then, of copies, what is packed of the
 * weights; then of the target. */
typedef struct {
    bool rounded;                              /* copies are gathered */
    int vectors;                               /* 1 or 2; with copies twice as many */
    vj_gathered vector[VJ_GATHERED_MOST];      /* all but `of`, which is NULL */
    const int64_t *slice;                      /* [ranks + 1] of the flat vector; borrowed */
    int64_t *packed;                           /* [ranks + 1] borders of the slices in what is packed; owned */
    vj_span *span;                             /* [spans] of the flat vector, what is packed, cut at slices; owned */
    int64_t spans, encoder_spans, *first_span; /* [ranks + 1] where a rank's begin; owned */
} vj_weight_gather;

/** Describe what is gathered of `ps`, with a target encoder or without. slice [ranks + 1] is borrowed. Release with
 * vj_weight_gather_release(), also after a failure. VJ_ERR_MEMORY. Not collective. */
vj_status vj_weight_gather_describe(vj_weight_gather *gather, const vj_params *ps, bool target, bool rounded,
                                    const int64_t *slice, int ranks);
void vj_weight_gather_release(vj_weight_gather *gather);

/** Bytes of all slices together: what a rank has from a gather, its own slices included. */
int64_t vj_weight_gather_bytes(const vj_params *ps, bool target, bool rounded);

/** Floats of them that are packed; 0 if not rounded. */
int64_t vj_weight_gather_packed(const vj_params *ps, bool target, bool rounded);

#endif
