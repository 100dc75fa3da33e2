/*
 * Tests the loader: a sample depends on (seed, global sample) alone, with one thread or eight, from the store or from
 * copies, raw or jpeg, in any order of clips; every clip comes once an epoch; damaged clips are replaced and counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <xxhash.h>

#include "../clips_store.h"
#include "feed/crop.h"
#include "feed/loader.h"
#include "feed/order.h"
#include "model/input.h"

enum { CLIPS = 30, BATCH = 7, STEPS = 13, SAMPLES = STEPS * BATCH };

static const vj_codec_settings raw = {VJ_CODEC_RAW, 0, 0}, jpeg = {VJ_CODEC_JPEG, 90, 420};
static char folder[VJ_PATH], store[VJ_PATH];

static vj_clips *open_store(const char *path)
{
    vj_strings paths = one_path(path);
    vj_clips *clips;
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_OK);
    return clips;
}

static vj_clips *make_store(const char *name, int64_t count, vj_codec_settings codec)
{
    char path[VJ_PATH];
    join(path, folder, name);
    assert_int_equal(pack_store_as(path, count, codec, MPI_COMM_SELF), VJ_OK);
    return open_store(path);
}

/* The clip and the digest of the pixels of each sample of a run; 0: the run did not have this sample. */
typedef struct {
    uint64_t digest[SAMPLES];
    int64_t clip[SAMPLES], substituted, cached;
} record;

static void run_with(record *r, const vj_clips *clips, const vj_config *config, int64_t start, int64_t first,
                     int64_t last)
{
    const size_t bytes = sizeof(float) * 3 * STORE_FRAMES * (size_t)(config->data.crop * config->data.crop);
    vj_loader *loader;
    vj_batch batch;
    double wait_s = -1;
    memset(r, 0, sizeof *r);
    assert_int_equal(vj_loader_start_training(&loader, clips, config, NULL, start, STEPS, first, last), VJ_OK);
    for (int64_t step = start; step < STEPS; step++) {
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
        r->cached = batch.cached;
    }
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_STATE);
    vj_loader_stop(loader);
}

static void run(record *r, const vj_clips *clips, int64_t threads, int64_t start, int64_t first, int64_t last)
{
    const vj_config config = loader_config(BATCH, threads);
    run_with(r, clips, &config, start, first, last);
}

/* ------------------------------------------------------------------------------------------------ what a sample is */

/* Check samples against the definition: permutation, draw of the crop, transform. */
static void test_definition(void **state)
{
    (void)state;
    static record r;
    static uint8_t frames[STORE_LARGEST];
    static float pixels[3 * STORE_FRAMES * 12 * 12];
    vj_config config = loader_config(BATCH, 1);
    vj_coder *coder;
    vj_clips *clips = open_store(store);
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    run(&r, clips, 3, 0, 0, BATCH);
    for (int64_t s = 0; s < SAMPLES; s++) {
        int height, width;
        int64_t clip = vj_permute(234, (uint64_t)(s / CLIPS), CLIPS, s % CLIPS);
        assert_int_equal(r.clip[s], clip);
        assert_int_equal(vj_clips_read(clips, clip, coder, frames), VJ_OK);
        vj_clips_geometry(clips, clip, &height, &width);
        vj_crop crop = vj_crop_draw(&config, 234, s, height, width);
        vj_host_crop(pixels, frames, &(vj_clip_view){0, height, width, crop}, STORE_FRAMES, 12, config.data.mean,
                     config.data.std);
        assert_int_equal(r.digest[s], XXH3_64bits(pixels, sizeof pixels));
    }
    vj_coder_destroy(coder);
    vj_clips_close(clips);
}

static void test_continues(void **state)
{
    (void)state;
    static record whole, tail;
    vj_clips *clips = open_store(store);
    for (int kind = 0; kind < ORDERS; kind++) {
        vj_config config = loader_config(BATCH, 3);
        set_order(&config, kind);
        run_with(&whole, clips, &config, 0, 0, BATCH);
        for (int64_t k = 1; k < STEPS; k += 3) {
            run_with(&tail, clips, &config, k, 0, BATCH);
            size_t done = (size_t)(k * BATCH), left = (size_t)((STEPS - k) * BATCH);
            assert_memory_equal(whole.digest + done, tail.digest + done, left * sizeof *whole.digest);
            assert_memory_equal(whole.clip + done, tail.clip + done, left * sizeof *whole.clip);
        }
    }
    vj_clips_close(clips);
}

