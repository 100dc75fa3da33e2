/*
 * One update of pretraining: masks, microbatches, reduction, AdamW, EMA. Read vj_step_run() in step.c first: it is the
 * algorithm. Where clips come from and what becomes of the run is the caller's (pretrain.c; vjepa-bench step).
 */
#ifndef VJ_TRAIN_STEP_H
#define VJ_TRAIN_STEP_H

#include <mpi.h>

#include "clips/clips.h"
#include "feed/loader.h"
#include "model/model.h"
#include "parallel/parallel.h"
#include "parallel/tree.h"
#include "train/optimizer.h"
#include "train/products.h"
#include "train/schedules.h"
#include "train/spectrum.h"
#include "train/stop.h"

/* All that an update needs but the clips. Owned, unless it says borrowed. */
typedef struct {
    const vj_config *config; /* borrowed */
    vj_layout layout;
    vj_tensor *tensor;   /* NULL: no group */
    int64_t first, last; /* this rank's samples inside a global batch, its tensor group's */
    vj_backend *be;
    vj_products products; /* how fast it multiplies */
    vj_model *model;
    vj_optimizer *optimizer;
    vj_spectrum *spectrum; /* feature objective only */
    vj_mask_lists lists;
    vj_tree losses;       /* reproducible: by mask, then the penalty */
    double *asked_losses; /* [microbatches, masks + 1] what the device was asked for; of all together in the first */
    vj_schedule schedule;
    double reported_comm_s, reported_backward_s; /* of what optimizer and tensor group spent */
    /* Called after each microbatch of step `number` (from 0): `done` of `all`, this rank's. NULL: nobody listens. */
    void (*progress)(void *listener, int64_t number, int64_t done, int64_t all);
    void *listener;
    const volatile sig_atomic_t *asked; /* borrowed, [VJ_ASKS]: what this rank was asked for; NULL: nothing ever */
} vj_step;

/* What one step measured. Sums are over the global batch; waiting and communication are the slowest rank's. */
typedef struct {
    double loss, by_mask[VJ_MAX_MASKS], penalty;
    double lr, weight_decay, ema, norm[2];
    vj_spread spread;
    double wait_s;                  /* in: this rank's waiting for the batch */
    double step_s;                  /* the caller's to fill */
    double comm_s, backward_comm_s; /* the second is a part of the first: sums during backward */
    double peak_bytes;
    double flops;                         /* this rank's share, by the published formula (model/flops.h) */
    int64_t context_rows, predictor_rows; /* tokens through the two networks, this rank's or its tensor group's */
    int healthy;
    double watch_knn, watch_probe; /* the caller's to fill: top-1 of the in-run watch in percent; NaN: not measured */
    int stop, write;               /* any rank's wish, and why: VJ_WHY_... of stop.h */
} vj_step_report;

/**
 * Lay out the ranks, divide the batch, open the backend, settle who multiplies, allocate model and optimizer; the
 * weights are still zero. Refuses layouts that cannot work (train/layout.h) and ranks with different kernels.
 * Collective, as is vj_step_close(): where one rank failed alone the job ends without it.
 */
vj_status vj_step_open(vj_step **step, const vj_config *config, MPI_Comm comm);
void vj_step_close(vj_step *step);

/* What a step takes on this rank, with the masks of its batch. */
typedef struct {
    int64_t activation_bytes, microbatches;
    double flops; /* by the published formula (model/flops.h) */
} vj_step_needs;

/** Learn what the masks of batch `number` need, and touch that memory. Not collective. */
vj_status vj_step_touch(vj_step *step, int64_t number, vj_step_needs *needs);

/**
 * Step `number` (from 0) of the schedules on this rank's part of a batch, whose own number, as the loader gives it,
 * makes the masks; `update` is Adam's count if it is healthy. A step whose loss
 * or gradient is not finite leaves the weights alone and says so in report->healthy. Collective.
 */
vj_status vj_step_run(vj_step *step, int64_t number, int64_t update, const vj_batch *batch, vj_step_report *report);

#endif
