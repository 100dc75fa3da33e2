/*
 * The main path: V-JEPA pretraining (docs/method.md, sections 6, 7, 11) from a clip store to checkpoints and metrics.
 */
#ifndef VJ_TRAIN_PRETRAIN_H
#define VJ_TRAIN_PRETRAIN_H

#include <mpi.h>

#include "base/config.h"

typedef enum {
    VJ_PRETRAIN_DONE,   /* all steps are trained; the run folder holds the marker file "complete" */
    VJ_PRETRAIN_STOPPED /* stopped on request after writing a checkpoint; start the program again to continue */
} vj_pretrain_outcome;

struct vj_pretrain_watch; /* train/watcher.h */

/**
 * Pretrain as the configuration says, from the newest checkpoint in run.dir if there is one. A checkpoint that cannot
 * be read, or belongs to another run, is an error: nothing ever starts from scratch by itself over an old run.
 *
 * On SIGUSR1, SIGTERM, SIGINT, SIGHUP or SIGPIPE, at run.max_hours, or if there is a file RUN/stop, all ranks write a
 * checkpoint at the end of the step and stop; on SIGUSR2 they write one and go on (stop.h). A rank without progress
 * ends the process (watchdog.h). A run that diverged returns to its last checkpoint (health.h). `watch` (NULL: none)
 * measures the target encoder after the first step, every watch.every steps, and after the last. With `dry_run`, store
 * and network are opened and allocated, memory and layout are printed, and nothing is written. After a failure some
 * memory is not freed, so the program should end. Collective over comm.
 */
vj_status vj_pretrain(const vj_config *config, const char *config_path, MPI_Comm comm, int dry_run,
                      const struct vj_pretrain_watch *watch, vj_pretrain_outcome *outcome);

/** Return the number of updates of a whole run: train.stop_after, or epochs * steps_per_epoch. */
int64_t vj_pretrain_steps(const vj_config *config);

#endif
