/*
 * Which sources each shard holds: a function of the settings and the number of sources, not of ranks. Sources are
 * spread over the shards by a permutation, so neighbours of a list do not sit together, and shards are alike in size.
 */
#ifndef VJ_PACK_SHARDING_H
#define VJ_PACK_SHARDING_H

#include "base/config.h"

typedef struct {
    int64_t sources, clips, shards; /* clips: expected */
    uint64_t seed;
    double clip_bytes; /* expected of a clip: the short side of a 16:9 picture, a tenth for jpeg */
} vj_sharding;

/**
 * For so many sources, which will give at most so many clips: as many shards that each has about pack.shard_mb, that
 * many ranks have work (64 shards, but 16 sources each), and that what is in memory of one is bounded: about 65536
 * sources and clips.
 */
vj_sharding vj_sharding_of(const vj_config *config, int64_t sources, int64_t clips);

/** Shard `shard` holds the sources at the positions [first, last). */
void vj_sharding_shard(const vj_sharding *layout, int64_t shard, int64_t *first, int64_t *last);

/** The source at a position; each source is at one. */
int64_t vj_sharding_source(const vj_sharding *layout, int64_t position);

#endif