/* Check that what a rank loads is its part of the whole batch; the part may be empty. */
static void test_parts(void **state)
{
    (void)state;
    static record whole, part;
    vj_clips *clips = open_store(store);
    run(&whole, clips, 2, 0, 0, BATCH);
    run(&part, clips, 2, 0, 2, 5);
    for (int64_t s = 0; s < SAMPLES; s++) {
        int mine = s % BATCH >= 2 && s % BATCH < 5;
        assert_int_equal(part.digest[s], mine ? whole.digest[s] : 0);
    }
    run(&part, clips, 2, 0, 3, 3);
    vj_clips_close(clips);
}

static void test_epochs(void **state)
{
    (void)state;
    static record r;
    vj_clips *clips = open_store(store);
    run(&r, clips, 2, 0, 0, BATCH);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        int visits[CLIPS] = {0};
        for (int64_t i = 0; i < CLIPS; i++) visits[r.clip[epoch * CLIPS + i]]++;
        for (int64_t i = 0; i < CLIPS; i++) assert_int_equal(visits[i], 1);
    }
    assert_memory_not_equal(r.clip, r.clip + CLIPS, CLIPS * sizeof *r.clip); /* two epochs differ */
    vj_clips_close(clips);
}

/* Check that stopping in the middle, with batches read ahead and one in use, neither hangs nor leaks memory. */
static void test_stop_early(void **state)
{
    (void)state;
    vj_clips *clips = open_store(store);
    for (int taken = 0; taken < 4; taken++) {
        vj_config config = loader_config(BATCH, 4);
        vj_loader *loader;
        vj_batch batch;
        double wait_s;
        assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, 1000000, 0, BATCH), VJ_OK);
        for (int i = 0; i < taken; i++) assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        vj_loader_stop(loader);
    }
    vj_clips_close(clips);
}

/* Check that weights that do not fit the stores are refused before a run, and again when a loader starts. */
static void test_wrong_weights(void **state)
{
    (void)state;
    vj_config config = loader_config(BATCH, 1);
    vj_loader *loader;
    vj_clips *clips = open_store(store);
    config.data.weights = one_path("even=1");
    assert_int_equal(vj_loader_check(clips, &config), VJ_ERR_USAGE);
    assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, 1, 0, BATCH), VJ_ERR_USAGE);
    assert_null(loader);
    set_order(&config, ORDERS - 1);
    assert_int_equal(vj_loader_check(clips, &config), VJ_OK);
    vj_clips_close(clips);
}

/* Change the first byte of a clip's record. */
static void damage(const vj_clips *clips, int64_t clip)
{
    const vj_clips_place place = vj_clips_find(clips, clip);
    unsigned char byte;
    int fd = open(place.path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, place.offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, place.offset), 1);
    assert_int_equal(close(fd), 0);
}

/* ------------------------------------------------------------------------------------------------ evaluation */

/* Return one of three views of a clip: the left, the middle or the right. */
static vj_crop one_of_three(const vj_config *config, int64_t sample, int height, int width)
{
    (void)config;
    vj_crop crop = vj_crop_centre(height, width);
    crop.left = (int)(sample % 3) * (width - crop.width) / 2;
    return crop;
}

/* Load a list once, and check that every sample is the clip of the list in the given view, with its labels and source,
 * and that the last batch has the rest. */
