/* Tests all forms of linear layers, forward and backward, against sums in double over equally rounded operands. */
#include "kernel_test.h"

/* Odd sizes, one block of depth and several, more columns than a strip, and the shapes of a small model. */
static const struct {
    int R, N, K;
} shapes[] = {{1, 1, 1},     {7, 33, 5},     {65, 35, 384}, {50, 144, 48}, {97, 96, 385},
              {33, 20, 801}, {1, 2100, 770}, {9, 7, 1},     {2, 4200, 3},  {203, 48, 96}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void check_forward(vj_backend *be, bool rounded, int R, int N, int K)
{
    int64_t RN = (int64_t)R * N;
    int period = R > 3 ? R / 3 : 1;
    array x = array_random(be, (int64_t)R * K, 1, 1), w = array_random(be, (int64_t)N * K, 0.5, 2);
    array bias = array_random(be, N, 1, 3), residual = array_random(be, RN, 1, 4);
    array y = array_empty(be, RN), pre = array_empty(be, RN);
    double *dx = operand_of(x.host, x.n, rounded), *dw = operand_of(w.host, w.n, rounded);
    double *sum = doubles(RN), *size = doubles(RN), *want = doubles(RN);
    product(sum, size, dx, dw, R, N, K, K, 1, 1, K);

    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), NULL, NULL, 0, R, N, K);
    pull(be, &y);
    assert_product("x w^T", y.host, sum, size, RN);

    for (int64_t i = 0; i < RN; i++) want[i] = sum[i] + bias.host[i % N] + residual.host[i / N % period * N + i % N];
    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), bias.device, residual.device, period, R,
                      N, K);
    pull(be, &y);
    assert_product("with bias and table", y.host, want, size, RN);

    for (int64_t i = 0; i < RN; i++) want[i] = sum[i] + bias.host[i % N];
    vj_linear_gelu_forward(be, vj_f32(y.device), vj_f32(pre.device), vj_f32(x.device), vj_f32(w.device), bias.device, R,
                           N, K);
    pull(be, &y);
    pull(be, &pre);
    assert_product("pre", pre.host, want, size, RN);
    for (int64_t i = 0; i < RN; i++) want[i] = gelu_of(want[i]);
    assert_product("gelu", y.host, want, size, RN);
    vj_fill(be, y.device, NAN, RN);
    vj_linear_gelu_forward(be, vj_f32(y.device), vj_f32(NULL), vj_f32(x.device), vj_f32(w.device), bias.device, R, N,
                           K);
    pull(be, &y);
    assert_product("gelu without pre", y.host, want, size, RN);

    for (int64_t i = 0; i < RN; i++) want[i] = sum[i] + bias.host[i % N] + residual.host[i];
    vj_linear_forward(be, vj_f32(residual.device), vj_f32(x.device), vj_f32(w.device), bias.device, residual.device, R,
                      R, N, K);
    pull(be, &residual);
    assert_product("in place", residual.host, want, size, RN);

    array *all[] = {&x, &w, &bias, &residual, &y, &pre};
    for (int i = 0; i < 6; i++) drop(be, all[i]);
    free(dx), free(dw), free(sum), free(size), free(want);
}

