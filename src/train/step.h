/*
 * One update of pretraining: masks, microbatches, sum of gradients, AdamW, EMA. Read vj_step_run() in step.c first: it
 * is the algorithm. The caller loads the clips and runs the loop (pretrain.c; vjepa-bench step).
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

/* All that an update needs, except the clips. Owned, unless marked as borrowed. */
typedef struct {
    const vj_config *config; /* borrowed */
    vj_layout layout;
    vj_tensor *tensor;   /* NULL: no group */
    int64_t first, last; /* samples of a global batch that this rank, with its tensor group, trains on */
    vj_backend *be;
    vj_products products; /* measured rates of matrix products */
    vj_model *model;
    vj_optimizer *optimizer;
    vj_spectrum *spectrum; /* feature objective only */
    vj_mask_lists lists;
    vj_tree losses; /* reproducible: sums of the losses by mask, then of the penalty */
    double *
        downloaded_losses; /* [microbatches, masks + 1] written by the device; only the first row unless reproducible */
    vj_schedule schedule;
    double reported_comm_s, reported_backward_s; /* communication time up to the last report */
    struct {
        /* Called while step `step` (from 0) is computed: at the time now_s, `done` of this rank's `microbatches` are
         * done, with the part of the present one if the device is not asynchronous. NULL: not called. */
        void (*tell)(void *listener, int64_t step, double done, int64_t microbatches, double now_s);
        void *listener;                         /* borrowed */
        int64_t step, microbatch, microbatches; /* the present step and microbatch; how many of these there are */
    } progress;
    const volatile sig_atomic_t *requests; /* borrowed, [VJ_REQUESTS]: requests to this rank (stop.h); NULL: none */
} vj_step;

/* Results of one step. Losses are of the global batch; times are those of the slowest rank. */
typedef struct {
    double loss, by_mask[VJ_MAX_MASKS], penalty;
    double lr, weight_decay, ema, norm[2];
    vj_spread spread;
    double wait_s; /* set by the caller to this rank's wait for the batch; replaced by the longest wait */
    double step_s; /* filled in by the caller */
    double comm_s, backward_comm_s; /* communication; the part of it during the backward pass */
    double peak_bytes;
    double flops;                         /* this rank's share, by the published formula (model/flops.h) */
    int64_t context_rows, predictor_rows; /* tokens through the two networks, this rank's or its tensor group's */
    int healthy;
    double watch_knn,
        watch_probe; /* filled in by the caller: top-1 of the in-run watch in percent; NaN: not measured */
    int stop, write; /* whether any rank was asked to stop, or to write a checkpoint, and why: VJ_WHY_... */
} vj_step_report;

/**
 * Split the ranks, divide the batch, open the backend, choose the library for products, allocate model and optimizer;
 * the weights are zero. Refuses layouts that cannot work (train/layout.h) and ranks with different kernels. Collective,
 * as is vj_step_close(). If one rank fails alone, do not call vj_step_close() but end the job.
 */
vj_status vj_step_open(vj_step **step, const vj_config *config, MPI_Comm comm);
void vj_step_close(vj_step *step);

/* What a step needs on this rank, with the masks of its batch. */
typedef struct {
    int64_t activation_bytes, microbatches;
    double flops; /* by the published formula (model/flops.h) */
} vj_step_needs;

/** Compute what the masks of batch `number` need. Not collective. */
vj_status vj_step_count_needs(vj_step *step, int64_t number, vj_step_needs *needs);
/** Touch that memory (vj_model_touch()), which takes a while for many GiB. Not collective. */
vj_status vj_step_touch(vj_step *step, const vj_step_needs *needs);

/**
 * Do one step on this rank's part of a batch. `number` (from 0): its place in the schedules; the masks depend on the
 * batch's own number, batch->step, instead. `update`: Adam's update count. If the loss or the gradient is not finite,
 * the weights are left unchanged and report->healthy is 0. Collective.
 */
vj_status vj_step_run(vj_step *step, int64_t number, int64_t update, const vj_batch *batch, vj_step_report *report);

#endif
