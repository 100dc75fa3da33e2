/* Pools of decoding processes for tests, and files to decode. */
#ifndef VJ_TEST_DECODE_POOL_H
#define VJ_TEST_DECODE_POOL_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "decode/decode.h"
#include "folder.h"
#include "video/encode.h"

enum { W = 64, H = 48, FPS = 25, F = 8, STEP = 2 };

static char folder[VJ_PATH];

static inline const char *in_folder(const char *name)
{
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Write a lossless video of `count` frames; all pixels of frame k have the value 5 k. */
static inline void make(const char *name, int count)
{
    uint8_t *frames = malloc((size_t)count * W * H * 3);
    assert_non_null(frames);
    for (int k = 0; k < count; k++) memset(frames + (size_t)k * W * H * 3, 5 * k, W * H * 3);
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS};
    assert_int_equal(vj_video_write(in_folder(name), &form, frames, count), VJ_OK);
    free(frames);
}

static inline vj_decode_settings usual(void)
{
    return (vj_decode_settings){.frames = F,
                                .step = STEP,
                                .windows = 1,
                                .short_side = 24,
                                .limits = vj_video_usual_limits,
                                .memory_mb = 512,
                                .seconds = 60};
}

static inline vj_decoders *start(const vj_decode_settings *settings, int workers)
{
    vj_decoders *d;
    assert_int_equal(vj_decoders_start(&d, settings, workers), VJ_OK);
    assert_int_equal(vj_decoders_idle(d), workers);
    return d;
}

static inline void submit(vj_decoders *d, int64_t source, const char *path)
{
    const vj_decode_job job = {.source = source, .path = path, .start_s = -1, .end_s = -1};
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
}

static inline vj_decoded *next(vj_decoders *d)
{
    vj_decoded *file;
    assert_int_equal(vj_decoders_next(d, &file, 60), VJ_OK);
    assert_non_null(file);
    return file;
}

static inline vj_decoded *decode(vj_decoders *d, int64_t source, const char *path)
{
    submit(d, source, path);
    vj_decoded *file = next(d);
    assert_int_equal(file->source, source);
    return file;
}

static inline void assert_verdict(const vj_decoded *file, vj_video_verdict expected)
{
    if (file->verdict != expected)
        fail_msg("file %d: %s (%s), expected %s", (int)file->source, vj_video_verdict_name(file->verdict), file->reason,
                 vj_video_verdict_name(expected));
    if (expected != VJ_VIDEO_OK) {
        assert_int_equal(file->clips, 0);
        assert_true(file->reason[0] != '\0');
    }
}

static inline int set_up_folder(void **state)
{
    (void)state;
    make_folder(folder);
    make("after.mkv", 10);
    return 0;
}

static inline int tear_down_folder(void **state)
{
    (void)state;
    return remove_folder(folder);
}

#endif
