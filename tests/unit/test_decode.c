/* The pool of decoding processes: the right clips, every file one verdict whatever it does to its worker, and no leak.
 */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clips/clips.h"
#include "decode/decode.h"
#include "video/encode.h"

enum { W = 64, H = 48, FPS = 25, F = 8, STEP = 2 };

static char folder[PATH_MAX];

static const char *in_folder(const char *name)
{
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Lossless, frame k all of level 5 k. */
static void make(const char *name, int count)
{
    uint8_t *frames = malloc((size_t)count * W * H * 3);
    assert_non_null(frames);
    for (int k = 0; k < count; k++) memset(frames + (size_t)k * W * H * 3, 5 * k, W * H * 3);
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS};
    assert_int_equal(vj_video_write(in_folder(name), &form, frames, count), VJ_OK);
    free(frames);
}

static vj_decode_settings usual(void)
{
    return (vj_decode_settings){.frames = F,
                                .step = STEP,
                                .windows = 1,
                                .short_side = 24,
                                .limits = vj_video_usual_limits,
                                .memory_mb = 512,
                                .seconds = 60};
}

static vj_decoders *start(const vj_decode_settings *settings, int workers)
{
    vj_decoders *d;
    assert_int_equal(vj_decoders_start(&d, settings, workers), VJ_OK);
    assert_int_equal(vj_decoders_idle(d), workers);
    return d;
}

static void submit(vj_decoders *d, int64_t source, const char *path)
{
    const vj_decode_job job = {.source = source, .path = path, .start_s = -1, .end_s = -1};
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
}

static vj_decoded *next(vj_decoders *d)
{
    vj_decoded *file;
    assert_int_equal(vj_decoders_next(d, &file, 60), VJ_OK);
    assert_non_null(file);
    return file;
}

static vj_decoded *decode(vj_decoders *d, int64_t source, const char *path)
{
    submit(d, source, path);
    vj_decoded *file = next(d);
    assert_int_equal(file->source, source);
    return file;
}

static void assert_verdict(const vj_decoded *file, vj_video_verdict expected)
{
    if (file->verdict != expected)
        fail_msg("file %d: %s (%s), expected %s", (int)file->source, vj_video_verdict_name(file->verdict), file->reason,
                 vj_video_verdict_name(expected));
    if (expected != VJ_VIDEO_OK) {
        assert_int_equal(file->clips, 0);
        assert_true(file->reason[0] != '\0');
    }
}

/* The frames of a clip by their levels. */
static void assert_levels(const vj_decoded *file, int clip, const int *expected)
{
    const vj_decoded_clip *c = &file->clip[clip];
    assert_int_equal(c->height, 24);
    assert_int_equal(c->width, 32);
    assert_int_equal(c->bytes, F * 24 * 32 * 3);
    const uint8_t *frames = file->data + c->at;
    for (int t = 0; t < F; t++)
        for (int i = 0; i < 24 * 32 * 3; i++) assert_int_equal(frames[t * 24 * 32 * 3 + i], 5 * expected[t]);
}

/* ------------------------------------------------------------------------------------------------ clips */

static void test_clip(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    make("a.mkv", 40);
    vj_decoded *file = decode(d, 7, in_folder("a.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_int_equal(file->clips, 1);
    assert_string_equal(file->info.codec, "ffv1");
    assert_int_equal(file->info.frames, 40);
    assert_true(isinf(file->clip[0].psnr));
    assert_true(file->clip[0].pts_s == 0);
    int64_t index[F];
    vj_clip_frames(index, 40, F, STEP, 1, 0, NULL);
    int expected[F];
    for (int t = 0; t < F; t++) expected[t] = (int)index[t];
    assert_levels(file, 0, expected);
    struct stat st;
    assert_int_equal(stat(in_folder("a.mkv"), &st), 0);
    assert_int_equal(file->bytes, st.st_size);
    assert_true(file->digest != 0);
    vj_decoded_free(file);

    make("short.mkv", 5); /* the last frame is held */
    file = decode(d, 8, in_folder("short.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_levels(file, 0, (int[]){0, 4, 4, 4, 4, 4, 4, 4});
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Only frames of the stretch asked for, and counted from its start. */
static void test_stretch(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    make("b.mkv", 50);
    vj_decode_job job = {.source = 1, .path = in_folder("b.mkv"), .start_s = 0.4, .end_s = 0.8};
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
    vj_decoded *file = next(d);
    assert_verdict(file, VJ_VIDEO_OK);
    assert_levels(file, 0, (int[]){10, 12, 15, 17, 19, 19, 19, 19}); /* 5 points, then the last is held */
    vj_decoded_free(file);
    job.start_s = 90;
    job.end_s = 95;
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
    file = next(d);
    assert_verdict(file, VJ_VIDEO_TOO_SHORT);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Several windows of many files over several workers: what a file gives does not depend on who decoded it when. */
static void test_many(void **state)
{
    (void)state;
    enum { FILES = 12 };
    vj_decode_settings settings = usual();
    settings.windows = 2;
    settings.random_windows = 1;
    char name[FILES][16];
    uint8_t *first[FILES] = {0};
    int64_t bytes[FILES];
    for (int i = 0; i < FILES; i++) {
        sprintf(name[i], "m%d.mkv", i);
        make(name[i], 10 + 3 * i);
    }
    for (int workers = 1; workers <= 3; workers += 2) {
        vj_decoders *d = start(&settings, workers);
        int done = 0, given = 0, seen[FILES] = {0};
        while (done < FILES) {
            while (given < FILES && vj_decoders_idle(d) > 0) {
                submit(d, given, in_folder(name[given]));
                given++;
            }
            vj_decoded *file = next(d);
            int i = (int)file->source;
            assert_verdict(file, VJ_VIDEO_OK);
            assert_int_equal(file->clips, 2);
            assert_int_equal(file->clip[1].window, 1);
            assert_int_equal(seen[i]++, 0);
            if (!first[i]) {
                bytes[i] = file->data_bytes;
                first[i] = malloc((size_t)bytes[i]);
                assert_non_null(first[i]);
                memcpy(first[i], file->data, (size_t)bytes[i]);
            }
            assert_int_equal(file->data_bytes, bytes[i]);
            assert_memory_equal(file->data, first[i], (size_t)bytes[i]);
            vj_decoded_free(file);
            done++;
        }
        vj_decoded *none;
        assert_int_equal(vj_decoders_next(d, &none, 0), VJ_OK);
        assert_null(none);
        vj_decoders_stop(d);
    }
    for (int i = 0; i < FILES; i++) free(first[i]);
}

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vjepa-decode-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_stretch),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
