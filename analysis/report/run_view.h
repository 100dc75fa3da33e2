/*
 * The present state of a run, read from its folder: whether a job is running, its progress and speed, its newest
 * checkpoint, and what is wrong. It only reads, and works while the job writes. Both the terminal and pages get the
 * state of a run from here.
 */
#ifndef VJ_REPORT_RUN_VIEW_H
#define VJ_REPORT_RUN_VIEW_H

#include <time.h>

#include "base/lease.h"
#include "report/follow.h"

enum { VJ_ALARMS = 12, VJ_ALARM_TEXT = 400 };

typedef enum {
    VJ_RUN_MISSING,  /* there is no folder, or no file of a run in it: the run has not begun */
    VJ_RUN_STARTING, /* a job is running, and has written no row since it began */
    VJ_RUN_RUNNING,
    /* The watchdog ended the job; or a job is running, but wrote no row for 120 s and 20 times the longest recent step.
     */
    VJ_RUN_HUNG,
    VJ_RUN_STOPPED,
    VJ_RUN_FAILED, /* it ended with an error */
    VJ_RUN_KILLED, /* its lease is still there, or its history ends with a start */
    VJ_RUN_COMPLETE
} vj_run_state;

/** Return "running", ... */
const char *vj_run_state_name(vj_run_state state);

typedef struct {
    const char *folder; /* borrowed */
    vj_run_state state;
    vj_lease_view lease; /* the job that is running, or was when it was killed */
    vj_follow metrics;
    double now_s;                /* seconds since 1970 */
    char event[16];              /* event in the last line of its history; "": none */
    char stopped[VJ_ALARM_TEXT]; /* after which step and why it stopped early or failed; "": it did not */
    double row_age_s;            /* seconds since the newest row; NaN: no row */

    /* From config.yaml; steps 0: it does not exist or cannot be read. */
    int64_t steps, checkpoint_every;
    double rank_alarm;
    int64_t width;                      /* of the encoder; the largest possible effective rank */
    struct timespec config_changed;     /* modification time of the file that was read */
    char config_trouble[VJ_ALARM_TEXT]; /* why it cannot be read; "": it can */

    /* The newest checkpoint; step 0: none. */
    char checkpoint[VJ_PATH];
    int64_t checkpoint_step, checkpoint_bytes, rollbacks;
    double checkpoint_age_s;
    char checkpoint_trouble[VJ_ALARM_TEXT];
    double free_bytes; /* free space of the folder's file system; NaN: not known */

    int alarms; /* number of texts that say what is wrong, the most important first */
    char alarm[VJ_ALARMS][VJ_ALARM_TEXT];
} vj_run_view;

/** Begin to look at FOLDER. `whole`: with the courses of the whole run, otherwise only of the last rows. */
void vj_run_view_begin(vj_run_view *view, const char *folder, bool whole);

/** Update the view. Missing or broken files are not errors but part of the view. Not collective. */
void vj_run_view_refresh(vj_run_view *view);

/** Return the mean seconds of a recent step, and the seconds until the last step; NaN: not known. */
double vj_run_view_step_s(const vj_run_view *view);
double vj_run_view_left_s(const vj_run_view *view);

#endif
