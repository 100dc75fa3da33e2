/*
 * Copies of clips on a disk of the node (data.cache), so that a shared file system is asked for each of them once. Two
 * files per set of stores, named by its fingerprint and shared by all processes of the node, of several jobs too:
 *   FINGERPRINT.data  records as the stores have them, one behind the other in the order of their first reading
 *   FINGERPRINT.map   a header, then for each clip where its record is
 * It is filled until the budget, which copies of other stores in the folder count for, is used, and nothing is evicted:
 * in a random order any clip is as good as another. Nothing is synced, mapped or trusted. What is read is compared with
 * the checksum that the store has, so a torn write, a stale map or a bad disk costs one more reading from the store; a
 * disk that fails ends in a return code, not in a signal. Whatever goes wrong is said once, and training goes on
 * without. To empty a cache, remove its files.
 */
#ifndef VJ_FEED_CACHE_H
#define VJ_FEED_CACHE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vj_cache vj_cache;

/**
 * Open or make the cache of stores with this fingerprint and so many clips; `folder` is made if only it is missing.
 * NULL, after a warning, when that is not possible. Memory: none that grows with the clips. Local.
 */
vj_cache *vj_cache_open(const char *folder, double gb, uint64_t fingerprint, int64_t clips);
void vj_cache_close(vj_cache *cache);

/** The record of a clip, if it is there and has this checksum; a damaged copy is forgotten. Thread-safe. */
bool vj_cache_get(vj_cache *cache, int64_t clip, uint8_t *record, int64_t bytes, uint64_t xxh3);

/** Keep a record, if it has this checksum and there is room. Thread-safe. */
void vj_cache_put(vj_cache *cache, int64_t clip, const uint8_t *record, int64_t bytes, uint64_t xxh3);

/** What this process did so far. */
typedef struct {
    int64_t hits, stored;
    int64_t damaged; /* copies that were no longer what had been written */
} vj_cache_counts;
vj_cache_counts vj_cache_count(const vj_cache *cache);

#endif
