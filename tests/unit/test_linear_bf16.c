/*
 * Tests linear layers over arrays stored as bf16, deep products (several spans of depth) and large ones (written past
 * the caches). References are sums in double over the operands as stored, rounded in the same way; a result stored as
 * bf16 must be the float result rounded once.
 */
#include "kernel_test.h"

static const vj_type types[] = {VJ_TYPE_F32, VJ_TYPE_BF16};

/*
 * Compare with a tolerance of a few roundings of a sum of floats, as in assert_product, and 2^-8 for rounding to bf16.
 * `rough` is the additional error that GELU, or its gradient for a sum of that size, may have.
 */
static void assert_near(const char *what, const stored *got, const double *want, const double *size, double rough)
{
    const double rounding = got->device.type == VJ_TYPE_BF16 ? 1.0 / 256 : 0;
    for (int64_t i = 0; i < got->n; i++) {
        const double tolerance = 1e-6 + 1e-6 * (size[i] + fabs(want[i])) + rough * fmax(1, size[i]);
        if (!(fabs(got->host[i] - want[i]) <= tolerance + rounding * (fabs(want[i]) + tolerance)))
            fail_msg("%s[%lld of %lld]: got %.9g, wanted %.9g", what, (long long)i, (long long)got->n,
                     (double)got->host[i], want[i]);
    }
}

static void assert_kept(const char *what, const stored *got, const double *want, const double *size)
{
    assert_near(what, got, want, size, 0);
}

/* Return the error that kernels.h permits if `type` is the type that decides the precision of GELU. */
static double rough_gelu(vj_type type)
{
    return type == VJ_TYPE_BF16 ? 2e-6 : 0;
}
static double rough_slope(vj_type type)
{
    return type == VJ_TYPE_BF16 ? 5e-6 : 0;
}

/* Return whether a product of this depth is one span. Several spans are summed in a float result, which is another
 * order than in a result that is written once. */
static bool one_span(int depth)
{
    return depth <= 1280;
}

static void check_forward(vj_backend *be, bool rounded, int R, int N, int K, vj_type type)
{
    const int64_t RN = (int64_t)R * N;
    const int period = R > 3 ? R / 3 : 1;
    stored x = stored_random(be, type, (int64_t)R * K, 1, 1);
    array w = array_random(be, (int64_t)N * K, 0.5, 2), bias = array_random(be, N, 1, 3);
    array residual = array_random(be, (int64_t)period * N, 1, 4);
    double *ox = operand_of(x.host, x.n, rounded), *ow = operand_of(w.host, w.n, rounded);
    double *sum = doubles(RN), *size = doubles(RN), *want = doubles(RN);
    product(sum, size, ox, ow, R, N, K, K, 1, 1, K);

    stored y[2];
    for (int t = 0; t < 2; t++) {
        y[t] = stored_empty(be, types[t], RN);
        for (int64_t i = 0; i < RN; i++)
            want[i] = sum[i] + bias.host[i % N] + residual.host[i / N % period * N + i % N];
        vj_linear_forward(be, y[t].device, x.device, vj_f32(w.device), bias.device, residual.device, period, R, N, K);
        pull_stored(be, &y[t]);
        assert_kept("x w^T + bias + table", &y[t], want, size);
    }
    if (one_span(K)) assert_rounded("x w^T + bias + table", &y[1], &y[0]);

    for (int64_t i = 0; i < RN; i++) want[i] = sum[i] + bias.host[i % N];
    double *gelu = doubles(RN), *none = doubles(RN);
    for (int p = 0; p < 2; p++) {
        stored pre = stored_empty(be, types[p], RN);
        for (int t = 0; t < 2; t++) {
            vj_linear_gelu_forward(be, y[t].device, pre.device, x.device, vj_f32(w.device), bias.device, R, N, K);
            pull_stored(be, &y[t]);
            pull_stored(be, &pre);
            assert_kept("pre", &pre, want, size);
            for (int64_t i = 0; i < RN; i++) gelu[i] = gelu_of(pre.host[i]); /* of the stored value */
            assert_near("gelu(pre)", &y[t], gelu, none, rough_gelu(types[p]));
        }
        assert_rounded("gelu(pre)", &y[1], &y[0]);
        drop_stored(be, &pre);
    }
    for (int64_t i = 0; i < RN; i++) gelu[i] = gelu_of(want[i]);
    for (int t = 0; t < 2; t++) {
        vj_linear_gelu_forward(be, y[t].device, (vj_array){0}, x.device, vj_f32(w.device), bias.device, R, N, K);
        pull_stored(be, &y[t]);
        assert_near("gelu, pre not kept", &y[t], gelu, size, rough_gelu(types[t]));
    }

    drop_stored(be, &x), drop_stored(be, &y[0]), drop_stored(be, &y[1]);
    drop(be, &w), drop(be, &bias), drop(be, &residual);
    free(ox), free(ow), free(sum), free(size), free(want), free(gelu), free(none);
}

