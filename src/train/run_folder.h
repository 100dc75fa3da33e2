/*
 * The run folder: which checkpoint belongs to which run, which settings may change between two starts of a run, and the
 * marker file "complete". Only that file says that a run is finished: a launcher's exit code cannot be trusted.
 */
#ifndef VJ_TRAIN_RUN_FOLDER_H
#define VJ_TRAIN_RUN_FOLDER_H

#include <mpi.h>

#include "base/lease.h"
#include "ckpt/ckpt.h"

/**
 * Take the lease of run.dir (base/lease.h); rank 0 then holds it in *lease. Does nothing if rank 0 holds it already.
 * VJ_ERR_STATE if another job works in the folder. If the folder does not exist, it is created if `make`; otherwise no
 * lease is taken and VJ_OK is returned. Collective.
 */
vj_status vj_run_folder_lock(vj_lease **lease, const vj_config *config, bool make, MPI_Comm comm);

/**
 * Check that a run may begin or go on in run.dir; called before any work, also by --dry-run. Refused are: a folder that
 * cannot be written; a folder with a config.yaml or metrics that no run has written, unless the config.yaml is the very
 * file that this program reads as its configuration; and a run folder whose checkpoints are gone, because
 * the rest of that run would be overwritten. A folder that does not exist is accepted. Collective.
 */
vj_status vj_run_folder_accept(const vj_config *config, const char *config_path, MPI_Comm comm);

/**
 * Begin or go on: write config.yaml, unless it is the file `config_path` that this program reads, and remove the marker
 * "complete". Call it only after the run in the folder was accepted, and only if there are steps to do. Collective.
 */
vj_status vj_run_folder_claim(const vj_config *config, const char *config_path, MPI_Comm comm);

/**
 * Write the file `latest` with the name of the newest checkpoint, for people and job scripts, and as a sign that this
 * run has written a checkpoint. A failure is only a warning. Not collective: rank 0 calls it.
 */
void vj_run_folder_latest(const vj_config *config, int64_t step);

/** Write the marker "complete"; it is on disk when this returns. Collective. */
vj_status vj_run_folder_complete(const vj_config *config, int64_t steps, MPI_Comm comm);

/**
 * After the newest checkpoint `path` of a run was read with `status`: if it is damaged, say what can be done and name
 * the checkpoint before it. Returns `status`. Only the first rank speaks; not collective.
 */
vj_status vj_run_folder_advise(vj_status status, const char *path, MPI_Comm comm);

/**
 * Refuse to resume from a checkpoint of another run. `old`: the state in the checkpoint `path`; `now`: seed and clips
 * of this run, which ends after `steps` updates. Not collective.
 */
vj_status vj_run_folder_check(const vj_config *config, const vj_ckpt_state *old, const vj_ckpt_state *now,
                              int64_t steps, const char *path);

/**
 * If train.precision or train.products is auto, let a resumed run use the precision and the library that it began with:
 * if they were chosen again, on another day or node, the choice might differ, and then the results would differ from
 * those of an uninterrupted run. The library is not kept if VJ_PRODUCTS is set in the environment or train.precision
 * has changed. VJ_ERR_USAGE if the library is not available. Collective.
 */
vj_status vj_run_folder_keep(vj_config *config, MPI_Comm comm);

#endif
