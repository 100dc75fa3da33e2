/*
 * Tests operations on pictures: against Pillow if python3 has it (pictures.py), with odd sizes and arguments, and by
 * their properties.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <sys/wait.h>

#include "../clips_store.h"
#include "feed/picture.h"

enum { MOST = 96 * 96 * 3, SCRATCH = 1 << 20, BILINEAR = 100 };
static const uint8_t fill[3] = {124, 116, 104};

/* Draw noise, a smooth picture, or one of few values, to test clamping, rounding and the tables of histograms. */
static void draw(uint8_t *picture, int height, int width, vj_rng *rng)
{
    const int64_t kind = vj_rng_below(rng, 4), low = vj_rng_below(rng, 128), few = vj_rng_below(rng, 3) + 1;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                const int64_t noise = vj_rng_below(rng, 256);
                const int64_t values[] = {noise, low + noise / 2, (x * (3 + c) + y * (5 - c) + noise / 32) % 256,
                                          low + noise % few};
                picture[3 * (y * width + x) + c] = (uint8_t)values[kind];
            }
}

/* ------------------------------------------------------------------------------------------------ Pillow */

typedef struct {
    FILE *file;
    vj_rng rng;
} records;

static void write_record(records *r, int op, int height, int width, vj_box box, int rows, int columns, double argument,
                         const uint8_t *picture, const uint8_t *result)
{
    const int32_t head[] = {op,   height, width, box.left, box.top, box.left + box.width, box.top + box.height,
                            rows, columns};
    assert_int_equal(fwrite(head, sizeof head, 1, r->file), 1);
    assert_int_equal(fwrite(&argument, sizeof argument, 1, r->file), 1);
    assert_int_equal(fwrite(picture, 3 * (size_t)(height * width), 1, r->file), 1);
    assert_int_equal(fwrite(result, 3 * (size_t)(rows * columns), 1, r->file), 1);
}

static double argument_of(vj_picture_op op, vj_rng *rng)
{
    static const double turns[] = {0, 90, 180, 270, -90, 360, 45};
    const double u = vj_rng_uniform(rng);
    switch (op) {
    case VJ_OP_ROTATE:
        return vj_rng_below(rng, 4) == 0 ? turns[vj_rng_below(rng, 7)] : 60.0 * u - 30.0;
    case VJ_OP_POSTERIZE:
        return 1.0 + (double)vj_rng_below(rng, 8); /* newer versions of Pillow refuse 0 */
    case VJ_OP_SOLARIZE:
        return (double)vj_rng_below(rng, 257);
    case VJ_OP_SOLARIZE_ADD:
        return (double)vj_rng_below(rng, 129);
    case VJ_OP_SHEAR_X:
    case VJ_OP_SHEAR_Y:
        return 0.6 * u - 0.3;
    case VJ_OP_TRANSLATE_X:
    case VJ_OP_TRANSLATE_Y:
        return 0.9 * u - 0.45;
    default:
        return vj_rng_below(rng, 5) == 0 ? (double)vj_rng_below(rng, 3) : 1.9 * u;
    }
}

static int side(vj_rng *rng)
{
    return (int)(vj_rng_below(rng, 4) == 0 ? 1 + vj_rng_below(rng, 4) : 1 + vj_rng_below(rng, 64));
}

static void write_ops(records *r, int rounds)
{
    static uint8_t picture[MOST], result[MOST];
    for (int i = 0; i < rounds * VJ_PICTURE_OPS; i++) {
        const vj_picture_op op = (vj_picture_op)(i % VJ_PICTURE_OPS);
        const int height = side(&r->rng), width = side(&r->rng);
        const double argument = argument_of(op, &r->rng);
        draw(picture, height, width, &r->rng);
        vj_picture_apply(result, picture, height, width, op, argument, fill, (vj_box){0, 0, height, width});
        write_record(r, op, height, width, (vj_box){0}, height, width, argument, picture, result);
    }
}

/*
 * Write pictures to resize. Every second changes only one axis, because if both change Pillow 13 resizes rows first for
 * some shapes (pictures.py).
 */