/* `sums` had `before` and got the column sums of dpre, rounded before or not. */
static void assert_sums(const array *sums, float before, const stored *dpre, int R, int K)
{
    for (int k = 0; k < K; k++) {
        double want = before, size = fabs(before);
        for (int r = 0; r < R; r++) {
            want += (double)dpre->host[(int64_t)r * K + k];
            size += fabs((double)dpre->host[(int64_t)r * K + k]);
        }
        const double tolerance = dpre->device.type == VJ_TYPE_BF16 ? 1.0 / 256 : 1e-5;
        if (!(fabs(sums->host[k] - want) <= tolerance * size))
            fail_msg("sum of column %d: got %.9g, wanted %.9g", k, (double)sums->host[k], want);
    }
}

static void check_backward_input(vj_backend *be, bool rounded, int R, int N, int K, vj_type type)
{
    enum { J = 11 }; /* width of the layer before, which makes pre and its gelu */
    const int64_t RK = (int64_t)R * K;
    stored dy = stored_random(be, type, (int64_t)R * N, 1, 1), before = stored_random(be, type, (int64_t)R * J, 1, 2);
    array w = array_random(be, (int64_t)N * K, 0.5, 3), w_before = array_random(be, (int64_t)K * J, 0.3, 4);
    array sums = array_empty(be, K);
    double *ody = operand_of(dy.host, dy.n, rounded), *ow = operand_of(w.host, w.n, rounded);
    double *sum = doubles(RK), *size = doubles(RK), *want = doubles(RK);
    product(sum, size, ody, ow, R, K, N, N, 1, K, 1);

    stored dx[2];
    for (int t = 0; t < 2; t++) {
        dx[t] = stored_empty(be, types[t], RK);
        vj_linear_backward_input(be, dx[t].device, dy.device, vj_f32(w.device), R, N, K);
        pull_stored(be, &dx[t]);
        assert_kept("dy w", &dx[t], sum, size);
    }
    if (one_span(N)) assert_rounded("dy w", &dx[1], &dx[0]);

    for (int p = 0; p < 2; p++) {
        stored pre = stored_empty(be, types[p], RK);
        for (int h = 0; h < 2; h++) {
            stored y = stored_empty(be, types[h], RK), hidden = stored_empty(be, types[h], RK);
            vj_linear_gelu_forward(be, y.device, pre.device, before.device, vj_f32(w_before.device), NULL, R, K, J);
            pull_stored(be, &y);
            pull_stored(be, &pre);
            for (int64_t i = 0; i < RK; i++) want[i] = sum[i] * gelu_slope_of(pre.host[i]);
            for (int t = 0; t < 2; t++) {
                vj_fill(be, sums.device, 3, K);
                vj_linear_gelu_backward_input(be, dx[t].device, hidden.device, sums.device, dy.device, vj_f32(w.device),
                                              pre.device, h, R, N, K);
                pull_stored(be, &dx[t]);
                pull(be, &sums);
                assert_sums(&sums, h ? 3 : 0, &dx[t], R, K);
                pull_stored(be, &hidden);
                assert_near("dy w gelu'", &dx[t], want, size, rough_slope(types[p]));
                assert_same("hidden", hidden.host, y.host, RK);
            }
            assert_rounded("dy w gelu'", &dx[1], &dx[0]);

            vj_linear_gelu_backward_input(be, pre.device, hidden.device, NULL, dy.device, vj_f32(w.device), pre.device,
                                          0, R, N, K);
            pull_stored(be, &pre);
            pull_stored(be, &hidden);
            assert_same("dy w gelu' in place", pre.host, dx[p].host, RK);
            assert_same("hidden, in place", hidden.host, y.host, RK);
            drop_stored(be, &y), drop_stored(be, &hidden);
        }
        drop_stored(be, &pre);
    }
    drop_stored(be, &dy), drop_stored(be, &before), drop_stored(be, &dx[0]), drop_stored(be, &dx[1]);
    drop(be, &w), drop(be, &w_before), drop(be, &sums);
    free(ody), free(ow), free(sum), free(size), free(want);
}

