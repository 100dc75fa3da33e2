/* The loader: a function of (seed, global sample) alone, every clip once an epoch, damage replaced and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <fcntl.h>
#include <hdf5.h>
#include <xxhash.h>

#include "../clips_store.h"

enum { CLIPS = 30, BATCH = 7, STEPS = 13 };

static char folder[VJ_PATH], store[VJ_PATH];

static vj_clips *open_store(const char *path)
{
    vj_strings paths = one_path(path);
    vj_clips *clips;
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_OK);
    return clips;
}

/* Digest and clip of each sample of steps [start, stop), samples [first, last) of each batch. */
typedef struct {
    uint64_t digest[STEPS * BATCH];
    int64_t clip[STEPS * BATCH], substituted;
} record;

static void run(record *r, const vj_clips *clips, int64_t threads, int64_t start, int64_t stop, int64_t first,
                int64_t last)
{
    vj_config config = loader_config(BATCH, threads);
    size_t bytes = sizeof(float) * 3 * STORE_FRAMES * (size_t)(config.data.crop * config.data.crop);
    vj_loader *loader;
    vj_batch batch;
    double wait_s = -1;
    memset(r, 0, sizeof *r);
    assert_int_equal(vj_loader_start(&loader, clips, &config, start, stop, first, last), VJ_OK);
    for (int64_t step = start; step < stop; step++) {
        assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        assert_true(wait_s >= 0 && wait_s < 60);
        assert_int_equal(batch.step, step);
        assert_int_equal(batch.count, last - first);
        assert_int_equal(batch.first, step * BATCH + first);
        for (int64_t j = 0; j < batch.count; j++) {
            r->digest[batch.first + j] = XXH3_64bits((const char *)batch.pixels + (size_t)j * bytes, bytes);
            r->clip[batch.first + j] = batch.clips[j];
        }
        r->substituted = batch.substituted;
    }
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_STATE);
    vj_loader_stop(loader);
}

static void test_threads(void **state)
{
    (void)state;
    static record one, many;
    vj_clips *clips = open_store(store);
    run(&one, clips, 1, 0, STEPS, 0, BATCH);
    for (int64_t threads = 2; threads <= 8; threads++) {
        run(&many, clips, threads, 0, STEPS, 0, BATCH);
        assert_memory_equal(&one, &many, sizeof one);
    }
    vj_clips_close(clips);
}

/* The definition, written out: permutation, crop draw, transform. */
static void test_definition(void **state)
{
    (void)state;
    static record r;
    static uint8_t frames[STORE_LARGEST];
    static float pixels[3 * STORE_FRAMES * 12 * 12];
    vj_config config = loader_config(BATCH, 1);
    vj_clips *clips = open_store(store);
    run(&r, clips, 3, 0, STEPS, 0, BATCH);
    for (int64_t s = 0; s < STEPS * BATCH; s++) {
        int height, width;
        int64_t clip = vj_permute(234, (uint64_t)(s / CLIPS), CLIPS, s % CLIPS);
        assert_int_equal(r.clip[s], clip);
        assert_int_equal(read_clip(clips, clip, frames), VJ_OK);
        vj_clips_geometry(clips, clip, &height, &width);
        vj_crop crop = vj_crop_draw(&config, 234, s, height, width);
        vj_crop_apply(pixels, frames, STORE_FRAMES, height, width, &crop, 12, config.data.mean, config.data.std);
        assert_int_equal(r.digest[s], XXH3_64bits(pixels, sizeof pixels));
    }
    vj_clips_close(clips);
}

static void test_continues(void **state)
{
    (void)state;
    static record whole, tail;
    vj_clips *clips = open_store(store);
    run(&whole, clips, 2, 0, STEPS, 0, BATCH);
    for (int64_t k = 1; k < STEPS; k += 3) {
        run(&tail, clips, 3, k, STEPS, 0, BATCH);
        size_t done = (size_t)(k * BATCH), left = (size_t)((STEPS - k) * BATCH);
        assert_memory_equal(whole.digest + done, tail.digest + done, left * sizeof *whole.digest);
        assert_memory_equal(whole.clip + done, tail.clip + done, left * sizeof *whole.clip);
    }
    vj_clips_close(clips);
}

/* A rank's part of each batch is that part of the whole batch; an empty part is allowed. */
static void test_parts(void **state)
{
    (void)state;
    static record whole, part;
    vj_clips *clips = open_store(store);
    run(&whole, clips, 2, 0, STEPS, 0, BATCH);
    run(&part, clips, 2, 0, STEPS, 2, 5);
    for (int64_t s = 0; s < STEPS * BATCH; s++) {
        int mine = s % BATCH >= 2 && s % BATCH < 5;
        assert_int_equal(part.digest[s], mine ? whole.digest[s] : 0);
    }
    run(&part, clips, 2, 0, STEPS, 3, 3);
    vj_clips_close(clips);
}

static void test_epochs(void **state)
{
    (void)state;
    static record r;
    vj_clips *clips = open_store(store);
    run(&r, clips, 2, 0, STEPS, 0, BATCH);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        int visits[CLIPS] = {0};
        for (int64_t i = 0; i < CLIPS; i++) visits[r.clip[epoch * CLIPS + i]]++;
        for (int64_t i = 0; i < CLIPS; i++) assert_int_equal(visits[i], 1);
    }
    assert_memory_not_equal(r.clip, r.clip + CLIPS, CLIPS * sizeof *r.clip); /* two epochs differ */
    vj_clips_close(clips);
}

