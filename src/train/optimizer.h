/*
 * What happens to gradients after backward: their sum over the ranks, clipping, AdamW and EMA (spec section 7). With
 * parallel.zero = 1 each rank owns a slice of the moments and of the update, and the updated slices are exchanged.
 */
#ifndef VJ_TRAIN_OPTIMIZER_H
#define VJ_TRAIN_OPTIMIZER_H

#include <mpi.h>

#include "model/model.h"

typedef struct {
    vj_model *model; /* borrowed */
    MPI_Comm comm;   /* borrowed; data ranks: replicas of this rank's weights */
    int rank, size, zero;
    double beta1, beta2, eps, predictor_lr_scale;
    int64_t *slice;                      /* [size + 1] the flat vector's slices; cut at checkpoint blocks. Owned */
    int64_t first, last;                 /* what this rank updates: its slice, or all */
    float *first_moment, *second_moment; /* device [last - first] */
    double *sum;                         /* device, one */
    double comm_s;                       /* time spent in communication so far */
} vj_optimizer;

typedef struct {
    int64_t update; /* Adam's t: updates done, this one included */
    double lr, weight_decay, ema;
    double clip[2]; /* factor on the encoder's and the predictor's gradient */
} vj_update;

/** Moments start at zero. Not collective, but all ranks must pass the same settings. Release with vj_optimizer_close().
 */
vj_status vj_optimizer_open(vj_optimizer **optimizer, vj_model *model, const vj_config *config, MPI_Comm comm);
void vj_optimizer_close(vj_optimizer *optimizer);

/** Sum the gradient over the ranks, in pieces of 4 MiB; with zero = 1 only into the slices' owners. Collective. */
void vj_optimizer_reduce(vj_optimizer *optimizer);

/** 2-norms of the summed gradient of encoder and predictor, whole tensors; equal on all ranks. Collective, also over
 * the tensor group. */
void vj_optimizer_norms(vj_optimizer *optimizer, double norm[2]);

/** AdamW on encoder and predictor, EMA of the encoder into the target, in one pass; then slices are exchanged.
 * Collective. */
void vj_optimizer_update(vj_optimizer *optimizer, const vj_update *update);

#endif