static void check_backward_weight(vj_backend *be, bool rounded, int R, int N, int K, vj_type dy_type, vj_type x_type)
{
    const int64_t NK = (int64_t)N * K;
    stored dy = stored_random(be, dy_type, (int64_t)R * N, 1, 1), x = stored_random(be, x_type, (int64_t)R * K, 1, 2);
    array dw = array_empty(be, NK), dbias = array_empty(be, N);
    double *ody = operand_of(dy.host, dy.n, rounded), *ox = operand_of(x.host, x.n, rounded);
    double *want = doubles(NK), *size = doubles(NK), *want_bias = doubles(N), *size_bias = doubles(N);
    product(want, size, ody, ox, N, K, R, 1, N, K, 1);
    for (int64_t i = 0; i < dy.n; i++) { /* sums of the stored values, not of rounded operands */
        want_bias[i % N] += dy.host[i];
        size_bias[i % N] += fabs(dy.host[i]);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        for (int64_t i = 0; accumulate && i < NK; i++) want[i] += dw.host[i], size[i] += fabs(dw.host[i]);
        for (int n = 0; accumulate && n < N; n++) want_bias[n] += dbias.host[n];
        vj_linear_backward_weight(be, dw.device, dbias.device, dy.device, x.device, accumulate, R, N, K);
        pull(be, &dw);
        pull(be, &dbias);
        assert_product(accumulate ? "dy^T x added" : "dy^T x", dw.host, want, size, NK);
        assert_product(accumulate ? "dbias added" : "dbias", dbias.host, want_bias, size_bias, N);
    }
    drop_stored(be, &dy), drop_stored(be, &x);
    drop(be, &dw), drop(be, &dbias);
    free(ody), free(ox), free(want), free(size), free(want_bias), free(size_bias);
}

static void check_all(vj_backend *be, bool rounded, int R, int N, int K)
{
    for (int t = 0; t < 2; t++) {
        check_forward(be, rounded, R, N, K, types[t]);
        check_backward_input(be, rounded, R, N, K, types[t]);
        for (int u = 0; u < 2; u++) check_backward_weight(be, rounded, R, N, K, types[t], types[u]);
    }
}

/*
 * Check GELU and its gradient for every bf16 number, by the calls that the model makes. A product of depth 1 makes x
 * itself the argument. Rows of 40 equal numbers are computed as whole vectors and a part of one. The error is measured
 * with float results.
 */