static void check_backward(vj_backend *be, bool rounded, int R, int N, int K)
{
    int64_t RK = (int64_t)R * K, NK = (int64_t)N * K, RN = (int64_t)R * N;
    array x = array_random(be, RK, 1, 1), w = array_random(be, NK, 0.5, 2), dy = array_random(be, RN, 1, 3);
    array pre = array_random(be, RK, 1, 4), dx = array_empty(be, RK);
    array dw = array_empty(be, NK), dbias = array_empty(be, N);
    double *ox = operand_of(x.host, RK, rounded), *ow = operand_of(w.host, NK, rounded);
    double *ody = operand_of(dy.host, RN, rounded), *want = doubles(RK), *size = doubles(RK);
    double *want_w = doubles(NK), *size_w = doubles(NK), *want_b = doubles(N), *size_b = doubles(N);

    product(want, size, ody, ow, R, K, N, N, 1, K, 1);
    vj_linear_backward_input(be, vj_f32(dx.device), vj_f32(dy.device), vj_f32(w.device), R, N, K);
    pull(be, &dx);
    assert_product("dy w", dx.host, want, size, RK);

    for (int64_t i = 0; i < RK; i++) want[i] *= gelu_slope_of(pre.host[i]);
    vj_linear_gelu_backward_input(be, vj_f32(pre.device), (vj_array){0}, NULL, vj_f32(dy.device), vj_f32(w.device),
                                  vj_f32(pre.device), 0, R, N, K); /* computed in place */
    pull(be, &pre);
    assert_product("dy w gelu'", pre.host, want, size, RK);

    product(want_w, size_w, ody, ox, N, K, R, 1, N, K, 1);
    for (int r = 0; r < R; r++)
        for (int n = 0; n < N; n++) {
            want_b[n] += dy.host[(int64_t)r * N + n];
            size_b[n] += fabs(dy.host[(int64_t)r * N + n]);
        }
    vj_linear_backward_weight(be, dw.device, dbias.device, vj_f32(dy.device), vj_f32(x.device), 0, R, N, K);
    pull(be, &dw);
    pull(be, &dbias);
    assert_product("dy^T x", dw.host, want_w, size_w, NK);
    assert_product("dbias", dbias.host, want_b, size_b, N);

    for (int64_t i = 0; i < NK; i++) want_w[i] += dw.host[i];
    for (int n = 0; n < N; n++) want_b[n] += dbias.host[n];
    vj_linear_backward_weight(be, dw.device, dbias.device, vj_f32(dy.device), vj_f32(x.device), 1, R, N, K);
    pull(be, &dw);
    pull(be, &dbias);
    assert_product("accumulated", dw.host, want_w, size_w, NK);
    assert_product("dbias accumulated", dbias.host, want_b, size_b, N);

    array *all[] = {&x, &w, &dy, &pre, &dx, &dw, &dbias};
    for (int i = 0; i < 7; i++) drop(be, all[i]);
    free(ox), free(ow), free(ody), free(want), free(size), free(want_w), free(size_w), free(want_b), free(size_b);
}

static void check_shapes(vj_backend *be, bool rounded)
{
    for (int i = 0; i < SHAPES; i++) {
        if (slow_run() && (int64_t)shapes[i].R * shapes[i].N * shapes[i].K > 500000) continue;
        check_forward(be, rounded, shapes[i].R, shapes[i].N, shapes[i].K);
        check_backward(be, rounded, shapes[i].R, shapes[i].N, shapes[i].K);
    }
}

static void products_in_fp32(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_shapes);
}

static void products_in_bf16(void **state)
{
    (void)state;
    on_each_backend(VJ_BF16, check_shapes);
}

/* Check products of no rows: there are no results, and weight gradients are zero. */
static void check_empty(vj_backend *be, bool rounded)
{
    (void)rounded;
    array w = array_random(be, 12, 1, 1), dw = array_empty(be, 12), dbias = array_empty(be, 3);
    vj_linear_forward(be, vj_f32(NULL), vj_f32(NULL), vj_f32(w.device), NULL, NULL, 0, 0, 3, 4);
    vj_linear_backward_weight(be, dw.device, dbias.device, vj_f32(NULL), vj_f32(NULL), 0, 0, 3, 4);
    pull(be, &dw);
    pull(be, &dbias);
    for (int i = 0; i < 12; i++) assert_true(dw.host[i] == 0);
    for (int i = 0; i < 3; i++) assert_true(dbias.host[i] == 0);
    drop(be, &w), drop(be, &dw), drop(be, &dbias);
}

static void no_rows(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_empty);
}

/* Check that a NaN in an operand reaches the results of its row and no others. */
static void check_nan(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 20, N = 50, K = 40 };
    array x = array_random(be, R * K, 1, 1), w = array_random(be, N * K, 1, 2), y = array_empty(be, R * N);
    uint32_t nan_bits = 0x7fffffff; /* rounding this NaN as a number would give minus zero */
    memcpy(&x.host[7 * K + 3], &nan_bits, 4);
    push(be, &x);
    vj_linear_gelu_forward(be, vj_f32(y.device), vj_f32(NULL), vj_f32(x.device), vj_f32(w.device), NULL, R, N, K);
    pull(be, &y);
    for (int i = 0; i < R * N; i++) assert_true(isnan(y.host[i]) == (i / N == 7));
    drop(be, &x), drop(be, &w), drop(be, &y);
}

static void nan_spreads(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_nan);
    on_each_backend(VJ_BF16, check_nan);
}

