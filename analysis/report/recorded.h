/*
 * The records of a run in its folder (docs/formats.md, "Run folder"): curves, state, starts and stops, settings,
 * provenance. Each part may be missing or damaged; what is wrong becomes a problem.
 */
#ifndef VJ_RECORDED_H
#define VJ_RECORDED_H

#include "report/numbers.h"
#include "report/run_view.h"
#include "report/settings.h"

/* One column of the metrics against the step. For a long run only minima and maxima are kept (decimate.h). */
typedef struct {
    char *name;
    double *step, *value; /* [count] NaN: the row has no number, a gap in the curve */
    int64_t count;
    double *median_step, *median; /* [median_count] medians of `median_rows` rows each, the trend; short curve: none */
    int64_t median_count, median_rows;
    int64_t numbers;     /* rows with a number, among all rows */
    int64_t first_empty; /* step of the first row without a number; 0: none */
    bool sparse;         /* measured only in some steps: rows without a number are no gaps */
    double last;         /* the last number; NaN: none */
    double recent;       /* median of the last numbers, up to 100 */
    double min, max, sum;
} vj_curve;

typedef struct {
    char time[32], event[16], host[72];
    char *code, *why;
    int64_t step;
    int ranks;
} vj_happening;

/* Steps at which a counter increased: the first VJ_TICKS_MAX of them, and the total increase. */
enum { VJ_TICKS_MAX = 200 };
typedef struct {
    int64_t at[VJ_TICKS_MAX];
    int count;
    int64_t total;
} vj_ticks;

/* An earlier start that left no checkpoint; its rows are in metrics.csv.N. */
typedef struct {
    char name[32];
    vj_curve loss;
    int64_t rows;
} vj_lost_start;

typedef struct {
    char *path, *name; /* as given; a name that differs from those of other runs */
    vj_curve *curves;  /* NULL: no metrics */
    int curve_count;
    int64_t rows, first_step, last_step;
    vj_lost_start *lost;
    int lost_count;
    vj_ticks bad_steps, failed_checkpoints;
    vj_flat_settings settings;
    vj_happening *history;
    int history_count;
    int64_t *checkpoints; /* [checkpoint_count] steps, ascending */
    int checkpoint_count;
    int64_t planned; /* planned steps; 0: not known */
    vj_run_state state;
    char state_text[200];      /* "running on node17, job 4711", "killed", ... */
    char *watchdog;            /* text of watchdog.txt; NULL: none, or the run is complete or was continued */
    char *code, *date, *hosts; /* of the newest checkpoint; NULL: not known */
    int64_t ranks, rollbacks;
    uint64_t fingerprint; /* of the clips it trains on; 0: not known */
    vj_problems problems;
} vj_recorded;

/** Make a curve from a column of a table and the steps. Release it with vj_curve_release(). */
vj_curve vj_curve_from(const char *name, const double *step, const double *value, int64_t rows);
void vj_curve_release(vj_curve *curve);

/** Read the records of all steps. Several threads may call it at once for different runs. */
void vj_recorded_read(vj_recorded *run, const char *path);
/** Read the state of the run, and facts from its newest checkpoint. Only one thread at a time, because of HDF5. */
void vj_recorded_read_state(vj_recorded *run);
void vj_recorded_release(vj_recorded *run);

/** Return the curve of a column by its name; NULL if there is none. */
const vj_curve *vj_recorded_curve(const vj_recorded *run, const char *column);

#endif
