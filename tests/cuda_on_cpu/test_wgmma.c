/*
 * The product of compute capability 9.0 (product_wgmma.cu) on the emulated GPU, where wgmma adds in the order of mma:
 * so all results have the bits of the kernel that all GPUs have. And the trial at the start, by which a device that
 * multiplies wrong is found. With EMU_CAPABILITY=80 the tests are about a GPU without wgmma.
 */
#include "base/status.h"
#include "unit/kernel_test.h"

enum { RESULTS = 8 };

typedef struct {
    int R, N, K;
    vj_type kept; /* operands and results */
} shape;

static bool device_has_wgmma(void)
{
    return vj_products_present("wgmma");
}

static vj_backend *open_with(const char *products)
{
    vj_backend *be;
    setenv("VJ_PRODUCTS", products, 1);
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_OK);
    unsetenv("VJ_PRODUCTS");
    assert_string_equal(vj_backend_products(be), products);
    return be;
}

static void close_cuda(vj_backend *be)
{
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_backend_close(be);
}

/* All that linear layers ask for; results on the host, to be freed by release(). */
typedef struct {
    float *at[RESULTS];
    int64_t n[RESULTS];
} results;

static const char *const result_names[RESULTS] = {"y", "gelu", "pre", "dx", "dpre", "hidden", "dw", "dw added"};

static void keep(vj_backend *be, results *all, int which, const stored *x)
{
    pull_stored(be, x);
    all->n[which] = x->n;
    all->at[which] = malloc((size_t)x->n * 4);
    assert_non_null(all->at[which]);
    memcpy(all->at[which], x->host, (size_t)x->n * 4);
}

static void run_layers(vj_backend *be, const shape *s, results *all)
{
    const int R = s->R, N = s->N, K = s->K, period = R > 3 ? R / 3 : 1;
    const int64_t RN = (int64_t)R * N, RK = (int64_t)R * K;
    stored x = stored_random(be, s->kept, RK, 1, 1), w = stored_random(be, VJ_TYPE_BF16, (int64_t)N * K, 0.2, 2);
    stored dy = stored_random(be, s->kept, RN, 1, 3), pre = stored_random(be, s->kept, RK, 1, 4);
    array bias = array_random(be, N, 1, 5), table = array_random(be, (int64_t)period * N, 1, 6);
    stored to[RESULTS];
    for (int i = 0; i < 6; i++) to[i] = stored_empty(be, s->kept, i < 3 ? RN : RK);
    for (int i = 6; i < RESULTS; i++) to[i] = stored_empty(be, VJ_TYPE_F32, (int64_t)N * K);
    vj_linear_forward(be, to[0].device, x.device, w.device, bias.device, table.device, period, R, N, K);
    vj_linear_gelu_forward(be, to[1].device, to[2].device, x.device, w.device, bias.device, R, N, K);
    vj_linear_backward_input(be, to[3].device, dy.device, w.device, R, N, K);
    vj_linear_gelu_backward_input(be, to[4].device, to[5].device, dy.device, w.device, pre.device, R, N, K);
    for (int i = 6; i < RESULTS; i++) {
        float *dw = to[i].device.data;
        vj_linear_backward_weight(be, dw, NULL, dy.device, x.device, 0, R, N, K);
        if (i == 7) vj_linear_backward_weight(be, dw, NULL, dy.device, x.device, 1, R, N, K);
    }
    for (int i = 0; i < RESULTS; i++) {
        keep(be, all, i, &to[i]);
        drop_stored(be, &to[i]);
    }
    drop_stored(be, &x), drop_stored(be, &w), drop_stored(be, &dy), drop_stored(be, &pre);
    drop(be, &bias), drop(be, &table);
}

static void release(results *all)
{
    for (int i = 0; i < RESULTS; i++) free(all->at[i]);
}

static int differing(const results *a, const results *b)
{
    int different = 0;
    for (int i = 0; i < RESULTS; i++)
        if (memcmp(a->at[i], b->at[i], (size_t)a->n[i] * 4) != 0) {
            print_message("%s differs\n", result_names[i]);
            different++;
        }
    return different;
}

static void layers_by(const char *products, const shape *s, results *all)
{
    vj_backend *be = open_with(products);
    run_layers(be, s, all);
    close_cuda(be);
}

