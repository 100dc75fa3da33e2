/* Which tensors of a run go into a checkpoint, under which names, and who writes them (docs/design.md, section 6). */
#ifndef VJ_TRAIN_CHECKPOINT_H
#define VJ_TRAIN_CHECKPOINT_H

#include "ckpt/ckpt.h"
#include "model/model.h"
#include "train/optimizer.h"

/**
 * Cut the flat vector (in a tensor group: of this rank's shares) into `size` slices of about equal length, at borders
 * of checkpoint blocks: slice r is [slice[r], slice[r+1]), slice[0] = 0, slice[size] = ps->total. A slice may be empty.
 */
vj_status vj_checkpoint_slices(const vj_params *ps, int size, int64_t *slice);

/** Number of elements in one block of this rank's share of a tensor; no slice border lies inside a block. */
int64_t vj_checkpoint_block(const vj_param *p);

/** Return how many elements of a whole tensor rank 0 of a tensor group of `ranks` ranks writes; the others write at
 * most as many. */
int64_t vj_checkpoint_first_share(const vj_param *p, int ranks);

/**
 * Create a writer of a run's checkpoints: model/{encoder,predictor,target}/..., optimizer/{first,second}_moment/...,
 * always as whole tensors, whatever the layout. `background`: as in vj_ckpt_open(). The optimizer is borrowed.
 * Collective over `world`, all ranks of the layout, agreed.
 */
typedef struct vj_checkpoint vj_checkpoint;
vj_status vj_checkpoint_open(vj_checkpoint **checkpoint, vj_optimizer *optimizer, bool background, MPI_Comm world);
/** Close the writer; a checkpoint that was begun and not committed is discarded. Not collective. */
void vj_checkpoint_close(vj_checkpoint *checkpoint);
/** Call vj_ckpt_keep(). */
void vj_checkpoint_keep(vj_checkpoint *checkpoint, int64_t keep, int64_t keep_every);
/** Call vj_ckpt_set_lease(). */
void vj_checkpoint_set_lease(vj_checkpoint *checkpoint, const vj_lease_seal *lease);
/** Return the bytes of host memory that the writer's buffers take. */
int64_t vj_checkpoint_memory_bytes(const vj_checkpoint *checkpoint);

/** Call vj_ckpt_begin(), _poll() and _commit() for the run as it is now. */
vj_status vj_checkpoint_begin(vj_checkpoint *checkpoint, const char *dir, const vj_ckpt_state *state);
bool vj_checkpoint_poll(vj_checkpoint *checkpoint);
vj_status vj_checkpoint_commit(vj_checkpoint *checkpoint);

/** Return the description of a network's encoder that checkpoints store (vj_ckpt_state.architecture). */
vj_ckpt_architecture vj_checkpoint_architecture(const vj_shape *shape);

/**
 * Check that the encoder described by `state`, which was read from `path`, has the shape `want`. For files older than
 * vj_ckpt_architecture the stored configuration is used instead. Not collective.
 */
vj_status vj_checkpoint_check_encoder(const char *path, const vj_ckpt_state *state, const vj_shape *want);

/** Fill weights, target and moments from a checkpoint of any layout; `world`: all ranks of the optimiser's layout, for
 * vj_ckpt_read(). Collective, agreed. */
vj_status vj_checkpoint_load(const char *path, vj_optimizer *optimizer, MPI_Comm world);

/** Fill a frozen encoder, the same on all ranks, from model/target of a checkpoint, or from model/encoder where there
 * is no target (pixel). Collective, agreed. */
vj_status vj_checkpoint_load_encoder(const char *path, vj_encoder *encoder, MPI_Comm comm);

#endif
