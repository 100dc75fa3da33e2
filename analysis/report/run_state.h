/* Where a run stands, from what is in its folder: the one place that decides it, for pages and for the terminal. */
#ifndef VJ_REPORT_RUN_STATE_H
#define VJ_REPORT_RUN_STATE_H

#include "base/lease.h"

typedef enum {
    VJ_RUN_MISSING,  /* no folder, or nothing of a run in it: it has not begun */
    VJ_RUN_STARTING, /* a job is at work, and has written no row since it began */
    VJ_RUN_RUNNING,
    VJ_RUN_HUNG, /* the watchdog ended the job, or a job is at work and has written no row for long (run_view.h) */
    VJ_RUN_STOPPED,
    VJ_RUN_FAILED, /* it ended with an error */
    VJ_RUN_KILLED, /* its lease is still there, or its history ends with a start */
    VJ_RUN_COMPLETE
} vj_run_state;

/** "running", ... */
const char *vj_run_state_name(vj_run_state state);

/**
 * The state of a run whose folder is there: running, complete, hung, killed, failed or stopped. Whether a running one
 * makes progress is left to the caller.
 *
 * @param lease  of the folder
 * @param event  of the last line of its history: "stop", ...; "": it has none
 */
vj_run_state vj_run_state_find(const char *folder, const vj_lease_view *lease, const char *event);

#endif
