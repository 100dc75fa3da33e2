/*
 * Which clip a sample is. There are two kinds of orders: that of training, which never ends, and a list that is gone
 * through once (vj_order_create_once()), for evaluation.
 *
 * In training it is a function of the settings, the seed and the global sample's number alone: a run goes on at any
 * sample without a state, and ranks and threads cannot change what it sees. Clips are drawn from pools: all clips
 * together, or (data.weights) one pool for each dataset. A pool is walked in epochs; each of its clips comes once an
 * epoch, in an order of the epoch's own: global  a keyed permutation of the pool's clips; block   a keyed permutation
 * of the pool's shards, cut into windows of data.block_shards, and in each window a keyed permutation of its clips: one
 * window after the other, so only its shards are read meanwhile.
 *
 * Mixture: weights are taken in units of 1/100000 and divided by their common factor, so that [a=0.4, b=0.6] are 2 and
 * 3 of a cycle of 5 samples. Every cycle holds exactly these numbers. Inside a cycle samples are dealt by halving it:
 * each half gets its share of every dataset, rounded at random but without bias. So any stretch of samples, wherever it
 * begins, holds of each dataset its weight to within 2 (1 + log2(cycle)) samples (measured: below 8 in cycles of
 * 100000), and which draw of its dataset a sample is takes log2(cycle) steps to know and no table.
 */
#ifndef VJ_FEED_ORDER_H
#define VJ_FEED_ORDER_H

#include "base/config.h"

typedef struct vj_order vj_order;
struct vj_clips;

/** What is to be ordered; only looked at by vj_order_create(). */
typedef struct {
    int64_t shards;
    const int64_t *shard_clips; /* [shards]; clips are numbered shard after shard */
    int datasets;
    const char *const *dataset_name; /* [datasets]; the names themselves outlive the order */
    const uint8_t *dataset;          /* [clips]; looked at with weights only */
} vj_order_clips;

/**
 * Takes data.shuffle, data.block_shards, data.weights and run.seed. Refuses weights that name an unknown dataset, leave
 * one out (weight 0 does that), or one without clips. Allocates all it will need: 4 bytes a clip with weights, 40 bytes
 * a shard and pool with blocks, else nothing. Local; free with vj_order_destroy().
 */
vj_status vj_order_create(vj_order **order, const vj_order_clips *clips, const vj_config *config);
void vj_order_destroy(vj_order *order);

/** Sample i is clip list[i], borrowed, and nothing replaces it. A clip may be listed more than once. Local. */
vj_status vj_order_create_once(vj_order **order, const int64_t *list, int64_t count);

/** vj_order_create() for the clips of opened stores (sample.c). */
struct vj_clips;
vj_status vj_order_of_clips(vj_order **order, const struct vj_clips *clips, const vj_config *config);

/**
 * The clip of sample `sample` >= 0, or (spare > 0) the one that replaces it when it and the spares before cannot
 * be read: the next ones of the epoch's order, of the same pool, so a mixture stays what it is. -1 when the pool has no
 * more. Thread-safe; the first call of an epoch of blocks makes that epoch's table of shards.
 */
int64_t vj_order_clip(vj_order *order, int64_t sample, int64_t spare);

/** One line on what is drawn from where. Rank 0 speaks. */
void vj_order_say(const vj_order *order);

#endif
