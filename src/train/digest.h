/*
 * Do ranks that should hold the same still hold the same? A bit that flips in memory, or a processor that rounds
 * wrongly, lets replicas drift apart without a word, and the checkpoint after that has parts of both.
 */
#ifndef VJ_TRAIN_DIGEST_H
#define VJ_TRAIN_DIGEST_H

#include "parallel/parallel.h"
#include "train/optimizer.h"

typedef struct vj_digest vj_digest;

/**
 * To compare what the layout's ranks hold of model and optimizer, all borrowed. *digest is NULL, and may be so in all
 * calls, where there is nothing to do: on one rank, or with parallel.check_every 0. Collective over layout->world,
 * agreed.
 */
vj_status vj_digest_open(vj_digest **digest, const vj_config *config, vj_optimizer *optimizer, const vj_layout *layout);
void vj_digest_close(vj_digest *digest);

/**
 * Compare digests (XXH3) of weights, target and moments: over the data ranks, sharded moments excepted, and of tensors
 * that are not divided over the tensor group too. A difference is VJ_ERR_STATE on all ranks; rank 0 names the ranks
 * that differ from the majority, or all where there is none, and the first tensor. After `step` updates. Collective
 * over layout->world.
 */
vj_status vj_digest_compare(vj_digest *digest, int64_t step);

#endif
