/*
 * Check that ranks which should hold equal data still do. After a bit flip in memory, or on a processor that rounds
 * wrongly, replicas drift apart without any error, and the next checkpoint mixes parts of both.
 */
#ifndef VJ_TRAIN_DIGEST_H
#define VJ_TRAIN_DIGEST_H

#include "parallel/parallel.h"
#include "train/optimizer.h"

typedef struct vj_digest vj_digest;

/**
 * Prepare to compare the model and optimizer state of the layout's ranks; all arguments are borrowed. *digest is NULL
 * if there is nothing to compare: on one rank, or with parallel.check_every 0; all calls accept NULL. Collective over
 * layout->world, agreed.
 */
vj_status vj_digest_open(vj_digest **digest, const vj_config *config, vj_optimizer *optimizer, const vj_layout *layout);
void vj_digest_close(vj_digest *digest);

/**
 * Compare digests (XXH3) of weights, target and moments over the data ranks; sharded moments are left out. Tensors that
 * are not divided are also compared over the tensor group. A difference is VJ_ERR_STATE on all ranks: rank 0 names the
 * ranks that differ from the majority (all of them if there is no majority) and the first tensor. `step`: updates done,
 * for the message. Collective over layout->world.
 */
vj_status vj_digest_compare(vj_digest *digest, int64_t step);

#endif
