/*
 * Tests layers of a frozen encoder: the output kept after block l is that of an encoder of l blocks with the same
 * weights, on memory that the host can and cannot access, in both precisions; and keeping layers changes no feature.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

enum { CLIPS = 3, DEPTH = 3, FRAMES = 4, SIDE = 24, WIDTH = 24 };

static const vj_shape shape = {.channels = 3,
                               .frames = FRAMES,
                               .height = SIDE,
                               .width_px = SIDE,
                               .tubelet = 2,
                               .patch = 8,
                               .width = WIDTH,
                               .depth = DEPTH,
                               .heads = 3,
                               .hidden = 96,
                               .eps = VJ_SHAPE_EPS,
                               .uniform_power = 1,
                               .objective = VJ_OBJECTIVE_FEATURE};

static float pixels[CLIPS * 3 * FRAMES * SIDE * SIDE];

/* Run `count` clips through an encoder. */
static void encode(vj_encoder *e, int64_t count)
{
    vj_encoder_run(e, vj_encoder_upload(e, &(vj_input){.pixels = pixels}, count), count);
}

/* Open an encoder with the first `depth` blocks of `whole` and their weights. */
static vj_encoder *open_shallow(const vj_encoder *whole, int depth, vj_backend *be)
{
    vj_shape shallow = shape;
    vj_encoder *e;
    shallow.depth = depth;
    assert_int_equal(vj_encoder_open(&e, &shallow, CLIPS, be, NULL), VJ_OK);
    for (int i = 0; i < e->net.params.count; i++) {
        const vj_param *to = &e->net.params.item[i];
        int j = 0;
        while (strcmp(whole->net.params.item[j].name, to->name) != 0) j++;
        vj_copy(be, e->weights + to->offset, whole->weights + whole->net.params.item[j].offset, to->count);
    }
    return e;
}

/* Check that each row of the features is (x - mean) / sqrt(variance + eps) of the stream, as the final norm computes
 * it: its weights are still one and its biases zero. */
static void check_norm(const float *features, const float *stream, int64_t rows, double tolerance)
{
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (int d = 0; d < WIDTH; d++) mean += stream[r * WIDTH + d] / (double)WIDTH;
        for (int d = 0; d < WIDTH; d++) variance += pow(stream[r * WIDTH + d] - mean, 2) / (double)WIDTH;
        for (int d = 0; d < WIDTH; d++) {
            const double want = (stream[r * WIDTH + d] - mean) / sqrt(variance + shape.eps);
            if (!(fabs(features[r * WIDTH + d] - want) <= tolerance))
                fail_msg("row %d, %d: %g, expected %g", (int)r, d, (double)features[r * WIDTH + d], want);
        }
    }
}

static void check_layers(const char *name, vj_precision precision)
{
    vj_backend *be;
    vj_encoder *whole, *plain;
    assert_int_equal(vj_backend_open(&be, name, precision, 1), VJ_OK);
    assert_int_equal(vj_encoder_open(&whole, &shape, CLIPS, be, NULL), VJ_OK);
    vj_encoder_init_weights(whole, VJ_INIT_FAN_IN, 5);
    plain = open_shallow(whole, DEPTH, be);
    const int64_t rows = 2 * whole->net.tokens, n = rows * WIDTH; /* two clips, fewer than the encoder has room for */
    float *kept = vj_calloc(n, sizeof *kept), *want = vj_calloc(n, sizeof *want), *other = vj_calloc(n, sizeof *other);
    for (int l = 1; l <= DEPTH; l++) assert_int_equal(vj_encoder_keep_layer(whole, l), VJ_OK);
    assert_int_equal(vj_encoder_keep_layer(whole, 1), VJ_OK); /* a second call changes nothing */
    encode(whole, 2);
    encode(plain, 2);
    assert_int_equal(vj_encoder_download(whole, kept, 2), VJ_OK);
    assert_int_equal(vj_encoder_download(plain, want, 2), VJ_OK);
    assert_memory_equal(kept, want, (size_t)n * sizeof *kept); /* keeping layers changes nothing */
    for (int l = 1; l <= DEPTH; l++) {
        vj_encoder *shallow = open_shallow(whole, l, be);
        assert_int_equal(vj_encoder_keep_layer(shallow, l), VJ_OK);
        encode(shallow, 2);
        assert_int_equal(vj_encoder_download_layer(shallow, l, want, 2), VJ_OK);
        assert_int_equal(vj_encoder_download_layer(whole, l, kept, 2), VJ_OK);
        assert_memory_equal(kept, want, (size_t)n * sizeof *kept);
        if (l > 1) assert_memory_not_equal(kept, other, (size_t)n * sizeof *kept); /* each layer has its own buffer */
        memcpy(other, kept, (size_t)n * sizeof *kept);
        assert_int_equal(vj_encoder_download(shallow, want, 2), VJ_OK);
        check_norm(want, kept, rows, 1e-4); /* fp32 sums of 24 values, divided by a deviation of about 1 */
        vj_encoder_close(shallow);
    }
    free(kept), free(want), free(other);
    vj_encoder_close(plain);
    vj_encoder_close(whole);
    vj_backend_close(be);
}

static void layers_are_those_of_shallower_encoders(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pixels / sizeof pixels[0]; i++) pixels[i] = (float)(i % 17) * 0.2f - 1.5f;
    for (int precision = 0; precision < 2; precision++) {
        check_layers("cpu", precision ? VJ_BF16 : VJ_FP32);
        check_layers("strict", precision ? VJ_BF16 : VJ_FP32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers_are_those_of_shallower_encoders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
