/*
 * What a run says of itself: the lines of the log, metrics.csv and metrics.jsonl, the alarm of a collapse. Rank 0's
 * own, but may be called on all.
 */
#ifndef VJ_TRAIN_RUN_LOG_H
#define VJ_TRAIN_RUN_LOG_H

#include "clips/clips.h"
#include "train/metrics.h"
#include "train/saver.h"
#include "train/step.h"

typedef struct {
    const vj_config *config; /* borrowed */
    const vj_step *step;     /* borrowed */
    const vj_saver *saver;   /* borrowed */
    vj_metrics *metrics;     /* rank 0. Owned */
    int64_t steps;           /* of the whole run */
    int64_t begin_step;      /* updates done when the clock was started */
    double begin_s;
    double last_rank; /* effective rank when it was last measured; NaN: not yet */
    int rank_is_low;
} vj_run_log;

/** The first lines: who computes what where, with how much memory. Collective. */
void vj_run_log_introduce(const vj_run_log *record, const vj_clips *clips);

/** Rows of steps after `step` are dropped, the clock starts. Close with vj_run_log_close(). Not collective. */
vj_status vj_run_log_open(vj_run_log *record, int64_t step);
/** Before a checkpoint: the rows so far are on disk. Not collective. */
void vj_run_log_sync(vj_run_log *record);
/** Reports a failed last write; closing twice is harmless. */
vj_status vj_run_log_close(vj_run_log *record);

/** Step `number` (from 0) is done, `samples` are consumed, `skipped` steps were not finite so far. */
vj_status vj_run_log_step(vj_run_log *record, int64_t number, int64_t samples, int64_t skipped,
                          const vj_step_report *report);

/** The last line of a run that went to its end. */
void vj_run_log_done(const vj_run_log *record);

#endif
