/*
 * Tests copies of clips on a local disk: a read gives the clip that was written or nothing, also with damage, full or
 * missing disks, several processes at once, and processes that are killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <xxhash.h>

#include "../clips_store.h"
#include "feed/cache.h"
#include "folder.h"

enum { CLIPS = 200, LARGEST = 5000 };
static const uint64_t fingerprint = 0x0123456789abcdef;

/* Make the record of a clip. Its length and all bytes depend on the clip's number. */
static int64_t record(int64_t clip, uint8_t bytes[LARGEST])
{
    const int64_t length = LARGEST - 20 * (clip % 50);
    for (int64_t i = 0; i < length; i++) bytes[i] = (uint8_t)(clip * 31 + i * 7 + i * i);
    return length;
}

static bool get(vj_cache *cache, int64_t clip)
{
    uint8_t want[LARGEST], found[LARGEST] = {0};
    const int64_t length = record(clip, want);
    if (!vj_cache_get(cache, clip, found, length, XXH3_64bits(want, (size_t)length))) return false;
    assert_memory_equal(found, want, (size_t)length);
    return true;
}

static void put(vj_cache *cache, int64_t clip)
{
    uint8_t bytes[LARGEST];
    const int64_t length = record(clip, bytes);
    vj_cache_put(cache, clip, bytes, length, XXH3_64bits(bytes, (size_t)length));
}

static vj_cache *open_cache(const char *name, double bytes)
{
    char path[VJ_PATH];
    join(path, folder, name);
    return vj_cache_open(path, 1e-9 * bytes, fingerprint, CLIPS);
}

/* Write the path FOLDER/NAME/FINGERPRINT.kind. */
static void file_path(char path[VJ_PATH], const char *name, const char *kind)
{
    char file[128];
    snprintf(file, sizeof file, "%s/0123456789abcdef.%s", name, kind);
    join(path, folder, file);
}

static int64_t data_bytes(const char *name)
{
    char path[VJ_PATH];
    struct stat info;
    file_path(path, name, "data");
    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

static void keeps(void **state)
{
    (void)state;
    vj_cache *cache = open_cache("keeps", 1e9);
    assert_non_null(cache);
    uint8_t spoilt[LARGEST];
    int64_t bytes = record(7, spoilt);
    vj_cache_put(cache, 7, spoilt, bytes, 1234); /* the store has other bytes */
    bytes = 0;
    for (int64_t i = 0; i < CLIPS; i++) assert_false(get(cache, i));
    for (int64_t i = CLIPS - 1; i >= 0; i--) {
        uint8_t unused[LARGEST];
        bytes += record(i, unused);
        put(cache, i);
        put(cache, i); /* it is in the cache already */
        assert_true(get(cache, i));
    }
    assert_int_equal(data_bytes("keeps"), bytes);
    vj_cache_counts counts = vj_cache_count(cache);
    assert_true(counts.hits == CLIPS && counts.stored == CLIPS && counts.damaged == 0);
    vj_cache_close(cache);

    cache = open_cache("keeps", 1e9); /* as after a restart */
    for (int64_t i = 0; i < CLIPS; i++) assert_true(get(cache, i));
    put(cache, 3);
    assert_int_equal(vj_cache_count(cache).stored, 0);
    vj_cache_close(cache);

    char path[VJ_PATH];
    join(path, folder, "keeps");
    cache = vj_cache_open(path, 1, fingerprint + 1, CLIPS); /* other stores */
    for (int64_t i = 0; i < CLIPS; i++) assert_false(get(cache, i));
    vj_cache_close(cache);
}

/* Check that the copies of all stores in the folder together keep to the budget. */
static void budget_of_all(void **state)
{
    (void)state;
    enum { ROOM = 100000 };
    char path[VJ_PATH];
    vj_cache *cache = open_cache("all", ROOM / 2);
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i);
    vj_cache_close(cache);
    const int64_t first = data_bytes("all");
    join(path, folder, "all");
    cache = vj_cache_open(path, 1e-9 * ROOM, fingerprint + 1, CLIPS);
    int64_t bytes = 0;
    for (int64_t i = 0; i < CLIPS; i++) {
        uint8_t unused[LARGEST];
        put(cache, i);
        if (get(cache, i)) bytes += record(i, unused);
    }
    assert_in_range(bytes, 1, ROOM - first);
    vj_cache_close(cache);
}

