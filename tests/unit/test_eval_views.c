/*
 * Tests the views of an evaluation: what is drawn, how often and in which range; that a draw depends on the key alone;
 * that applying a view equals its operations one after another; where test crops are; and the loader's items for any
 * number of threads.
 */

#include "../clips_fixture.h"
#include "feed/augment.h"
#include "feed/eval_set.h"
#include "feed/loader.h"
#include "model/input.h"

enum { SIDE = 12, VALUES = 3 * STORE_FRAMES * SIDE * SIDE };

static vj_eval_views views_of(int augment, double flip, double erasing)
{
    return (vj_eval_views){.training = true,
                           .augment = augment,
                           .flip = flip,
                           .erasing = erasing,
                           .views = 1,
                           .stored = STORE_FRAMES,
                           .frames = STORE_FRAMES,
                           .side = SIDE,
                           .short_side = SIDE * 256 / 224,
                           .mean = {0.485, 0.456, 0.406},
                           .std = {0.229, 0.224, 0.225},
                           .seed = 234};
}

/* Check that a count of n draws with probability p is within five standard deviations of its mean. */
static void check_count(int64_t count, int64_t n, double p, const char *what)
{
    const double want = (double)n * p, sd = sqrt(want * (1 - p));
    if (!(fabs((double)count - want) <= 5 * sd + 1e-9))
        fail_msg("%s: %lld of %lld, expected %.1f +- %.1f", what, (long long)count, (long long)n, want, sd);
}

/* ------------------------------------------------------------------------------------------------ draws */

enum { DRAWS = 20000 };

typedef struct {
    int64_t times, positive;
    double sum, squares, low, high; /* of the magnitudes of arguments */
} moments;

static void add(moments *m, double x)
{
    const double size = fabs(x);
    m->low = m->times == 0 || size < m->low ? size : m->low;
    m->high = size > m->high ? size : m->high;
    m->times++;
    m->positive += x > 0;
    m->sum += size;
    m->squares += size * size;
}

/* Check RandAugment: four of 15 operations, each applied with probability 1/2; levels are N(7, 1/4), so a rotation is
 * N(21, 2.25) degrees to either side. */
static void test_randaugment(void **state)
{
    (void)state;
    const vj_eval_views views = views_of(VJ_AUGMENT_RANDAUGMENT, 0, 0);
    moments of[VJ_PICTURE_OPS] = {{0}};
    int64_t ops[VJ_MAX_AUGMENTATIONS + 1] = {0};
    for (int64_t key = 0; key < DRAWS; key++) {
        vj_augmentation a;
        vj_augment_draw(&a, &views, (uint64_t)key, 100, 150);
        ops[a.ops]++;
        for (int i = 0; i < a.ops; i++) {
            const vj_picture_op op = a.op[i].op;
            const bool factor = op >= VJ_OP_COLOR && op <= VJ_OP_SHARPNESS;
            add(&of[op], factor ? a.op[i].argument - 1 : a.op[i].argument);
        }
        assert_int_equal(a.crop.flip, 0);
        assert_int_equal(a.erased.height, 0);
    }
    static const double choose[] = {1, 4, 6, 4, 1};
    for (int n = 0; n <= VJ_MAX_AUGMENTATIONS; n++) check_count(ops[n], DRAWS, choose[n] / 16, "number of operations");
    static const struct {
        vj_picture_op op;
        double scale; /* the argument of level 1 */
    } sized[] = {{VJ_OP_ROTATE, 3},        {VJ_OP_COLOR, 0.09},        {VJ_OP_CONTRAST, 0.09},
                 {VJ_OP_BRIGHTNESS, 0.09}, {VJ_OP_SHARPNESS, 0.09},    {VJ_OP_SHEAR_X, 0.03},
                 {VJ_OP_SHEAR_Y, 0.03},    {VJ_OP_TRANSLATE_X, 0.045}, {VJ_OP_TRANSLATE_Y, 0.045}};
    for (int op = 0; op < VJ_PICTURE_OPS; op++)
        check_count(of[op].times, (int64_t)DRAWS * 4, 0.5 / 15, vj_picture_op_name((vj_picture_op)op));
    for (size_t k = 0; k < sizeof sized / sizeof *sized; k++) {
        const moments *m = &of[sized[k].op];
        const double n = (double)m->times, mean = m->sum / n / sized[k].scale;
        const double sd = sqrt(m->squares / n / sized[k].scale / sized[k].scale - mean * mean);
        check_count(m->positive, m->times, 0.5, vj_picture_op_name(sized[k].op));
        assert_true(fabs(mean - 7) < 5 * 0.5 / sqrt(n) && fabs(sd - 0.5) < 5 * 0.5 / sqrt(2 * n));
    }
    /* 7 +- 2.5 covers everything: whole numbers of bits, thresholds and additions. */
    assert_true(of[VJ_OP_POSTERIZE].low >= 1 && of[VJ_OP_POSTERIZE].high <= 3);
    assert_true(of[VJ_OP_SOLARIZE].low >= 13 && of[VJ_OP_SOLARIZE].high <= 141);
    assert_true(of[VJ_OP_SOLARIZE_ADD].low >= 49 && of[VJ_OP_SOLARIZE_ADD].high <= 104);
}

