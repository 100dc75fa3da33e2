/*
 * The samples of an evaluation: what gets one label and one prediction. A sample is an image, or evaluate.segments
 * clips of one video, chosen from the windows of it that are stored.
 */
#ifndef VJ_FEED_EVAL_SET_H
#define VJ_FEED_EVAL_SET_H

#include "clips/clips.h"
#include "feed/eval_views.h"

typedef struct {
    const vj_clips *clips; /* borrowed */
    int64_t count;         /* samples */
    int segments;          /* of each sample */
    bool random;           /* windows are drawn anew in every epoch */
    int64_t repeating;     /* samples with fewer windows than segments: some windows are shown more than once */
    uint64_t seed;
    int64_t *first;  /* [count + 1] where a sample's windows begin in `window`; owned */
    int32_t *window; /* clip numbers, the windows of a video in order; owned */
} vj_eval_set;

/**
 * Group the clips of a store: one sample for each source file (vj_clips_source()), in the order of their numbers,
 * whatever the order of the clips in the store. `training`: these are the training stores (evaluate.random_windows).
 * Samples have evaluate.segments segments, but only one if the store has one frame a clip (images), or if they are for
 * training and probes see each clip apart (evaluate.across_segments). VJ_ERR_FORMAT if two clips of a file differ in a
 * label.
 * Takes 4 bytes a clip and 8 a sample. Not collective; release with vj_eval_set_release(), also after a failure.
 */
vj_status vj_eval_set_open(vj_eval_set *set, const vj_clips *clips, const vj_config *config, bool training);
void vj_eval_set_release(vj_eval_set *set);

/** Return a sample's label of task `task` (number of a label of the store); -1: none. */
int32_t vj_eval_set_label(const vj_eval_set *set, int64_t sample, int task);

/**
 * Return the clip of a segment. Of W windows, segment s of S is window floor((s + 1/2) W / S), which comes more than
 * once if W < S. Random windows: one from floor(s W / S) up to floor((s + 1) W / S), drawn by (run.seed, epoch,
 * sample); the same window as above if there is no choice.
 */
int64_t vj_eval_set_clip(const vj_eval_set *set, int64_t sample, int segment, int64_t epoch);

/**
 * Write the items that show one sample: [segments * views], segment by segment, and the crops of a segment one after
 * another, so that its clip is decoded once. Their keys are vj_eval_key(epoch, segment, clip).
 */
void vj_eval_set_items(const vj_eval_set *set, int64_t sample, int64_t epoch, int views, vj_eval_item *items);

/** Log number and kind of the samples, and how many repeat windows. Not collective; one rank is enough. */
void vj_eval_set_log(const vj_eval_set *set, const char *name);

#endif