static void go_through(const vj_clips *clips, vj_view view, int64_t samples, int64_t first, int64_t last)
{
    static uint8_t frames[STORE_LARGEST];
    static float pixels[3 * STORE_FRAMES * 12 * 12];
    int64_t list[2 * CLIPS], next = 0;
    vj_config config = loader_config(BATCH, 3);
    vj_loader_plan plan = {.view = view,
                           .batch = BATCH,
                           .first = first,
                           .last = last,
                           .stop = (samples + BATCH - 1) / BATCH,
                           .samples = samples};
    vj_loader *loader;
    vj_coder *coder;
    vj_batch batch;
    double wait_s;
    for (int64_t i = 0; i < samples; i++) list[i] = (i * 11 / 3) % CLIPS; /* some clips come twice */
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    assert_int_equal(vj_order_create_once(&plan.order, list, samples), VJ_OK);
    assert_int_equal(vj_loader_start(&loader, clips, &config, &plan), VJ_OK);
    for (int64_t step = 0; step < plan.stop; step++) {
        assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        const int64_t left = samples - step * BATCH - first;
        assert_int_equal(batch.count, left < 0 ? 0 : left < last - first ? left : last - first);
        assert_int_equal(batch.first, step * BATCH + first);
        next += batch.count;
        for (int64_t j = 0; j < batch.count; j++) {
            const int64_t sample = batch.first + j, clip = list[sample];
            vj_clip want;
            int32_t labels[STORE_LABELS];
            store_clip(clip, &want, labels, frames);
            const vj_crop crop = view(&config, sample, want.height, want.width);
            vj_host_crop(pixels, frames, &(vj_clip_view){0, want.height, want.width, crop}, STORE_FRAMES, 12,
                         config.data.mean, config.data.std);
            assert_int_equal(batch.clips[j], clip);
            assert_memory_equal(batch.pixels + j * (int64_t)(sizeof pixels / sizeof *pixels), pixels, sizeof pixels);
            assert_memory_equal(batch.labels + j * STORE_LABELS, labels, sizeof labels);
            assert_int_equal(batch.source[j], want.source);
            assert_int_equal(batch.window[j], want.window);
        }
    }
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_STATE);
    if (first == 0 && last == BATCH) assert_int_equal(next, samples);
    vj_loader_stop(loader);
    vj_coder_destroy(coder);
}

static void test_once(void **state)
{
    (void)state;
    vj_clips *clips = open_store(store);
    for (int64_t samples = 1; samples <= 2 * CLIPS; samples += 1 + samples / 2) {
        go_through(clips, vj_view_centre, samples, 0, BATCH);
        go_through(clips, one_of_three, samples, 0, BATCH);
        go_through(clips, one_of_three, samples, 3, 6);
        go_through(clips, vj_view_centre, samples, 2, 2);
    }
    vj_clips_close(clips);
}

/* Check that a damaged clip of a list is not replaced by another. */
static void test_once_damaged(void **state)
{
    (void)state;
    static const int64_t list[] = {3, 4, 5};
    vj_clips *clips = make_store("listed.clips", CLIPS, raw);
    vj_config config = loader_config(2, 1);
    vj_loader_plan plan = {.view = vj_view_centre, .batch = 2, .last = 2, .stop = 2, .samples = 3};
    vj_loader *loader;
    vj_batch batch;
    double wait_s;
    damage(clips, 5);
    assert_int_equal(vj_order_create_once(&plan.order, list, 3), VJ_OK);
    assert_int_equal(vj_loader_start(&loader, clips, &config, &plan), VJ_OK);
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_FORMAT);
    vj_loader_stop(loader);
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ whoever reads it */

/* Check that the number of threads and local copies change nothing, and that the copies are used. *reference gets the
 * run. */
static void same_batches(const vj_clips *clips, int kind, const char *cache, record *reference)
{
    static record other;
    vj_config config = loader_config(BATCH, 1);
    set_order(&config, kind);
    run_with(reference, clips, &config, 0, 0, BATCH);
    for (config.data.threads = 2; config.data.threads <= 8; config.data.threads++) {
        run_with(&other, clips, &config, 0, 0, BATCH);
        assert_memory_equal(reference, &other, sizeof other);
    }
    join(config.data.cache, folder, cache);
    config.data.cache_gb = 1;
    for (int64_t pass = 0; pass < 3; pass++) {
        config.data.threads = 1 + 3 * pass;
        run_with(&other, clips, &config, 0, 0, BATCH);
        assert_memory_equal(reference->digest, other.digest, sizeof other.digest);
        assert_memory_equal(reference->clip, other.clip, sizeof other.clip);
        assert_int_equal(reference->substituted, other.substituted);
        assert_true(pass == 0 ? other.cached < SAMPLES : other.cached == SAMPLES);
    }
}

