/*
 * A thread of each rank that sees when the rank makes no progress any more, and then ends the job: a rank that is
 * stopped, or hangs in a file system, a library or the network, would hold all others in their next collective call
 * until the walltime is over. It makes no MPI call.
 */
#ifndef VJ_TRAIN_WATCHDOG_H
#define VJ_TRAIN_WATCHDOG_H

#include <mpi.h>

#include "base/config.h"
#include "kernels/kernels.h"

typedef struct vj_watchdog vj_watchdog;

/* Where the main thread is; inside VJ_AT_STEP the backend's phases tell more. */
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
 * Watch from now on, as run.watchdog_s says; *watchdog is NULL when that is 0, and so may be the object of all calls.
 * A rank without progress for so long says where it is, asks all others to say so in RUN/watchdog.txt, waits for their
 * answers, reports who is where and who gave none, and leaves with VJ_EXIT_HUNG, upon which a launcher ends the
 * others. Collective. Stop with vj_watchdog_stop().
 */
vj_status vj_watchdog_start(vj_watchdog **watchdog, const vj_config *config, MPI_Comm comm);
void vj_watchdog_stop(vj_watchdog *watchdog);

/** Tell the watchdog what the main thread does from now on; `step` updates are done. */
void vj_watchdog_enter(vj_watchdog *watchdog, vj_activity place, int64_t step);

/** Phases of this backend are progress from now on, until it is NULL. Borrowed. */
void vj_watchdog_follow(vj_watchdog *watchdog, const vj_backend *be);

/** Tell the watchdog how long a step took: the automatic time limit grows with the longest step. */
void vj_watchdog_took_step(vj_watchdog *watchdog, double step_s);

#endif