/* Check AutoAugment against the probabilities of each operation, summed over the 25 pairs. */
static void test_autoaugment(void **state)
{
    (void)state;
    static const double expected[VJ_PICTURE_OPS] = {
        [VJ_OP_AUTOCONTRAST] = 1.2, [VJ_OP_EQUALIZE] = 11.2, [VJ_OP_INVERT] = 1.8, [VJ_OP_ROTATE] = 3.6,
        [VJ_OP_POSTERIZE] = 2.8,    [VJ_OP_SOLARIZE] = 3.6,  [VJ_OP_COLOR] = 3.8,  [VJ_OP_CONTRAST] = 2.0,
        [VJ_OP_SHARPNESS] = 0.4,    [VJ_OP_SHEAR_X] = 0.6};
    const vj_eval_views views = views_of(VJ_AUGMENT_AUTOAUGMENT, 0.5, 0);
    int64_t times[VJ_PICTURE_OPS] = {0}, ops = 0;
    double sum = 0, want = 0;
    for (int64_t key = 0; key < DRAWS; key++) {
        vj_augmentation a;
        vj_augment_draw(&a, &views, (uint64_t)key, 100, 150);
        assert_true(a.ops <= 2);
        for (int i = 0; i < a.ops; i++) {
            const double x = a.op[i].argument;
            times[a.op[i].op]++;
            ops++;
            if (a.op[i].op == VJ_OP_POSTERIZE) assert_true(x == 6 || x == 7);
            if (a.op[i].op == VJ_OP_SOLARIZE) assert_true(x == 128 || x == 102 || x == 76 || x == 204 || x == 179);
            if (a.op[i].op == VJ_OP_ROTATE) assert_true(fabs(x) == 27 || fabs(x) == 24 || fabs(x) == 9);
            if (a.op[i].op == VJ_OP_CONTRAST) assert_true(fabs(x - 1.54) < 1e-12);
            if (a.op[i].op == VJ_OP_ROTATE) sum += x;
        }
    }
    for (int op = 0; op < VJ_PICTURE_OPS; op++) {
        /* A pair may have an operation twice, so the variance is at most twice that of single draws. */
        const double n = DRAWS * expected[op] / 25;
        want += n;
        assert_true(fabs((double)times[op] - n) <= 5 * sqrt(2 * n));
    }
    assert_true(fabs((double)ops - want) < 5 * sqrt(2 * want));
    assert_true(fabs(sum) < 5 * 27 * sqrt(DRAWS * 3.6 / 25)); /* both signs are equally frequent */
}

/* Check crops, mirroring and erased boxes of 20000 keys: shares of the area are uniform, and erased boxes lie inside
 * the view and are smaller. */
