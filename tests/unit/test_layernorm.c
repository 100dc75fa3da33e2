/* Tests layer normalisation against the formula in double: odd widths, rows with a small spread around a large mean. */
#include "kernel_test.h"

typedef struct {
    int R, D;
    const double *weight, *bias; /* NULL: none */
    double eps;
} norm;

static void forward(double *y, const double *x, const void *context)
{
    const norm *m = context;
    for (int r = 0; r < m->R; r++) {
        const double *row = x + (int64_t)r * m->D;
        double mean = 0, variance = 0;
        for (int d = 0; d < m->D; d++) mean += row[d] / m->D;
        for (int d = 0; d < m->D; d++) variance += (row[d] - mean) * (row[d] - mean) / m->D;
        double rstd = 1 / sqrt(variance + m->eps);
        for (int d = 0; d < m->D; d++)
            y[(int64_t)r * m->D + d] =
                (row[d] - mean) * rstd * (m->weight ? m->weight[d] : 1) + (m->bias ? m->bias[d] : 0);
    }
}

static void backward(double *dx, double *dweight, double *dbias, const double *dy, const double *x, const norm *m)
{
    for (int d = 0; d < m->D; d++) dweight[d] = dbias[d] = 0;
    for (int r = 0; r < m->R; r++) {
        const double *row = x + (int64_t)r * m->D, *g = dy + (int64_t)r * m->D;
        double mean = 0, variance = 0, sum = 0, product = 0;
        for (int d = 0; d < m->D; d++) mean += row[d] / m->D;
        for (int d = 0; d < m->D; d++) variance += (row[d] - mean) * (row[d] - mean) / m->D;
        double rstd = 1 / sqrt(variance + m->eps);
        for (int d = 0; d < m->D; d++) {
            double hat = (row[d] - mean) * rstd, gw = g[d] * (m->weight ? m->weight[d] : 1);
            sum += gw / m->D;
            product += gw * hat / m->D;
            dweight[d] += g[d] * hat;
            dbias[d] += g[d];
        }
        for (int d = 0; d < m->D; d++) {
            double hat = (row[d] - mean) * rstd, gw = g[d] * (m->weight ? m->weight[d] : 1);
            dx[(int64_t)r * m->D + d] = rstd * (gw - sum - hat * product);
        }
    }
}