static void write_sizes(records *r, int rounds)
{
    static uint8_t picture[MOST], result[MOST], scratch[SCRATCH];
    for (int i = 0; i < rounds; i++) {
        const int height = side(&r->rng), width = side(&r->rng);
        vj_box box = {(int)vj_rng_below(&r->rng, height), (int)vj_rng_below(&r->rng, width), 0, 0};
        box.height = 1 + (int)vj_rng_below(&r->rng, height - box.top);
        box.width = 1 + (int)vj_rng_below(&r->rng, width - box.left);
        const int rows = i % 2 ? box.height : 1 + (int)vj_rng_below(&r->rng, 96);
        const int columns = 1 + (int)vj_rng_below(&r->rng, 96);
        const vj_resize resize = {
            i % 4 < 2 ? VJ_FILTER_BILINEAR : VJ_FILTER_BICUBIC, box, rows, columns, {0, 0, rows, columns}};
        draw(picture, height, width, &r->rng);
        assert_true(vj_picture_resize_scratch(&resize) <= SCRATCH);
        vj_picture_resize(result, picture, width, &resize, scratch);
        write_record(r, BILINEAR + (int)resize.filter, height, width, box, rows, columns, 0, picture, result);
    }
}

static void test_pillow(void **state)
{
    (void)state;
    char folder[VJ_PATH], path[VJ_PATH + 16], command[3 * VJ_PATH];
    const char *source = getenv("VJEPA_SOURCE");
    records r;
    if (!source) skip();
    make_folder(folder);
    snprintf(path, sizeof path, "%s/records", folder);
    r.file = fopen(path, "wb");
    assert_non_null(r.file);
    vj_rng_init(&r.rng, 5, VJ_RNG_TEST, 0);
    write_ops(&r, 20);
    write_sizes(&r, 120);
    assert_int_equal(fclose(r.file), 0);
    snprintf(command, sizeof command, "/usr/bin/python3 '%s/tests/unit/pictures.py' '%s'", source, path);
    const int code = WEXITSTATUS(system(command));
    remove_folder(folder);
    if (code == 77) {
        printf("skipped: python3 has no Pillow\n");
        skip();
    }
    assert_int_equal(code, 0);
}

/* ------------------------------------------------------------------------------------------------ properties */

static void test_nothing_changes(void **state)
{
    (void)state;
    static const struct {
        vj_picture_op op;
        double argument;
    } neutral[] = {{VJ_OP_ROTATE, 0},       {VJ_OP_ROTATE, 360}, {VJ_OP_POSTERIZE, 8}, {VJ_OP_SOLARIZE, 256},
                   {VJ_OP_SOLARIZE_ADD, 0}, {VJ_OP_COLOR, 1},    {VJ_OP_CONTRAST, 1},  {VJ_OP_BRIGHTNESS, 1},
                   {VJ_OP_SHARPNESS, 1},    {VJ_OP_SHEAR_X, 0},  {VJ_OP_SHEAR_Y, 0},   {VJ_OP_TRANSLATE_X, 0},
                   {VJ_OP_TRANSLATE_Y, 0}};
    static uint8_t picture[MOST], result[MOST];
    vj_rng rng;
    vj_rng_init(&rng, 6, VJ_RNG_TEST, 0);
    for (int height = 1; height < 20; height += 3)
        for (int width = 1; width < 20; width += 6) {
            draw(picture, height, width, &rng);
            for (size_t k = 0; k < sizeof neutral / sizeof *neutral; k++) {
                vj_picture_apply(result, picture, height, width, neutral[k].op, neutral[k].argument, fill,
                                 (vj_box){0, 0, height, width});
                assert_memory_equal(result, picture, 3 * (size_t)(height * width));
            }
        }
}

/* Check that a box of a result is that part of the whole result, and that no more of the input is read than reported.
 */
static void test_boxes(void **state)
{
    (void)state;
    static uint8_t picture[MOST], other[MOST], whole[MOST], part[MOST];
    vj_rng rng;
    vj_rng_init(&rng, 10, VJ_RNG_TEST, 0);
    for (int i = 0; i < 20 * VJ_PICTURE_OPS; i++) {
        const vj_picture_op op = (vj_picture_op)(i % VJ_PICTURE_OPS);
        const int height = side(&rng), width = side(&rng);
        const double argument = argument_of(op, &rng);
        vj_box b = {(int)vj_rng_below(&rng, height), (int)vj_rng_below(&rng, width), 0, 0};
        b.height = 1 + (int)vj_rng_below(&rng, height - b.top);
        b.width = 1 + (int)vj_rng_below(&rng, width - b.left);
        draw(picture, height, width, &rng);
        vj_picture_apply(whole, picture, height, width, op, argument, fill, (vj_box){0, 0, height, width});
        const vj_box needed = vj_picture_needs(op, b, height, width);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                const bool in = y >= needed.top && y < needed.top + needed.height && x >= needed.left &&
                                x < needed.left + needed.width;
                for (int c = 0; c < 3; c++)
                    other[3 * (y * width + x) + c] = in ? picture[3 * (y * width + x) + c] : (uint8_t)vj_rng_u32(&rng);
            }
        memset(part, 77, sizeof part);
        vj_picture_apply(part, other, height, width, op, argument, fill, b);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                const bool in = y >= b.top && y < b.top + b.height && x >= b.left && x < b.left + b.width;
                for (int k = 3 * (y * width + x); k < 3 * (y * width + x) + 3; k++)
                    assert_int_equal(part[k], in ? whole[k] : 77);
            }
    }
}

