/*
 * The output of a run: log lines, metrics.csv and metrics.jsonl, and the warning of a collapse. Only rank 0 writes, but
 * all ranks may call these functions.
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
    double said_s;    /* when the last line about a step was logged */
    double last_rank; /* effective rank when it was last measured; NaN: not yet */
    int rank_is_low;
} vj_run_log;

/** Log the first lines: the ranks' layout, network, data and memory. Collective. */
void vj_run_log_introduce(const vj_run_log *record, const vj_clips *clips);

/** Before the first step, `step` updates are done: what a step will take at least, and the run. Not collective. */
void vj_run_log_forecast(const vj_run_log *record, const vj_step_needs *needs, int64_t step);
/**
 * For vj_step.progress: in the first step of a large model, minutes may pass before there is anything else to say. A
 * line every 20 seconds. Not collective.
 */
void vj_run_log_microbatch(void *record, int64_t number, int64_t done, int64_t all);

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
