/*
 * Making shards: one rank's share of the work. Files are handed to decoding processes in the order of the shards'
 * positions, running ahead as far as a bounded buffer allows, also into the next shard; results are written in order.
 */
#ifndef VJ_PACK_SHARDS_H
#define VJ_PACK_SHARDS_H

#include "base/lease.h"
#include "clips/write.h"
#include "pack/catalogue.h"
#include "pack/progress.h"
#include "pack/sharding.h"

/* What is the same on all ranks; everything is borrowed. */
typedef struct {
    const vj_config *config;
    const vj_catalogue_summary *summary;
    const vj_class_names *classes; /* on rank 0; NULL: none */
    const vj_sharding *layout;
    const vj_clips_header *clips; /* what all shards say alike */
    const vj_lease_seal *lease;   /* of the store; looked at before anything is published */
} vj_pack_plan;

/**
 * Make the shards `todo`, ascending, with `workers` decoding processes, looking sources up in the store's catalogue. At
 * most pack.buffer_mb of clips wait in memory, and what each worker is at. Counts go to `progress`. A file that could
 * not be had (refused.h) is tried once more; *refused: whether some were refused for good. Local; a failure leaves the
 * shards that were complete.
 */
vj_status vj_pack_shards(const vj_pack_plan *plan, const int64_t *todo, int64_t count, int workers,
                         vj_progress *progress, bool *refused);

#endif