/* Check that a window of a resized picture is that part of the whole, with antialiasing and without. */
static void test_windows(void **state)
{
    (void)state;
    enum { HEIGHT = 37, WIDTH = 51, ROWS = 30, COLUMNS = 44 };
    static uint8_t picture[MOST], whole[2][MOST], part[2][MOST], scratch[SCRATCH];
    vj_rng rng;
    vj_rng_init(&rng, 7, VJ_RNG_TEST, 0);
    draw(picture, HEIGHT, WIDTH, &rng);
    vj_resize all = {VJ_FILTER_BICUBIC, {2, 3, HEIGHT - 4, WIDTH - 5}, ROWS, COLUMNS, {0, 0, ROWS, COLUMNS}};
    vj_picture_resize(whole[0], picture, WIDTH, &all, scratch);
    vj_picture_resize_plain(whole[1], picture, HEIGHT, WIDTH, ROWS, COLUMNS, all.window, scratch);
    for (int i = 0; i < 200; i++) {
        vj_box w = {(int)vj_rng_below(&rng, ROWS), (int)vj_rng_below(&rng, COLUMNS), 0, 0};
        w.height = 1 + (int)vj_rng_below(&rng, ROWS - w.top);
        w.width = 1 + (int)vj_rng_below(&rng, COLUMNS - w.left);
        all.window = w;
        assert_true(vj_picture_resize_scratch(&all) <= SCRATCH);
        vj_picture_resize(part[0], picture, WIDTH, &all, scratch);
        vj_picture_resize_plain(part[1], picture, HEIGHT, WIDTH, ROWS, COLUMNS, w, scratch);
        for (int k = 0; k < 2; k++)
            for (int y = 0; y < w.height; y++)
                assert_memory_equal(part[k] + 3 * y * w.width, whole[k] + 3 * ((w.top + y) * COLUMNS + w.left),
                                    3 * (size_t)w.width);
    }
}

/* Check resizing without antialiasing: the same size changes nothing, a linear picture stays linear, and no value
 * leaves the picture's range. */
static void test_plain(void **state)
{
    (void)state;
    static uint8_t picture[MOST], result[MOST], scratch[SCRATCH];
    vj_rng rng;
    vj_rng_init(&rng, 8, VJ_RNG_TEST, 0);
    draw(picture, 23, 31, &rng);
    vj_picture_resize_plain(result, picture, 23, 31, 23, 31, (vj_box){0, 0, 23, 31}, scratch);
    assert_memory_equal(result, picture, 3 * 23 * 31);
    for (int v = 0; v < 256; v++) {
        memset(picture, v, 3 * 23 * 31);
        vj_picture_resize_plain(result, picture, 23, 31, 40, 17, (vj_box){0, 0, 40, 17}, scratch);
        for (int i = 0; i < 3 * 40 * 17; i++) assert_int_equal(result[i], v);
    }
    for (int y = 0; y < 32; y++) /* values rise by 4 in each column; half the width has the means of two neighbours */
        for (int x = 0; x < 3 * 32; x++) picture[y * 3 * 32 + x] = (uint8_t)(4 * (x / 3));
    vj_picture_resize_plain(result, picture, 32, 32, 32, 16, (vj_box){0, 0, 32, 16}, scratch);
    for (int i = 0; i < 3 * 32 * 16; i++) assert_int_equal(result[i], 8 * (i / 3 % 16) + 2);
}

static void test_mirror(void **state)
{
    (void)state;
    static uint8_t picture[MOST], twice[MOST];
    vj_rng rng;
    vj_rng_init(&rng, 9, VJ_RNG_TEST, 0);
    for (int width = 1; width < 6; width++) {
        draw(picture, 4, width, &rng);
        memcpy(twice, picture, sizeof twice);
        vj_picture_mirror(twice, 4, width);
        for (int i = 0; i < 4 * width; i++)
            assert_memory_equal(twice + 3 * i, picture + 3 * (i / width * width + width - 1 - i % width), 3);
        vj_picture_mirror(twice, 4, width);
        assert_memory_equal(twice, picture, 3 * 4 * (size_t)width);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pillow),  cmocka_unit_test(test_nothing_changes), cmocka_unit_test(test_boxes),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_plain),           cmocka_unit_test(test_mirror),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
