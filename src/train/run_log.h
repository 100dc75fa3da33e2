/*
 * The output of a run: log lines, metrics.csv and metrics.jsonl, and the warning of a collapse. Only rank 0 writes, but
 * all ranks may call these functions.
 */
#ifndef VJ_TRAIN_RUN_LOG_H
#define VJ_TRAIN_RUN_LOG_H

#include "base/progress.h"
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
    vj_progress_line line;   /* lines about steps; it began when the clock was started */
    double last_rank;        /* effective rank when it was last measured; NaN: not yet */
    int rank_is_low;
} vj_run_log;

/** Log the first lines: the ranks' layout, network, data and memory. Collective. */
void vj_run_log_header(const vj_run_log *record, const vj_clips *clips);

/** Before the first step, after `step` updates: log how long the products of a step and of the whole run will take. Not
 * collective.
 */
void vj_run_log_forecast(const vj_run_log *record, const vj_step_needs *needs, int64_t step);
/**
 * To be used as vj_step.progress: in the first step logs how far it is and how long a step takes, when a line is due
 * (base/progress.h), because the first microbatch of a large model may take minutes. Not collective.
 */
void vj_run_log_progress(void *record, int64_t number, double done, int64_t all, double now_s);

/** Open the metrics after step `step` (vj_metrics_open()) and start the clock. Close with vj_run_log_close(). Not
 * collective. */
vj_status vj_run_log_open(vj_run_log *record, int64_t step);
/** Flush the rows so far to disk; call it before a checkpoint is written. Not collective. */
void vj_run_log_sync(vj_run_log *record);
/** Close the metrics; VJ_ERR_IO if their last rows cannot be written. Closing twice is harmless. */
vj_status vj_run_log_close(vj_run_log *record);

/** Log step `number` (from 0) and write its row. `samples`: consumed so far; `skipped`: steps so far that were not
 * finite. */
vj_status vj_run_log_step(vj_run_log *record, int64_t number, int64_t samples, int64_t skipped,
                          const vj_step_report *report);

/** Log the last line of a finished run, in which steps were `trained` or which had been finished before. */
void vj_run_log_done(const vj_run_log *record, bool trained);

#endif
