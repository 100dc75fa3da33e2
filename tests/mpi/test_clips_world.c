/*
 * Tests that a store does not depend on the number of ranks that pack it. The reference is packed by rank 0 alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <hdf5.h>
#include <xxhash.h>

#include "../clips_store.h"
#include "../on_ranks.h"
#include "parallel/parallel.h"

enum { CLIPS = 23 };

static int rank, size;
static char folder[VJ_PATH], together[VJ_PATH], alone[VJ_PATH];

static vj_status open_store(vj_clips **clips, const char *path, MPI_Comm comm)
{
    vj_strings paths = one_path(path);
    return vj_clips_open(clips, &paths, comm);
}

static void test_same_store(void **state)
{
    (void)state;
    static uint8_t mine[STORE_LARGEST], reference[STORE_LARGEST];
    int32_t labels[STORE_LABELS];
    vj_clips *all, *one;
    assert_int_equal(open_store(&all, together, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(open_store(&one, alone, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_clips_count(all), CLIPS);
    assert_true(vj_clips_fingerprint(all) == vj_clips_fingerprint(one));
    for (int64_t i = 0; i < CLIPS; i++) {
        vj_clip clip;
        int height, width;
        store_clip(i, &clip, labels, reference);
        vj_clips_geometry(all, i, &height, &width);
        assert_true(height == clip.height && width == clip.width);
        assert_int_equal(read_clip(all, i, mine), VJ_OK);
        assert_memory_equal(mine, reference, (size_t)STORE_FRAMES * height * width * 3);
        assert_memory_equal(vj_clips_labels(all, i), labels, sizeof labels);
        assert_int_equal(vj_clips_source(all, i), clip.source);
        assert_int_equal(vj_clips_window(all, i), clip.window);
    }
    vj_clips_close(one);
    vj_clips_close(all);
}

/* Return the number of mappings of this process whose line in /proc contains both texts. */
static int count_mappings(const char *text, const char *other)
{
    char line[VJ_PATH + 128];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) count += strstr(line, text) != NULL && strstr(line, other) != NULL;
    fclose(maps);
    return count;
}

/* Check that the ranks of a node share one copy of the tables, and cannot write to it. */
static void test_tables_are_shared(void **state)
{
    (void)state;
    vj_clips *clips, *own;
    assert_int_equal(open_store(&clips, together, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(open_store(&own, together, MPI_COMM_SELF), VJ_OK);
    assert_int_equal(count_mappings("vjepa-shared", "(deleted)"), size > 1);
    assert_int_equal(count_mappings("vjepa-shared", "r--s"), size > 1);
    vj_clips_close(clips);
    vj_clips_close(own);
    assert_int_equal(count_mappings("vjepa-shared", ""), 0);
}

static uint64_t file_digest(const char *path)
{
    static uint8_t bytes[1 << 22];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    const size_t count = fread(bytes, 1, sizeof bytes, file);
    assert_true(count > 0 && count < sizeof bytes);
    fclose(file);
    return XXH3_64bits(bytes, count);
}

/* Check that an error which only rank 0 can see is returned on all ranks, and that no rank waits. */
static void test_errors_reach_all(void **state)
{
    (void)state;
    vj_clips *clips;
    assert_int_equal(open_store(&clips, "/nowhere/at.clips", MPI_COMM_WORLD), VJ_ERR_IO);
    assert_null(clips);
    assert_int_equal(pack_store(together, CLIPS, MPI_COMM_WORLD), VJ_ERR_USAGE); /* the store exists already */
}

/* Check that a damaged shard which only the last rank reads is an error on all ranks. */
static void test_damaged_shard_reaches_all(void **state)
{
    (void)state;
    char store[VJ_PATH], path[VJ_PATH], name[32];
    vj_clips *clips;
    join(store, folder, "damaged.clips");
    assert_int_equal(pack_store(store, CLIPS, MPI_COMM_WORLD), VJ_OK);
    assert_true(store_shards(CLIPS) >= size);
    if (rank == 0) {
        snprintf(name, sizeof name, "shard-%05d.h5", size - 1);
        join(path, store, name);
        assert_int_equal(truncate(path, 1000), 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    assert_int_equal(open_store(&clips, store, MPI_COMM_WORLD), VJ_ERR_FORMAT);
    assert_null(clips);
}

/* Check that shards have the same bytes whichever rank made them. */
static void test_same_files(void **state)
{
    (void)state;
    if (rank != 0) return;
    for (int64_t k = -1; k < store_shards(CLIPS); k++) {
        char name[32] = "index.h5", path[VJ_PATH];
        uint64_t digest[2];
        if (k >= 0) snprintf(name, sizeof name, "shard-%05lld.h5", (long long)k);
        for (int i = 0; i < 2; i++) {
            join(path, i ? alone : together, name);
            digest[i] = file_digest(path);
        }
        assert_true(digest[0] == digest[1]);
    }
}

static int set_up(void **state)
{
    (void)state;
    if (rank == 0) make_folder(folder);
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, MPI_COMM_WORLD);
    join(together, folder, "together.clips");
    join(alone, folder, "alone.clips");
    vj_status status = pack_store(together, CLIPS, MPI_COMM_WORLD);
    if (status == VJ_OK && rank == 0) status = pack_store(alone, CLIPS, MPI_COMM_SELF);
    return vj_agree(MPI_COMM_WORLD, status) == VJ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) remove_folder(folder);
    return 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    vj_status_identity(rank, size);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_store),
        cmocka_unit_test(test_tables_are_shared),
        cmocka_unit_test(test_same_files),
        cmocka_unit_test(test_errors_reach_all),
        cmocka_unit_test(test_damaged_shard_reaches_all),
    };
    return end_on_ranks(cmocka_run_group_tests_name("clips_world", tests, set_up, tear_down));
}
