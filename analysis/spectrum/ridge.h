/* The command "ridge": passes over the features (ridge_pass.c), what it keeps and says (ridge.c), tables
 * (ridge_table.c). */
#ifndef VJ_SPECTRUM_RIDGE_H
#define VJ_SPECTRUM_RIDGE_H

#include "probe/report.h"
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

/**
 * Write DIR/results.json, results.csv and results.md, each atomically: these rows, behind rows of other probes of the
 * same task that are there already, which are kept; earlier rows of ridge probes are replaced. An encoder whose digest
 * other rows have gets the name that it has in these. VJ_ERR_FORMAT: results of another version. Not collective.
 */
vj_status vj_ridge_table_write(const char *dir, const vj_probe_row *rows, int64_t count, const vj_notes *notes);

#endif