/* Return the largest magnitude, relative to which gradients are compared. */
static double largest(const double *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

/* Check that dy given as bf16 has the results of the same values given as floats. */
static void check_given_as_bf16(vj_backend *be, const array *x, const array *mean, const array *rstd,
                                const float *weight, int R, int D)
{
    const int64_t n = (int64_t)R * D;
    stored dy[2] = {stored_random(be, VJ_TYPE_BF16, n, 1, 4), stored_empty(be, VJ_TYPE_F32, n)};
    memcpy(dy[1].host, dy[0].host, (size_t)n * 4);
    push_stored(be, &dy[1]);
    array dx[2], dw[2], db[2];
    for (int t = 0; t < 2; t++) {
        dx[t] = array_empty(be, n), dw[t] = array_empty(be, D), db[t] = array_empty(be, D);
        vj_layernorm_backward(be, dx[t].device, (vj_array){0}, (vj_array){0}, dw[t].device, db[t].device, NULL,
                              dy[t].device, x->device, mean->device, rstd->device, weight, NULL, 0, 0, R, D);
        pull(be, &dx[t]), pull(be, &dw[t]), pull(be, &db[t]);
    }
    assert_same("dx of bf16", dx[0].host, dx[1].host, n);
    assert_same("dweight of bf16", dw[0].host, dw[1].host, D);
    assert_same("dbias of bf16", db[0].host, db[1].host, D);
    for (int t = 0; t < 2; t++) drop(be, &dx[t]), drop(be, &dw[t]), drop(be, &db[t]), drop_stored(be, &dy[t]);
}

/*
 * Check that y stored as bf16 is y rounded once. The backward pass computes it again from the stored mean; there the
 * last bit of a float may differ, so a bf16 may be rounded to the other side.
 */
static void check_kept(vj_backend *be, const double *want, const array *x, const array *w, const array *b,
                       const array *dy, bool affine, int R, int D, float eps)
{
    const int64_t n = (int64_t)R * D;
    const float *weight = affine ? w->device : NULL, *bias = affine ? b->device : NULL;
    array mean = array_empty(be, R), rstd = array_empty(be, R), dx[2] = {array_empty(be, n), array_empty(be, n)};
    stored y[2], again[2], copy = stored_empty(be, VJ_TYPE_BF16, n);
    for (int t = 0; t < 2; t++) {
        y[t] = stored_empty(be, t ? VJ_TYPE_BF16 : VJ_TYPE_F32, n);
        again[t] = stored_empty(be, t ? VJ_TYPE_BF16 : VJ_TYPE_F32, n);
        vj_layernorm_forward(be, y[t].device, mean.device, rstd.device, x->device, weight, bias, R, D, eps);
        vj_layernorm_backward(be, dx[t].device, t ? copy.device : (vj_array){0}, again[t].device, NULL, NULL, NULL,
                              vj_f32(dy->device), x->device, mean.device, rstd.device, weight, bias, 0, 0, R, D);
        pull_stored(be, &y[t]);
        pull_stored(be, &again[t]);
        pull(be, &dx[t]);
        assert_close("y of backward", again[t].host, want, n, 2e-6, t ? 4e-3 : 1e-6);
    }
    assert_rounded("y", &y[1], &y[0]);
    assert_rounded("y of backward", &again[1], &again[0]);
    assert_same("dx", dx[1].host, dx[0].host, n);
    pull_stored(be, &copy);
    for (int64_t i = 0; i < n; i++) dx[0].host[i] = (float)bf16(dx[0].host[i]);
    assert_same("copy of dx", copy.host, dx[0].host, n);
    pull(be, &dx[0]);
    vj_layernorm_backward(be, dx[1].device, (vj_array){0}, (vj_array){0}, NULL, NULL, NULL, vj_f32(dy->device),
                          x->device, mean.device, rstd.device, weight, NULL, 0, 0, R, D);
    pull(be, &dx[1]);
    assert_same("dx without y", dx[1].host, dx[0].host, n);
    check_given_as_bf16(be, x, &mean, &rstd, weight, R, D);
    for (int t = 0; t < 2; t++) drop_stored(be, &y[t]), drop_stored(be, &again[t]), drop(be, &dx[t]);
    drop_stored(be, &copy);
    drop(be, &mean), drop(be, &rstd);
}

static void check_shape(vj_backend *be, int R, int D, bool affine, double offset, double spread)
{
    int64_t n = (int64_t)R * D;
    const float eps = 1e-6f;
    array x = array_random(be, n, spread, 1), w = array_random(be, D, 1, 2), b = array_random(be, D, 1, 3);
    array dy = array_random(be, n, 1, 4), y = array_empty(be, n), mean = array_empty(be, R), rstd = array_empty(be, R);
    array dx = array_empty(be, n), dw = array_empty(be, D), db = array_empty(be, D), sums = array_empty(be, D);
    for (int64_t i = 0; i < n; i++) x.host[i] += (float)offset;
    push(be, &x);
    double *wx = widened(x.host, n), *ww = widened(w.host, D), *wb = widened(b.host, D), *wdy = widened(dy.host, n);
    double *want = doubles(n), *want_w = doubles(D), *want_b = doubles(D);
    norm m = {R, D, affine ? ww : NULL, affine ? wb : NULL, eps};
    const float *dev_w = affine ? w.device : NULL, *dev_b = affine ? b.device : NULL;

    forward(want, wx, &m);
    vj_layernorm_forward(be, vj_f32(y.device), mean.device, rstd.device, x.device, dev_w, dev_b, R, D, eps);
    pull(be, &y);
    assert_close("y", y.host, want, n, 2e-6, 1e-6); /* roundings of values of size 5 */
    pull(be, &mean);
    pull(be, &rstd);

    backward(want, want_w, want_b, wdy, wx, &m);
    vj_layernorm_backward(be, dx.device, (vj_array){0}, (vj_array){0}, affine ? dw.device : NULL,
                          affine ? db.device : NULL, NULL, vj_f32(dy.device), x.device, mean.device, rstd.device, dev_w,
                          NULL, 0, 0, R, D);
    pull(be, &dx);
    /* The gradients are differences of terms of size rstd, each with a few roundings. */
    double max_rstd = 0;
    for (int r = 0; r < R; r++) max_rstd = fmax(max_rstd, rstd.host[r]);
    double tolerance = 4e-6 * largest(want, n) + 1e-6 * max_rstd;
    assert_close("dx", dx.host, want, n, tolerance, 0);
    if (affine) {
        pull(be, &dw);
        pull(be, &db);
        assert_close("dweight", dw.host, want_w, D, 4e-6 * (1 + largest(want_w, D)), 0);
        assert_close("dbias", db.host, want_b, D, 4e-6 * (1 + largest(want_b, D)), 0);

        vj_fill(be, dx.device, 2, n), vj_fill(be, dw.device, 3, D), vj_fill(be, db.device, 4, D),
            vj_fill(be, sums.device, 5, D);
        vj_layernorm_backward(be, dx.device, (vj_array){0}, (vj_array){0}, dw.device, db.device, sums.device,
                              vj_f32(dy.device), x.device, mean.device, rstd.device, dev_w, NULL, 1, 1, R, D);
        pull(be, &dx), pull(be, &dw), pull(be, &db), pull(be, &sums);
        for (int64_t i = 0; i < n; i++) want[i] += 2;
        for (int d = 0; d < D; d++) want_w[d] += 3, want_b[d] += 4;
        assert_close("dx accumulated", dx.host, want, n, tolerance + 1e-6, 0);
        assert_close("dweight accumulated", dw.host, want_w, D, 4e-6 * (1 + largest(want_w, D)), 0);
        assert_close("dbias accumulated", db.host, want_b, D, 4e-6 * (1 + largest(want_b, D)), 0);
        for (int d = 0; d < D; d++) {
            want_b[d] = 5;
            for (int r = 0; r < R; r++) want_b[d] += (double)dx.host[(int64_t)r * D + d];
        }
        assert_close("sums of dx", sums.host, want_b, D, 4e-6 * (1 + largest(want_b, D)), 0);
    }

    forward(want, wx, &m);
    check_kept(be, want, &x, &w, &b, &dy, affine, R, D, eps);
    vj_layernorm_forward(be, vj_f32(x.device), NULL, NULL, x.device, dev_w, dev_b, R, D, eps);
    pull(be, &x);
    assert_close("in place", x.host, want, n, 2e-6, 1e-6);

    array *all[] = {&x, &w, &b, &dy, &y, &mean, &rstd, &dx, &dw, &db, &sums};
    for (int i = 0; i < 11; i++) drop(be, all[i]);
    free(wx), free(ww), free(wb), free(wdy), free(want), free(want_w), free(want_b);
}

static void check_shapes(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_shape(be, 1, 1, true, 0, 1);
    check_shape(be, 7, 33, true, 0, 1);
    check_shape(be, 129, 384, true, 0.5, 2);
    check_shape(be, 70, 50, false, 0, 1);
    check_shape(be, 5, 96, true, 30,
                1e-3); /* eps matters here, and rounding to the size of the mean loses a part of the spread */
    check_shape(be, 3, 1000, true, 1000, 0.1);
    check_shape(be, 35, 1280, true, 0.5, 1); /* a width whose rows a GPU keeps in registers, then wider ones */
    check_shape(be, 2, 2048, false, 0, 1);
    check_shape(be, 2, 4100, true, 100, 0.1);
}

static void against_double(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_shapes);
    on_each_backend(VJ_BF16, check_shapes); /* norms compute in fp32 in this precision too */
}

