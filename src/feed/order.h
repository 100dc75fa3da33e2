/*
 * Maps sample numbers to clips. There are two kinds of order: the training order, which is infinite, and a list that is
 * traversed once (vj_order_create_once()), for evaluation.
 *
 * The training order is a function of the settings, the seed and the global sample number only: a run can resume at any
 * sample without stored state, and the order does not depend on the number of ranks or threads. Clips are drawn from
 * pools: one pool of all clips, or with data.weights one pool per dataset. In each epoch of a pool every clip of it
 * comes once, in an order that differs between epochs:
 * - data.shuffle global: a keyed permutation of the pool's clips.
 * - data.shuffle block: a keyed permutation of the pool's shards is cut into windows of data.block_shards shards, and
 * the clips of each window are permuted. Windows follow one another, so only the shards of one window are read at a
 * time.
 *
 * Mixture: weights are rounded to multiples of 1/100000 and divided by their greatest common divisor, so [a=0.4, b=0.6]
 * gives 2 and 3 samples in a cycle of 5. Every cycle has exactly these counts. A cycle is bisected recursively: each
 * half gets its share of every dataset, rounded randomly without bias. So in any interval of samples the count of a
 * dataset differs from its weight by at most 2 (1 + log2(cycle)) samples (measured: below 8 in cycles of 100000).
 * Computing which draw of its dataset a sample is takes log2(cycle) steps and no table.
 */
#ifndef VJ_FEED_ORDER_H
#define VJ_FEED_ORDER_H

#include "base/config.h"

typedef struct vj_order vj_order;

/** The clips to order. Read only during vj_order_create(), except for the dataset names. */
typedef struct {
    int64_t shards;
    const int64_t *shard_clips; /* [shards] clips in each shard; clips are numbered shard by shard */
    int datasets;
    const char *const *dataset_name; /* [datasets]; the strings must outlive the order */
    const uint8_t *dataset;          /* [clips] dataset of each clip; read only with data.weights */
} vj_order_clips;

/**
 * Create the training order from data.shuffle, data.block_shards, data.weights and run.seed. VJ_ERR_USAGE if
 * data.weights names an unknown dataset, does not name every dataset (0 excludes one), or gives a weight to a dataset
 * without clips. Allocates all memory: 4 bytes per clip with weights, 40 bytes per shard and pool with block shuffle,
 * else nothing that grows with the data. Not collective; free with vj_order_destroy().
 */
vj_status vj_order_create(vj_order **order, const vj_order_clips *clips, const vj_config *config);
void vj_order_destroy(vj_order *order);

/** Create an order in which sample i is clip list[i], i < count, without replacements for damaged clips. `list` is
 * borrowed; it may name a clip more than once. Not collective; free with vj_order_destroy(). */
vj_status vj_order_create_once(vj_order **order, const int64_t *list, int64_t count);

/** Call vj_order_create() for the clips of opened stores (implemented in sample.c). */
struct vj_clips;
vj_status vj_order_of_clips(vj_order **order, const struct vj_clips *clips, const vj_config *config);

/**
 * Return the clip of sample `sample` >= 0 if spare is 0. For spare = 1, 2, ... return its replacement number `spare`,
 * to be used if the clip and the replacements before it are damaged: the next clips in the order of the same epoch and
 * pool, so the mixture does not change. Returns -1 if there is none. Thread-safe. With block shuffle the first call in
 * an epoch builds that epoch's table of shards.
 */
int64_t vj_order_clip(vj_order *order, int64_t sample, int64_t spare);

/** Log from which dataset how many samples are drawn, one line per dataset, and the block size. Not collective. */
void vj_order_log(const vj_order *order);

#endif
