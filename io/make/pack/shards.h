/*
 * Makes shards, one rank's share of the work. Files are given to decoding processes in the order of the shards'
 * positions, running ahead (also into the next shard) as far as a bounded buffer allows; results are written in order.
 */
#ifndef VJ_PACK_SHARDS_H
#define VJ_PACK_SHARDS_H

#include "base/lease.h"
#include "clips/write.h"
#include "pack/catalogue.h"
#include "pack/progress.h"
#include "pack/sharding.h"

/* Settings that are the same on all ranks, except `classes`; all pointers are borrowed. */
typedef struct {
    const vj_config *config;
    const vj_catalogue_summary *summary;
    const vj_class_names *classes; /* on rank 0; NULL: none */
    const vj_sharding *layout;
    const vj_clips_header *clips; /* the header that all shards share */
    const vj_lease_seal *lease;   /* lease of the store, checked before anything is published */
} vj_pack_plan;

/**
 * Make the shards `todo` [count], ascending, with `workers` decoding processes, looking sources up in the store's
 * catalogue. At most pack.buffer_mb of clips wait in memory, besides those that the workers are making. Counts are
 * added to `progress`. A file refused for a cause that may be temporary (refused.h) is tried once more; *refused:
 * whether some were refused again. Not collective. After a failure, the shards that were complete remain.
 */
vj_status vj_pack_shards(const vj_pack_plan *plan, const int64_t *todo, int64_t count, int workers,
                         vj_pack_progress *progress, bool *refused);

#endif