static void test_boxes(void **state)
{
    (void)state;
    const vj_eval_views views = views_of(VJ_AUGMENT_NONE, 0.5, 0.25);
    int64_t flips = 0, erased = 0, small = 0;
    double area = 0;
    for (int64_t key = 0; key < DRAWS; key++) {
        vj_augmentation a;
        vj_augment_draw(&a, &views, (uint64_t)key, 300, 300);
        const double share = (double)a.crop.height * a.crop.width / (300.0 * 300.0);
        const double aspect = (double)a.crop.width / a.crop.height;
        assert_true(share > 0.075 && share <= 1 && aspect > 0.74 && aspect < 1.35);
        assert_true(a.crop.top >= 0 && a.crop.left >= 0 && a.crop.top + a.crop.height <= 300 &&
                    a.crop.left + a.crop.width <= 300);
        assert_int_equal(a.ops, 0);
        small += share < 0.5;
        flips += a.crop.flip;
        if (a.erased.height == 0) continue;
        erased++;
        area += (double)a.erased.height * a.erased.width / (SIDE * SIDE);
        assert_true(a.erased.height >= 1 && a.erased.height < SIDE && a.erased.width >= 1 && a.erased.width < SIDE);
        assert_true(a.erased.top >= 0 && a.erased.left >= 0 && a.erased.top + a.erased.height <= SIDE &&
                    a.erased.left + a.erased.width <= SIDE);
    }
    check_count(flips, DRAWS, 0.5, "mirrored");
    check_count(erased, DRAWS, 0.25, "erased");
    assert_true(small > DRAWS * 0.42 &&
                small < DRAWS * 0.60); /* expected 0.457 if none failed; large ones fail more often */
    assert_true(area / (double)erased > 0.14 &&
                area / (double)erased < 0.20); /* expected 0.177, without rounding and failures */
}

/* Check that the draw of a key does not depend on what else was drawn. */
static void test_key(void **state)
{
    (void)state;
    vj_eval_views views = views_of(VJ_AUGMENT_RANDAUGMENT, 0, 0.25);
    vj_augmentation a, b;
    char text[512], again[512];
    vj_augment_draw(&a, &views, 77, 100, 150);
    vj_augment_draw(&b, &views, 78, 100, 150);
    vj_augment_describe(&a, text, sizeof text);
    vj_augment_describe(&b, again, sizeof again);
    assert_string_not_equal(text, again);
    vj_augment_draw(&b, &views, 77, 100, 150);
    vj_augment_describe(&b, again, sizeof again);
    assert_string_equal(text, again);
    views.seed++;
    vj_augment_draw(&b, &views, 77, 100, 150);
    vj_augment_describe(&b, again, sizeof again);
    assert_string_not_equal(text, again);
    vj_augment_describe(&b, again, 9); /* the text is cut if it does not fit */
    assert_int_equal(strlen(again), 8);
    assert_true(vj_eval_key(0, 0, 1) != vj_eval_key(0, 1, 0) && vj_eval_key(1, 0, 0) != vj_eval_key(0, 1, 0));
    assert_true(vj_eval_key((1 << 20) - 1, 4095, UINT32_MAX) == UINT64_MAX);
}

/* ------------------------------------------------------------------------------------------------ pixels */

static vj_clips *open_files(const fixture *f, vj_codec_settings codec)
{
    char path[VJ_PATH];
    vj_clips *clips;
    join(path, f->folder, "views.clips");
    store_labels_of_files = true;
    assert_int_equal(pack_store_as(path, CLIPS, codec, MPI_COMM_SELF), VJ_OK);
    store_labels_of_files = false;
    assert_int_equal(open_store(&clips, path), VJ_OK);
    return clips;
}

/* Make a training view from its operations in the order of the definition, and compare. */
static void expect_training(const vj_eval_views *v, uint64_t key, const uint8_t *frames, int height, int width,
                            float *pixels)
{
    static uint8_t changed[STORE_LARGEST], picture[STORE_LARGEST];
    static const uint8_t grey[3] = {128, 128, 128};
    const size_t frame = 3 * (size_t)(height * width);
    vj_augmentation a;
    vj_augment_draw(&a, v, key, height, width);
    memcpy(changed, frames, STORE_FRAMES * frame);
    for (int t = 0; t < STORE_FRAMES; t++)
        for (int i = 0; i < a.ops; i++) {
            vj_picture_apply(picture, changed + t * frame, height, width, a.op[i].op, a.op[i].argument, grey,
                             (vj_box){0, 0, height, width});
            memcpy(changed + t * frame, picture, frame);
        }
    vj_host_crop(pixels, changed, &(vj_clip_view){0, height, width, a.crop}, STORE_FRAMES, SIDE, v->mean, v->std);
    vj_rng rng;
    vj_rng_init(&rng, v->seed, VJ_RNG_ERASE, key);
    for (int t = 0; t < 3 * STORE_FRAMES; t++)
        for (int y = 0; y < a.erased.height; y++)
            for (int x = 0; x < a.erased.width; x++)
                pixels[(t * SIDE + a.erased.top + y) * SIDE + a.erased.left + x] = (float)vj_rng_normal(&rng);
}