static void budget(void **state)
{
    (void)state;
    enum { ROOM = 100000 };
    vj_cache *cache = open_cache("budget", ROOM);
    int64_t there = 0;
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i);
    for (int64_t i = 0; i < CLIPS; i++) there += get(cache, i);
    assert_in_range(there, ROOM / LARGEST, ROOM / (LARGEST - 20 * 49));
    assert_in_range(data_bytes("budget"), ROOM - LARGEST, ROOM);
    vj_cache_close(cache);
    cache = open_cache("budget", ROOM); /* nothing is evicted, so nothing more fits */
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i);
    for (int64_t i = 0; i < CLIPS; i++) there -= get(cache, i);
    assert_int_equal(there, 0);
    vj_cache_close(cache);
}

static void flip(const char *name, const char *kind, off_t at)
{
    char path[VJ_PATH];
    unsigned char byte;
    file_path(path, name, kind);
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 64;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Check that after a changed byte, a cut file, an impossible address or an older map a read gives nothing, and that the
 * clip can be stored again. */
static void damage(void **state)
{
    (void)state;
    char path[VJ_PATH];
    vj_cache *cache = open_cache("damage", 1e9);
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i);
    flip("damage", "data", 5);
    assert_false(get(cache, 0));
    assert_false(get(cache, 0));
    assert_int_equal(vj_cache_count(cache).damaged, 1); /* only once, because the damaged copy was then dropped */
    put(cache, 0);
    assert_true(get(cache, 0));

    for (int byte = 0; byte < 8; byte++) { /* bytes of the address of clip 9 */
        flip("damage", "map", 32 + 9 * 8 + byte);
        assert_false(get(cache, 9));
        put(cache, 9);
        assert_true(get(cache, 9));
    }

    file_path(path, "damage", "data");
    assert_int_equal(truncate(path, 100000), 0);
    int64_t left = 0;
    for (int64_t i = 0; i < CLIPS; i++) left += get(cache, i);
    assert_in_range(left, 15, 25);
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i);
    for (int64_t i = 0; i < CLIPS; i++) assert_true(get(cache, i));

    memset(path, 0, sizeof path);
    file_path(path, "damage", "map");
    uint64_t early = 100; /* after a crash the map's end may be too early, with good records after it */
    const int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &early, sizeof early, 24), sizeof early);
    close(fd);
    flip("damage", "data", data_bytes("damage") - 1);
    assert_false(get(cache, CLIPS - 1));
    put(cache, CLIPS - 1);
    for (int64_t i = 0; i < CLIPS; i++) assert_true(get(cache, i));
    vj_cache_close(cache);
}

/* Check a cache whose files are removed while it is open, as cleaners of temporary folders do. */
static void removed(void **state)
{
    (void)state;
    char path[VJ_PATH];
    vj_cache *cache = open_cache("removed", 1e9);
    for (int64_t i = 0; i < CLIPS / 2; i++) put(cache, i);
    file_path(path, "removed", "data");
    assert_int_equal(unlink(path), 0);
    for (int64_t i = 0; i < CLIPS; i++) assert_int_equal(get(cache, i), i < CLIPS / 2);
    vj_cache *second = open_cache("removed", 1e9); /* the map lists records that are gone */
    for (int64_t i = 0; i < CLIPS; i++) assert_false(get(second, i));
    for (int64_t i = 0; i < CLIPS; i++) put(second, i);
    for (int64_t i = 0; i < CLIPS; i++) assert_true(get(second, i));
    vj_cache_close(second);
    vj_cache_close(cache);
}

/* Check that there is no cache in a folder that does not exist, where the map is another file, which is left alone, or
 * where the folder is a file. */
static void refused(void **state)
{
    (void)state;
    char path[VJ_PATH], text[32];
    assert_null(open_cache("no/such", 1e9));
    vj_cache_close(open_cache("foreign", 1e9));
    file_path(path, "foreign", "map");
    FILE *f = fopen(path, "w");
    assert_true(fputs("a diary of mine, long enough to be a header\n", f) > 0 && fclose(f) == 0);
    assert_null(open_cache("foreign", 1e9));
    f = fopen(path, "r");
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_memory_equal(text, "a diary of mine", 15);
    join(path, folder, "keeps/0123456789abcdef.map"); /* this is a file, not a folder */
    assert_null(vj_cache_open(path, 1, fingerprint, CLIPS));
    vj_cache_close(NULL);
}

