/*
 * Follows the metrics of a run while it writes them. Each call reads only what was appended since the last one. Keeps
 * the newest values, and the course of a few columns over the whole run, in a fixed amount of memory.
 */
#ifndef VJ_REPORT_FOLLOW_H
#define VJ_REPORT_FOLLOW_H

#include <sys/types.h>

#include "base/config.h"

enum { VJ_COURSE = 1024, VJ_RECENT = 128 };

/* A summary of the values of consecutive steps: count, smallest and largest value, and sum. */
typedef struct {
    int64_t count;
    double low, high, sum;
} vj_course_span;

/* A column over all steps, in spans of `stride` steps each; the stride doubles whenever the spans are used up. */
typedef struct {
    int64_t first, stride; /* `first`: first step of the first span */
    int count;             /* spans in use */
    vj_course_span span[VJ_COURSE];
} vj_course;

/** Add the value of a step. Steps must not decrease. NaN and infinity count as "no value". */
void vj_course_add(vj_course *course, int64_t step, double value);

/* The columns that are followed. The first VJ_COURSES of them have a course. */
typedef enum {
    VJ_METRIC_LOSS,
    VJ_METRIC_RANK,
    VJ_METRIC_LR,
    VJ_METRIC_GRAD_ENCODER,
    VJ_COURSES,
    VJ_METRIC_GRAD_PREDICTOR = VJ_COURSES,
    VJ_METRIC_SKIPPED,
    VJ_METRIC_FAILED,
    VJ_METRIC_STEP_S,
    VJ_METRIC_CLIPS_PER_S,
    VJ_METRIC_WAIT_S,
    VJ_METRIC_COMM_S,
    VJ_METRIC_MEMORY,
    VJ_METRIC_WATCH_KNN,
    VJ_METRIC_WATCH_PROBE,
    VJ_METRICS
} vj_metric;

typedef struct {
    /* Set by vj_follow_begin(). */
    char path[VJ_PATH + 32];
    bool whole; /* read from the first row on, not only the last ones */
    /* What was read. */
    bool found;    /* the file exists */
    bool readable; /* its first line is a header of metrics */
    dev_t device;
    ino_t inode;
    int64_t bytes;            /* bytes read so far, up to the end of a row */
    double changed_s;         /* modification time, seconds since 1970 */
    int columns;              /* number of columns in its header */
    int at[VJ_METRICS];       /* index of the column in the header; -1: not there */
    int64_t rows, odd;        /* rows read; broken lines that were left out */
    int64_t step;             /* of the newest row */
    double value[VJ_METRICS]; /* of the newest row; NaN: empty */
    double known[VJ_METRICS]; /* the newest value that is not empty; NaN: none */
    /* The last rows, in a ring: row r is at r % VJ_RECENT. */
    double recent[VJ_RECENT][VJ_METRICS];
    vj_course course[VJ_COURSES];
} vj_follow;

/** Begin to follow FOLDER/metrics.csv. `whole`: read all existing rows; otherwise begin 256 KiB before the end. */
void vj_follow_begin(vj_follow *follow, const char *folder, bool whole);

/**
 * Read new rows. It is no error if the file does not exist or does not hold metrics (`found`, `readable`). If it was
 * replaced or has become shorter, it is read from the beginning. An incomplete last row is left for the next call.
 */
void vj_follow_read(vj_follow *follow);

/** Return the mean of a column over the last `rows` rows, at most VJ_RECENT, without empty cells; NaN if all are empty.
 */
double vj_follow_mean(const vj_follow *follow, vj_metric column, int64_t rows);

#endif