/* Check the reference: each sample is the clip of the order, or its first spare that is not damaged. */
static int64_t check_order(const vj_clips *clips, int kind, const record *r, int64_t bad)
{
    int64_t shard_clips[CLIPS] = {0}, substituted = 0;
    uint8_t dataset[CLIPS];
    const char *const names[] = {vj_clips_dataset_name(clips, 0), vj_clips_dataset_name(clips, 1)};
    for (int64_t i = 0; i < CLIPS; i++) {
        shard_clips[vj_clips_shard(clips, i)]++;
        dataset[i] = (uint8_t)vj_clips_dataset(clips, i);
    }
    const vj_order_clips all = {vj_clips_shard_count(clips), shard_clips, 2, names, dataset};
    vj_config config = loader_config(BATCH, 1);
    vj_order *order;
    set_order(&config, kind);
    assert_int_equal(vj_order_create(&order, &all, &config), VJ_OK);
    for (int64_t s = 0; s < SAMPLES; s++) {
        const bool replaced = vj_order_clip(order, s, 0) == bad;
        substituted += replaced;
        assert_int_equal(r->clip[s], vj_order_clip(order, s, replaced));
        if (config.data.weights.count > 0) assert_int_equal(dataset[r->clip[s]], dataset[vj_order_clip(order, s, 0)]);
    }
    vj_order_destroy(order);
    return substituted;
}

static void test_same_batches(void **state)
{
    (void)state;
    static record reference;
    for (int codec = 0; codec < 2; codec++)
        for (int kind = 0; kind < ORDERS; kind++) {
            char name[64];
            snprintf(name, sizeof name, "same%d%d.clips", codec, kind);
            vj_clips *clips = make_store(name, CLIPS, codec ? jpeg : raw);
            snprintf(name, sizeof name, "whole%d%d", codec, kind);
            same_batches(clips, kind, name, &reference);
            assert_int_equal(check_order(clips, kind, &reference, -1), 0);
            assert_int_equal(reference.substituted, 0);

            const int64_t bad = reference.clip[20];
            damage(clips, bad);
            snprintf(name, sizeof name, "damaged%d%d", codec, kind);
            same_batches(clips, kind, name, &reference);
            assert_int_equal(check_order(clips, kind, &reference, bad), reference.substituted);
            assert_true(reference.substituted >= 1);
            vj_clips_close(clips);
        }
}

/* Check that a clip whose local copy is damaged is read from the store. */
static void test_damaged_copies(void **state)
{
    (void)state;
    static record plain, copied;
    char data[VJ_PATH], name[64];
    vj_clips *clips = open_store(store);
    vj_config config = loader_config(BATCH, 3);
    run_with(&plain, clips, &config, 0, 0, BATCH);
    join(config.data.cache, folder, "copies");
    config.data.cache_gb = 1;
    run_with(&copied, clips, &config, 0, 0, BATCH);
    snprintf(name, sizeof name, "copies/%016llx.data", (unsigned long long)vj_clips_fingerprint(clips));
    join(data, folder, name);
    int fd = open(data, O_RDWR);
    assert_true(fd >= 0);
    const uint8_t nonsense[STORE_LARGEST] = {1, 2, 3};
    assert_int_equal(pwrite(fd, nonsense, sizeof nonsense, STORE_LARGEST / 2), sizeof nonsense);
    assert_int_equal(close(fd), 0);
    run_with(&copied, clips, &config, 0, 0, BATCH);
    assert_memory_equal(plain.digest, copied.digest, sizeof plain.digest);
    assert_in_range(copied.cached, SAMPLES - 6, SAMPLES - 2); /* two clips were damaged, and copied again */
    vj_clips_close(clips);
}

