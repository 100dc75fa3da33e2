/*
 * A cache of clips on a local disk of the node (data.cache), so that each clip is read from the shared file system only
 * once. There are two files per set of stores, named by its fingerprint and shared by all processes of the node, also
 * those of different jobs:
 *
 * - FINGERPRINT.data: records as they are in the stores, one after another in the order in which they were first read.
 * - FINGERPRINT.map: a header, then for each clip the place of its record in FINGERPRINT.data.
 *
 * Clips are added until the budget is used; copies of other stores in the folder count towards it. Nothing is evicted:
 * in a random order of clips no clip is worth more than another. Files are neither synced nor memory-mapped. Every
 * record read is compared with the checksum in the store, so after a torn write, a stale map or a disk error the clip
 * is read from the store again; a failing disk shows as an error code, not as SIGBUS. Each kind of problem is logged
 * once, and training continues without the cache. To empty a cache, remove its files.
 */
#ifndef VJ_FEED_CACHE_H
#define VJ_FEED_CACHE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vj_cache vj_cache;

/**
 * Open or create the cache of the stores that have this fingerprint and number of clips, with a budget of `gb` GB (1e9
 * bytes). Creates `folder` if its parent exists. Returns NULL after a warning if that fails. Memory use does not depend
 * on the number of clips. Not collective.
 */
vj_cache *vj_cache_open(const char *folder, double gb, uint64_t fingerprint, int64_t clips);
void vj_cache_close(vj_cache *cache);

/** Read the record of a clip, `bytes` bytes. Returns false if it is not cached or its checksum is not `xxh3`; such a
 * copy is dropped from the map. Thread-safe. */
bool vj_cache_get(vj_cache *cache, int64_t clip, uint8_t *record, int64_t bytes, uint64_t xxh3);

/** Add the record of a clip, if its checksum is `xxh3`, there is room, and no other process is adding one. Thread-safe.
 */
void vj_cache_put(vj_cache *cache, int64_t clip, const uint8_t *record, int64_t bytes, uint64_t xxh3);

/** Statistics of this process since opening. */
typedef struct {
    int64_t hits, stored; /* records read from the cache, and added to it */
    int64_t damaged;      /* copies whose checksum was wrong */
} vj_cache_counts;
vj_cache_counts vj_cache_count(const vj_cache *cache);

#endif
