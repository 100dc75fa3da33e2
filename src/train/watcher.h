/* How a pretraining run is watched from outside of this folder. */
#ifndef VJ_TRAIN_WATCHER_H
#define VJ_TRAIN_WATCHER_H

#include <mpi.h>

#include "train/step.h"

/*
 * The in-run watch: measures between steps what the features are worth. This folder does not know probes, so the
 * program hands the functions in (probe/watch.h has them). None of them may change anything that training uses.
 */
typedef struct vj_pretrain_watch {
    /* With watch.every above 0: open stores, allocate. A failure ends the job. Collective. */
    vj_status (*open)(void **watch, const vj_config *config, const vj_step *step, MPI_Comm comm);
    /* Fill in watch_knn and watch_probe of the report, on rank 0. A failure is agreed and only a warning. Collective.
     */
    vj_status (*look)(void *watch, int64_t steps_done, vj_step_report *report);
    void (*close)(void *watch); /* NULL is allowed */
} vj_pretrain_watch;

#endif
