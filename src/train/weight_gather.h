/*
 * Describes what ranks with parallel.zero = 1 exchange after an update: each rank gives the others its slice of the
 * weights and of the target encoder. If kernels read bf16 copies of the matrices (model/params.h), the copies are
 * gathered instead, which halves the traffic; of the weights themselves only the tensors that kernels read as floats
 * (biases, norm gains, mask tokens) are gathered, packed into one array. Kernels get the same bits either way. In that
 * case a rank's fp32 matrices are up to date only in its own slice, and checkpoints are written from the owners'
 * slices.
 */
#ifndef VJ_TRAIN_WEIGHT_GATHER_H
#define VJ_TRAIN_WEIGHT_GATHER_H

#include "model/params.h"
#include "parallel/device_gather.h"

/* vector[] is, in this order: weights, target (if there is one); or, if `rounded`: the bf16 copies of weights and
 * target, then the packed floats of weights and of target. */
typedef struct {
    bool rounded;                        /* bf16 copies are gathered */
    int vectors;                         /* 1, or 2 with a target; twice as many if rounded */
    vj_gathered vector[VJ_MAX_GATHERED]; /* without the member `of`, which is NULL */
    const int64_t *slice;                /* [ranks + 1] of the flat vector; borrowed */
    int64_t *packed;                     /* [ranks + 1] borders of the ranks' slices in the packed array; owned */
    vj_span *span;                       /* [spans] parts of the flat vector that are packed, cut at slices; owned */
    int64_t spans, encoder_spans, *first_span; /* first_span [ranks + 1]: the first span of each rank; owned */
} vj_weight_gather;

/** Describe the exchange for the tensors of `ps`, with a target encoder or without. slice [ranks + 1] is borrowed.
 * VJ_ERR_MEMORY. Not collective. Release with vj_weight_gather_release(), also after a failure. */
vj_status vj_weight_gather_describe(vj_weight_gather *gather, const vj_params *ps, bool target, bool rounded,
                                    const int64_t *slice, int ranks);
void vj_weight_gather_release(vj_weight_gather *gather);

/** Return the bytes of the slices of all ranks together. */
int64_t vj_weight_gather_bytes(const vj_params *ps, bool target, bool rounded);

/** Return how many floats are packed; 0 if not rounded. */
int64_t vj_weight_gather_packed(const vj_params *ps, bool target, bool rounded);

#endif
