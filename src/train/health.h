/*
 * Detect divergence. A step is bad if its loss or gradient is not finite (its update was skipped), or if its loss or
 * the spread of the target features is beyond a bound (train.rollback_*). After many bad steps in a row the run is
 * lost.
 */
#ifndef VJ_TRAIN_HEALTH_H
#define VJ_TRAIN_HEALTH_H

#include "train/step.h"

typedef struct {
    const vj_config *config; /* borrowed */
    double usual_loss;       /* running mean of the loss of good steps; 0: none yet. Part of a checkpoint's state */
    int64_t bad;             /* bad steps in a row */
    int64_t low;             /* measured effective ranks in a row that were below train.rollback_rank */
} vj_health;

typedef enum { VJ_HEALTH_GOOD, VJ_HEALTH_BAD, VJ_HEALTH_LOST } vj_verdict;

/**
 * Judge step `number` (from 0); a bad step is logged with its numbers. VJ_HEALTH_LOST: the last train.max_bad_steps
 * steps were bad. Call on one rank and broadcast the result, since reports may differ in their last bits between ranks.
 * Not collective. No checkpoint may be written unless the verdict is good: it would hide the last healthy one.
 */
vj_verdict vj_health_judge(vj_health *health, int64_t number, const vj_step_report *report);

#endif
