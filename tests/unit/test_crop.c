/* Tests the crop transform against the fixture and a reference in double, and its draw against the definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "feed/crop.h"
#include "fixture_file.h"

static const double MEAN[3] = {0.485, 0.456, 0.406}, STD[3] = {0.229, 0.224, 0.225};

/* Bytes of up to 255 are divided by 57; this allows a few float32 roundings of 255 * 6e-8 / 57. */
static const double TOLERANCE = 2e-6;

/* Compare float values with double ones and print the worst. NaN fails. */
static void check(const float *got, const double *want, int64_t n, double tolerance)
{
    int64_t worst = 0;
    double error = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(got[i] - want[i]);
        if (!(e <= error)) {
            error = e;
            worst = i;
            if (e != e) break;
        }
    }
    if (!(error <= tolerance))
        fail_msg("element %lld: got %.9g, want %.9g, tolerance %g", (long long)worst, got[worst], want[worst],
                 tolerance);
}

static void fill(uint8_t *frames, int64_t n)
{
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 0);
    for (int64_t i = 0; i < n; i++) frames[i] = (uint8_t)vj_rng_u32(&rng);
}

/* ------------------------------------------------------------------------------------------------ fixture */

static void *read_all(hid_t file, const char *name, hid_t type, hsize_t dims[4])
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    assert_int_equal(H5Sget_simple_extent_dims(space, dims, NULL), 4);
    void *values = malloc((size_t)(dims[0] * dims[1] * dims[2] * dims[3]) * H5Tget_size(type));
    assert_non_null(values);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(dataset);
    return values;
}

static void read_attribute(hid_t file, const char *object, const char *name, int *values)
{
    hid_t a = H5Aopen_by_name(file, object, name, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(a >= 0 && H5Aread(a, H5T_NATIVE_INT, values) >= 0);
    H5Aclose(a);
}

static void test_fixture(void **state)
{
    (void)state;
    hid_t file = open_fixture("data.h5");
    hsize_t in[4], dims[4];
    uint8_t *frames = read_all(file, "/augment/frames", H5T_NATIVE_UINT8, in);
    int cases = 0;
    for (;; cases++) {
        char name[64];
        int box[4], size, flip;
        snprintf(name, sizeof name, "/augment/out%d", cases);
        if (H5Lexists(file, name, H5P_DEFAULT) <= 0) break;
        double *want = read_all(file, name, H5T_NATIVE_DOUBLE, dims);
        read_attribute(file, name, "box_top_left_height_width", box);
        read_attribute(file, name, "size", &size);
        read_attribute(file, name, "flip", &flip);
        vj_crop crop = {box[0], box[1], box[2], box[3], flip};
        int64_t n = 3 * (int64_t)in[0] * size * size;
        float *got = malloc((size_t)n * sizeof *got);
        assert_non_null(got);
        vj_host_crop(got, frames, &(vj_clip_view){0, (int)in[1], (int)in[2], crop}, (int)in[0], size, MEAN, STD);
        check(got, want, n, TOLERANCE);
        free(got);
        free(want);
    }
    free(frames);
    H5Fclose(file);
    assert_true(cases > 0);
}

/* ------------------------------------------------------------------------------------------------ reference */

static double pixel(const uint8_t *frame, int width, const vj_crop *crop, int y, int x, int c)
{
    if (y > crop->height - 1) y = crop->height - 1;
    if (x > crop->width - 1) x = crop->width - 1;
    return frame[((int64_t)(crop->top + y) * width + crop->left + x) * 3 + c];
}

/* Compute one output value by the formula of docs/method.md, section 10.3. */
static double reference(const uint8_t *frame, int width, const vj_crop *crop, int size, int y, int x, int c)
{
    if (crop->flip) x = size - 1 - x;
    double v = fmax(0, (y + 0.5) * crop->height / size - 0.5), u = fmax(0, (x + 0.5) * crop->width / size - 0.5);
    int iy = (int)v, ix = (int)u;
    double fy = v - iy, fx = u - ix;
    double value =
        (1 - fy) * ((1 - fx) * pixel(frame, width, crop, iy, ix, c) + fx * pixel(frame, width, crop, iy, ix + 1, c)) +
        fy * ((1 - fx) * pixel(frame, width, crop, iy + 1, ix, c) + fx * pixel(frame, width, crop, iy + 1, ix + 1, c));
    return (value - 255 * MEAN[c]) / (255 * STD[c]);
}

static void compare(int T, int height, int width, vj_crop crop, int size)
{
    int64_t n = 3 * (int64_t)T * size * size, bytes = (int64_t)T * height * width * 3;
    uint8_t *frames = malloc((size_t)bytes);
    float *got = malloc((size_t)n * sizeof *got);
    double *want = malloc((size_t)n * sizeof *want), *to = want;
    assert_true(frames && got && want);
    fill(frames, bytes);
    memset(got, 0xff, (size_t)n * sizeof *got); /* values that are not written stay NaN */
    vj_host_crop(got, frames, &(vj_clip_view){0, height, width, crop}, T, size, MEAN, STD);
    for (int c = 0; c < 3; c++)
        for (int t = 0; t < T; t++)
            for (int y = 0; y < size; y++)
                for (int x = 0; x < size; x++)
                    *to++ = reference(frames + (int64_t)t * height * width * 3, width, &crop, size, y, x, c);
    check(got, want, n, TOLERANCE);
    free(want);
    free(got);
    free(frames);
}

static void test_reference(void **state)
{
    (void)state;
    for (int flip = 0; flip < 2; flip++) {
        compare(2, 37, 53, (vj_crop){3, 5, 30, 41, flip}, 16);      /* smaller */
        compare(2, 37, 53, (vj_crop){3, 5, 9, 11, flip}, 33);       /* larger */
        compare(1, 37, 53, (vj_crop){0, 0, 37, 53, flip}, 7);       /* whole frame */
        compare(1, 37, 53, (vj_crop){36, 52, 1, 1, flip}, 5);       /* one pixel, in the corner */
        compare(3, 37, 53, (vj_crop){2, 9, 24, 24, flip}, 24);      /* identity */
        compare(1, 37, 53, (vj_crop){2, 9, 24, 25, flip}, 24);      /* identity in one direction only */
        compare(1, 300, 290, (vj_crop){1, 2, 290, 280, flip}, 270); /* more than one tile of columns */
    }
}

/* Check that a box of the output's size is copied exactly: there is nothing to interpolate, and the fast path must not
 * round differently. */
static void test_identity_is_exact(void **state)
{
    (void)state;
    enum { H = 20, W = 31, S = 16 };
    static uint8_t frames[H * W * 3];
    static float got[3 * S * S];
    fill(frames, sizeof frames);
    vj_crop crop = {4, 9, S, S, 1};
    vj_host_crop(got, frames, &(vj_clip_view){0, H, W, crop}, 1, S, MEAN, STD);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < S; y++)
            for (int x = 0; x < S; x++) {
                float value = frames[((4 + y) * W + 9 + S - 1 - x) * 3 + c];
                float want = (value - (float)(255.0 * MEAN[c])) * (float)(1.0 / (255.0 * STD[c]));
                assert_true(got[(c * S + y) * S + x] == want);
            }
}

