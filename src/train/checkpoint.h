/* Which tensors of a run go into a checkpoint, under which names, and who writes them (design section 6). */
#ifndef VJ_TRAIN_CHECKPOINT_H
#define VJ_TRAIN_CHECKPOINT_H

#include "ckpt/ckpt.h"
#include "train/optimizer.h"

/**
 * Cut the flat vector, of shares where tensors are divided, at checkpoint blocks into `size` slices of about equal
 * length: slice r is [slice[r], slice[r+1]), slice[0] = 0, slice[size] = ps->total. A slice may be empty.
 */
vj_status vj_checkpoint_slices(const vj_params *ps, int size, int64_t *slice);

/**
 * Write DIR/step_<state->step>.h5: model/{encoder,predictor,target}/..., optimizer/{first,second}_moment/..., whole
 * tensors whatever the layout. Collective over `world`, all ranks of the layout.
 */
vj_status vj_checkpoint_save(const char *dir, vj_optimizer *optimizer, const vj_ckpt_state *state, MPI_Comm world);

/** Fill weights, target and moments from a checkpoint of any layout. Each rank reads what it holds; not collective. */
vj_status vj_checkpoint_load(const char *path, vj_optimizer *optimizer);

/** Fill a frozen encoder from model/target of a checkpoint, or from model/encoder where there is no target (pixel). */
vj_status vj_checkpoint_load_encoder(const char *path, vj_encoder *encoder);

#endif
