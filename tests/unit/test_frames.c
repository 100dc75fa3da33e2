/* Tests the choice of frames: exactly as in the fixture, and as in the examples of the specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fixture_file.h"
#include "video/frames.h"

static int64_t attribute(hid_t object, const char *name)
{
    int64_t value = -1;
    hid_t a = H5Aopen(object, name, H5P_DEFAULT);
    assert_true(a >= 0);
    assert_true(H5Aread(a, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(a);
    return value;
}

static void read_numbers(hid_t object, const char *name, int64_t *values)
{
    hid_t d = H5Dopen2(object, name, H5P_DEFAULT);
    assert_true(d >= 0);
    assert_true(H5Dread(d, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(d);
}

static void check_case(hid_t object)
{
    int F = (int)attribute(object, "frames"), segments = (int)attribute(object, "segments");
    int64_t want[1024], got[1024], starts[64];
    assert_true(F * segments <= 1024 && segments <= 64);
    read_numbers(object, "indices", want);
    read_numbers(object, "starts", starts);
    vj_clip_frames(got, attribute(object, "available"), F, (int)attribute(object, "step"), segments,
                   (int)attribute(object, "overlap"), starts);
    for (int i = 0; i < F * segments; i++) assert_int_equal(got[i], want[i]);
}

static void test_fixture(void **state)
{
    (void)state;
    const hid_t file = open_fixture("data.h5");
    int cases = 0;
    for (;; cases++) {
        char name[64];
        snprintf(name, sizeof name, "/clip_frames/case%d", cases);
        if (H5Lexists(file, name, H5P_DEFAULT) <= 0) break;
        hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
        check_case(group);
        H5Gclose(group);
    }
    H5Fclose(file);
    assert_true(cases > 0);
}

/* Check the examples of docs/method.md, section 10.2. */
static void test_printed(void **state)
{
    (void)state;
    static const int64_t longer[16] = {0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63};
    static const int64_t shorter[16] = {0, 4, 8, 13, 17, 22, 26, 31, 35, 39, 39, 39, 39, 39, 39, 39};
    static const int64_t evaluation[16] = {0, 4, 9, 13, 18, 22, 27, 31, 36, 40, 45, 49, 54, 58, 62, 62};
    int64_t got[16], start = 7;
    vj_clip_frames(got, 300, 16, 4, 1, 0, &start);
    for (int i = 0; i < 16; i++) assert_int_equal(got[i], longer[i] + 7);
    vj_clip_frames(got, 40, 16, 4, 1, 0, NULL);
    assert_memory_equal(got, shorter, sizeof got);
    vj_clip_frames(got, 64, 16, 4, 1, 1, NULL);
    assert_memory_equal(got, evaluation, sizeof got);
}

/* Check for videos of any length that every index is a frame of the video. */
static void test_range(void **state)
{
    (void)state;
    int64_t got[8 * 16];
    for (int64_t available = 1; available < 300; available++)
        for (int segments = 1; segments <= 8; segments++)
            for (int overlap = 0; overlap < 2; overlap++)
                for (int step = 1; step <= 4; step++) {
                    vj_clip_frames(got, available, 16, step, segments, overlap, NULL);
                    for (int i = 0; i < 16 * segments; i++) assert_true(got[i] >= 0 && got[i] < available);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fixture), cmocka_unit_test(test_printed),
                                       cmocka_unit_test(test_range)};
    return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
