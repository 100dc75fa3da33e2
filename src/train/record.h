/*
 * What a run says of itself: the lines of the log, metrics.csv and metrics.jsonl, the alarm of a collapse. Rank 0's
 * own, but may be called on all.
 */
#ifndef VJ_TRAIN_RECORD_H
#define VJ_TRAIN_RECORD_H

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
} vj_record;

/** The first lines: who computes what with how much memory. */
void vj_record_introduce(const vj_record *record, const vj_clips *clips);

/** Rows of steps after `step` are dropped, the clock starts. Close with vj_record_close(). Not collective. */
vj_status vj_record_open(vj_record *record, int64_t step);
/** Before a checkpoint: the rows so far are on disk. Not collective. */
void vj_record_sync(vj_record *record);
/** Reports a failed last write; closing twice is harmless. */
vj_status vj_record_close(vj_record *record);

/** Step `number` (from 0) is done, `samples` are consumed, `skipped` steps were not finite so far. */
vj_status vj_record_step(vj_record *record, int64_t number, int64_t samples, int64_t skipped,
                         const vj_step_report *report);

/** The last line of a run that went to its end. */
void vj_record_done(const vj_record *record);

#endif
