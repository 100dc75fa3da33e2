/* The plan of the command "ridge": the classes of each task, and the subsets of the labelled training clips. */
#ifndef VJ_SPECTRUM_RIDGE_PLAN_H
#define VJ_SPECTRUM_RIDGE_PLAN_H

#include "source/source.h"

/* A task: a label of training and validation clips, whose sources are matched (vj_source_match()). All owned. */
typedef struct {
    int label;
    int classes;              /* C, number of classes that training clips have */
    int32_t *number;          /* [C] label value of each class, ascending */
    int *train, *validation;  /* [training clips], [validation clips]: class of a clip, 0 ... C - 1; -1: no label */
    int64_t validation_clips; /* validation clips with a label */
} vj_ridge_task;

/**
 * Number the classes of a label. VJ_ERR_FORMAT if there are fewer than two, if validation clips have a class that no
 * training clip has, or if no validation clip has a label. Release the task also after a failure. Not collective.
 */
vj_status vj_ridge_task_init(vj_ridge_task *task, const vj_source *train, const vj_source *validation, int label);
void vj_ridge_task_release(vj_ridge_task *task);

/* A subset of the labelled training clips, as vjepa-probe draws it for a share of the labels and a seed. */
typedef struct {
    int task, share; /* indices of the task, and of the share in probe.labels */
    int64_t seed;    /* 0, 1, ... */
    int64_t clips;
    uint64_t digest;       /* of the clips, vj_split_digest() */
    int64_t *class_clips;  /* [C] clips of each class. Owned */
    unsigned char *member; /* [training clips] bool. Owned */
    int same;              /* index of an earlier subset with the same clips, whose results this one shares; or -1 */
} vj_ridge_subset;

/**
 * Draw the subsets [task_count, shares, seeds] by probe.split, or read them from probe.split_files. VJ_ERR_FORMAT if a
 * subset has fewer clips than there are classes. Release each subset also after a failure. Not collective.
 */
vj_status vj_ridge_subsets_draw(vj_ridge_subset *subsets, const vj_ridge_task *tasks, int task_count,
                                const vj_source *train, const vj_config *config);
void vj_ridge_subset_release(vj_ridge_subset *subset);

#endif