static void check_all_arguments(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 1 << 16, N = 40 };
    stored x = stored_empty(be, VJ_TYPE_BF16, R), pre = stored_empty(be, VJ_TYPE_BF16, (int64_t)R * N);
    stored y = stored_empty(be, VJ_TYPE_F32, (int64_t)R * N), slope = stored_empty(be, VJ_TYPE_F32, (int64_t)R * N);
    array one = array_of(be, N, 1), ones = array_of(be, R, 1);
    for (int64_t i = 0; i < R; i++) {
        const uint32_t bits = (uint32_t)i << 16;
        memcpy(&x.host[i], &bits, 4);
    }
    push_stored(be, &x);
    vj_linear_gelu_forward(be, y.device, pre.device, x.device, vj_f32(one.device), NULL, R, N, 1);
    vj_linear_gelu_backward_input(be, slope.device, (vj_array){0}, NULL, vj_f32(ones.device), vj_f32(one.device),
                                  pre.device, 0, R, 1, N);
    pull_stored(be, &y);
    pull_stored(be, &slope);
    for (int64_t i = 0; i < R; i++) {
        const double at = x.host[i];
        const float got = y.host[i * N], got_slope = slope.host[i * N];
        for (int j = 1; j < N && isfinite(at); j++)
            assert_true(y.host[i * N + j] == got && slope.host[i * N + j] == got_slope);
        if (isnan(at))
            for (int j = 0; j < N; j++) assert_true(isnan(y.host[i * N + j]) && isnan(slope.host[i * N + j]));
        else if (isfinite(at) &&
                 !(fabs(got - gelu_of(at)) <= 2e-6 + 1e-7 * fabs(at) && fabs(got_slope - gelu_slope_of(at)) <= 5e-6))
            fail_msg("%g: gelu %.9g, wanted %.9g, its gradient %.9g, wanted %.9g", at, (double)got, gelu_of(at),
                     (double)got_slope, gelu_slope_of(at));
    }
    drop_stored(be, &x), drop_stored(be, &pre), drop_stored(be, &y), drop_stored(be, &slope);
    drop(be, &one), drop(be, &ones);
}

static void every_argument(void **state)
{
    (void)state;
    if (slow_run()) skip();
    on_each_backend(VJ_BF16, check_all_arguments);
}

/* Check odd sizes. The shared operand of the forward product is the weight if there are more rows than columns, else
 * the activations. */
static void check_shapes(vj_backend *be, bool rounded)
{
    check_all(be, rounded, 1, 1, 1);
    check_all(be, rounded, 7, 33, 5);
    check_all(be, rounded, 19, 16, 40);
    if (slow_run()) return;
    check_all(be, rounded, 65, 48, 130);
    check_all(be, rounded, 200, 37, 64);
    check_all(be, rounded, 37, 200, 67);
}

static void kept_as_bf16(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_shapes);
    on_each_backend(VJ_BF16, check_shapes);
}

/* Check products deeper than four spans of 1280 floats, or two of as many pairs: forward, and the gradients of the
 * input and the weight. */
static void check_deep(vj_backend *be, bool rounded)
{
    check_forward(be, rounded, 13, 37, 5301, VJ_TYPE_BF16);
    check_forward(be, rounded, 37, 13, 5301, VJ_TYPE_F32);
    check_backward_input(be, rounded, 13, 5301, 37, VJ_TYPE_BF16);
    check_backward_input(be, rounded, 37, 5301, 13, VJ_TYPE_F32);
    check_backward_weight(be, rounded, 5301, 9, 21, VJ_TYPE_BF16, VJ_TYPE_F32);
    check_backward_weight(be, rounded, 5301, 21, 9, VJ_TYPE_BF16, VJ_TYPE_BF16);
}

static void deep(void **state)
{
    (void)state;
    if (slow_run()) skip();
    on_each_backend(VJ_FP32, check_deep);
    on_each_backend(VJ_BF16, check_deep);
}

/*
 * Results of 8 MiB or more, with tiles of 4 MiB or more, are written past the caches wherever whole cache lines are
 * written. Rows do not depend on one another, so the results must have the bits of the same rows computed a few at a
 * time, which are not written past the caches. With `skew` the result begins so many elements after an aligned address.
 */
enum { DEPTH = 3, PIECE = 400, RESULTS = 6, RESIDUAL_ROWS = 16 };

typedef struct {
    int R, N;
    vj_type type;
    int skew;
} large;

static vj_array at_element(vj_array a, int64_t at)
{
    return (vj_array){(char *)a.data + at * vj_type_bytes(a.type), a.type};
}

/* Compute the forms plain, gelu, pre, gradient, hidden, and with a residual, of `rows` rows of x, and write them from
 * element `at` of each result on. */
