/*
 * Tests products of compute capability 9.0 (product_wgmma.cu) on the emulated GPU. There wgmma adds in the order of
 * mma, so all results have the bits of the kernel for all GPUs. Tests what attention by wgmma promises besides correct
 * results, which tests/unit/test_attention.c checks, and the trial at the start that finds a device which computes
 * wrong results. With EMU_CAPABILITY=80 a GPU without wgmma is tested.
 */
#include "base/status.h"
#include "unit/kernel_test.h"

enum { RESULTS = 10, SUMS = 9 /* which of them */ };

typedef struct {
    int R, N, K;
    vj_type kept; /* type of operands and results */
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

/* The results of all forms of products that linear layers use, on the host. Free them with release(). */
typedef struct {
    float *at[RESULTS];
    int64_t n[RESULTS];
} results;

static const char *const result_names[RESULTS] = {"y",    "gelu",   "pre", "y with a table", "dx",
                                                  "dpre", "hidden", "dw",  "dw added",       "sums of dpre"};

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
    for (int i = 0; i < 7; i++) to[i] = stored_empty(be, s->kept, i < 4 ? RN : RK);
    for (int i = 7; i < RESULTS; i++) to[i] = stored_empty(be, VJ_TYPE_F32, i == SUMS ? K : (int64_t)N * K);
    vj_linear_forward(be, to[0].device, x.device, w.device, bias.device, NULL, 0, R, N, K);
    vj_linear_gelu_forward(be, to[1].device, to[2].device, x.device, w.device, bias.device, R, N, K);
    vj_linear_forward(be, to[3].device, x.device, w.device, bias.device, table.device, period, R, N, K);
    vj_linear_backward_input(be, to[4].device, dy.device, w.device, R, N, K);
    vj_linear_gelu_backward_input(be, to[5].device, to[6].device, to[SUMS].device.data, dy.device, w.device, pre.device,
                                  0, R, N, K);
    for (int i = 7; i < SUMS; i++) {
        float *dw = to[i].device.data;
        vj_linear_backward_weight(be, dw, NULL, dy.device, x.device, 0, R, N, K);
        if (i == 8) vj_linear_backward_weight(be, dw, NULL, dy.device, x.device, 1, R, N, K);
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

/* How many of the first `count` results differ. */
static int differing(const results *a, const results *b, int count)
{
    int different = 0;
    for (int i = 0; i < count; i++)
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

/* The sums that a kernel makes of what it writes are those of its values before they are rounded, or after. */
static void assert_sums(const results *x, const shape *s)
{
    for (int k = 0; k < s->K; k++) {
        double want = 0, size = 0;
        for (int r = 0; r < s->R; r++) {
            want += (double)x->at[5][(int64_t)r * s->K + k];
            size += fabs((double)x->at[5][(int64_t)r * s->K + k]);
        }
        if (!(fabs(x->at[SUMS][k] - want) <= size / 256))
            fail_msg("sum of column %d: got %.9g, wanted %.9g", k, (double)x->at[SUMS][k], want);
    }
}

/* Check all widths of tiles, several tiles, incomplete tiles in all directions, widths that need padded copies, and
 * products whose depth is cut into parts. */
static void same_bits_as_mma(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    static const shape shapes[] = {{200, 264, 200, VJ_TYPE_BF16},
                                   {150, 384, 192, VJ_TYPE_F32},
                                   {131, 133, 130, VJ_TYPE_BF16},
                                   {1, 128, 128, VJ_TYPE_BF16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        results mma, wgmma;
        const shape *s = &shapes[i];
        layers_by("mma", s, &mma);
        layers_by("wgmma", s, &wgmma);
        assert_sums(&mma, s);
        assert_sums(&wgmma, s);
        if (differing(&wgmma, &mma, SUMS)) fail_msg("%d rows, %d x %d: not mma's bits", s->R, s->N, s->K);
        release(&mma);
        release(&wgmma);
    }
}

/* Check that bits do not depend on how many tiles a block computes, in a ring of buffers that continues from tile to
 * tile. */
static void processors_do_not_show(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    const shape s = {300, 264, 200, VJ_TYPE_BF16};
    const char *processors[] = {"132", "3", "1"};
    results all[3];
    for (int i = 0; i < 3; i++) {
        setenv("EMU_PROCESSORS", processors[i], 1);
        layers_by("wgmma", &s, &all[i]);
        if (i > 0) assert_int_equal(differing(&all[i], &all[0], RESULTS), 0);
    }
    unsetenv("EMU_PROCESSORS");
    for (int i = 0; i < 3; i++) release(&all[i]);
}

/* Check that the bits of a row do not depend on the number of rows. */
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

/* Check gradients of weights, which are sums over all rows, computed in parts that are added afterwards. */
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

/* Check that "own" computes large products with wgmma: they change when wgmma is broken. */
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

/* ---------------------------------------------------------------------------------------------- attention */

/* Tiles have 128 rows, or 128 rows and 64 of the other operand; warp groups have 64 rows. */
enum { HEADS = 2, LONG = 150, TOKENS = LONG + 70 };
static const int32_t segment_offsets[] = {0, LONG, TOKENS};
static const int head_widths[] = {64, 80, 128};
enum { HEAD_WIDTHS = sizeof head_widths / sizeof *head_widths };

/* The results for each row: out, dqkv, lse. */
enum { PARTS = 3 };
typedef struct {
    float *at[PARTS];
    int64_t width[PARTS]; /* values in a row of each */
    float *dbias;         /* sums of dqkv's columns */
    int64_t columns;
} attended;

/* Compute attention of the first segments. Rows from `nan_from` on are NaN. */
static attended attend(vj_backend *be, int head_width, int segments, int nan_from)
{
    const int D = HEADS * head_width, R = segment_offsets[segments];
    stored qkv = stored_random(be, VJ_TYPE_BF16, (int64_t)R * 3 * D, 1, 1);
    stored dout = stored_random(be, VJ_TYPE_BF16, (int64_t)R * D, 1, 2);
    for (int64_t i = (int64_t)nan_from * 3 * D; i < qkv.n; i++) qkv.host[i] = NAN;
    for (int64_t i = (int64_t)nan_from * D; i < dout.n; i++) dout.host[i] = NAN;
    push_stored(be, &qkv);
    push_stored(be, &dout);
    array out = array_empty(be, (int64_t)R * D), dqkv = array_empty(be, (int64_t)R * 3 * D);
    array lse = array_empty(be, R * HEADS);
    int32_t *offset = ints_on_device(be, segment_offsets, segments + 1);
    const vj_rows rows = vj_rows_from(segment_offsets, offset, segments);
    vj_attention_forward(be, vj_f32(out.device), lse.device, qkv.device, &rows, D, HEADS);
    array dbias = array_empty(be, 3 * D);
    vj_attention_backward(be, vj_f32(dqkv.device), dbias.device, dout.device, qkv.device, vj_f32(out.device),
                          lse.device, 0, &rows, D, HEADS);
    array *all[PARTS] = {&out, &dqkv, &lse};
    pull(be, &dbias);
    vj_device_free(be, dbias.device);
    attended x = {.dbias = dbias.host, .columns = 3 * D};
    for (int i = 0; i < PARTS; i++) {
        pull(be, all[i]);
        x.at[i] = all[i]->host;
        x.width[i] = all[i]->n / R;
        vj_device_free(be, all[i]->device);
    }
    drop_stored(be, &qkv), drop_stored(be, &dout);
    vj_device_free(be, offset);
    return x;
}

static void forget(attended *x)
{
    for (int i = 0; i < PARTS; i++) free(x->at[i]);
    free(x->dbias);
}

static bool same_rows(const attended *a, const attended *b, int rows)
{
    for (int i = 0; i < PARTS; i++)
        if (memcmp(a->at[i], b->at[i], (size_t)(rows * a->width[i]) * 4) != 0) return false;
    return true;
}

/* Check that the bits do not depend on how many tiles a block computes. */
static void tiles_of_a_block_do_not_show(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    const char *processors[] = {"132", "3", "1"};
    attended all[3][HEAD_WIDTHS];
    for (int i = 0; i < 3; i++) {
        setenv("EMU_PROCESSORS", processors[i], 1);
        vj_backend *be = open_with("wgmma");
        for (int w = 0; w < HEAD_WIDTHS; w++) {
            all[i][w] = attend(be, head_widths[w], 2, TOKENS);
            assert_true(same_rows(&all[i][w], &all[0][w], TOKENS));
            assert_same("dbias", all[i][w].dbias, all[0][w].dbias, all[i][w].columns);
        }
        close_cuda(be);
    }
    unsetenv("EMU_PROCESSORS");
    for (int i = 0; i < 3; i++)
        for (int w = 0; w < HEAD_WIDTHS; w++) forget(&all[i][w]);
}

/* Check that the bits of a segment do not depend on the next one, of which its last tile has rows, even if these are
 * NaN.
 */
static void segments_do_not_depend_on_others(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    vj_backend *be = open_with("wgmma");
    for (int w = 0; w < HEAD_WIDTHS; w++) {
        attended both = attend(be, head_widths[w], 2, TOKENS), spoiled = attend(be, head_widths[w], 2, LONG);
        attended alone = attend(be, head_widths[w], 1, LONG);
        assert_true(isnan(spoiled.at[0][LONG * spoiled.width[0]]));
        assert_true(same_rows(&both, &alone, LONG) && same_rows(&spoiled, &alone, LONG));
        forget(&both), forget(&spoiled), forget(&alone);
    }
    close_cuda(be);
}

/* Check that all use attention by wgmma and "mma" does not: the bits differ, because tiles do. Ranks can distinguish
 * the two. Otherwise a library that multiplies faster would make a run slower. */
static void who_multiplies_attends(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    const char *products[] = {"mma", "wgmma", "own", "cublaslt"};
    attended all[4];
    for (int i = 0; i < 4; i++) {
        vj_kernels kernels;
        vj_backend *be = open_with(products[i]);
        all[i] = attend(be, 64, 2, TOKENS);
        vj_backend_kernels(be, &kernels);
        assert_true((i > 0) == !!strstr(kernels.library, "wgmma attention 64 80 128"));
        close_cuda(be);
    }
    assert_false(same_rows(&all[1], &all[0], TOKENS));
    assert_true(same_rows(&all[2], &all[1], TOKENS) && same_rows(&all[3], &all[1], TOKENS));
    for (int i = 0; i < 4; i++) forget(&all[i]);
}

/* Check a device on which products are right and attention is wrong: there is a warning, and mma is used for attention.
 * If the backend is opened in fp32 this happens when bf16 is requested. */
static void wrong_attention_is_found(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    char warning[512] = "";
    vj_backend *be = open_with("mma");
    attended mma = attend(be, 80, 2, TOKENS);
    close_cuda(be);
    setenv("EMU_BROKEN", "wgmma_registers", 1);
    setenv("VJ_PRODUCTS", "wgmma", 1);
    vj_status_divert(warning, sizeof warning);
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_FP32, 1), VJ_OK);
    assert_string_equal(warning, "");
    vj_backend_set_precision(be, VJ_BF16);
    vj_status_divert(NULL, 0);
    unsetenv("VJ_PRODUCTS");
    print_message("%s\n", warning);
    assert_non_null(strstr(warning, "attention by wgmma is wrong on"));
    assert_non_null(strstr(warning, "(heads of width 64, result: "));
    assert_string_equal(vj_backend_products(be), "wgmma");
    attended found = attend(be, 80, 2, TOKENS);
    unsetenv("EMU_BROKEN");
    close_cuda(be);
    assert_true(same_rows(&found, &mma, TOKENS));
    forget(&mma), forget(&found);
}

/* Check a device on which products are wrong: attention is tried nevertheless, and used where it is right. Keys of
 * heads 128 wide are operands in shared memory, as those of products. */
static void attention_without_products(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    char warning[512];
    vj_kernels kernels;
    vj_backend *be = open_with("wgmma");
    attended right = attend(be, 80, 2, TOKENS);
    close_cuda(be);
    setenv("EMU_BROKEN", "wgmma_shared", 1);
    vj_status_divert(warning, sizeof warning);
    be = open_with("own");
    vj_status_divert(NULL, 0);
    vj_backend_kernels(be, &kernels);
    attended found = attend(be, 80, 2, TOKENS);
    unsetenv("EMU_BROKEN");
    close_cuda(be);
    assert_non_null(strstr(warning, "products by wgmma are wrong on"));
    assert_non_null(strstr(kernels.library, "wgmma attention 64 80"));
    assert_null(strstr(kernels.library, "128"));
    assert_true(same_rows(&found, &right, TOKENS));
    forget(&right), forget(&found);
}

/* ---------------------------------------------------------------------------------------------- choosing */

/* Check a device on which wgmma is wrong: a warning says what differs, and mma is used. */
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
    assert_non_null(strstr(warning, "(A B, fp32, of 136 x 248 over 136: "));
    assert_non_null(strstr(warning, " of 33728 elements, in rows 0 to 135, columns 0 to 247; row 0, column 0: "));
    assert_int_equal(differing(&own, &mma, RESULTS), 0);

    vj_backend *be;
    vj_status_divert(warning, sizeof warning);
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_OK);
    vj_status_divert(NULL, 0);
    assert_int_equal(vj_backend_set_products(be, "wgmma"), VJ_ERR_USAGE); /* it is not tried again */
    assert_string_equal(vj_backend_products(be), "own");
    close_cuda(be);

    /* If it is opened in fp32 the error is found when bf16 is requested, and the choice is given up. */
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_FP32, 1), VJ_OK);
    assert_int_equal(vj_backend_set_products(be, "wgmma"), VJ_OK);
    vj_status_divert(warning, sizeof warning);
    vj_backend_set_precision(be, VJ_BF16);
    vj_status_divert(NULL, 0);
    unsetenv("EMU_BROKEN");
    assert_non_null(strstr(warning, "products by wgmma are wrong on"));
    assert_string_equal(vj_backend_products(be), "mma");
    close_cuda(be);
    release(&mma), release(&own);
}

