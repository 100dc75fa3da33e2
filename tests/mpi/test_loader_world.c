/*
 * Tests that training data do not depend on the number of ranks: the batches of all ranks together are those of one
 * rank with one thread, pixel for pixel. Covers all orders of clips, raw and jpeg, the store and copies that the ranks
 * share, a clip that cannot be read, and a start in the middle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <fcntl.h>
#include <hdf5.h>
#include <xxhash.h>

#include "../clips_store.h"
#include "../on_ranks.h"
#include "feed/loader.h"
#include "parallel/parallel.h"

enum { CLIPS = 23, BATCH = 6, STEPS = 12, SAMPLES = STEPS * BATCH };

static int rank, size;
static char folder[VJ_PATH];

/* For each sample its clip + 1 and a digest of its pixels; 0 if this rank did not have it. The sum over the ranks is
 * the whole batch. */
typedef struct {
    uint64_t clip[SAMPLES], digest[SAMPLES], substituted;
} seen;
enum { WORDS = sizeof(seen) / sizeof(uint64_t) };

static void look(seen *s, const vj_clips *clips, const vj_config *config, int64_t start, int64_t first, int64_t last)
{
    const size_t bytes = sizeof(float) * 3 * STORE_FRAMES * (size_t)(config->data.crop * config->data.crop);
    vj_loader *loader;
    memset(s, 0, sizeof *s);
    assert_int_equal(vj_loader_start_training(&loader, clips, config, NULL, start, STEPS, first, last), VJ_OK);
    for (int64_t step = start; step < STEPS; step++) {
        vj_batch batch;
        double wait_s;
        assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        for (int64_t j = 0; j < batch.count; j++) {
            s->clip[batch.first + j] = 1 + (uint64_t)batch.clips[j];
            s->digest[batch.first + j] = XXH3_64bits((const char *)batch.pixels + (size_t)j * bytes, bytes);
        }
        s->substituted = (uint64_t)batch.substituted;
    }
    vj_loader_stop(loader);
}

static vj_clips *open_store(const char *path, MPI_Comm comm)
{
    const vj_strings paths = one_path(path);
    vj_clips *clips;
    assert_int_equal(vj_clips_open(&clips, &paths, comm), VJ_OK);
    return clips;
}

/* Load on rank 0 alone, with one thread and from the store, and send the result to all ranks. */
static void alone(seen *s, const char *path, int order)
{
    if (rank == 0) {
        vj_config config = loader_config(BATCH, 1);
        vj_clips *clips = open_store(path, MPI_COMM_SELF);
        set_order(&config, order);
        look(s, clips, &config, 0, 0, BATCH);
        vj_clips_close(clips);
    }
    MPI_Bcast(s, WORDS, MPI_UINT64_T, 0, MPI_COMM_WORLD);
}

/* Load on each rank its part, with `threads` threads, and add up the results. */
static void together(seen *s, const char *path, int order, int64_t threads, const char *cache, int64_t start)
{
    vj_config config = loader_config(BATCH, threads);
    vj_clips *clips = open_store(path, MPI_COMM_WORLD);
    int64_t first, last;
    set_order(&config, order);
    config.data.cache_gb = 1;
    if (cache) join(config.data.cache, folder, cache);
    vj_split(BATCH, size, rank, &first, &last);
    look(s, clips, &config, start, first, last);
    MPI_Allreduce(MPI_IN_PLACE, s, WORDS, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    vj_clips_close(clips);
}

static void compare(const char *path, const char *cache)
{
    static seen one, all;
    for (int order = 0; order < ORDERS; order++) {
        alone(&one, path, order);
        for (int64_t threads = 1; threads <= 8; threads++) {
            together(&all, path, order, threads, NULL, 0);
            assert_memory_equal(&one, &all, sizeof one);
            together(&all, path, order, threads, cache, 0);
            assert_memory_equal(&one, &all, sizeof one);
        }
        const int64_t start = 1 + 2 * order, done = start * BATCH;
        together(&all, path, order, 2, order % 2 ? cache : NULL, start);
        assert_memory_equal(one.digest + done, all.digest + done,
                            sizeof one.digest - (size_t)done * sizeof *one.digest);
        assert_int_equal(all.digest[done - 1], 0);
    }
}

/* Change the first byte of a clip's record. */
static void damage(const char *path, int64_t clip)
{
    vj_clips *clips = open_store(path, MPI_COMM_SELF);
    const vj_clips_place place = vj_clips_find(clips, clip);
    const int fd = open(place.path, O_RDWR);
    unsigned char byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, place.offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, place.offset), 1);
    assert_int_equal(close(fd), 0);
    vj_clips_close(clips);
}

static void same_batches(vj_codec_settings codec, const char *name)
{
    static seen before, after;
    char path[VJ_PATH], cache[64];
    join(path, folder, name);
    assert_int_equal(pack_store_as(path, CLIPS, codec, MPI_COMM_WORLD), VJ_OK);
    snprintf(cache, sizeof cache, "%s.copies", name);
    compare(path, cache);

    alone(&before, path, 3);
    assert_int_equal(before.substituted, 0);
    if (rank == 0) damage(path, (int64_t)before.clip[5] - 1);
    MPI_Barrier(MPI_COMM_WORLD);
    alone(&after, path, 3);
    assert_true(after.substituted >= 1 && after.clip[5] != before.clip[5]);
    snprintf(cache, sizeof cache, "%s.others", name);
    compare(path, cache);
}

static void test_raw(void **state)
{
    (void)state;
    same_batches((vj_codec_settings){VJ_CODEC_RAW, 0, 0}, "raw.clips");
}

static void test_jpeg(void **state)
{
    (void)state;
    same_batches((vj_codec_settings){VJ_CODEC_JPEG, 90, 420}, "jpeg.clips");
}

static int set_up(void **state)
{
    (void)state;
    if (rank == 0) make_folder(folder);
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, MPI_COMM_WORLD);
    return 0;
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_raw), cmocka_unit_test(test_jpeg)};
    return end_on_ranks(cmocka_run_group_tests_name("loader_world", tests, set_up, tear_down));
}
