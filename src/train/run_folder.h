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
 * Take the lease of run.dir (base/lease.h), which rank 0 then holds in *lease, unless it holds it already: another job
 * that is at work there is refused. If the folder is not there, make it, or with `make` false leave it at that.
 * Collective.
 */
vj_status vj_run_folder_take(vj_lease **lease, const vj_config *config, bool make, MPI_Comm comm);

/**
 * May a run begin or go on in run.dir? Refuses a folder that cannot be written, or holds a config.yaml or metrics that
 * are not a run's, with a checkpoint beside them or without (a run that goes on may read its own config.yaml, whatever
 * was edited in it), and one whose checkpoints are gone: what remains of a run, its metrics and `complete`, is not
 * written over without being told to. A folder that is not there may. Asked before the work, also by --dry-run.
 * Collective.
 */
vj_status vj_run_folder_look(const vj_config *config, const char *config_path, MPI_Comm comm);

/**
 * The run goes on: config.yaml is written, unless it is the file `config_path` that this program reads, and unless it
 * is `finished` the marker goes. Not before an old run was accepted. Collective.
 */
vj_status vj_run_folder_claim(const vj_config *config, const char *config_path, int finished, MPI_Comm comm);

/**
 * Write `latest`, the name of the newest checkpoint: for people and job scripts, and the sign that this run has had a
 * checkpoint. A failure is warned of, no more. Not collective: rank 0's.
 */
void vj_run_folder_latest(const vj_config *config, int64_t step);

/** Write the marker; it is on disk when this returns. Collective. */
vj_status vj_run_folder_complete(const vj_config *config, int64_t steps, MPI_Comm comm);

/**
 * Refuse a checkpoint of another run, `old` from `path`: what would follow is neither that run nor this one, which has
 * `now`'s seed and clips and ends after `steps`. Not collective.
 */
vj_status vj_run_folder_check(const vj_config *config, const vj_ckpt_state *old, const vj_ckpt_state *now,
                              int64_t steps, const char *path);

/**
 * With train.precision or train.products auto, make a resumed run use the precision and the library that it began with.
 * Timed again on another day or node, another might be fastest, and the results would differ from those of an
 * uninterrupted run. The library is not kept if VJ_PRODUCTS is set in the environment or train.precision has changed.
 * VJ_ERR_USAGE if the library is not available. Collective.
 */
vj_status vj_run_folder_keep(vj_config *config, MPI_Comm comm);

#endif