/* Check that the environment can leave out attention by wgmma, or all of it, without a trial. */
static void left_out(void **state)
{
    (void)state;
    if (!device_has_wgmma()) skip();
    const char *wishes[] = {"products", "none"};
    for (int none = 0; none < 2; none++) {
        vj_backend *be;
        vj_kernels kernels = {0};
        char warning[512] = "";
        setenv("VJ_WGMMA", wishes[none], 1);
        setenv("EMU_BROKEN", none ? "wgmma" : "wgmma_registers", 1); /* no trial, no warning */
        vj_status_divert(warning, sizeof warning);
        assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_OK);
        vj_status_divert(NULL, 0);
        unsetenv("EMU_BROKEN");
        assert_string_equal(warning, "");
        assert_true(device_has_wgmma() == !none);
        vj_backend_kernels(be, &kernels);
        assert_null(strstr(kernels.library, "wgmma attention"));
        assert_int_equal(vj_backend_set_products(be, "wgmma"), none ? VJ_ERR_USAGE : VJ_OK);
        close_cuda(be);
    }
    vj_backend *be;
    setenv("VJ_WGMMA", "some", 1);
    assert_int_equal(vj_backend_open(&be, "cuda", VJ_BF16, 1), VJ_ERR_USAGE);
    unsetenv("VJ_WGMMA");
}

/* Check the choice by name, also in fp32, where wgmma is not used. */
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
                                       cmocka_unit_test(tiles_of_a_block_do_not_show),
                                       cmocka_unit_test(segments_do_not_depend_on_others),
                                       cmocka_unit_test(who_multiplies_attends),
                                       cmocka_unit_test(wrong_attention_is_found),
                                       cmocka_unit_test(attention_without_products),
                                       cmocka_unit_test(left_out),
                                       cmocka_unit_test(wrong_device_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
