/*
 * One update of pretraining: masks, microbatches, reduction, AdamW, EMA. Read vj_step_run() in step.c first: it is the
 * algorithm. Where clips come from and what becomes of the run is the caller's (pretrain.c; vjepa-bench step).
 */
#ifndef VJ_TRAIN_STEP_H
#define VJ_TRAIN_STEP_H

#include <mpi.h>
#include <signal.h>

#include "clips/clips.h"
#include "parallel/tree.h"
#include "train/optimizer.h"
#include "train/products.h"
#include "train/schedules.h"
#include "train/spectrum.h"

/* What signals may ask of a run; any rank's wish is everybody's. */
enum { VJ_ASK_STOP, VJ_ASK_WRITE, VJ_ASKS };

/* All that an update needs but the clips. Owned, unless it says borrowed. */
typedef struct {
    const vj_config *config; /* borrowed */
    MPI_Comm comm;           /* borrowed */
    int rank, size;
    int64_t first, last; /* this rank's samples inside a global batch */
    vj_backend *be;
    vj_products products; /* how fast it multiplies */
    vj_model *model;
    vj_optimizer *optimizer;
    vj_spectrum *spectrum; /* feature objective only */
    vj_mask_lists lists;
    vj_tree losses; /* reproducible: by mask, then the penalty */
    vj_schedule schedule;
    double reported_comm_s;
    const volatile sig_atomic_t *asked; /* borrowed, [VJ_ASKS]: what this rank was asked for; NULL: nothing ever */
} vj_step;

/* What one step measured. Sums are over the global batch; waiting and communication are the slowest rank's. */
typedef struct {
    double loss, by_mask[VJ_MAX_MASKS], penalty;
    double lr, weight_decay, ema, norm[2];
    vj_spread spread;
    double wait_s; /* in: this rank's waiting for the batch */
    double step_s; /* the caller's to fill */
    double comm_s, peak_bytes;
    double flops;                         /* this rank's, by the published formula (model/flops.h) */
    int64_t context_rows, predictor_rows; /* tokens through the two networks, this rank's */
    int healthy, stop, write;
} vj_step_report;

/**
 * Divide the batch, open the backend, settle who multiplies, allocate model and optimizer; the weights are still zero.
 * Refuses more ranks than microbatches and ranks with different kernels. Collective. Release with vj_step_close(), also
 * after a failure.
 */
vj_status vj_step_open(vj_step **step, const vj_config *config, MPI_Comm comm);
void vj_step_close(vj_step *step);

/** Touch the memory that the masks of step `number` need; its bytes. Not collective. */
vj_status vj_step_touch(vj_step *step, int64_t number, int64_t *activation_bytes);

/**
 * Step `number` (from 0) on this rank's part of its batch; `update` is Adam's count if it is healthy. A step whose loss
 * or gradient is not finite leaves the weights alone and says so in report->healthy. Collective.
 */
vj_status vj_step_run(vj_step *step, int64_t number, int64_t update, const vj_batch *batch, vj_step_report *report);

#endif
