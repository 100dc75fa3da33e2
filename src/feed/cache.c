/* The clip cache on a local disk. Finding a record takes one small read of the map; adding one appends to the data
 * file. */
#include "feed/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/file.h"

typedef struct {
    char magic[8];
    uint64_t fingerprint;
    int64_t clips;
    int64_t end; /* bytes of the data file that are written, or reserved for a process that writes them */
} header;

static const char magic[8] = "vjcache1";

struct vj_cache {
    char folder[VJ_PATH];
    int map, data; /* descriptors */
    int64_t budget;
    pthread_mutex_t lock;           /* for threads of this process; for other processes: flock() on the map */
    atomic_bool unreadable, closed; /* reading failed, so the cache is not used; no more clips are added */
    _Atomic int64_t hits, stored, damaged;
};

/* ------------------------------------------------------------------------------------------------ the two files */

/* Warn once that the disk cannot be read, and stop using the cache. */
static void give_up(vj_cache *cache)
{
    if (!atomic_exchange(&cache->unreadable, true))
        vj_warn("data.cache: %s: reading failed: %s; clips come from the store", cache->folder, strerror(errno));
}

/* Warn once that the disk cannot be written, and add no more clips. */
static void stop_storing(vj_cache *cache)
{
    if (!atomic_exchange(&cache->closed, true))
        vj_warn("data.cache: %s: writing failed: %s; no more clips are kept there", cache->folder, strerror(errno));
}

/*
 * Return the offset in the map of a clip's entry: one more than the offset of its record in the data file. An entry
 * that is 0 or beyond the end of the map means that the clip is not cached.
 */
static int64_t entry(int64_t clip)
{
    return (int64_t)sizeof(header) + clip * (int64_t)sizeof(int64_t);
}

/* ------------------------------------------------------------------------------------------------ life */

/*
 * Lock the map. Another process holds the lock only for a few writes; but that process may have been stopped by a
 * signal meanwhile, so waiting has a limit.
 */
static bool lock_patiently(int fd)
{
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (errno != EWOULDBLOCK || tries == 300) return false;
        vj_sleep(0.01);
    }
    return true;
}

/*
 * Write the header of a new map; check that an existing map is of the same clips, else set *foreign. Called with the
 * lock held.
 */
static bool check_header(vj_cache *cache, uint64_t fingerprint, int64_t clips, bool *foreign)
{
    header h, want = {.fingerprint = fingerprint, .clips = clips};
    memcpy(want.magic, magic, sizeof magic);
    const int64_t got = vj_read_at(cache->map, &h, sizeof h, 0);
    if (got < 0) return false;
    if (got == 0) return vj_write_at(cache->map, &want, sizeof want, 0);
    *foreign = got < (int64_t)sizeof h || memcmp(&h, &want, offsetof(header, end)) != 0;
    return !*foreign;
}

static int open_file(const char *folder, uint64_t fingerprint, const char *kind)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/%016llx.%s", folder, (unsigned long long)fingerprint, kind);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool open_files(vj_cache *cache, uint64_t fingerprint, int64_t clips, bool *foreign)
{
    if (mkdir(cache->folder, 0777) != 0 && errno != EEXIST) return false;
    cache->map = open_file(cache->folder, fingerprint, "map");
    cache->data = open_file(cache->folder, fingerprint, "data");
    if (cache->map < 0 || cache->data < 0 || !lock_patiently(cache->map)) return false;
    const bool fine = check_header(cache, fingerprint, clips, foreign);
    const int error = errno;
    (void)flock(cache->map, LOCK_UN); /* closing unlocks too */
    errno = error;
    return fine;
}