/* ------------------------------------------------------------------------------------------------ the kernel */

/* Check that the kernel of each backend gives, for clips of several sizes in any order, the bits that the host gives
 * one by one. */
static void test_kernel(void **state)
{
    (void)state;
    enum { B = 5, T = 2, S = 24, ROOM = T * 40 * 60 * 3 };
    const char *const backends[] = {"cpu", "strict", getenv("VJ_TEST_BACKEND")}; /* the last one may be NULL */
    static uint8_t frames[B * ROOM];
    static float want[B][3 * T * S * S], got[B][3 * T * S * S];
    const vj_clip_view views[B] = {{3 * ROOM, 37, 53, {3, 5, 30, 41, 0}},
                                   {0, 24, 60, {0, 30, 24, 24, 1}},
                                   {4 * ROOM + 17, 40, 40, {39, 39, 1, 1, 0}},
                                   {ROOM, 40, 60, {0, 0, 40, 60, 1}},
                                   {ROOM, 40, 60, {1, 2, 9, 50, 0}}};
    fill(frames, sizeof frames);
    for (int b = 0; b < B; b++) vj_host_crop(want[b], frames, &views[b], T, S, MEAN, STD);
    for (size_t i = 0; i < sizeof backends / sizeof backends[0] && backends[i]; i++)
        for (int threads = 1; threads <= 3; threads++) {
            vj_backend *be;
            assert_int_equal(vj_backend_open(&be, backends[i], VJ_FP32, threads), VJ_OK);
            uint8_t *host = vj_host_alloc(be, sizeof frames), *device = vj_device_alloc(be, sizeof frames);
            float *pixels = vj_device_alloc(be, sizeof got);
            assert_true(host && device && pixels && (uintptr_t)host % 64 == 0 && host[sizeof frames - 1] == 0);
            memcpy(host, frames, sizeof frames);
            vj_upload(be, device, host, sizeof frames);
            vj_crop_clips(be, pixels, device, views, B, T, S, MEAN, STD);
            vj_crop_clips(be, pixels, device, views, 0, T, S, MEAN, STD);
            vj_download(be, got, pixels, sizeof got);
            assert_int_equal(vj_sync(be), VJ_OK);
            assert_memory_equal(got, want, sizeof got);
            vj_host_free(be, host);
            vj_backend_close(be);
        }
    assert_true(vj_backend_is_host("cpu") && !vj_backend_is_host("strict") && !vj_backend_is_host("none"));
}