/* Check that after a failure to write no more is stored, and that the copies stay usable. */
static void full_disk(void **state)
{
    (void)state;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 50000;
    signal(SIGXFSZ, SIG_IGN);
    vj_cache *cache = open_cache("full", 1e9);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    const int64_t stored = vj_cache_count(cache).stored;
    assert_in_range(stored, 9, 12);
    for (int64_t i = 0; i < CLIPS; i++) assert_int_equal(get(cache, i), i < stored);
    put(cache, CLIPS - 1); /* after the failure it stores no more */
    assert_false(get(cache, CLIPS - 1));
    vj_cache_close(cache);
}

/* ------------------------------------------------------------------------------------------------ processes */

/* Act as a rank: get a clip, or if it is not there make it and put it. Ends after `rounds` rounds, or never. */
static void live(const char *name, int64_t rounds, uint64_t seed)
{
    vj_cache *cache = open_cache(name, 1e9);
    if (!cache) _exit(3);
    for (int64_t r = 0; rounds < 0 || r < rounds; r++) {
        const int64_t clip = vj_permute(seed, (uint64_t)(r / CLIPS), CLIPS, r % CLIPS);
        uint8_t want[LARGEST], found[LARGEST];
        const int64_t length = record(clip, want);
        if (!vj_cache_get(cache, clip, found, length, XXH3_64bits(want, (size_t)length)))
            vj_cache_put(cache, clip, want, length, XXH3_64bits(want, (size_t)length));
        else if (memcmp(found, want, (size_t)length) != 0)
            _exit(1);
    }
    const vj_cache_counts counts = vj_cache_count(cache);
    vj_cache_close(cache);
    _exit(counts.damaged == 0 ? 0 : 2);
}

static void processes(void **state)
{
    (void)state;
    enum { PROCESSES = 6 };
    pid_t child[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        child[p] = fork();
        if (child[p] == 0) live("processes", 4 * CLIPS, (uint64_t)p);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(child[p], &status, 0), child[p]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    vj_cache *cache = open_cache("processes", 1e9);
    int64_t there = 0;
    for (int64_t i = 0; i < CLIPS; i++) there += get(cache, i);
    assert_true(there > CLIPS * 9 / 10); /* a rank does not wait for a file that is locked, so some are missing */
    assert_true(data_bytes("processes") < 2 * (int64_t)CLIPS * LARGEST);
    vj_cache_close(cache);
}

/* Check that after processes are killed at any moment the next one finds good copies or none, and can store more. */
static void killed(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        char name[16], path[VJ_PATH];
        snprintf(name, sizeof name, "killed%d", i % 4);
        const pid_t child = fork();
        if (child == 0) live(name, -1, (uint64_t)i);
        file_path(path, name, "map");
        for (int wait = 0; access(path, F_OK) != 0 && wait < 10000; wait++) usleep(1000);
        usleep((useconds_t)(i * 300));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        vj_cache *cache = open_cache(name, 1e9);
        assert_non_null(cache);
        for (int64_t c = 0; c < CLIPS; c += 1 + i % 3)
            if (!get(cache, c)) put(cache, c);
        for (int64_t c = 0; c < CLIPS; c += 1 + i % 3) assert_true(get(cache, c));
        vj_cache_close(cache);
    }
}

/* Check that a process that was suspended while it held the lock does not block the others. */
static void stopped(void **state)
{
    (void)state;
    char path[VJ_PATH];
    vj_cache *cache = open_cache("stopped", 1e9);
    file_path(path, "stopped", "map");
    const int fd = open(path, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    for (int64_t i = 0; i < CLIPS; i++) put(cache, i); /* returns at once and stores nothing */
    for (int64_t i = 0; i < CLIPS; i++) assert_false(get(cache, i));
    assert_int_equal(flock(fd, LOCK_UN), 0);
    close(fd);
    put(cache, 1);
    assert_true(get(cache, 1));
    vj_cache_close(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget_of_all), cmocka_unit_test(keeps),     cmocka_unit_test(budget),
        cmocka_unit_test(damage),        cmocka_unit_test(removed),   cmocka_unit_test(refused),
        cmocka_unit_test(full_disk),     cmocka_unit_test(processes), cmocka_unit_test(killed),
        cmocka_unit_test(stopped),
    };
    return cmocka_run_group_tests_name("cache", tests, set_up_folder, tear_down_folder);
}