static void test_training_views(void **state)
{
    (void)state;
    static uint8_t frames[STORE_LARGEST];
    static float got[VALUES], want[VALUES];
    const vj_eval_views views = views_of(VJ_AUGMENT_RANDAUGMENT, 0.5, 0.5);
    const fixture *f = *state;
    vj_clips *clips = open_files(f, raw);
    vj_eval_room room;
    assert_int_equal(vj_eval_room_init(&room, &views, clips), VJ_OK);
    for (int i = 0; i < 60; i++) {
        int32_t labels[STORE_LABELS];
        vj_clip clip;
        store_clip(i % CLIPS, &clip, labels, frames);
        const vj_eval_item item = {.clip = i % CLIPS, .key = (uint64_t)i};
        vj_eval_show(&views, &room, &item, frames, clip.height, clip.width, got);
        expect_training(&views, item.key, frames, clip.height, clip.width, want);
        assert_memory_equal(got, want, sizeof got);
    }
    vj_eval_room_release(&room);
    vj_clips_close(clips);
}

/*
 * Check where a test view is in the frame. The values of the picture are linear in x and y, so the value of a pixel
 * says where it is from, up to a rounding error of at most 1.
 */
static void check_place(vj_eval_room *room, int views, int view, int height, int width, double top, double left,
                        double scale_y, double scale_x, int short_side)
{
    static uint8_t frames[STORE_LARGEST];
    static float pixels[VALUES];
    vj_eval_views v = views_of(VJ_AUGMENT_NONE, 0, 0);
    v.training = false;
    v.views = views;
    v.short_side = short_side;
    for (int c = 0; c < 3; c++)
        v.mean[c] = 0, v.std[c] = 1.0 / 255; /* the normalised values are the bytes themselves */
    for (int t = 0; t < STORE_FRAMES; t++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                uint8_t *rgb = frames + 3 * ((t * height + y) * width + x);
                rgb[0] = (uint8_t)(7 * x), rgb[1] = (uint8_t)(7 * y), rgb[2] = (uint8_t)(10 * t);
            }
    vj_eval_show(&v, room, &(vj_eval_item){.view = view}, frames, height, width, pixels);
    for (int t = 0; t < STORE_FRAMES; t++)
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                const double at_x = fmin(width - 1, fmax(0, (left + x + 0.5) * scale_x - 0.5));
                const double at_y = fmin(height - 1, fmax(0, (top + y + 0.5) * scale_y - 0.5));
                const float *value = pixels + (t * SIDE + y) * SIDE + x;
                const int64_t plane = (int64_t)STORE_FRAMES * SIDE * SIDE;
                assert_true(fabs(value[0] - 7 * at_x) <= 1.01 && fabs(value[plane] - 7 * at_y) <= 1.01);
                assert_true(fabs(value[2 * plane] - 10 * t) < 1e-3);
            }
}