/* ------------------------------------------------------------------------------------------------ the draw */

static vj_config settings(void)
{
    vj_config config = {0};
    config.data.crop_scale[0] = 0.3, config.data.crop_scale[1] = 1.0;
    config.data.crop_aspect[0] = 0.75, config.data.crop_aspect[1] = 1.35;
    config.data.flip = 0.5;
    return config;
}

/* Check that boxes lie in the frame and reach its edges, that a draw can be repeated, and that the next sample and
 * another seed draw another box. */
static void test_draw(void **state)
{
    (void)state;
    enum { N = 5000, H = 120, W = 160 };
    vj_config config = settings();
    int same = 0, left_edge = 0, right_edge = 0;
    vj_crop before = {0};
    for (int64_t s = 0; s < N; s++) {
        vj_crop c = vj_crop_draw(&config, 234, s, H, W), again = vj_crop_draw(&config, 234, s, H, W);
        assert_memory_equal(&c, &again, sizeof c);
        assert_true(c.top >= 0 && c.left >= 0 && c.height >= 1 && c.width >= 1);
        assert_true(c.top + c.height <= H && c.left + c.width <= W);
        double share = (double)c.height * c.width / (H * W), aspect = (double)c.width / c.height;
        assert_true(share > 0.29 && share <= 1.0); /* sides are rounded */
        assert_true(aspect > 0.73 && aspect < 1.38);
        same += memcmp(&c, &before, sizeof c) == 0;
        left_edge += c.left == 0, right_edge += c.left + c.width == W;
        before = c;
    }
    assert_true(left_edge > 0 && right_edge > 0 && same < N / 100);
    vj_crop a = vj_crop_draw(&config, 234, 5, H, W), b = vj_crop_draw(&config, 235, 5, H, W);
    assert_memory_not_equal(&a, &b, sizeof a);
}

/* Check with settings that fit every box that the means are those of the formulas, within five standard errors. */
static void test_statistics(void **state)
{
    (void)state;
    enum { N = 20000, H = 360, W = 480 };
    vj_config config = settings();
    config.data.crop_scale[1] = 0.5; /* at most sqrt(0.5 * 1.35 * H * W) = 342 pixels: fits */
    double area = 0, ratio = 0, top = 0, flips = 0, low = log(0.75), high = log(1.35);
    for (int64_t s = 0; s < N; s++) {
        vj_crop c = vj_crop_draw(&config, 234, s, H, W);
        area += (double)c.height * c.width / (H * W) / N;
        ratio += log((double)c.width / c.height) / N;
        top += (double)c.top / (H - c.height) / N;
        flips += (double)c.flip / N;
    }
    double uniform = 5 / sqrt(12.0 * N); /* of U(0, 1) */
    assert_true(fabs(area - 0.4) < 0.2 * uniform);
    assert_true(fabs(ratio - (low + high) / 2) < (high - low) * uniform); /* U(0.75, 1.35) itself would be 0.026 off */
    assert_true(fabs(top - 0.5) < uniform);
    assert_true(fabs(flips - 0.5) < 5 * 0.5 / sqrt((double)N));
}

/* Check that boxes which never fit are replaced by a centred one of the nearest permitted aspect. */
static void test_fallback(void **state)
{
    (void)state;
    vj_config config = settings();
    config.data.crop_scale[0] = config.data.crop_scale[1] = 1.0;
    vj_crop tall = vj_crop_draw(&config, 1, 0, 400, 30), wide = vj_crop_draw(&config, 1, 0, 20, 400);
    assert_int_equal(tall.width, 30);
    assert_int_equal(tall.height, 40);
    assert_int_equal(tall.top, 180);
    assert_int_equal(tall.left, 0);
    assert_int_equal(wide.height, 20);
    assert_int_equal(wide.width, 27);
    assert_int_equal(wide.left, 186);
}

static void test_centre(void **state)
{
    (void)state;
    vj_crop wide = vj_crop_centre(48, 65), tall = vj_crop_centre(65, 48);
    assert_true(wide.top == 0 && wide.left == 8 && wide.height == 48 && wide.width == 48 && !wide.flip);
    assert_true(tall.top == 8 && tall.left == 0 && tall.height == 48 && tall.width == 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixture), cmocka_unit_test(test_reference),  cmocka_unit_test(test_identity_is_exact),
        cmocka_unit_test(test_draw),    cmocka_unit_test(test_statistics), cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_centre),  cmocka_unit_test(test_kernel),
    };
    return cmocka_run_group_tests_name("crop", tests, NULL, NULL);
}
