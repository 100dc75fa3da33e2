/* The interface of the in-run watch (watch.every), which measures the features during a pretraining run. */
#ifndef VJ_TRAIN_WATCHER_H
#define VJ_TRAIN_WATCHER_H

#include <mpi.h>

#include "train/step.h"

/*
 * Functions called between steps. src/train must not depend on probes, so the program passes these functions in;
 * probe/watch.h has them. They must not change anything that training uses.
 */
typedef struct vj_pretrain_watch {
    /* Called if watch.every > 0: open stores, allocate. A failure ends the job. Collective. */
    vj_status (*open)(void **watch, const vj_config *config, const vj_step *step, MPI_Comm comm);
    /* Fill in watch_knn and watch_probe of the report, on rank 0. A failure is agreed and only a warning. Collective.
     */
    vj_status (*measure)(void *watch, int64_t steps_done, vj_step_report *report);
    void (*close)(void *watch); /* NULL is allowed */
} vj_pretrain_watch;

#endif
