/*
 * Checks that the feature files of a campaign can be compared. Incompatible files are errors; what may make results
 * misleading is added to a list of notes, which is printed with the results.
 */
#ifndef VJ_PROBE_BELONG_H
#define VJ_PROBE_BELONG_H

#include "probe/samples.h"

/* A list of sentences for the log and the result tables. */
typedef struct {
    char **text; /* [count], owned */
    int count;
} vj_notes;

/** Add a sentence, unless the list already has it. */
vj_status vj_notes_add(vj_notes *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vj_notes_release(vj_notes *notes);

/* The training or the validation features, and the path of their file for messages. All borrowed. */
typedef struct {
    vj_samples *samples;
    const char *path;
} vj_feature_side;

/**
 * Check that training and validation features were made by the same encoder (compared by the digest of its weights, not
 * by file name) from clips with the same preprocessing. VJ_ERR_USAGE if weights or preprocessing differ, VJ_ERR_FORMAT
 * if tokens or width differ. Adds notes on files without a digest, and on validation clips that are also training
 * clips. Not collective.
 */
vj_status vj_belong_check_pair(vj_notes *notes, const vj_feature_side *train, const vj_feature_side *validation);

/** Add a note if clips of validation [m] are among those of training [n], by the checksums of their content; `train` is
 * sorted in place. Not collective. */
vj_status vj_belong_note_overlap(vj_notes *notes, uint64_t *train, int64_t n, const char *train_path,
                                 const uint64_t *validation, int64_t m, const char *validation_path);

/**
 * Check that the labels of a task mean the same in both files. If both have class names, validation labels are
 * renumbered in memory to the numbers that the names have in the training file. VJ_ERR_USAGE if a file has no labels of
 * the task, or if no validation class occurs in training. Adds notes on validation classes that no training clip has,
 * on labels that seem to be shifted by one, and on training clips that are all of one class. Not collective.
 */
vj_status vj_belong_check_task(vj_notes *notes, const char *task, const vj_feature_side *train,
                               const vj_feature_side *validation);

/* The labels of a task on one side, -1 for none, and the path of their file. All borrowed. */
typedef struct {
    const int32_t *labels; /* [count] */
    int64_t count;
    const char *path;
} vj_label_side;

/**
 * Check labels that already mean the same on both sides: VJ_ERR_USAGE if a side has none, or if no validation class
 * occurs in training; adds the notes of vj_belong_check_task(). `names` of the classes may be empty. Not collective.
 */
vj_status vj_belong_check_labels(vj_notes *notes, const char *task, const vj_clips_classes *names,
                                 const vj_label_side *train, const vj_label_side *validation);

#endif
