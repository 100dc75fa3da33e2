/*
 * What a run does right now, as its folder tells: whether a job is at work, how far it is, how fast, its newest
 * checkpoint, and what is wrong. Only reads, and works beside the job that writes. The one place that decides the state
 * of a run, for the terminal and for pages.
 */
#ifndef VJ_REPORT_RUN_VIEW_H
#define VJ_REPORT_RUN_VIEW_H

#include <time.h>

#include "base/lease.h"
#include "report/follow.h"

enum { VJ_ALARMS = 12, VJ_ALARM_TEXT = 400 };

typedef enum {
    VJ_RUN_MISSING,  /* no folder, or nothing of a run in it: it has not begun */
    VJ_RUN_STARTING, /* a job is at work, and has written no row since it began */
    VJ_RUN_RUNNING,
    VJ_RUN_HUNG, /* the watchdog ended the job, or one is at work: no row for 120 s and 20 of the longest recent steps
                  */
    VJ_RUN_STOPPED,
    VJ_RUN_FAILED, /* it ended with an error */
    VJ_RUN_KILLED, /* its lease is still there, or its history ends with a start */
    VJ_RUN_COMPLETE
} vj_run_state;

/** "running", ... */
const char *vj_run_state_name(vj_run_state state);

typedef struct {
    const char *folder; /* borrowed */
    vj_run_state state;
    vj_lease_view lease; /* who is at work, or was when it was killed */
    vj_follow metrics;
    double now_s;                /* seconds since 1970 */
    char event[16];              /* of the last line of its history; "" */
    char stopped[VJ_ALARM_TEXT]; /* after which step and why it stopped early or failed; "" */
    double row_age_s;            /* since the newest row; NaN: no row */

    /* From config.yaml; steps 0: it is not there or cannot be read. */
    int64_t steps, checkpoint_every;
    double rank_alarm;
    int64_t width;                      /* of the encoder: the largest rank that there can be */
    struct timespec config_changed;     /* of the file that was read */
    char config_trouble[VJ_ALARM_TEXT]; /* why it cannot be read; "" */

    /* The newest checkpoint; step 0: none. */
    char checkpoint[VJ_PATH];
    int64_t checkpoint_step, checkpoint_bytes, rollbacks;
    double checkpoint_age_s;
    char checkpoint_trouble[VJ_ALARM_TEXT];
    double free_bytes; /* that the file system of the folder has left; NaN: not known */

    int alarms; /* what is wrong, the most important first */
    char alarm[VJ_ALARMS][VJ_ALARM_TEXT];
} vj_run_view;

/** Look at FOLDER from now on. `whole`: with the courses of the whole run, otherwise with those of the last rows. */
void vj_run_view_begin(vj_run_view *view, const char *folder, bool whole);

/** Look again. What is missing or broken is no error but part of the view. Not collective. */
void vj_run_view_refresh(vj_run_view *view);

/** Mean seconds of a recent step, and seconds until the last one; NaN: not known. */
double vj_run_view_step_s(const vj_run_view *view);
double vj_run_view_left_s(const vj_run_view *view);

#endif
