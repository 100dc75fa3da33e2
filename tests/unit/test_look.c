/* Tests looks: copies in other encodings, sizes, rates and brightness are recognised; other videos are not. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"
#include "video/encode.h"
#include "video/phash.h"

enum { SCENES = 5, COPIES = 4, SECONDS = 1 };

/* Return the luma of a scene at a place (0 to 1) and time: a few moving waves, which are different in each scene. */
static double wave(int scene, double x, double y, double t)
{
    double sum = 0;
    for (int k = 1; k <= 4; k++) {
        double a = 1.3 * scene + 1.7 * k + 0.4 * scene * k, speed = 1.5 * sin(3 * a) + (sin(a) > 0 ? 1 : -1);
        sum += sin(4 * k * (x * cos(a) + y * sin(a)) + speed * t + 5 * a) / k;
    }
    return sum / 2.1;
}

/* What differs between copies; the first is the original. */
static const struct {
    vj_encoding encoding;
    int width, height, fps;
    double brightness, contrast;
} copies[COPIES] = {{VJ_ENCODING_FFV1, 96, 72, 30, 0, 100},
                    {VJ_ENCODING_MPEG4, 64, 48, 30, 0, 100},
                    {VJ_ENCODING_MJPEG, 96, 96, 10, 20, 60},
                    {VJ_ENCODING_H264, 128, 72, 25, -15, 80}};

static void write_scene(const char *path, int scene, int copy)
{
    const int w = copies[copy].width, h = copies[copy].height, count = SECONDS * copies[copy].fps;
    uint8_t *frames = malloc((size_t)count * (size_t)(w * h) * 3), *to = frames;
    assert_non_null(frames);
    for (int f = 0; f < count; f++)
        for (int i = 0; i < h; i++)
            for (int j = 0; j < w; j++, to += 3) {
                double luma = wave(scene, (j + 0.5) / w, (i + 0.5) / h, (double)f / copies[copy].fps);
                memset(to, (int)(120 + copies[copy].brightness + copies[copy].contrast * luma), 3);
            }
    const vj_video_form form = {.encoding = copies[copy].encoding, .width = w, .height = h, .fps = copies[copy].fps};
    assert_int_equal(vj_video_write(path, &form, frames, count), VJ_OK);
    free(frames);
}

static vj_video_verdict enter(void *user, int k, const vj_picture *picture)
{
    struct {
        vj_phash look;
        vj_phash_cells cells;
    } *both = user;
    return vj_phash_add(&both->look, &both->cells, k, picture);
}

static vj_phash look_of(const char *path)
{
    vj_video *video;
    vj_video_verdict verdict;
    struct {
        vj_phash look;
        vj_phash_cells cells;
    } both = {0};
    double times[VJ_PHASH_INSTANTS];
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(vj_video_open_path(video, path, &verdict), VJ_OK);
    assert_int_equal(verdict, VJ_VIDEO_OK);
    vj_phash_times(0, vj_video_describe(video)->duration_s, times);
    assert_int_equal(vj_video_show(video, times, VJ_PHASH_INSTANTS, enter, &both), VJ_VIDEO_OK);
    vj_video_destroy(video);
    vj_phash_finish(&both.look, &both.cells);
    return both.look;
}

static void test_copies_and_others(void **state)
{
    (void)state;
    vj_phash looks[SCENES][COPIES];
    int there[COPIES];
    for (int c = 0; c < COPIES; c++) {
        there[c] = vj_encoding_available(copies[c].encoding);
        for (int s = 0; s < SCENES && there[c]; s++) {
            char path[PATH_MAX + 32];
            snprintf(path, sizeof path, "%s/video", folder);
            write_scene(path, s, c);
            looks[s][c] = look_of(path);
            assert_int_equal(looks[s][c].valid, 0xff);
        }
    }
    for (int i = 0; i < SCENES * COPIES; i++)
        for (int k = 0; k < i; k++) {
            if (!there[i % COPIES] || !there[k % COPIES]) continue;
            const vj_phash *a = &looks[i / COPIES][i % COPIES], *b = &looks[k / COPIES][k % COPIES];
            int same = i / COPIES == k / COPIES;
            if (vj_phash_alike(a, b) != same || (vj_phash_compare(a, b) == VJ_PHASH_DIFFERENT) == same)
                fail_msg("scene %d copy %d, scene %d copy %d: distance %g", i / COPIES, i % COPIES, k / COPIES,
                         k % COPIES, vj_phash_distance(a, b));
        }
}

