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
 * Checkpoints into config->run.dir, as config->checkpoint says. Config and optimizer are borrowed. `step`: of the
 * newest checkpoint, which training begins with; 0: none. Allocates the memory to write from, and removes what killed
 * writers left. Collective over `world`, all ranks of the layout, agreed.
 */
vj_status vj_saver_open(vj_saver **saver, const vj_config *config, vj_optimizer *optimizer, int64_t step,
                        MPI_Comm world);
/** From now on nothing is published unless this lease of the run folder still holds. */
void vj_saver_guard(vj_saver *saver, const vj_lease_seal *lease);
/** Close; a checkpoint that is still being written is abandoned. Not collective. */
void vj_saver_close(vj_saver *saver);

/**
 * Checkpoint the run as it is now; `state` has its step. One that is still being written is finished first. With
 * checkpoint.async it returns when this rank's part is copied. A file system that fails (full, over quota, broken) is
 * reported, counted, and no error; anything else is one. Collective.
 */
vj_status vj_saver_save(vj_saver *saver, const vj_ckpt_state *state);

/** After each step: commit what all ranks have written. Collective while something is under way, else free. */
vj_status vj_saver_poll(vj_saver *saver);

/** True when the last attempt failed and it is time for the next, a few minutes later. Collective after a failure. */
bool vj_saver_wants_retry(vj_saver *saver);

/** Wait for the checkpoint being written; as in vj_saver_save(), a failing file system is no error. Collective. */
vj_status vj_saver_wait(vj_saver *saver);

/** The same at the end of the run: VJ_ERR_IO if the newest checkpoint begun could not be written. Collective. */
vj_status vj_saver_finish(vj_saver *saver);

/** Step of the newest checkpoint on disk; 0: none. */
int64_t vj_saver_step(const vj_saver *saver);
/** The longest time from the begin of a checkpoint to its commit; 0: none yet. */
double vj_saver_longest_s(const vj_saver *saver);
/** Attempts that failed. */
int64_t vj_saver_failures(const vj_saver *saver);

#endif
