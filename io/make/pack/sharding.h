/*
 * Assigns sources to shards, as a function of the settings and the number of sources, not of the number of ranks. A
 * permutation spreads the sources over the shards, so that neighbours in a list end up in different shards, and all
 * shards have about the same size.
 */
#ifndef VJ_PACK_SHARDING_H
#define VJ_PACK_SHARDING_H

#include "base/config.h"

typedef struct {
    int64_t sources, clips, shards; /* clips: the most expected */
    uint64_t seed;
    double clip_bytes; /* expected size of a clip: 16:9 frames of the given short side; a tenth of that for jpeg */
} vj_sharding;

/**
 * Choose the number of shards for `sources` files that give at most `clips` clips: so that each shard has about
 * pack.shard_mb; so that many ranks have work (at least 64 shards, if that leaves 16 sources each); and so that the
 * tables of one shard stay bounded in memory (about 65536 sources and clips).
 */
vj_sharding vj_sharding_of(const vj_config *config, int64_t sources, int64_t clips);

/** Get the positions [first, last) of the sources that shard `shard` holds. */
void vj_sharding_shard(const vj_sharding *layout, int64_t shard, int64_t *first, int64_t *last);

/** Return the source at a position; each source is at exactly one position. */
int64_t vj_sharding_source(const vj_sharding *layout, int64_t position);

#endif
