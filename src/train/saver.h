/*
 * Write the checkpoints of a run, at once or in the background, and remove older ones. If the file system fails,
 * training goes on, the previous checkpoint is kept, and the write is tried again later.
 */
#ifndef VJ_TRAIN_SAVER_H
#define VJ_TRAIN_SAVER_H

#include "ckpt/ckpt.h"
#include "train/optimizer.h"

typedef struct vj_saver vj_saver;

/**
 * Create a saver that writes checkpoints to config->run.dir as config->checkpoint says. Config and optimizer are
 * borrowed. `step`: step of the checkpoint that training resumed from; 0: none. Allocates the memory to write from, and
 * removes the temporary files of killed writers. Collective over `world`, all ranks of the layout, agreed.
 */
vj_status vj_saver_open(vj_saver **saver, const vj_config *config, vj_optimizer *optimizer, int64_t step,
                        MPI_Comm world);
/** From now on publish checkpoints only while this job holds this lease of the run folder. */
void vj_saver_set_lease(vj_saver *saver, const vj_lease_seal *lease);
/** Close; a checkpoint that is still being written is abandoned. Not collective. */
void vj_saver_close(vj_saver *saver);

/**
 * Write a checkpoint of the run as it is now; `state` has its step. If one is still being written, it is finished
 * first. With checkpoint.async it returns as soon as this rank's part is copied. If the file system fails (full, over
 * quota, broken), that is reported and counted, and VJ_OK is returned; other failures are errors. Collective.
 */
vj_status vj_saver_save(vj_saver *saver, const vj_ckpt_state *state);

/** Call after each step: commits a checkpoint that all ranks have written. Collective while one is being written;
 * otherwise it returns at once. */
vj_status vj_saver_poll(vj_saver *saver);

/** Return true if the last checkpoint failed and it is time to try again, a few minutes later. Collective after a
 * failure.
 */
bool vj_saver_wants_retry(vj_saver *saver);

/** Wait for the checkpoint being written. As in vj_saver_save(), a failing file system is not an error. Collective. */
vj_status vj_saver_wait(vj_saver *saver);

/** The same at the end of the run, but VJ_ERR_IO if the last checkpoint could not be written. Collective. */
vj_status vj_saver_finish(vj_saver *saver);

/** Return the step of the newest checkpoint on disk; 0: none. */
int64_t vj_saver_step(const vj_saver *saver);
/** Return the longest time from the begin of a checkpoint to its commit; 0: none was written yet. */
double vj_saver_longest_s(const vj_saver *saver);
/** Return the number of failed attempts. */
int64_t vj_saver_failures(const vj_saver *saver);

#endif
