/* Tests the prediction loss for several exponents and the spread penalty, values and gradients, against double. */
#include "kernel_test.h"

/* ------------------------------------------------------------------------------------------------ prediction */

enum { ROWS = 21, TARGETS = 9, GROUPS = 3 };
static const int32_t target_row[ROWS] = {0, 8, 3, 3, 1, 7, 0, 5, 5, 4, 2, 8, 6, 3, 1, 1, 0, 2, 7, 6, 5};
static const int32_t group_of[ROWS] = {0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0, 1, 1, 2, 2, 0, 0, 1, 2, 2};

static void check_exponent(vj_backend *be, int D, double exponent)
{
    array pred = array_random(be, ROWS * D, 1, 1), target = array_random(be, TARGETS * D, 1, 2);
    array weight = array_random(be, ROWS, 0.1, 3), dpred = array_empty(be, ROWS * D);
    pred.host[0] = target.host[0]; /* row 0 is compared with target 0, so this difference is exactly zero */
    push(be, &pred);
    int32_t *rows = ints_on_device(be, target_row, ROWS), *group = ints_on_device(be, group_of, ROWS);
    double *loss = vj_device_alloc(be, sizeof(double) * GROUPS), start[GROUPS] = {1, 2, 3}, got[GROUPS];
    double want[GROUPS] = {1, 2, 3}, *want_d = doubles(ROWS * D);
    for (int i = 0; i < ROWS * D; i++) {
        double difference = (double)pred.host[i] - target.host[target_row[i / D] * D + i % D], w = weight.host[i / D];
        want[group_of[i / D]] += w * pow(fabs(difference), exponent) / exponent;
        want_d[i] = difference == 0 ? 0 : copysign(w * pow(fabs(difference), exponent - 1), w * difference);
    }
    for (int with_gradient = 1; with_gradient >= 0; with_gradient--) {
        vj_upload(be, loss, start, sizeof start);
        vj_prediction_loss(be, loss, with_gradient ? dpred.device : NULL, pred.device, target.device, rows,
                           weight.device, group, ROWS, D, exponent);
        vj_download(be, got, loss, sizeof got);
        for (int i = 0; i < GROUPS; i++) assert_true(fabs(got[i] - want[i]) < 1e-6 * (1 + fabs(want[i])));
    }
    pull(be, &dpred);
    assert_close("dpred", dpred.host, want_d, ROWS * D, 1e-9, 1e-6);
    assert_true(dpred.host[0] == 0);

    pred.host[D] = NAN; /* row 1, group 0 */
    push(be, &pred);
    vj_prediction_loss(be, loss, dpred.device, pred.device, target.device, rows, weight.device, group, ROWS, D,
                       exponent);
    vj_download(be, got, loss, sizeof got);
    pull(be, &dpred);
    assert_true(isnan(got[0]) && isfinite(got[1]) && isfinite(got[2]) && isnan(dpred.host[D]));

    drop(be, &pred), drop(be, &target), drop(be, &weight), drop(be, &dpred);
    vj_device_free(be, rows), vj_device_free(be, group), vj_device_free(be, loss);
    free(want_d);
}

static void check_prediction(vj_backend *be, bool rounded)
{
    (void)rounded;
    const int widths[] = {1, 33, 200};
    for (int i = 0; i < 3; i++) {
        check_exponent(be, widths[i], 1);
        check_exponent(be, widths[i], 2);
        check_exponent(be, widths[i], 1.5);
    }
}

static void prediction(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_prediction);
}

/* ------------------------------------------------------------------------------------------------ spread */

typedef struct {
    int masks, B, D;
    const int32_t *offset;
    double scale;
} spread;

/* Compute the penalty, and its gradient unless `gradient` is NULL. */
static double penalty_of(double *gradient, const double *z, const spread *s)
{
    double sum = 0;
    for (int b = 0; b < s->B; b++)
        for (int d = 0; d < s->D; d++) {
            double average = 0, mean[8], root[8];
            for (int i = 0; i < s->masks; i++) {
                int first = s->offset[i * s->B + b], end = s->offset[i * s->B + b + 1];
                double variance = 0;
                mean[i] = 0;
                for (int r = first; r < end; r++) mean[i] += z[r * s->D + d] / (end - first);
                for (int r = first; r < end; r++) variance += pow(z[r * s->D + d] - mean[i], 2) / (end - first - 1);
                root[i] = sqrt(variance + 1e-4);
                average += root[i] / s->masks;
            }
            if (average >= 1) continue;
            sum += s->scale * (1 - average);
            for (int i = 0; gradient && i < s->masks; i++) {
                int first = s->offset[i * s->B + b], end = s->offset[i * s->B + b + 1];
                for (int r = first; r < end; r++)
                    gradient[r * s->D + d] =
                        -s->scale / s->masks * (z[r * s->D + d] - mean[i]) / (root[i] * (end - first - 1));
            }
        }
    return sum;
}

static void penalty_reference(double *out, const double *in, const void *context)
{
    *out = penalty_of(NULL, in, context);
}

enum { MASKS = 2, CLIPS = 3, WIDTH = 19, TOKENS = 37 };
static const int32_t spread_offset[] = {0, 5, 12, 20, 24, 31, TOKENS};

static void check_spread(vj_backend *be, bool rounded)
{
    (void)rounded;
    spread s = {MASKS, CLIPS, WIDTH, spread_offset, 0.25};
    array z = array_random(be, TOKENS * WIDTH, 0.9, 1), dz = array_of(be, TOKENS * WIDTH, 0.5f);
    int32_t *offset = ints_on_device(be, spread_offset, MASKS * CLIPS + 1);
    double *in = widened(z.host, z.n), *want = doubles(z.n), got = 2, *penalty = vj_device_alloc(be, sizeof got);
    double want_penalty = 2 + penalty_of(want, in, &s);
    for (int64_t i = 0; i < z.n; i++) want[i] += 0.5;
    vj_upload(be, penalty, &got, sizeof got);
    vj_spread_penalty(be, penalty, dz.device, z.device, offset, MASKS, CLIPS, WIDTH, s.scale);
    vj_download(be, &got, penalty, sizeof got);
    assert_true(fabs(got - want_penalty) < 1e-9);
    pull(be, &dz);
    assert_close("dz", dz.host, want, z.n, 1e-7, 0);
    vj_spread_penalty(be, penalty, NULL, z.device, offset, MASKS, CLIPS, WIDTH, s.scale);
    vj_download(be, &got, penalty, sizeof got);
    assert_true(fabs(got - (2 * want_penalty - 2)) < 1e-9);
    drop(be, &z), drop(be, &dz);
    vj_device_free(be, offset), vj_device_free(be, penalty);
    free(in), free(want);
}

static void spread_penalty(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_spread);
}

static void reference_backward(void **state)
{
    (void)state;
    spread s = {MASKS, CLIPS, WIDTH, spread_offset, 0.25};
    double z[TOKENS * WIDTH], gradient[TOKENS * WIDTH] = {0}, one = 1;
    vj_rng rng;
    vj_rng_init(&rng, 4, VJ_RNG_TEST, 1);
    for (int i = 0; i < TOKENS * WIDTH; i++) z[i] = 0.9 * vj_rng_normal(&rng);
    assert_true(penalty_of(gradient, z, &s) > 0);
    assert_gradient("dz", penalty_reference, &s, z, TOKENS * WIDTH, 1, &one, gradient, 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(prediction), cmocka_unit_test(reference_backward),
                                       cmocka_unit_test(spread_penalty)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