static void test_places(void **state)
{
    const fixture *f = *state;
    const vj_eval_views views = views_of(VJ_AUGMENT_NONE, 0, 0);
    vj_clips *clips = open_files(f, raw);
    vj_eval_room room;
    assert_int_equal(vj_eval_room_init(&room, &views, clips), VJ_OK);
    /* 24 x 32: the short side to 12, the long one to 16; d = 2. Standing frames alike. */
    for (int v = 0; v < 3; v++) {
        check_place(&room, 3, v, 24, 32, 0, 2 * v, 24.0 / 12, 32.0 / 16, 13);
        check_place(&room, 3, v, 32, 24, 2 * v, 0, 32.0 / 16, 24.0 / 12, 13);
    }
    /* 25 x 31: long side int(12 * 31 / 25) = 14; d = 1. */
    for (int v = 0; v < 3; v++) check_place(&room, 3, v, 24, 29, 0, v, 24.0 / 12, 29.0 / 14, 13);
    /* The centre: the short side to int(12 * 256 / 224) = 13, the long one to 17; offsets 0.5 and 2.5 to even. */
    check_place(&room, 1, 0, 24, 32, 0, 2, 24.0 / 13, 32.0 / 17, 13);
    check_place(&room, 1, 0, 32, 24, 2, 0, 32.0 / 17, 24.0 / 13, 13);
    /* The same with all of the short side (evaluate.short_side 12): the long one to 16, offset 2. */
    check_place(&room, 1, 0, 24, 32, 0, 2, 24.0 / 12, 32.0 / 16, 12);
    check_place(&room, 1, 0, 32, 24, 2, 0, 32.0 / 16, 24.0 / 12, 12);
    vj_eval_room_release(&room);
    vj_clips_close(clips);
}

/* Check images, one stored frame that is shown as five: test views against Pillow's resizing, training views against
 * their operations. */
