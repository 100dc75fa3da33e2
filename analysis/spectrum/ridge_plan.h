/* What the command "ridge" is to fit: the classes of each task, and the subsets of the labelled training clips. */
#ifndef VJ_SPECTRUM_RIDGE_PLAN_H
#define VJ_SPECTRUM_RIDGE_PLAN_H

#include "source/source.h"

/* A task: a label of training and validation clips, which are matched (vj_source_match()). All owned. */
typedef struct {
    int label;
    int classes;              /* C, those that training clips have */
    int32_t *number;          /* [C] their label values, ascending */
    int *train, *validation;  /* [training clips], [validation clips]: which of the classes a clip has; -1: no label */
    int64_t validation_clips; /* that have a label */
} vj_ridge_task;

/**
 * Number the classes of a label. VJ_ERR_FORMAT if there are fewer than two, or if validation clips have a class that no
 * training clip has, or none has a label. Release in any case. Not collective.
 */
vj_status vj_ridge_task_init(vj_ridge_task *task, const vj_source *train, const vj_source *validation, int label);
void vj_ridge_task_release(vj_ridge_task *task);

/* A subset of the labelled training clips, as vjepa-probe draws it for a share of the labels and a seed. */
typedef struct {
    int task, share; /* which of the tasks, of probe.labels */
    int64_t seed;    /* 0, 1, ... */
    int64_t clips;
    uint64_t digest;       /* of the clips, vj_split_digest() */
    int64_t *class_clips;  /* [C] clips of each class. Owned */
    unsigned char *member; /* [training clips] bool. Owned */
    int same;              /* an earlier subset of the same clips, which stands for this one too; otherwise -1 */
} vj_ridge_subset;

/**
 * [task_count, shares, seeds] subsets, drawn by probe.split or read from probe.split_files. VJ_ERR_FORMAT if one has
 * fewer clips than there are classes. Release each in any case. Not collective.
 */
vj_status vj_ridge_subsets_draw(vj_ridge_subset *subsets, const vj_ridge_task *tasks, int task_count,
                                const vj_source *train, const vj_config *config);
void vj_ridge_subset_release(vj_ridge_subset *subset);

#endif