static void reference_backward(void **state)
{
    (void)state;
    enum { R = 3, D = 5 };
    double x[R * D], dy[R * D], w[D], b[D], dx[R * D], dw[D], db[D];
    vj_rng rng;
    vj_rng_init(&rng, 2, VJ_RNG_TEST, 1);
    for (int i = 0; i < R * D; i++) x[i] = vj_rng_normal(&rng), dy[i] = vj_rng_normal(&rng);
    for (int d = 0; d < D; d++) w[d] = vj_rng_normal(&rng), b[d] = vj_rng_normal(&rng);
    norm m = {R, D, w, b, 1e-6};
    backward(dx, dw, db, dy, x, &m);
    assert_gradient("dx", forward, &m, x, R * D, R * D, dy, dx, 1e-7);
}

static void check_nan(vj_backend *be, bool rounded)
{
    (void)rounded;
    array x = array_random(be, 3 * 40, 1, 1), y = array_empty(be, 3 * 40);
    x.host[50] = NAN;
    push(be, &x);
    vj_layernorm_forward(be, vj_f32(y.device), NULL, NULL, x.device, NULL, NULL, 3, 40, 1e-6f);
    pull(be, &y);
    for (int i = 0; i < 120; i++) assert_true(isnan(y.host[i]) == (i / 40 == 1));
    drop(be, &x), drop(be, &y);
}