static void test_images(void **state)
{
    (void)state;
    enum { HEIGHT = 24, WIDTH = 32, SHOWN = 5, PLANE = SIDE * SIDE };
    static uint8_t frame[STORE_LARGEST], view[2][3 * SIDE * SIDE], scratch[1 << 16];
    static float got[3 * SHOWN * SIDE * SIDE];
    const fixture *f = *state;
    vj_clips *clips = open_files(f, raw); /* only the sizes of buffers are taken from it */
    vj_eval_views v = views_of(VJ_AUGMENT_AUTOAUGMENT, 0.5, 0);
    v.image = true;
    v.stored = 1;
    v.frames = SHOWN;
    for (int c = 0; c < 3; c++) v.mean[c] = 0.5, v.std[c] = 1.0 / 255;
    vj_eval_room room;
    int32_t labels[STORE_LABELS];
    vj_clip clip;
    store_clip(0, &clip, labels, frame);
    for (int64_t key = -1; key < 40; key++) { /* -1 stands for the test view */
        v.training = key >= 0;
        vj_resize r = {VJ_FILTER_BILINEAR, {0, 0, HEIGHT, WIDTH}, 13, 17, {0, 2, SIDE, SIDE}};
        vj_augmentation a = {0};
        if (v.training) {
            vj_augment_draw(&a, &v, (uint64_t)key, HEIGHT, WIDTH);
            r = (vj_resize){VJ_FILTER_BICUBIC,
                            {a.crop.top, a.crop.left, a.crop.height, a.crop.width},
                            SIDE,
                            SIDE,
                            {0, 0, SIDE, SIDE}};
        }
        assert_true(vj_picture_resize_scratch(&r) <= (int64_t)sizeof scratch);
        vj_picture_resize(view[0], frame, WIDTH, &r, scratch);
        if (a.crop.flip) vj_picture_mirror(view[0], SIDE, SIDE);
        for (int i = 0; i < a.ops; i++) {
            vj_picture_apply(view[1], view[0], SIDE, SIDE, a.op[i].op, a.op[i].argument,
                             (const uint8_t[3]){128, 128, 128}, /* 0.5 * 255, rounded to even */
                             (vj_box){0, 0, SIDE, SIDE});
            memcpy(view[0], view[1], sizeof view[0]);
        }
        assert_int_equal(vj_eval_room_init(&room, &v, clips), VJ_OK);
        vj_eval_show(&v, &room, &(vj_eval_item){.key = (uint64_t)key}, frame, HEIGHT, WIDTH, got);
        vj_eval_room_release(&room);
        for (int c = 0; c < 3; c++)
            for (int t = 0; t < SHOWN; t++)
                for (int i = 0; i < PLANE; i++)
                    assert_true(fabs(got[(c * SHOWN + t) * PLANE + i] - (view[0][3 * i + c] - 127.5)) < 1e-4);
    }
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ settings */

static void test_settings(void **state)
{
    const fixture *f = *state;
    vj_clips *clips;
    vj_eval_views v;
    static vj_config config;
    char text[256];
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    vj_config_defaults(&config);
    assert_int_equal(vj_eval_views_init(&v, &config, clips, true),
                     VJ_ERR_USAGE); /* data.frames is 16, but the store has 4 */
    assert_int_equal(vj_config_set(&config, "data.frames=4"), VJ_OK);
    assert_int_equal(vj_eval_views_init(&v, &config, clips, true), VJ_OK);
    vj_eval_views_describe(&v, text, sizeof text);
    assert_string_equal(text, "4 frames of 224 x 224, randaugment, random crop, flip 0, erasing 0.25");
    assert_int_equal(vj_config_set(&config, "evaluate.preset=paper"), VJ_OK);
    assert_int_equal(vj_eval_views_init(&v, &config, clips, true), VJ_OK);
    vj_eval_views_describe(&v, text, sizeof text);
    assert_string_equal(text, "4 frames of 224 x 224, random crop, flip 0.5, erasing 0");
    assert_int_equal(vj_config_set(&config, "evaluate.views=3"), VJ_OK);
    assert_int_equal(vj_eval_views_init(&v, &config, clips, false), VJ_OK);
    vj_eval_views_describe(&v, text, sizeof text);
    assert_string_equal(text, "4 frames of 224 x 224, 3 crops");
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ the loader */

/* Check that views are uploaded as pixels, although the device could compute pixels from frames. */
static void check_upload(vj_backend *be, const vj_batch *batch, int64_t j, const vj_config *config)
{
    static float back[VALUES];
    const vj_shape shape = {.channels = 3, .frames = STORE_FRAMES, .height = SIDE, .width_px = SIDE};
    const vj_input all = {batch->pixels, batch->frames, batch->views, config->data.mean, config->data.std};
    const vj_input input = vj_input_from(&all, j, &shape);
    vj_frame_room none = {0};
    float *device = vj_device_alloc(be, sizeof back);
    vj_input_upload(&input, &none, be, device, 1, &shape);
    vj_download(be, back, device, sizeof back);
    assert_int_equal(vj_sync(be), VJ_OK);
    assert_memory_equal(back, batch->pixels + j * VALUES, sizeof back);
    vj_device_free(be, device);
}

/* Check that every item is what vj_eval_show() makes of its clip, for any number of threads, also when a batch ends
 * between the views of a clip. */
static void check_items(const vj_clips *clips, const vj_eval_views *views, const vj_eval_item *items, int64_t count,
                        int64_t threads, int64_t batch_size, vj_backend *be)
{
    static uint8_t frames[STORE_LARGEST];
    static float want[VALUES];
    const vj_config config = loader_config(batch_size, threads);
    const vj_loader_plan plan = {.items = items,
                                 .shown = views,
                                 .be = be,
                                 .batch = batch_size,
                                 .last = batch_size,
                                 .stop = (count + batch_size - 1) / batch_size,
                                 .samples = count};
    vj_loader *loader;
    vj_batch batch;
    vj_eval_room room;
    double wait_s;
    assert_int_equal(vj_eval_room_init(&room, views, clips), VJ_OK);
    assert_int_equal(vj_loader_start(&loader, clips, &config, &plan), VJ_OK);
    int64_t next = 0;
    for (int64_t step = 0; step < plan.stop; step++) {
        assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
        assert_int_equal(batch.first, next);
        for (int64_t j = 0; j < batch.count; j++, next++) {
            int height, width;
            assert_int_equal(batch.clips[j], items[next].clip);
            assert_int_equal(batch.source[j], vj_clips_source(clips, items[next].clip));
            assert_int_equal(read_clip(clips, items[next].clip, frames), VJ_OK);
            vj_clips_geometry(clips, items[next].clip, &height, &width);
            vj_eval_show(views, &room, &items[next], frames, height, width, want);
            assert_memory_equal(batch.pixels + j * VALUES, want, sizeof want);
            if (be) check_upload(be, &batch, j, &config);
        }
    }
    assert_int_equal(next, count);
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_ERR_STATE);
    vj_loader_stop(loader);
    vj_eval_room_release(&room);
}

static void test_loader_items(void **state)
{
    enum { SEGMENTS = 2, CROPS = 3, SAMPLES = CLIPS / STORE_WINDOWS };
    static const vj_codec_settings jpeg = {VJ_CODEC_JPEG, 90, 420};
    const fixture *f = *state;
    vj_eval_item items[SAMPLES * SEGMENTS * CROPS];
    vj_config config = loader_config(4, 1);
    vj_eval_set set;
    config.evaluate.segments = SEGMENTS;
    config.evaluate.across_segments = 1;
    vj_clips *clips = open_files(f, jpeg);
    assert_int_equal(vj_eval_set_open(&set, clips, &config, true), VJ_OK);
    vj_eval_views views = views_of(VJ_AUGMENT_RANDAUGMENT, 0.5, 0.5);
    for (int64_t s = 0; s < SAMPLES; s++) vj_eval_set_items(&set, s, 3, 1, items + s * SEGMENTS);
    for (int64_t threads = 1; threads <= 3; threads++)
        check_items(clips, &views, items, SAMPLES * SEGMENTS, threads, 5, NULL);
    views.training = false;
    views.views = CROPS;
    for (int64_t s = 0; s < SAMPLES; s++) vj_eval_set_items(&set, s, 0, CROPS, items + s * SEGMENTS * CROPS);
    for (int64_t threads = 1; threads <= 3; threads++)
        check_items(clips, &views, items, SAMPLES * SEGMENTS * CROPS, threads, 4 * threads, NULL);
    check_items(clips, &views, items, 1, 2, 7, NULL);
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, "strict", VJ_FP32, 1), VJ_OK);
    check_items(clips, &views, items, 9, 2, 4, be);
    vj_backend_close(be);
    vj_eval_set_release(&set);
    vj_clips_close(clips);
}

