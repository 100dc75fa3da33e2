/*
 * Learning rate, weight decay and EMA coefficient as functions of the update number (docs/method.md, sections 7
 * and 12.2). Updates count from 1.
 */
#ifndef VJ_TRAIN_SCHEDULES_H
#define VJ_TRAIN_SCHEDULES_H

#include "base/config.h"

typedef struct {
    int64_t warmup_steps; /* linear from start_lr to lr */
    int64_t total_steps;  /* of the cosines; training may stop earlier (schedule_scale > 1) */
    double start_lr, lr, final_lr;
    double weight_decay, final_weight_decay;
    double ema[2], ema_span; /* linear from ema[0], reaching ema[1] after ema_span updates */
} vj_schedule;

/** Return the schedule of pretraining. */
vj_schedule vj_schedules_from(const vj_config *config);

/** Return the schedule of a probe with `epochs` epochs of `steps_per_epoch` updates. A warm-up keeps its share of the
 * epochs if `epochs` differs from probe.epochs. No EMA. */
vj_schedule vj_schedules_probe(const vj_config *config, int64_t epochs, int64_t steps_per_epoch);

double vj_schedule_lr(const vj_schedule *schedule, int64_t update);
double vj_schedule_weight_decay(const vj_schedule *schedule, int64_t update);
double vj_schedule_ema(const vj_schedule *schedule, int64_t update);

/** True if update `update` of pretraining clips its gradients: from epoch optimizer.clip_from_epoch (0-based) on. */
bool vj_schedule_clips(const vj_config *config, int64_t update);

/** Return the factor for a gradient of 2-norm `norm`: min(1, clip_grad / (norm + 1e-6)) if this update clips, else 1.
 */
double vj_schedule_clip_factor(const vj_config *config, int64_t update, double norm);

#endif