static void run_forms(vj_backend *be, const stored result[RESULTS], int64_t at, vj_array x, const array *w,
                      const array *w_back, const array *bias, const array *residual, int64_t rows, int N)
{
    vj_array to[RESULTS];
    for (int i = 0; i < RESULTS; i++) to[i] = at_element(result[i].device, at);
    vj_linear_forward(be, to[0], x, vj_f32(w->device), bias->device, NULL, 0, rows, N, DEPTH);
    vj_linear_gelu_forward(be, to[1], to[2], x, vj_f32(w->device), bias->device, rows, N, DEPTH);
    vj_linear_gelu_backward_input(be, to[3], to[4], NULL, x, vj_f32(w_back->device), to[2], 0, rows, DEPTH, N);
    vj_linear_forward(be, to[5], x, vj_f32(w->device), bias->device, residual->device, RESIDUAL_ROWS, rows, N, DEPTH);
    for (int i = 0; i < RESULTS; i++) pull_stored(be, &result[i]);
}

static void check_large(vj_backend *be, const large *l)
{
    static const char *const name[RESULTS] = {"plain", "gelu", "pre", "gradient", "hidden", "with a residual"};
    const int N = l->N;
    const int64_t RN = (int64_t)l->R * N;
    stored x = stored_random(be, l->type, (int64_t)l->R * DEPTH, 1, 1), all[RESULTS], piece[RESULTS];
    array w = array_random(be, (int64_t)N * DEPTH, 0.5, 2), bias = array_random(be, N, 1, 3);
    array w_back = array_random(be, (int64_t)DEPTH * N, 0.5, 4),
          residual = array_random(be, (int64_t)RESIDUAL_ROWS * N, 1, 5);
    for (int i = 0; i < RESULTS; i++) {
        all[i] = stored_empty(be, l->type, RN + l->skew);
        piece[i] = stored_empty(be, l->type, (int64_t)PIECE * N);
    }
    assert_true(RN * vj_type_bytes(l->type) >= 8 << 20 && piece[0].n * vj_type_bytes(l->type) < 4 << 20);
    run_forms(be, all, l->skew, x.device, &w, &w_back, &bias, &residual, l->R, N);
    for (int64_t first = 0; first < l->R; first += PIECE) {
        const int64_t rows = l->R - first < PIECE ? l->R - first : PIECE;
        run_forms(be, piece, 0, at_element(x.device, first * DEPTH), &w, &w_back, &bias, &residual, rows, N);
        for (int i = 0; i < RESULTS; i++)
            assert_same(name[i], all[i].host + l->skew + first * N, piece[i].host, rows * N);
    }
    for (int i = 0; i < RESULTS; i++) drop_stored(be, &all[i]), drop_stored(be, &piece[i]);
    drop_stored(be, &x);
    drop(be, &w), drop(be, &bias), drop(be, &w_back), drop(be, &residual);
}

/* Check more rows than columns and fewer; rows that are whole cache lines, rows that are not, rows that are only as
 * floats, and rows that are not because of the skew. */
static void check_large_shapes(vj_backend *be, bool rounded)
{
    check_large(be, &(large){1100, 2048, VJ_TYPE_F32, 0});
    if (!rounded) {
        check_large(be, &(large){1100, 2051, VJ_TYPE_F32, 0});
        check_large(be, &(large){1100, 2048, VJ_TYPE_F32, 1});
        return;
    }
    check_large(be, &(large){2100, 2048, VJ_TYPE_BF16, 0});
    check_large(be, &(large){2021, 2080, VJ_TYPE_BF16, 0});
    check_large(be, &(large){2100, 2064, VJ_TYPE_BF16, 0});
    check_large(be, &(large){2100, 2048, VJ_TYPE_BF16, 1});
}

static void past_the_caches(void **state)
{
    (void)state;
    if (slow_run()) skip();
    on_each_backend(VJ_FP32, check_large_shapes);
    on_each_backend(VJ_BF16, check_large_shapes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(kept_as_bf16), cmocka_unit_test(every_argument),
                                       cmocka_unit_test(deep), cmocka_unit_test(past_the_caches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