/* Check that a video of one colour has no perceptual hash and is no copy of anything, not even of itself. */
static void test_flat(void **state)
{
    (void)state;
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/flat", folder);
    static uint8_t frames[10 * 48 * 48 * 3];
    memset(frames, 90, sizeof frames);
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = 48, .height = 48, .fps = 25};
    assert_int_equal(vj_video_write(path, &form, frames, 10), VJ_OK);
    vj_phash look = look_of(path);
    assert_int_equal(look.valid, 0);
    assert_true(vj_phash_distance(&look, &look) == 1);
    assert_false(vj_phash_alike(&look, &look));
}

/* Check that copies of a video that never changes must be nearer than copies of one that does. */
static void test_threshold(void **state)
{
    (void)state;
    vj_phash still = {.valid = 0xff}, moving = {.valid = 0xff};
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++) {
        still.bits[i] = UINT64_C(0x123456789abcdef0);
        moving.bits[i] = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
    }
    vj_phash still_far = still, moving_far = moving;
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++) {
        still_far.bits[i] ^= 0xfff; /* 12 of 64 */
        moving_far.bits[i] ^= 0xfff;
    }
    assert_true(fabs(vj_phash_distance(&still, &still_far) - 12. / 64) < 1e-12);
    assert_true(vj_phash_alike(&still, &still));
    assert_false(vj_phash_alike(&still, &still_far));
    assert_true(vj_phash_alike(&moving, &moving_far));
    moving_far.valid = 0x07; /* three instants are too few to decide */
    assert_false(vj_phash_alike(&moving, &moving_far));
}

/* Check that for similar pictures the motion decides. */
static void test_motion(void **state)
{
    (void)state;
    vj_phash a = {.valid = 0xff}, b = a;
    for (int i = 0; i < VJ_PHASH_MOTION_BYTES; i++) {
        (&a.motion[0][0])[i] = (int8_t)(i % 7 == 0 ? 60 : -10);
        (&b.motion[0][0])[i] = (int8_t)(i % 5 == 0 ? 60 : -15);
    }
    assert_int_equal(vj_phash_compare(&a, &a), VJ_PHASH_COPY);
    assert_int_equal(vj_phash_compare(&a, &b), VJ_PHASH_DIFFERENT);
    vj_phash faint = a, still = {.valid = 0xff}, part = a;
    for (int i = 0; i < VJ_PHASH_MOTION_BYTES; i++) {
        (&faint.motion[0][0])[i] /= 2; /* less contrast */
        if (i % 2) (&part.motion[0][0])[i] = (&b.motion[0][0])[i];
    }
    assert_int_equal(vj_phash_compare(&a, &faint), VJ_PHASH_COPY);
    assert_int_equal(vj_phash_compare(&a, &part), VJ_PHASH_DOUBTFUL);
    assert_int_equal(vj_phash_compare(&still, &still), VJ_PHASH_DOUBTFUL);
    assert_int_equal(vj_phash_compare(&a, &still), VJ_PHASH_DIFFERENT);
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++) b.bits[i] = ~b.bits[i];
    memcpy(b.motion, a.motion, sizeof b.motion);
    assert_int_equal(vj_phash_compare(&a, &b), VJ_PHASH_DIFFERENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_and_others),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_motion),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
