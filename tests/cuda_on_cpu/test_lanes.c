/*
 * Tests lanes on the emulated GPU. A snapshot for a checkpoint has the state of its time although the next update is
 * called before it is copied, if the update waits for the snapshot's event. Without the wait it has what the update
 * wrote, so that such an error is found. Frames of a microbatch are copied while kernels of the previous one still
 * wait. However many phases, terms of moments and downloads a step has, nothing waits before its end. A launch counts
 * as no progress.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emulated.h"
#include "kernels/kernels.h"
#include "model/input.h"
#include "train/moments.h"

enum { N = 1000 };

static vj_backend *open_device(void)
{
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_FP32, 1), VJ_OK);
    return be;
}

/* Return what a snapshot of ones has after an update to twos, which waits for the snapshot or does not. */
static float snapshot(bool follows)
{
    vj_backend *be = open_device();
    float *weights = vj_device_alloc(be, N * (int64_t)sizeof *weights);
    float *host = vj_host_alloc(be, N * (int64_t)sizeof *host), first;
    vj_event *copied = vj_event_create(be);
    vj_fill(be, weights, 1.0f, N);
    vj_event *now = vj_event_record(be);
    vj_lane_enter(be, VJ_LANE_SNAPSHOT);
    vj_event_follow(be, now);
    vj_download_begin(be, host, weights, N * (int64_t)sizeof *host);
    vj_event_record_again(be, copied);
    vj_lane_enter(be, VJ_LANE_COMPUTE);
    if (follows) vj_event_follow(be, copied);
    vj_fill(be, weights, 2.0f, N);
    vj_event_wait(be, vj_event_record(be)); /* this does the update, and the snapshot only if the update waits for it */
    vj_event_wait(be, copied);
    assert_true(vj_event_done(be, copied));
    for (int i = 1; i < N; i++) assert_true(host[i] == host[0]);
    first = host[0];
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_host_free(be, host);
    vj_backend_close(be);
    return first;
}

static void an_update_waits_for_the_snapshot(void **state)
{
    (void)state;
    assert_true(snapshot(true) == 1.0f);
    assert_true(snapshot(false) == 2.0f); /* the planted error is found */
}

static void an_own_event_outlives_a_wait(void **state)
{
    (void)state;
    vj_backend *be = open_device();
    float *x = vj_device_alloc(be, (int64_t)sizeof *x);
    vj_event *own = vj_event_create(be);
    assert_true(vj_event_done(be, own)); /* it was never recorded */
    vj_event_record_again(be, own);
    assert_int_equal(vj_sync(be), VJ_OK);
    for (int i = 0; i < 10; i++) {
        vj_fill(be, x, (float)i, 1);
        assert_true(vj_event_record(be) != own);
    }
    assert_true(vj_event_done(be, own)); /* it is not one of the events that are reused in turn */
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_backend_close(be);
}

/* Check that four microbatches from the same pinned memory need no wait between them; it is only filled again after
 * vj_sync(). */
static void frames_travel_beside_kernels(void **state)
{
    (void)state;
    enum { CLIPS = 2, T = 2, SIDE = 8, BYTES = T * SIDE * SIDE * 3, MICROBATCHES = 4 };
    static const double mean[3] = {0.5, 0.5, 0.5}, std[3] = {1, 1, 1};
    const vj_shape shape = {.channels = 3, .frames = T, .height = SIDE, .width_px = SIDE};
    const int64_t values = (int64_t)CLIPS * BYTES;
    vj_backend *be = open_device();
    vj_frame_room room;
    vj_clip_view views[CLIPS] = {0};
    static float got[CLIPS * BYTES];
    assert_int_equal(vj_frame_room_open(&room, be, CLIPS, BYTES, VJ_FRAME_BUFFERS), VJ_OK);
    uint8_t *frames = vj_host_alloc(be, MICROBATCHES * values);
    float *pixels = vj_device_alloc(be, MICROBATCHES * values * (int64_t)sizeof *pixels);
    for (int step = 0; step < 2; step++) {
        emu_usage before, after;
        for (int m = 0; m < MICROBATCHES; m++) memset(frames + m * values, 10 * m + step, (size_t)values);
        emu_used(&before);
        for (int m = 0; m < MICROBATCHES; m++) {
            for (int64_t i = 0; i < CLIPS; i++)
                views[i] = (vj_clip_view){.at = (m * CLIPS + i) * BYTES,
                                          .height = SIDE,
                                          .width = SIDE,
                                          .crop = {.height = SIDE, .width = SIDE}};
            const vj_input input = {.frames = frames, .views = views, .mean = mean, .std = std};
            vj_input_upload(&input, &room, be, pixels + m * values, CLIPS, &shape);
        }
        emu_used(&after);
        assert_int_equal(after.waits, before.waits);
        assert_int_equal(vj_sync(be), VJ_OK);
        for (int m = 0; m < MICROBATCHES; m++) {
            vj_download(be, got, pixels + m * values, values * (int64_t)sizeof *got);
            for (int64_t i = 0; i < values; i++)
                assert_true(got[i] > (float)((10 * m + step) / 255.0 - 0.5) - 1e-5f &&
                            got[i] < (float)((10 * m + step) / 255.0 - 0.5) + 1e-5f);
        }
    }
    vj_frame_room_close(&room);
    vj_host_free(be, frames);
    vj_backend_close(be);
}

static void many_phases_and_terms_need_no_wait(void **state)
{
    (void)state;
    enum { TERMS = 1000, PHASES = 3000, D = 8 };
    static float asked[TERMS];
    vj_backend *be = open_device();
    vj_moments *moments;
    emu_usage before, after;
    float *x = vj_device_alloc(be, D * (int64_t)sizeof *x);
    assert_int_equal(vj_moments_open(&moments, be, D, TERMS), VJ_OK);
    vj_fill(be, x, 1.0f, D);
    emu_used(&before);
    for (int i = 0; i < PHASES; i++) vj_phase_enter(be, i % VJ_PHASES);
    for (int i = 0; i < TERMS; i++) {
        vj_moments_add(moments, x, 1, 0);
        vj_fill(be, x, (float)i, D);
        vj_download_later(be, &asked[i], x, (int64_t)sizeof *x);
    }
    emu_used(&after);
    assert_int_equal(after.waits, before.waits);
    assert_int_equal(vj_sync(be), VJ_OK);
    for (int i = 0; i < TERMS; i++) assert_true(asked[i] == (float)i);
    double seconds[VJ_PHASES];
    vj_phase_seconds(be, seconds);
    for (int i = 0; i < VJ_PHASES; i++) assert_true(seconds[i] > 0.0);
    vj_moments_close(moments);
    vj_backend_close(be);
}

static void never(void *listener, double share, double now_s)
{
    (void)listener;
    fail_msg("%g of the work is done at %g s, which cannot be known", share, now_s);
}

/* A kernel has not run when its call returns, so nothing is told of progress (vj_work_begin()). */
static void a_launch_is_no_progress(void **state)
{
    (void)state;
    vj_backend *be = open_device();
    float *x = vj_device_alloc(be, N * (int64_t)sizeof *x);
    vj_work_begin(be, 1.0, never, NULL);
    vj_fill(be, x, 1.0f, N);
    vj_work_end(be);
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_waits_for_the_snapshot), cmocka_unit_test(an_own_event_outlives_a_wait),
        cmocka_unit_test(frames_travel_beside_kernels),     cmocka_unit_test(many_phases_and_terms_need_no_wait),
        cmocka_unit_test(a_launch_is_no_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
