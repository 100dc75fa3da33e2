/*
 * Do the feature files of a campaign belong together? What cannot be compared is refused; what may mislead is noted,
 * and the notes stand beside the results.
 */
#ifndef VJ_PROBE_BELONG_H
#define VJ_PROBE_BELONG_H

#include "probe/samples.h"

/* Sentences for the log and the tables. */
typedef struct {
    char **text; /* [count], owned */
    int count;
} vj_notes;

/** Add a sentence, unless it is there already. */
vj_status vj_notes_add(vj_notes *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vj_notes_release(vj_notes *notes);

/* One side of a pair, and its file for messages. */
typedef struct {
    vj_samples *samples;
    const char *path;
} vj_feature_side;

/**
 * Were training and validation features made by one encoder from clips that were prepared alike? By the digest of the
 * weights, not by names of files: refuses other weights, another preparation or geometry. Notes files that do not say,
 * and validation clips that are training clips too. Not collective.
 */
vj_status vj_belong_check_pair(vj_notes *notes, const vj_feature_side *train, const vj_feature_side *validation);

/**
 * Do the labels of a task mean the same on both sides? Where both have names of classes, validation labels are changed
 * to the numbers that the names have in training. Refuses a side without labels and validation classes that are all
 * unknown; notes classes that no training clip has, labels that seem shifted by one, and a single class. Not
 * collective.
 */
vj_status vj_belong_check_task(vj_notes *notes, const char *task, const vj_feature_side *train,
                               const vj_feature_side *validation);

#endif