/* Check that all 24 bits of a float pass through a product: a product with the identity, on either side, changes
 * nothing.
 */
static void check_bits(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 37, K = 70 };
    array x = array_empty(be, R * K), one = array_empty(be, K * K), y = array_empty(be, R * K);
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 0);
    for (int i = 0; i < R * K; i++) { /* exponents from -100 to 126 */
        const double mantissa = 1.0 + vj_rng_uniform(&rng);
        x.host[i] = (float)ldexp(i % 2 ? mantissa : -mantissa, -100 + i % 227);
    }
    for (int i = 0; i < K * K; i++) one.host[i] = i % K == i / K;
    push(be, &x);
    push(be, &one);
    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(one.device), NULL, NULL, 0, R, K, K);
    pull(be, &y);
    assert_memory_equal(y.host, x.host, R * K * 4);
    vj_linear_forward(be, vj_f32(y.device), vj_f32(one.device), vj_f32(x.device), NULL, NULL, 0, K, R,
                      K); /* its transpose */
    pull(be, &y);
    for (int r = 0; r < R; r++)
        for (int k = 0; k < K; k++) assert_true(y.host[k * R + r] == x.host[r * K + k]);
    drop(be, &x), drop(be, &one), drop(be, &y);
}

static void every_bit_counts(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_bits);
}

/*
 * Check that the error is that of float arithmetic, whatever instructions multiply: its root mean square, relative to
 * the sum of the absolute products, must be below that of adding K terms of one sign one by one (4.3e-7 for K = 1024).
 */
static void check_error(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 24, N = 48, K = 1024 };
    array x = array_random(be, R * K, 1, 1), w = array_random(be, N * K, 1, 2), y = array_empty(be, R * N);
    for (int sign = 0; sign < 2; sign++) { /* terms of both signs, then of one sign */
        double *ox = operand_of(x.host, R * K, false), *ow = operand_of(w.host, N * K, false);
        double *want = doubles(R * N), *size = doubles(R * N), squares = 0;
        product(want, size, ox, ow, R, N, K, K, 1, 1, K);
        vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), NULL, NULL, 0, R, N, K);
        pull(be, &y);
        for (int i = 0; i < R * N; i++) squares += pow((y.host[i] - want[i]) / size[i], 2);
        assert_true(sqrt(squares / (R * N)) < (sign == 0 ? 4e-8 : 5e-7));
        for (int i = 0; i < R * K; i++) x.host[i] = fabsf(x.host[i]);
        for (int i = 0; i < N * K; i++) w.host[i] = fabsf(w.host[i]);
        push(be, &x);
        push(be, &w);
        free(ox), free(ow), free(want), free(size);
    }
    drop(be, &x), drop(be, &w), drop(be, &y);
}

static void error_of_floats(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_error);
}

/* Check that bits do not depend on the number of threads, the size of the caches or whether rows are packed: of the
 * forward product, both gradients and the column sums of the bias, also with bf16 arrays. */
enum { TR = 407, RESULTS = 4 };
static int TN, TK;
static float *kept[RESULTS];

static void keep_or_compare(vj_backend *be, int which, const stored *got)
{
    pull_stored(be, got);
    if (!kept[which]) {
        kept[which] = malloc((size_t)got->n * 4);
        assert_non_null(kept[which]);
        memcpy(kept[which], got->host, (size_t)got->n * 4);
    }
    assert_memory_equal(kept[which], got->host, (size_t)got->n * 4);
}