/* Check that where no cache can be made the batches are the same, with a warning. */
static void test_no_cache(void **state)
{
    (void)state;
    static record plain, without;
    vj_clips *clips = open_store(store);
    vj_config config = loader_config(BATCH, 2);
    run_with(&plain, clips, &config, 0, 0, BATCH);
    join(config.data.cache, folder, "not/there");
    config.data.cache_gb = 1;
    run_with(&without, clips, &config, 0, 0, BATCH);
    assert_memory_equal(&plain, &without, sizeof plain);
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ devices */

/* Check a device that computes pixels itself: it gets frames and views, and computes the pixels that the loader would.
 */
static void test_device(void **state)
{
    (void)state;
    static const char *const backends[] = {"cpu", "strict"};
    static float pixels[BATCH * 3 * STORE_FRAMES * 12 * 12];
    const size_t bytes = sizeof pixels / BATCH;
    for (int codec = 0; codec < 2; codec++)
        for (int b = 0; b < 2; b++) {
            static record plain;
            char name[64];
            vj_backend *be;
            vj_loader *loader;
            vj_batch batch;
            double wait_s;
            vj_frame_room room = {0};
            const vj_shape shape = {.channels = 3, .frames = STORE_FRAMES, .height = 12, .width_px = 12};
            vj_config config = loader_config(BATCH, 3);
            snprintf(name, sizeof name, "device%d%d.clips", codec, b);
            vj_clips *clips = make_store(name, CLIPS, codec ? jpeg : raw);
            run_with(&plain, clips, &config, 0, 0, BATCH);
            assert_int_equal(vj_backend_open(&be, backends[b], VJ_FP32, 2), VJ_OK);
            assert_int_equal(vj_frame_room_open(&room, be, BATCH, vj_clips_largest_bytes(clips), VJ_FRAME_BUFFERS),
                             VJ_OK);
            float *device = vj_device_alloc(be, sizeof pixels);
            assert_int_equal(vj_loader_start_training(&loader, clips, &config, be, 0, STEPS, 0, BATCH), VJ_OK);
            for (int64_t step = 0; step < STEPS; step++) {
                assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
                assert_true((batch.pixels != NULL) == (b == 0) && (batch.frames != NULL) == (b == 1));
                const vj_input all = {batch.pixels, batch.frames, batch.views, config.data.mean, config.data.std};
                for (int64_t at = 0; at < BATCH; at += 3) { /* in microbatches of 3 */
                    const vj_input input = vj_input_from(&all, at, &shape);
                    const int64_t count = BATCH - at < 3 ? BATCH - at : 3;
                    vj_input_upload(&input, &room, be, device, count, &shape);
                    vj_download(be, pixels, device, count * (int64_t)bytes);
                    assert_int_equal(vj_sync(be), VJ_OK);
                    for (int64_t j = 0; j < count; j++)
                        assert_int_equal(XXH3_64bits((const char *)pixels + (size_t)j * bytes, bytes),
                                         plain.digest[batch.first + at + j]);
                }
            }
            vj_loader_stop(loader);
            vj_frame_room_close(&room);
            vj_backend_close(be);
            vj_clips_close(clips);
        }
}

/* ------------------------------------------------------------------------------------------------ verification */

/* Check that data.verify verifies this share of reads, chosen by the sample, and that the others use the clip as it is.
 */
static void test_verify(void **state)
{
    (void)state;
    static record whole, none, half, other;
    vj_clips *clips = make_store("verify.clips", CLIPS, raw);
    vj_config config = loader_config(BATCH, 1);
    run_with(&whole, clips, &config, 0, 0, BATCH);
    for (int64_t i = 0; i < 3; i++) damage(clips, i);
    config.data.verify = 0;
    run_with(&none, clips, &config, 0, 0, BATCH);
    assert_int_equal(none.substituted, 0);
    assert_memory_equal(none.clip, whole.clip, sizeof none.clip);
    config.data.verify = 0.5;
    run_with(&half, clips, &config, 0, 0, BATCH);
    assert_in_range(half.substituted, 1, 8); /* of nine reads */
    for (int64_t s = 0; s < SAMPLES; s++)
        if (half.clip[s] == whole.clip[s]) assert_int_equal(half.digest[s], none.digest[s]);
    for (int cached = 0; cached < 2; cached++) {
        if (cached) join(config.data.cache, folder, "verify");
        config.data.cache_gb = 1;
        config.data.threads = 5;
        run_with(&other, clips, &config, 0, 0, BATCH);
        assert_memory_equal(half.clip, other.clip, sizeof half.clip);
        assert_memory_equal(half.digest, other.digest, sizeof half.digest);
    }
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ too much damage */

/* Check that when more than 10 and more than 1 % of the clips are damaged the batch in which this happens is refused,
 * whatever was read ahead. */
static void test_too_many(void **state)
{
    (void)state;
    vj_clips *clips = make_store("broken.clips", CLIPS, raw);
    for (int64_t i = 0; i < 6; i++) damage(clips, 2 * i);
    int64_t failed_at[2];
    for (int run_number = 0; run_number < 2; run_number++) {
        vj_config config = loader_config(BATCH, 1 + 3 * run_number);
        vj_loader *loader;
        vj_batch batch = {0};
        double wait_s;
        vj_status status = VJ_OK;
        assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, 100, 0, BATCH), VJ_OK);
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

/* Check that when no clip can be read there is an error and not an endless search. */
static void test_nothing_left(void **state)
{
    (void)state;
    vj_clips *clips = make_store("gone.clips", 2, raw);
    damage(clips, 0);
    damage(clips, 1);
    vj_config config = loader_config(BATCH, 3);
    vj_loader *loader;
    vj_batch batch;
    double wait_s;
    assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, 5, 0, BATCH), VJ_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_FORMAT);
    vj_loader_stop(loader);
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ a file system */

static void pause_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* A shard that was moved away or cut. */
typedef struct {
    char path[VJ_PATH], aside[VJ_PATH];
    bool cut;
    long back_after_ms;
} trouble;

/* Move a shard away, or replace it by a part of it; the good file is at `aside` meanwhile. */
static void make_trouble(trouble *t, const char *name, bool cut)
{
    join(t->path, folder, name);
    snprintf(t->aside, sizeof t->aside, "%.200s.aside", t->path);
    t->cut = cut;
    assert_int_equal(rename(t->path, t->aside), 0);
    if (!cut) return;
    FILE *from = fopen(t->aside, "r"), *to = fopen(t->path, "w");
    char beginning[100];
    assert_true(from && to);
    assert_int_equal(fread(beginning, 1, sizeof beginning, from), sizeof beginning);
    assert_int_equal(fwrite(beginning, 1, sizeof beginning, to), sizeof beginning);
    assert_true(fclose(from) == 0 && fclose(to) == 0);
}

static void *end_trouble(void *argument)
{
    const trouble *t = argument;
    pause_ms(t->back_after_ms);
    assert_int_equal(rename(t->aside, t->path), 0); /* this replaces the one that was cut */
    return NULL;
}

/* Check that a shard which comes back within data.io_patience_s costs only time. */
static void test_outage(void **state)
{
    (void)state;
    static record plain, after;
    vj_clips_close(make_store("outage.clips", CLIPS, raw));
    for (int cut = 0; cut < 2; cut++)
        for (int64_t threads = 1; threads <= 4; threads += 3) {
            char path[VJ_PATH];
            trouble t = {.back_after_ms = 200};
            vj_config config = loader_config(BATCH, threads);
            pthread_t mender;
            join(path, folder, "outage.clips");
            vj_clips *clips = open_store(path);
            run_with(&plain, clips, &config, 0, 0, BATCH);
            vj_clips_close(clips); /* this closes the descriptors, which could still read the moved file */
            clips = open_store(path);
            make_trouble(&t, "outage.clips/shard-00001.h5", cut);
            config.data.io_patience_s = 60;
            assert_int_equal(pthread_create(&mender, NULL, end_trouble, &t), 0);
            run_with(&after, clips, &config, 0, 0, BATCH);
            assert_int_equal(pthread_join(mender, NULL), 0);
            assert_memory_equal(&plain, &after, sizeof plain);
            assert_int_equal(after.substituted, 0);
            vj_clips_close(clips);
        }
}

/* Replace every descriptor of a shard by one that cannot be read, as after a restart of a file server. */
static int64_t spoil_descriptors(void)
{
    int64_t spoilt = 0;
    const int bad = open("/dev/null", O_WRONLY);
    DIR *dir = opendir("/proc/self/fd");
    assert_true(bad >= 0 && dir);
    for (const struct dirent *item; (item = readdir(dir)) != NULL;) {
        char link[VJ_PATH] = "", name[300];
        snprintf(name, sizeof name, "/proc/self/fd/%.255s", item->d_name);
        if (readlink(name, link, sizeof link - 1) < 0 || !strstr(link, "/shard-")) continue;
        assert_true(dup2(bad, atoi(item->d_name)) >= 0);
        spoilt++;
    }
    closedir(dir);
    assert_int_equal(close(bad), 0);
    return spoilt;
}

static void test_stale_descriptors(void **state)
{
    (void)state;
    static record plain;
    vj_clips *clips = open_store(store);
    vj_config config = loader_config(BATCH, 3);
    vj_loader *loader;
    vj_batch batch;
    double wait_s;
    run_with(&plain, clips, &config, 0, 0, BATCH);
    config.data.io_patience_s = 60;
    assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, STEPS, 0, BATCH), VJ_OK);
    for (int64_t step = 0; step < STEPS; step++) {
        if (step % 4 == 1) assert_true(spoil_descriptors() > 0);
        assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        for (int64_t j = 0; j < batch.count; j++) assert_int_equal(batch.clips[j], plain.clip[batch.first + j]);
        assert_int_equal(batch.substituted, 0);
    }
    vj_loader_stop(loader);
    vj_clips_close(clips);
}