static void nan_spreads(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_nan);
}

/* Check that no bit depends on the number of threads: y of the forward pass; y, dx, dweight, dbias and the sums of dx
 * of the backward pass. */
enum { TR = 203, TD = 70, RESULTS = 6 };
static float *kept[RESULTS];

static void run_threads_with(vj_backend *be, vj_type type)
{
    array x = array_random(be, TR * TD, 1, 1), dy = array_random(be, TR * TD, 1, 2), w = array_random(be, TD, 1, 3);
    array mean = array_empty(be, TR), rstd = array_empty(be, TR);
    stored out[RESULTS] = {stored_empty(be, type, TR * TD),        stored_empty(be, type, TR * TD),
                           stored_empty(be, VJ_TYPE_F32, TR * TD), stored_empty(be, VJ_TYPE_F32, TD),
                           stored_empty(be, VJ_TYPE_F32, TD),      stored_empty(be, VJ_TYPE_F32, TD)};
    vj_layernorm_forward(be, out[0].device, mean.device, rstd.device, x.device, w.device, w.device, TR, TD, 1e-6f);
    vj_layernorm_backward(be, out[2].device.data, (vj_array){0}, out[1].device, out[3].device.data, out[4].device.data,
                          out[5].device.data, vj_f32(dy.device), x.device, mean.device, rstd.device, w.device, w.device,
                          0, 0, TR, TD);
    for (int i = 0; i < RESULTS; i++) {
        const size_t bytes = (size_t)out[i].n * sizeof(float);
        pull_stored(be, &out[i]);
        if (!kept[i]) {
            kept[i] = malloc(bytes);
            assert_non_null(kept[i]);
            memcpy(kept[i], out[i].host, bytes);
        }
        assert_memory_equal(kept[i], out[i].host, bytes);
        drop_stored(be, &out[i]);
    }
    array *all[] = {&x, &dy, &w, &mean, &rstd};
    for (int i = 0; i < 5; i++) drop(be, all[i]);
}

static void run_threads(vj_backend *be, bool rounded)
{
    (void)rounded;
    run_threads_with(be, VJ_TYPE_F32);
}

static void run_threads_bf16(vj_backend *be, bool rounded)
{
    (void)rounded;
    run_threads_with(be, VJ_TYPE_BF16);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++)
        for (int type = 0; type < 2; type++) {
            for (int threads = 1; threads <= 4; threads++)
                on_backend(NULL, "cpu", (vj_precision)precision, threads, type ? run_threads_bf16 : run_threads);
            for (int i = 0; i < RESULTS; i++) free(kept[i]), kept[i] = NULL;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reference_backward), cmocka_unit_test(against_double),
                                       cmocka_unit_test(nan_spreads), cmocka_unit_test(threads_do_not_show)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
