/*
 * Writes the numbers of a run, one row per step, to metrics.csv (units are in the header) and metrics.jsonl (the same
 * columns). Only rank 0 uses it.
 */
#ifndef VJ_TRAIN_METRICS_H
#define VJ_TRAIN_METRICS_H

#include "base/config.h"

enum { VJ_MAX_COLUMNS = 40 };

/* One row; columns in the order of the calls of vj_metrics_put(). NaN becomes an empty cell in CSV and null in JSON. */
typedef struct {
    int count;
    const char *name[VJ_MAX_COLUMNS];
    double value[VJ_MAX_COLUMNS];
} vj_metrics_row;

/** Append a column; `name` must stay valid (a literal). */
void vj_metrics_put(vj_metrics_row *row, const char *name, double value);

/* The first bytes of the two files, by which they are recognised. */
#define VJ_METRICS_CSV_BEGIN   "step,samples,loss,"
#define VJ_METRICS_JSONL_BEGIN "{\"step\": "

/** Read the step of the last row of `path`, metrics.csv or metrics.jsonl; 0: no row, or no file. Not collective. */
vj_status vj_metrics_last(const char *path, int64_t *step);

typedef struct vj_metrics vj_metrics;

/**
 * Open DIR/metrics.csv and DIR/metrics.jsonl to append the rows after step `step`. Rows of later steps, which a killed
 * run left behind, are dropped; if earlier rows are missing, a warning says so. With step 0, existing files are first
 * renamed (metrics.csv.1, ...). Not collective.
 */
vj_status vj_metrics_open(vj_metrics **metrics, const char *dir, int64_t step);
/**
 * Write a row to both files. The first column must be "step", and all rows since opening must have the same columns. If
 * the existing file has other columns, from an earlier start, it is rewritten with the columns of both; cells that were
 * not measured are empty. If a write fails (a full disk), the row stays in memory and is written with a later row, so
 * that training goes on; one warning is printed.
 */
vj_status vj_metrics_write(vj_metrics *metrics, const vj_metrics_row *row);
/** Flush the rows to disk; call before the checkpoint of the same step is written. A failure is only a warning. */
void vj_metrics_sync(vj_metrics *metrics);
/** Close; VJ_ERR_IO if rows are still in memory. */
vj_status vj_metrics_close(vj_metrics *metrics);

#endif