static void run_threads_with(vj_backend *be, vj_type type)
{
    stored x = stored_random(be, type, TR * TK, 1, 1), dy = stored_random(be, type, TR * TN, 1, 3);
    array w = array_random(be, TN * TK, 1, 2);
    stored y = stored_empty(be, type, TR * TN), dx = stored_empty(be, type, TR * TK);
    stored dw = stored_empty(be, VJ_TYPE_F32, TN * TK), dbias = stored_empty(be, VJ_TYPE_F32, TN);
    vj_linear_gelu_forward(be, y.device, (vj_array){0}, x.device, vj_f32(w.device), NULL, TR, TN, TK);
    vj_linear_backward_input(be, dx.device, dy.device, vj_f32(w.device), TR, TN, TK);
    vj_linear_backward_weight(be, dw.device.data, dbias.device.data, dy.device, x.device, 0, TR, TN, TK);
    keep_or_compare(be, 0, &y);
    keep_or_compare(be, 1, &dx);
    keep_or_compare(be, 2, &dw);
    keep_or_compare(be, 3, &dbias);
    stored *all[] = {&x, &dy, &y, &dx, &dw, &dbias};
    for (int i = 0; i < 6; i++) drop_stored(be, all[i]);
    drop(be, &w);
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
        for (int kind = 0; kind < 4; kind++) {
            const int type = kind % 2, even = kind / 2; /* even: whole panels, whose rows may stay where they are */
            TN = even ? 192 : 150, TK = even ? 96 : 100;
            for (int threads = 1; threads <= 4; threads++) {
                static const char *const cache_kib[] = {NULL, "1", "8192", "16"};
                if (cache_kib[threads - 1]) setenv("VJ_CACHE_KIB", cache_kib[threads - 1], 1);
                setenv("VJ_ROWS_IN_PLACE", threads % 2 ? "1" : "0", 1);
                on_backend(NULL, "cpu", (vj_precision)precision, threads, type ? run_threads_bf16 : run_threads);
                unsetenv("VJ_CACHE_KIB");
                unsetenv("VJ_ROWS_IN_PLACE");
            }
            for (int i = 0; i < RESULTS; i++) free(kept[i]), kept[i] = NULL;
        }
}

static void impossible_settings_are_refused(void **state)
{
    (void)state;
    static const char *const sizes[] = {"0", "-4", "512K", "", "1e3", "99999999999999999999"};
    vj_backend *be;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        setenv("VJ_CACHE_KIB", sizes[i], 1);
        assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_ERR_USAGE);
        unsetenv("VJ_CACHE_KIB");
    }
    setenv("VJ_ROWS_IN_PLACE", "yes", 1);
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_ERR_USAGE);
    unsetenv("VJ_ROWS_IN_PLACE");
}

static const char *test_backend(void)
{
    return getenv("VJ_TEST_BACKEND") ? getenv("VJ_TEST_BACKEND") : "cpu";
}

/* Check all of the above with each library of this build instead of the own kernels, and shapes of many blocks. */
static void check_blocks(vj_backend *be, bool rounded)
{
    check_forward(be, rounded, 136, 72, 264);
    check_backward(be, rounded, 136, 72, 264);
    check_forward(be, rounded, 390, 530, 20);
    check_backward(be, rounded, 37, 801, 515);
}

static void libraries(void **state)
{
    int found = 0;
    const char *names[] = {"onednn", "cblas", "cublaslt"};
    const char *name = test_backend();
    const bool cpu = strcmp(name, "cpu") == 0;
    if (getenv("VJ_TEST_SLOW")) skip(); /* valgrind cannot run code that a library generates */
    for (int i = 0; i < 3; i++) {
        vj_backend *be;
        assert_int_equal(vj_backend_open(&be, name, VJ_FP32, 1), VJ_OK);
        const bool present =
            vj_backend_set_products(be, names[i]) == VJ_OK; /* otherwise the message says how to build it */
        vj_backend_close(be);
        if (!present) continue;
        found++;
        setenv("VJ_PRODUCTS", names[i], 1);
        products_in_fp32(state);
        products_in_bf16(state);
        no_rows(state);
        nan_spreads(state);
        if (cpu) threads_do_not_show(state);
        on_backend(NULL, name, VJ_FP32, 2, check_blocks);
        if (!cpu) on_backend(NULL, name, VJ_BF16, 1, check_blocks);
        unsetenv("VJ_PRODUCTS");
    }
    print_message("%d of them are in this build\n", found);
}

static void flops_are_counted(void **state)
{
    (void)state;
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, test_backend(), VJ_FP32, 1), VJ_OK);
    array x = array_random(be, 6, 1, 1), w = array_random(be, 12, 1, 2), y = array_empty(be, 8);
    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), NULL, NULL, 0, 2, 4, 3);
    assert_true(vj_backend_flops(be) == 2.0 * 2 * 4 * 3);
    vj_backend_close(be);
    free(x.host), free(w.host), free(y.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_in_fp32),
        cmocka_unit_test(products_in_bf16),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(nan_spreads),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(error_of_floats),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(impossible_settings_are_refused),
        cmocka_unit_test(libraries),
        cmocka_unit_test(flops_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
