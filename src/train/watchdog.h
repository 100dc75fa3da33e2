/*
 * A thread in each rank that ends the job when the rank makes no progress any more. Without it, a rank that is stopped,
 * or hangs in a file system, a library or the network, would block all others in their next collective call until the
 * walltime is over. The thread calls no MPI function.
 */
#ifndef VJ_TRAIN_WATCHDOG_H
#define VJ_TRAIN_WATCHDOG_H

#include <mpi.h>

#include "base/config.h"
#include "kernels/kernels.h"

typedef struct vj_watchdog vj_watchdog;

/* What the main thread is doing. During VJ_AT_STEP the backend's phases (kernels.h) give details. */
typedef enum {
    VJ_AT_OPEN,
    VJ_AT_LOAD,
    VJ_AT_CLIPS,
    VJ_AT_STEP,
    VJ_AT_RECORD,
    VJ_AT_DIGEST,
    VJ_AT_WATCH,
    VJ_AT_WRITE,
    VJ_PLACES
} vj_activity;

/**
 * Start watching as run.watchdog_s says. With 0 *watchdog is NULL; all functions accept NULL. When a rank has made no
 * progress for the time limit, its watchdog prints where it is, asks the watchdogs of all other ranks to write where
 * they are to RUN/watchdog.txt, waits for the answers, reports which rank is where and which gave no answer, and ends
 * the process with VJ_EXIT_HUNG, so that the launcher ends the other ranks. Collective. Stop with vj_watchdog_stop().
 */
vj_status vj_watchdog_start(vj_watchdog **watchdog, const vj_config *config, MPI_Comm comm);
void vj_watchdog_stop(vj_watchdog *watchdog);

/** Tell the watchdog what the main thread does from now on; `step` updates are done. */
void vj_watchdog_enter(vj_watchdog *watchdog, vj_activity place, int64_t step);

/** From now on a change of this backend's phase counts as progress; NULL: no backend. Borrowed. */
void vj_watchdog_set_backend(vj_watchdog *watchdog, const vj_backend *be);

/** Tell the watchdog how long a step took: the automatic time limit grows with the longest step. */
void vj_watchdog_record_step(vj_watchdog *watchdog, double step_s);

#endif
