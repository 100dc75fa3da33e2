/* The parts of the command "ridge": passes over the features (ridge_pass.c), its results (ridge.c), and tables
 * (ridge_table.c). */
#ifndef VJ_SPECTRUM_RIDGE_H
#define VJ_SPECTRUM_RIDGE_H

#include "probe/report.h"
#include "spectrum/commands.h"
#include "spectrum/parts.h"
#include "spectrum/ridge_fit.h"
#include "spectrum/ridge_plan.h"

/* All regressions to fit: one for every subset and every representation. All pointers are borrowed. */
typedef struct {
    const vj_analysis *analysis; /* with source, the training clips, and validation */
    const vj_ridge_task *tasks;
    int task_count;
    const vj_ridge_subset *subsets; /* [subset_count] */
    int64_t subset_count;
    int lambdas;
    const double *ratio; /* [lambdas] */
    bool balanced;
    double memory_bytes; /* that a rank may use for regressions; 0: half of the free memory */
} vj_ridge_work;

/**
 * Called after a regression is fitted, on all ranks with the same path. `ridge` and `path` are valid only during the
 * call. shift [D] was subtracted from all rows. It is not called for subsets with the same clips as an earlier one
 * (vj_ridge_subset.same).
 */
typedef vj_status vj_ridge_fitted(void *user, int representation, int64_t subset, const vj_ridge *ridge,
                                  const vj_ridge_path *path, const double *shift);

/**
 * Fit all regressions. Makes one pass for the means, then two passes over the training clips and one over the
 * validation clips for each group of regressions that fits into memory. Collective, agreed.
 */
vj_status vj_ridge_work_do(const vj_ridge_work *work, vj_ridge_fitted *fitted, void *user);

/**
 * Write DIR/results.json, results.csv and results.md, each atomically. Rows of other probes that exist in these files
 * are kept, and the new rows follow those of the same task; earlier rows of ridge probes are replaced. If other rows
 * have the digest of an encoder, it gets the name that they use. VJ_ERR_FORMAT: results of another version. Not
 * collective.
 */
vj_status vj_ridge_table_write(const char *dir, const vj_probe_row *rows, int64_t count, const vj_notes *notes);

#endif