static void expect_marked(vj_loader *loader, bool damaged, const char *what)
{
    static const float nothing[VALUES];
    vj_batch batch;
    double wait_s;
    print_message("%s\n", what);
    assert_int_equal(vj_loader_next(loader, &batch, &wait_s), VJ_OK);
    assert_int_equal(batch.damaged[0], damaged);
    assert_int_equal(memcmp(batch.pixels, nothing, sizeof nothing) == 0, damaged);
}

/* Check that a damaged clip is marked in every view and not replaced by another, and that a clip known to be damaged is
 * not read. */
static void test_damaged(void **state)
{
    const fixture *f = *state;
    static const vj_eval_item items[] = {{.clip = 1}, {.clip = 2}, {.clip = 2}, {.clip = 1}, {.clip = 3}};
    static const uint8_t known[CLIPS] = {[3] = 1};
    const vj_eval_views views = views_of(VJ_AUGMENT_NONE, 0, 0);
    const vj_config config = loader_config(2, 2);
    const vj_loader_plan plan = {
        .items = items, .shown = &views, .damaged = known, .batch = 1, .last = 1, .stop = 5, .samples = 5};
    vj_clips *clips = open_files(f, raw);
    const vj_clips_place place = vj_clips_find(clips, 2);
    FILE *shard = fopen(place.path, "r+b");
    vj_loader *loader;
    assert_non_null(shard);
    assert_int_equal(fseek(shard, (long)place.offset + 7, SEEK_SET), 0);
    const int byte = fgetc(shard);
    assert_int_equal(fseek(shard, (long)place.offset + 7, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1, shard), byte ^ 1);
    assert_int_equal(fclose(shard), 0);
    assert_int_equal(vj_loader_start(&loader, clips, &config, &plan), VJ_OK);
    expect_marked(loader, false, "whole");
    expect_marked(loader, true, "damaged");
    expect_marked(loader, true, "damaged, another view");
    expect_marked(loader, false, "whole again");
    expect_marked(loader, true, "known to be damaged");
    vj_loader_stop(loader);
    vj_clips_close(clips);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_store, remove_store)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_randaugment),
        cmocka_unit_test(test_autoaugment),
        cmocka_unit_test(test_boxes),
        cmocka_unit_test(test_key),
        TEST(test_training_views),
        TEST(test_places),
        TEST(test_images),
        TEST(test_settings),
        TEST(test_loader_items),
        TEST(test_damaged),
    };
    MPI_Init(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