/* Count the bytes that copies of other stores take in the folder. They count towards the budget too. */
static int64_t bytes_of_others(const char *folder, uint64_t fingerprint)
{
    char own[32];
    int64_t bytes = 0;
    struct stat info;
    DIR *dir = opendir(folder);
    snprintf(own, sizeof own, "%016llx.data", (unsigned long long)fingerprint);
    for (const struct dirent *item = dir ? readdir(dir) : NULL; item; item = readdir(dir)) {
        const char *end = strrchr(item->d_name, '.');
        if (end && strcmp(end, ".data") == 0 && strcmp(item->d_name, own) != 0 &&
            fstatat(dirfd(dir), item->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (int64_t)info.st_size;
    }
    if (dir) (void)closedir(dir); /* only read */
    return bytes;
}

vj_cache *vj_cache_open(const char *folder, double gb, uint64_t fingerprint, int64_t clips)
{
    bool foreign = false;
    vj_cache *cache = vj_calloc(1, sizeof *cache);
    if (cache) {
        snprintf(cache->folder, sizeof cache->folder, "%s", folder);
        cache->budget = (int64_t)(1e9 * gb);
        cache->map = cache->data = -1;
        pthread_mutex_init(&cache->lock, NULL);
        if (open_files(cache, fingerprint, clips, &foreign)) {
            const int64_t others = bytes_of_others(folder, fingerprint);
            cache->budget -= others;
            if (others > 0)
                vj_log(
                    "data.cache: %s: %.1f GB of data.cache_gb are copies of other stores: remove those files if they "
                    "are not needed",
                    folder, 1e-9 * (double)others);
            return cache;
        }
    }
    vj_warn("data.cache: %s: %s; clips come from the store", folder,
            foreign ? "the map there is of other clips or not a map: remove it" : strerror(errno));
    vj_cache_close(cache);
    return NULL;
}

void vj_cache_close(vj_cache *cache)
{
    if (!cache) return;
    /* if closing fails, copies may be damaged, which their checksums show */
    if (cache->map >= 0) (void)close(cache->map);
    if (cache->data >= 0) (void)close(cache->data);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

vj_cache_counts vj_cache_count(const vj_cache *cache)
{
    return (vj_cache_counts){.hits = cache->hits, .stored = cache->stored, .damaged = cache->damaged};
}

/* ------------------------------------------------------------------------------------------------ records */

bool vj_cache_get(vj_cache *cache, int64_t clip, uint8_t *record, int64_t bytes, uint64_t xxh3)
{
    int64_t place = 0;
    if (cache->unreadable) return false;
    if (vj_read_at(cache->map, &place, sizeof place, entry(clip)) < 0) return give_up(cache), false;
    if (place <= 0) return false;
    const int64_t got = vj_read_at(cache->data, record, bytes, place - 1);
    if (got < 0) return give_up(cache), false;
    if (got == bytes && vj_checksum(record, bytes) == xxh3) {
        cache->hits++;
        return true;
    }
    if (cache->damaged++ == 0)
        vj_warn(
            "data.cache: %s: the copy of clip %lld is damaged and is not used; of more nothing is said but how many",
            cache->folder, (long long)clip);
    place = 0;
    if (!vj_write_at(cache->map, &place, sizeof place, entry(clip))) stop_storing(cache);
    return false;
}

/*
 * Reserve `bytes` bytes for a clip. Returns false if the clip is cached already or there is no room. Called with the
 * lock held.
 */
static bool reserve(vj_cache *cache, int64_t clip, int64_t bytes, int64_t *place)
{
    header h;
    struct stat data;
    *place = 0;
    if (vj_read_at(cache->map, place, sizeof *place, entry(clip)) < 0) return give_up(cache), false;
    if (*place > 0) return false;
    if (vj_read_at(cache->map, &h, sizeof h, 0) != sizeof h || fstat(cache->data, &data) != 0)
        return give_up(cache), false;
    if (data.st_size > h.end) h.end = data.st_size; /* after a crash the header may be older than the data */
    if (h.end < 0 || bytes > cache->budget - h.end) {
        if (!atomic_exchange(&cache->closed, true))
            vj_log("data.cache: %s: the room of data.cache_gb is used; no more clips are kept there", cache->folder);
        return false;
    }
    *place = h.end + 1;
    h.end += bytes;
    if (!vj_write_at(cache->map, &h, sizeof h, 0)) return stop_storing(cache), false;
    return true;
}

void vj_cache_put(vj_cache *cache, int64_t clip, const uint8_t *record, int64_t bytes, uint64_t xxh3)
{
    int64_t place;
    if (cache->closed || cache->unreadable || vj_checksum(record, bytes) != xxh3) return;
    pthread_mutex_lock(&cache->lock);
    /* Do not wait: the process that holds the lock may have been stopped, and this clip can be added another time. */
    bool fine = flock(cache->map, LOCK_EX | LOCK_NB) == 0;
    if (fine) {
        fine = reserve(cache, clip, bytes, &place);
        (void)flock(cache->map, LOCK_UN); /* of a lock that we hold: cannot fail */
    }
    pthread_mutex_unlock(&cache->lock);
    if (!fine) return;
    /*
     * Write the record before its entry, so that no reader finds an entry without a record. After a crash there may be
     * one; its checksum fails then.
     */
    if (!vj_write_at(cache->data, record, bytes, place - 1) ||
        !vj_write_at(cache->map, &place, sizeof place, entry(clip))) {
        stop_storing(cache);
        return;
    }
    cache->stored++;
}
