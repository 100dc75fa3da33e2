/*
 * Tests the choice of code for products on a GPU, by name and by timing, and what the common tests of kernels do not
 * reach: large tiles in all forms, sums that are finished in pieces, and more kinds of products than are remembered.
 */
#include "base/status.h"
#include "unit/kernel_test.h"

static vj_backend *open_cuda(vj_precision precision)
{
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, "cuda", precision, 1), VJ_OK);
    return be;
}

static void close_cuda(vj_backend *be)
{
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_backend_close(be);
}

static bool uses_library(const vj_backend *be)
{
    vj_kernels kernels = {0};
    vj_backend_kernels(be, &kernels);
    return strstr(kernels.library, "cuBLASLt") != NULL;
}

static void choosing(void **state)
{
    (void)state;
    vj_backend *be = open_cuda(VJ_BF16);
    assert_string_equal(vj_backend_products(be), "own");
    assert_true(uses_library(be));
    assert_int_equal(vj_backend_set_products(be, "mma"), VJ_OK);
    assert_string_equal(vj_backend_products(be), "mma");
    assert_false(uses_library(be));
    assert_int_equal(vj_backend_set_products(be, "onednn"), VJ_ERR_USAGE);
    assert_string_equal(vj_backend_products(be), "mma");
    assert_int_equal(vj_backend_set_products(be, "cublaslt"), VJ_OK);
    assert_true(uses_library(be));
    assert_true(vj_products_present("mma") && vj_products_present("cublaslt") && !vj_products_present("cublas"));
    close_cuda(be);
    setenv("VJ_PRODUCTS", "mma", 1);
    be = open_cuda(VJ_BF16);
    assert_int_equal(vj_backend_set_products(be, "cublaslt"),
                     VJ_OK); /* the environment forces another choice, so this has no effect */
    assert_string_equal(vj_backend_products(be), "mma");
    close_cuda(be);
    unsetenv("VJ_PRODUCTS");
}

static void library_that_is_not_there(void **state)
{
    (void)state;
    vj_backend *be;
    setenv("VJEPA_CUBLASLT", "/nowhere/libcublasLt.so", 1);
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_ERR_USAGE);
    assert_false(vj_products_present("cublaslt"));
    setenv("VJEPA_CUBLASLT", "libm.so.6", 1); /* a library, but not cuBLASLt */
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_ERR_USAGE);
    unsetenv("VJEPA_CUBLASLT");
}

static void timing(void **state)
{
    (void)state;
    const char *names[] = {"own", "mma", "wgmma", "cublaslt"};
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        vj_product_rate rates[VJ_PRODUCT_CANDIDATES];
        vj_backend *be = open_cuda((vj_precision)precision);
        int count = 0;
        assert_int_equal(vj_backend_set_products(be, "mma"), VJ_OK);
        assert_int_equal(vj_backend_time_products(be, rates, VJ_PRODUCT_CANDIDATES, &count), VJ_OK);
        assert_int_equal(count, precision == VJ_BF16 ? 4 : 3); /* wgmma only multiplies bf16 */
        for (int i = 0; i < count; i++) {
            assert_string_equal(rates[i].name, names[precision == VJ_FP32 && i == 2 ? 3 : i]);
            assert_true(rates[i].gflops > 0 && rates[i].detail[0]);
        }
        assert_string_equal(vj_backend_products(be), "mma");
        assert_true(vj_backend_flops(be) == 0);
        assert_int_equal(vj_backend_time_products(be, rates, 1, &count), VJ_OK);
        assert_int_equal(count, 1);
        close_cuda(be);
    }
}

/* Check that all candidates agree on results of many large tiles, in all three forms, with a short depth. */
static void large_tiles(void **state)
{
    (void)state;
    enum { R = 1544, N = 1032, K = 24 };
    const char *names[] = {"mma", "cublaslt"};
    float *first[3] = {0};
    for (int i = 0; i < 2; i++) {
        vj_backend *be = open_cuda(VJ_BF16);
        assert_int_equal(vj_backend_set_products(be, names[i]), VJ_OK);
        stored x = stored_random(be, VJ_TYPE_BF16, (int64_t)R * K, 1, 1);
        stored w = stored_random(be, VJ_TYPE_BF16, (int64_t)N * K, 0.5, 2);
        stored back = stored_random(be, VJ_TYPE_BF16, (int64_t)K * N, 0.5, 3);
        stored left = stored_random(be, VJ_TYPE_BF16, (int64_t)K * R, 1, 4);
        array y[3] = {array_empty(be, (int64_t)R * N), array_empty(be, (int64_t)R * N),
                      array_empty(be, (int64_t)R * N)};
        vj_linear_forward(be, vj_f32(y[0].device), x.device, w.device, NULL, NULL, 0, R, N, K);
        vj_linear_backward_input(be, vj_f32(y[1].device), x.device, back.device, R, K, N);
        vj_linear_backward_weight(be, y[2].device, NULL, left.device, back.device, 0, K, R, N);
        for (int form = 0; form < 3; form++) {
            pull(be, &y[form]);
            if (!first[form]) {
                first[form] = malloc((size_t)y[form].n * 4);
                assert_non_null(first[form]);
                memcpy(first[form], y[form].host, (size_t)y[form].n * 4);
            }
            for (int64_t j = 0; j < y[form].n; j++)
                if (!(fabsf(y[form].host[j] - first[form][j]) <= 1e-5f * (1 + fabsf(first[form][j]))))
                    fail_msg("form %d, element %lld: %s gives %.9g, %s %.9g", form, (long long)j, names[0],
                             (double)first[form][j], names[i], (double)y[form].host[j]);
            drop(be, &y[form]);
        }
        drop_stored(be, &x), drop_stored(be, &w), drop_stored(be, &back), drop_stored(be, &left);
        close_cuda(be);
    }
    for (int form = 0; form < 3; form++) free(first[form]);
}