/* Check that a shard which does not come back ends the run, and that its clips are not replaced by others. */
static void test_outage_for_ever(void **state)
{
    (void)state;
    vj_clips_close(make_store("lost.clips", CLIPS, raw));
    for (int patient = 0; patient < 2; patient++) {
        char path[VJ_PATH];
        trouble t = {0};
        vj_loader *loader;
        vj_batch batch = {0};
        double wait_s;
        vj_config config = loader_config(BATCH, 2);
        vj_status status = VJ_OK;
        join(path, folder, "lost.clips");
        vj_clips *clips = open_store(path);
        make_trouble(&t, "lost.clips/shard-00001.h5", false);
        config.data.io_patience_s = 0.3 * patient;
        const double begin = vj_now();
        assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, STEPS, 0, BATCH), VJ_OK);
        while (status == VJ_OK) {
            status = vj_loader_next(loader, &batch, &wait_s);
            assert_int_equal(batch.substituted, 0);
        }
        assert_int_equal(status, VJ_ERR_IO);
        assert_true(vj_now() - begin >= config.data.io_patience_s);
        vj_loader_stop(loader);
        vj_clips_close(clips);
        end_trouble(&t);
    }
}

/* Check that threads which wait for a file system end when the loader is stopped. */
static void test_stop_waiting(void **state)
{
    (void)state;
    char path[VJ_PATH];
    trouble t = {0};
    vj_loader *loader;
    vj_config config = loader_config(BATCH, 4);
    vj_clips_close(make_store("away.clips", 2, raw));
    join(path, folder, "away.clips");
    vj_clips *clips = open_store(path);
    make_trouble(&t, "away.clips/shard-00000.h5", false);
    config.data.io_patience_s = 1e6;
    assert_int_equal(vj_loader_start_training(&loader, clips, &config, NULL, 0, STEPS, 0, BATCH), VJ_OK);
    pause_ms(100); /* by now or soon they wait between two attempts */
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
    return remove_folder(folder);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_continues),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_stop_early),
        cmocka_unit_test(test_wrong_weights),
        cmocka_unit_test(test_same_batches),
        cmocka_unit_test(test_damaged_copies),
        cmocka_unit_test(test_no_cache),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_once_damaged),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_stale_descriptors),
        cmocka_unit_test(test_outage_for_ever),
        cmocka_unit_test(test_stop_waiting),
    };
    int failed = cmocka_run_group_tests_name("loader", tests, set_up, tear_down);
    MPI_Finalize();
    return failed;
}
