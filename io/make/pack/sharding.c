/* Chooses the number of shards, and which sources each one holds. */
#include "pack/sharding.h"

#include <math.h>

#include "base/rng.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

vj_sharding vj_sharding_of(const vj_config *config, int64_t sources, int64_t clips)
{
    enum { ENOUGH_SHARDS = 64, FEW_SOURCES = 16, MAX_CLIPS = 65536, JPEG_SAVES = 10, USUAL_SIDE = 400 };
    const double side = (double)(config->pack.short_side > 0 ? config->pack.short_side : USUAL_SIDE);
    vj_sharding l = {.sources = sources, .clips = clips, .seed = (uint64_t)config->pack.seed};
    l.clip_bytes = 3 * (double)config->pack.frames * side * ceil(side * 16 / 9);
    if (config->pack.codec != 0) l.clip_bytes /= JPEG_SAVES;
    l.shards = (int64_t)ceil((double)clips * l.clip_bytes / (1e6 * (double)config->pack.shard_mb));
    int64_t few = divide_up(sources, FEW_SOURCES);
    l.shards = larger(l.shards, few < ENOUGH_SHARDS ? few : ENOUGH_SHARDS);
    l.shards = larger(l.shards, divide_up(larger(sources, clips), MAX_CLIPS));
    if (l.shards > sources) l.shards = sources;
    return l;
}

void vj_sharding_shard(const vj_sharding *l, int64_t shard, int64_t *first, int64_t *last)
{
    /* floor(k S / n) without computing k S, which could overflow */
    int64_t each = l->sources / l->shards, more = l->sources % l->shards;
    *first = shard * each + shard * more / l->shards;
    *last = (shard + 1) * each + (shard + 1) * more / l->shards;
}

int64_t vj_sharding_source(const vj_sharding *l, int64_t position)
{
    return vj_permute(l->seed, 0, l->sources, position);
}
