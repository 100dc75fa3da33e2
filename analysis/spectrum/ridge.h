/* The command "ridge": its passes over the features (ridge_pass.c), what it keeps and says of them (ridge.c). */
#ifndef VJ_SPECTRUM_RIDGE_H
#define VJ_SPECTRUM_RIDGE_H

#include "spectrum/commands.h"
#include "spectrum/parts.h"
#include "spectrum/ridge_fit.h"
#include "spectrum/ridge_plan.h"

/* Every subset with every representation is one regression. All borrowed. */
typedef struct {
    const vj_analysis *analysis; /* with source, the training clips, and validation */
    const vj_ridge_task *tasks;
    int task_count;
    const vj_ridge_subset *subsets; /* [subset_count] */
    int64_t subset_count;
    int lambdas;
    const double *ratio; /* [lambdas] */
    bool balanced;
    double memory_bytes; /* of a rank for regressions; 0: half of what is free */
} vj_ridge_work;

/**
 * Called once a regression is fitted, on all ranks with the same path; only while it runs are `ridge` and `path` there.
 * shift [D] was subtracted from all rows. Subsets of the same clips as an earlier one are not fitted themselves.
 */
typedef vj_status vj_ridge_fitted(void *user, int representation, int64_t subset, const vj_ridge *ridge,
                                  const vj_ridge_path *path, const double *shift);

/**
 * Fit all: one pass for the means, then for as many regressions at a time as memory allows two passes over the training
 * and one over the validation clips. Collective, agreed.
 */
vj_status vj_ridge_work_do(const vj_ridge_work *work, vj_ridge_fitted *fitted, void *user);

#endif