/* Stopping in the middle, with batches ahead and one held, must neither hang nor leak. */
static void test_stop_early(void **state)
{
    (void)state;
    vj_clips *clips = open_store(store);
    for (int taken = 0; taken < 4; taken++) {
        vj_config config = loader_config(BATCH, 4);
        vj_loader *loader;
        vj_batch batch;
        double wait_s;
        assert_int_equal(vj_loader_start(&loader, clips, &config, 0, 1000000, 0, BATCH), VJ_OK);
        for (int i = 0; i < taken; i++) assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        vj_loader_stop(loader);
    }
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ damage */

/* Overwrite the first byte of the first `count` records of a shard, of the two at least that there are. */
static void damage(const char *path, const char *shard, int count)
{
    char name[VJ_PATH];
    int64_t where[STORE_SHARD_CLIPS];
    join(name, path, shard);
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT), d = H5Dopen2(file, "/clips/offset", H5P_DEFAULT);
    assert_true(H5Dread(d, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, where) >= 0);
    H5Dclose(d);
    H5Fclose(file);
    int fd = open(name, O_RDWR);
    assert_true(fd >= 0);
    for (int i = 0; i < count; i++) {
        unsigned char byte;
        assert_int_equal(pread(fd, &byte, 1, (off_t)where[i]), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)where[i]), 1);
    }
    assert_int_equal(close(fd), 0);
}

static void test_substitution(void **state)
{
    (void)state;
    static record whole, one, many;
    static uint8_t frames[STORE_LARGEST];
    char damaged[VJ_PATH];
    join(damaged, folder, "damaged.clips");
    assert_int_equal(pack_store(damaged, CLIPS, MPI_COMM_SELF), VJ_OK);
    vj_clips *clips = open_store(damaged);
    run(&whole, clips, 1, 0, STEPS, 0, BATCH);
    damage(damaged, "shard-00000.h5", 2);
    int bad[CLIPS], all = 0;
    for (int64_t i = 0; i < CLIPS; i++) all += bad[i] = read_clip(clips, i, frames) != VJ_OK;
    assert_int_equal(all, 2);

    run(&one, clips, 1, 0, STEPS, 0, BATCH);
    run(&many, clips, 5, 0, STEPS, 0, BATCH);
    assert_memory_equal(&one, &many, sizeof one);
    int64_t replaced = 0;
    for (int64_t s = 0; s < STEPS * BATCH; s++) {
        int64_t epoch = s / CLIPS, place = s % CLIPS;
        if (!bad[whole.clip[s]]) { /* nobody else moves */
            assert_int_equal(one.clip[s], whole.clip[s]);
            assert_int_equal(one.digest[s], whole.digest[s]);
            continue;
        }
        int64_t next = whole.clip[s];
        while (bad[next]) next = vj_permute(234, (uint64_t)epoch, CLIPS, ++place % CLIPS);
        assert_int_equal(one.clip[s], next);
        replaced++;
    }
    assert_true(replaced >= 6); /* three epochs of two */
    assert_int_equal(one.substituted, replaced);
    vj_clips_close(clips);
}

/* More than 10 and more than 1 %: the batch in which that happens is refused, whatever ran ahead of it. */
static void test_too_many(void **state)
{
    (void)state;
    char damaged[VJ_PATH];
    join(damaged, folder, "broken.clips");
    assert_int_equal(pack_store(damaged, CLIPS, MPI_COMM_SELF), VJ_OK);
    vj_clips *clips = open_store(damaged);
    damage(damaged, "shard-00000.h5", 3);
    damage(damaged, "shard-00001.h5", 3);
    int64_t failed_at[2];
    for (int run_number = 0; run_number < 2; run_number++) {
        vj_config config = loader_config(BATCH, 1 + 3 * run_number);
        vj_loader *loader;
        vj_batch batch = {0};
        double wait_s;
        vj_status status = VJ_OK;
        assert_int_equal(vj_loader_start(&loader, clips, &config, 0, 100, 0, BATCH), VJ_OK);
        while (status == VJ_OK && batch.step < 99) {
            status = vj_loader_next(loader, &batch, &wait_s);
            assert_true(status == VJ_OK ? batch.substituted <= 10 : batch.substituted > 10);
        }
        assert_int_equal(status, VJ_ERR_FORMAT);
        failed_at[run_number] = batch.step;
        vj_loader_stop(loader);
    }
    assert_int_equal(failed_at[0], failed_at[1]);
    vj_clips_close(clips);
}

/* No clip at all can be read: an error, not an endless search. */
static void test_nothing_left(void **state)
{
    (void)state;
    char damaged[VJ_PATH];
    join(damaged, folder, "gone.clips");
    assert_int_equal(pack_store(damaged, 2, MPI_COMM_SELF), VJ_OK);
    vj_clips *clips = open_store(damaged);
    damage(damaged, "shard-00000.h5", 2);
    vj_config config = loader_config(BATCH, 3);
    vj_loader *loader;
    vj_batch batch;
    double wait_s;
    assert_int_equal(vj_loader_start(&loader, clips, &config, 0, 5, 0, BATCH), VJ_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_FORMAT);
    vj_loader_stop(loader);
    vj_clips_close(clips);
}

static int set_up(void **state)
{
    (void)state;
    make_folder(folder);
    join(store, folder, "a.clips");
    return pack_store(store, CLIPS, MPI_COMM_SELF) == VJ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_definition), cmocka_unit_test(test_continues),
        cmocka_unit_test(test_parts),        cmocka_unit_test(test_epochs),     cmocka_unit_test(test_stop_early),
        cmocka_unit_test(test_substitution), cmocka_unit_test(test_too_many),   cmocka_unit_test(test_nothing_left),
    };
    int failed = cmocka_run_group_tests_name("loader", tests, set_up, tear_down);
    MPI_Finalize();
    return failed;
}
