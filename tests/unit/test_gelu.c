/* Tests GELU and its gradient against erfc in double: arguments of all magnitudes, the extremes, and NaN. */
#include "kernel_test.h"

static double gelu_sum_at(double x, double dy)
{
    return dy * gelu_of(x);
}

static void check_values(vj_backend *be, bool rounded)
{
    (void)rounded;
    const int64_t sizes[] = {1, 7, 33, 129 * 384 + 5};
    for (int s = 0; s < 4; s++) {
        int64_t n = sizes[s];
        array x = array_random(be, n, 2.5, 1), dy = array_random(be, n, 1, 2), y = array_empty(be, n);
        for (int64_t i = 0; n > 100 && i < 20000; i++) x.host[i] = (float)(-12 + 24.0 * (double)i / 20000);
        push(be, &x);
        double *want = doubles(n);
        vj_gelu_forward(be, y.device, x.device, n);
        pull(be, &y);
        for (int64_t i = 0; i < n; i++) want[i] = gelu_of(x.host[i]);
        assert_close("gelu", y.host, want, n, 1e-6, 0); /* the error that kernels.h permits */
        vj_gelu_backward(be, y.device, dy.device, x.device, n);
        pull(be, &y);
        for (int64_t i = 0; i < n; i++) want[i] = dy.host[i] * gelu_slope_of(x.host[i]);
        assert_close("gelu'", y.host, want, n, 2e-6, 0); /* the same, times |dy| of up to 5 */
        vj_gelu_backward(be, dy.device, dy.device, x.device, n);
        pull(be, &dy);
        assert_close("gelu' in place", dy.host, want, n, 2e-6, 0);
        vj_gelu_forward(be, x.device, x.device, n);
        drop(be, &x), drop(be, &dy), drop(be, &y);
        free(want);
    }
}

static void values(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_values);
}

static void check_ends(vj_backend *be, bool rounded)
{
    (void)rounded;
    uint32_t odd_nan = 0x7f800001; /* a NaN that becomes infinity if its mantissa is cut */
    array x = array_of(be, 8, 0), y = array_empty(be, 8), one = array_of(be, 8, 1);
    const float ends[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, 0, 40, -40};
    memcpy(x.host, ends, sizeof ends);
    push(be, &x);
    vj_gelu_forward(be, y.device, x.device, 8);
    pull(be, &y);
    assert_true(isnan(y.host[0]) && y.host[1] == INFINITY && !isfinite(y.host[2]));
    assert_true(y.host[3] == 1e30f && fabsf(y.host[4]) < 1 && y.host[5] == 0 && y.host[6] == 40);
    assert_true(fabsf(y.host[7]) < 1e-30f);
    vj_gelu_backward(be, y.device, one.device, x.device, 8);
    pull(be, &y);
    assert_true(isnan(y.host[0]) && !isfinite(y.host[1]) && !isfinite(y.host[2]));
    assert_true(y.host[6] == 1 && fabsf(y.host[7]) < 1e-30f);
    memcpy(&x.host[0], &odd_nan, 4);
    push(be, &x);
    vj_gelu_forward(be, y.device, x.device, 8);
    pull(be, &y);
    assert_true(isnan(y.host[0]));
    drop(be, &x), drop(be, &y), drop(be, &one);
}

static void ends(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_ends);
}

static void reference_slope(void **state)
{
    (void)state;
    for (double x = -6; x <= 6; x += 0.37) {
        double h = 1e-5, difference = (gelu_sum_at(x + h, 2) - gelu_sum_at(x - h, 2)) / (2 * h);
        assert_true(fabs(difference - 2 * gelu_slope_of(x)) < 1e-8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reference_slope), cmocka_unit_test(values),
                                       cmocka_unit_test(ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