/* Both widths of tiles, several tiles, ends in all directions; widths that need padded copies; parts of the depth. */
static void same_bits_as_mma(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    static const shape shapes[] = {{200, 264, 136, VJ_TYPE_BF16},
                                   {150, 384, 192, VJ_TYPE_F32},
                                   {131, 133, 130, VJ_TYPE_BF16},
                                   {1, 128, 128, VJ_TYPE_BF16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        results mma, wgmma;
        const shape *s = &shapes[i];
        layers_by("mma", s, &mma);
        layers_by("wgmma", s, &wgmma);
        if (differing(&wgmma, &mma)) fail_msg("%d rows, %d x %d: not mma's bits", s->R, s->N, s->K);
        release(&mma);
        release(&wgmma);
    }
}

/* However many tiles a block makes, in a ring that goes on from one to the next. */
static void processors_do_not_show(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    const shape s = {400, 264, 136, VJ_TYPE_BF16};
    const char *processors[] = {"132", "3", "1"};
    results all[3];
    for (int i = 0; i < 3; i++) {
        setenv("EMU_PROCESSORS", processors[i], 1);
        layers_by("wgmma", &s, &all[i]);
        if (i > 0) assert_int_equal(differing(&all[i], &all[0]), 0);
    }
    unsetenv("EMU_PROCESSORS");
    for (int i = 0; i < 3; i++) release(&all[i]);
}

/* A row's bits are the same whatever the number of rows. */
static void rows_do_not_depend_on_others(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    enum { R = 300, PIECE = 70, N = 200, K = 72 };
    vj_backend *be = open_with("wgmma");
    stored x = stored_random(be, VJ_TYPE_BF16, R * K, 1, 1), w = stored_random(be, VJ_TYPE_BF16, N * K, 1, 2);
    array all = array_empty(be, R * N), pieces = array_empty(be, R * N);
    vj_linear_forward(be, vj_f32(all.device), x.device, w.device, NULL, NULL, 0, R, N, K);
    for (int first = 0; first < R; first += PIECE) {
        const vj_array rows = {(uint16_t *)x.device.data + first * K, VJ_TYPE_BF16};
        vj_linear_forward(be, vj_f32(pieces.device + first * N), rows, w.device, NULL, NULL, 0,
                          R - first < PIECE ? R - first : PIECE, N, K);
    }
    pull(be, &all);
    pull(be, &pieces);
    assert_same("rows", pieces.host, all.host, R * N);
    drop_stored(be, &x), drop_stored(be, &w);
    drop(be, &all), drop(be, &pieces);
    close_cuda(be);
}

/* The gradient of a weight sums over all rows, in parts that are added afterwards. */
static void depth_in_parts(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    enum { R = 3000, N = 128, K = 136 };
    vj_backend *be = open_with("wgmma");
    stored dy = stored_random(be, VJ_TYPE_BF16, R * N, 1, 1), x = stored_random(be, VJ_TYPE_BF16, R * K, 1, 2);
    array dw = array_empty(be, N * K);
    vj_linear_backward_weight(be, dw.device, NULL, dy.device, x.device, 0, R, N, K);
    pull(be, &dw);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            double want = 0, size = 0;
            for (int r = 0; r < R; r++) {
                const double term = (double)dy.host[r * N + n] * x.host[r * K + k];
                want += term;
                size += fabs(term);
            }
            if (!(fabs(dw.host[n * K + k] - want) <= 1e-6 + 1e-6 * size))
                fail_msg("dw[%d, %d]: got %.9g, wanted %.9g", n, k, (double)dw.host[n * K + k], want);
        }
    drop_stored(be, &dy), drop_stored(be, &x);
    drop(be, &dw);
    close_cuda(be);
}

/* Large products go to wgmma where the library could not do all of them; and what multiplies is wgmma: it shows. */
static void own_uses_it(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    enum { R = 1032, N = 4104, K = 128 };
    float *host[2];
    vj_backend *be = open_with("own");
    stored x = stored_random(be, VJ_TYPE_BF16, R * K, 1, 1), w = stored_random(be, VJ_TYPE_BF16, N * K, 1, 2);
    stored y = stored_empty(be, VJ_TYPE_BF16, (int64_t)R * N);
    for (int broken = 0; broken < 2; broken++) {
        if (broken) setenv("EMU_BROKEN", "wgmma", 1);
        vj_linear_gelu_forward(be, y.device, (vj_array){0}, x.device, w.device, NULL, R, N, K);
        pull_stored(be, &y);
        host[broken] = malloc((size_t)y.n * 4);
        assert_non_null(host[broken]);
        memcpy(host[broken], y.host, (size_t)y.n * 4);
    }
    unsetenv("EMU_BROKEN");
    assert_memory_not_equal(host[0], host[1], (size_t)y.n * 4);
    free(host[0]), free(host[1]);
    drop_stored(be, &x), drop_stored(be, &w), drop_stored(be, &y);
    close_cuda(be);
}

/* A device whose wgmma is wrong: a warning says what differs, and mma multiplies. */
static void wrong_device_is_found(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    char warning[512];
    const shape s = {130, 264, 128, VJ_TYPE_BF16};
    results mma, own;
    layers_by("mma", &s, &mma);
    setenv("EMU_BROKEN", "wgmma", 1);
    vj_status_divert(warning, sizeof warning);
    layers_by("own", &s, &own);
    vj_status_divert(NULL, 0);
    print_message("%s\n", warning);
    assert_non_null(strstr(warning, "products by wgmma are wrong on"));
    assert_non_null(strstr(warning, "row 0, column 0"));
    assert_int_equal(differing(&own, &mma), 0);

    vj_backend *be;
    vj_status_divert(warning, sizeof warning);
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_OK);
    vj_status_divert(NULL, 0);
    unsetenv("EMU_BROKEN");
    assert_int_equal(vj_backend_set_products(be, "wgmma"), VJ_ERR_USAGE); /* it is not tried twice */
    assert_string_equal(vj_backend_products(be), "own");
    close_cuda(be);
    release(&mma), release(&own);
}

/* Chosen by name; in fp32, too, where there is nothing for it to do. */
static void choosing(void **state)
{
    (void)state;
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        vj_backend *be;
        vj_kernels kernels = {0};
        assert_int_equal(vj_backend_open(&be, "cuda", (vj_precision)precision, 1), VJ_OK);
        assert_string_equal(vj_backend_products(be), "own");
        assert_int_equal(vj_backend_set_products(be, "wgmma"), device_has_wgmma() ? VJ_OK : VJ_ERR_USAGE);
        assert_string_equal(vj_backend_products(be), device_has_wgmma() ? "wgmma" : "own");
        vj_backend_kernels(be, &kernels);
        assert_true(device_has_wgmma() == !strstr(kernels.library, "cuBLASLt"));
        close_cuda(be);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(choosing),
                                       cmocka_unit_test(same_bits_as_mma),
                                       cmocka_unit_test(processors_do_not_show),
                                       cmocka_unit_test(depth_in_parts),
                                       cmocka_unit_test(own_uses_it),
                                       cmocka_unit_test(rows_do_not_depend_on_others),
                                       cmocka_unit_test(wrong_device_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