/* Check a result so wide that only the sums of 128 rows at a time can wait for their bias. The library refuses the last
 * rows, which the own kernel computes then. */
static void pieces(void **state)
{
    (void)state;
    enum { R = 131, N = 131072, K = 8 };
    char warning[512] = "";
    vj_backend *be = open_cuda(VJ_BF16);
    assert_int_equal(vj_backend_set_products(be, "cublaslt"), VJ_OK);
    stored x = stored_random(be, VJ_TYPE_BF16, R * K, 1, 1),
           w = stored_random(be, VJ_TYPE_BF16, (int64_t)N * K, 0.5, 2);
    stored y = stored_empty(be, VJ_TYPE_BF16, (int64_t)R * N);
    array bias = array_random(be, N, 1, 3), table = array_random(be, (int64_t)3 * N, 1, 4);
    setenv("EMU_BROKEN", "cublaslt", 1);
    vj_status_divert(warning, sizeof warning);
    vj_linear_forward(be, y.device, x.device, w.device, bias.device, table.device, 3, R, N, K);
    vj_status_divert(NULL, 0);
    unsetenv("EMU_BROKEN");
    assert_non_null(strstr(warning, "cuBLASLt does not compute a product of 3 x 131072 over 8"));
    pull_stored(be, &y);
    for (int64_t r = 0; r < R; r++)
        for (int64_t n = 0; n < N; n++) {
            double want = bias.host[n] + table.host[r % 3 * N + n];
            for (int k = 0; k < K; k++) want += (double)x.host[r * K + k] * w.host[n * K + k];
            if (!(fabs(y.host[r * N + n] - want) <= 1e-4 + fabs(want) / 256))
                fail_msg("row %lld, column %lld: got %.9g, wanted %.9g", (long long)r, (long long)n,
                         (double)y.host[r * N + n], want);
        }
    drop_stored(be, &x), drop_stored(be, &w), drop_stored(be, &y);
    drop(be, &bias), drop(be, &table);
    close_cuda(be);
}

/* Check that the library computes products with biases of less alignment than the first of their kind. */
static void biases(void **state)
{
    (void)state;
    enum { R = 8, D = 64, BEHIND = 4 };
    char warning[512] = "";
    vj_backend *be = open_cuda(VJ_BF16);
    assert_int_equal(vj_backend_set_products(be, "cublaslt"), VJ_OK);
    stored x = stored_random(be, VJ_TYPE_BF16, R * D, 1, 1), w = stored_random(be, VJ_TYPE_BF16, D * D, 1, 2);
    array y = array_empty(be, R * D), bias = array_random(be, D + BEHIND, 1, 3);
    vj_status_divert(warning, sizeof warning);
    vj_linear_forward(be, vj_f32(y.device), x.device, w.device, bias.device, NULL, 0, R, D, D);
    vj_linear_forward(be, vj_f32(y.device), x.device, w.device, bias.device + BEHIND, NULL, 0, R, D, D);
    vj_status_divert(NULL, 0);
    assert_string_equal(warning, "");
    pull(be, &y);
    double want = bias.host[BEHIND];
    for (int k = 0; k < D; k++) want += (double)x.host[k] * w.host[k];
    assert_true(fabs(y.host[0] - want) <= 1e-4);
    drop_stored(be, &x), drop_stored(be, &w);
    drop(be, &y), drop(be, &bias);
    close_cuda(be);
}

/* Check that the library is asked once for each kind of product, and that its answers are dropped when there are many.
 */
static void many_kinds(void **state)
{
    (void)state;
    enum { KINDS = 900 };
    vj_backend *be = open_cuda(VJ_BF16);
    assert_int_equal(vj_backend_set_products(be, "cublaslt"), VJ_OK);
    stored x = stored_random(be, VJ_TYPE_BF16, 8 * KINDS, 1, 1), w = stored_random(be, VJ_TYPE_BF16, 64 * KINDS, 1, 2);
    array y = array_empty(be, 8);
    for (int again = 0; again < 2; again++)
        for (int kind = 1; kind <= KINDS; kind++) {
            const int K = 8 * kind;
            vj_linear_forward(be, vj_f32(y.device), x.device, w.device, NULL, NULL, 0, 1, 8, K);
            if (kind % 100 != 0) continue;
            pull(be, &y);
            double want = 0, size = 0;
            for (int k = 0; k < K; k++) {
                want += (double)x.host[k] * w.host[7 * K + k];
                size += fabs((double)x.host[k] * w.host[7 * K + k]);
            }
            assert_true(fabs(y.host[7] - want) <= 1e-6 + 1e-6 * size);
        }
    drop_stored(be, &x), drop_stored(be, &w);
    drop(be, &y);
    close_cuda(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(choosing),  cmocka_unit_test(library_that_is_not_there),
                                       cmocka_unit_test(timing),    cmocka_unit_test(large_tiles),
                                       cmocka_unit_test(pieces),    cmocka_unit_test(biases),
                                       cmocka_unit_test(many_kinds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
