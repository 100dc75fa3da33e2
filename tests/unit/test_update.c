/* Tests sums over elements and columns, and AdamW with the moving average, against double. */
#include "base/tree_sum.h"
#include "kernel_test.h"

static void check_sums(vj_backend *be, bool rounded)
{
    (void)rounded;
    const struct {
        int R, D;
    } shapes[] = {{1, 1}, {7, 33}, {129, 384}};
    for (int s = 0; s < 3; s++) {
        int R = shapes[s].R, D = shapes[s].D;
        array x = array_random(be, R * D, 1, 1);
        double *want = doubles(2 * D), *got = doubles(2 * D), all = 0, sum, *device = vj_device_alloc(be, 2 * D * 8);
        for (int i = 0; i < R * D; i++) {
            want[i % D] += x.host[i];
            want[D + i % D] += (double)x.host[i] * x.host[i];
            all += (double)x.host[i] * x.host[i];
        }
        vj_sum_squares(be, device, x.device, R * D);
        vj_download(be, &sum, device, sizeof sum);
        assert_true(fabs(sum - all) <= 1e-12 * all);

        vj_upload(be, device, got, 2 * D * 8);
        for (int twice = 1; twice <= 2; twice++) {
            vj_column_moments(be, device, x.device, R, D);
            vj_download(be, got, device, 2 * D * 8);
            for (int d = 0; d < 2 * D; d++) assert_true(fabs(got[d] - twice * want[d]) < 1e-11 * R);
        }
        drop(be, &x);
        vj_device_free(be, device);
        free(want), free(got);
    }
}

/* Check that a sum of no elements is written. It needs no scratch memory, which is no failed allocation. */
static void check_nothing(vj_backend *be, bool rounded)
{
    (void)rounded;
    double sum = NAN, *device = vj_device_alloc(be, 8);
    vj_upload(be, device, &sum, 8);
    vj_sum_squares(be, device, NULL, 0);
    vj_download(be, &sum, device, 8);
    assert_true(sum == 0);
    vj_device_free(be, device);
}

static void nothing_on_a_fresh_backend(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_nothing);
}

static void sums(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_sums);
}

static void check_add(vj_backend *be, bool rounded)
{
    (void)rounded;
    for (int64_t n = 1; n < 50000; n = 7 * n + 2) {
        array y = array_random(be, n, 1, 1), x = array_random(be, n, 1, 2);
        float *want = vj_calloc(n, sizeof *want);
        for (int64_t i = 0; i < n; i++) want[i] = y.host[i] + x.host[i];
        vj_add(be, y.device, x.device, n);
        pull(be, &y);
        assert_memory_equal(y.host, want, (size_t)n * sizeof *want);
        drop(be, &y), drop(be, &x);
        free(want);
    }
}

static void add(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_add);
}

/* Check three steps of n weights, with or without a target. */
static void check_steps(vj_backend *be, int64_t n, bool with_target)
{
    array w = array_random(be, n, 0.1, 1), m = array_of(be, n, 0), v = array_of(be, n, 0),
          t = array_random(be, n, 0.1, 2);
    double *ww = widened(w.host, n), *wm = doubles(n), *wv = doubles(n), *wt = widened(t.host, n);
    for (int k = 1; k <= 3; k++) {
        const vj_segment all = {.count = n, .lr = 1e-3, .weight_decay = 0.04};
        vj_adamw_step step = {.beta1 = 0.9,
                              .beta2 = 0.999,
                              .eps = 1e-8,
                              .correction1 = 1 - pow(0.9, k),
                              .correction2 = 1 - pow(0.999, k),
                              .gradient_scale = 0.5,
                              .ema = 0.998};
        array g = array_random(be, n, 0.01, (uint64_t)(10 + k));
        const vj_adamw_vectors vectors = {.w = w.device,
                                          .first_moment = m.device,
                                          .second_moment = v.device,
                                          .gradient = g.device,
                                          .target = with_target ? t.device : NULL};
        vj_adamw(be, &vectors, &all, 1, &step);
        for (int64_t i = 0; i < n; i++) {
            double gi = g.host[i] * step.gradient_scale;
            ww[i] *= 1 - all.lr * all.weight_decay;
            wm[i] = step.beta1 * wm[i] + (1 - step.beta1) * gi;
            wv[i] = step.beta2 * wv[i] + (1 - step.beta2) * gi * gi;
            ww[i] -= all.lr / step.correction1 * wm[i] / (sqrt(wv[i]) / sqrt(step.correction2) + step.eps);
            if (with_target) wt[i] = step.ema * wt[i] + (1 - step.ema) * ww[i];
        }
        drop(be, &g);
    }
    pull(be, &w), pull(be, &m), pull(be, &v), pull(be, &t);
    assert_close("w", w.host, ww, n, 1e-8, 3e-7); /* w is rounded three times */
    assert_close("first moment", m.host, wm, n, 1e-9, 5e-7);
    assert_close("second moment", v.host, wv, n, 1e-13, 5e-7);
    assert_close("target", t.host, wt, n, 1e-9, 3e-7);
    drop(be, &w), drop(be, &m), drop(be, &v), drop(be, &t);
    free(ww), free(wm), free(wv), free(wt);
}

static void check_adamw(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_steps(be, 1, true);
    check_steps(be, 231, false);
    check_steps(be, 10007, true);
}

static void adamw(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_adamw);
}

/* Check that many segments in one call have the bits of one call for each, and that the elements between them do not
 * change. */
static void check_segments(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { N = 9001, PIECES = 4 };
    const vj_segment piece[PIECES] = {
        {0, 1, 1e-3, 0.04}, {16, 4099, 2e-3, 0.0}, {4200, 0, 1, 1}, {4300, 4701, 3e-4, 0.1}};
    const vj_adamw_step step = {.beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = 1e-8,
                                .correction1 = 0.1,
                                .correction2 = 0.001,
                                .gradient_scale = 0.5,
                                .ema = 0.99};
    array g = array_random(be, N, 0.01, 9);
    float *got[2][4];
    uint16_t *half[2];
    for (int many = 0; many < 2; many++) {
        array x[4] = {array_random(be, N, 0.1, 1), array_random(be, N, 0.1, 2), array_of(be, N, 0),
                      array_random(be, N, 0.1, 3)};
        stored copy[2] = {stored_empty(be, VJ_TYPE_BF16, N), stored_empty(be, VJ_TYPE_BF16, N)};
        for (int i = 0; i < 2; i++) vj_fill(be, copy[i].device.data, 0.0f, N / 2);
        const vj_adamw_vectors v = {.w = x[0].device,
                                    .first_moment = x[1].device,
                                    .second_moment = x[2].device,
                                    .gradient = g.device,
                                    .target = x[3].device,
                                    .rounded_w = copy[0].device.data,
                                    .rounded_target = copy[1].device.data};
        if (many) vj_adamw(be, &v, piece, PIECES, &step);
        for (int i = 0; !many && i < PIECES; i++) vj_adamw(be, &v, &piece[i], 1, &step);
        for (int i = 0; i < 4; i++) {
            float before = x[i].host[2];
            pull(be, &x[i]);
            assert_true(x[i].host[2] == before); /* this element is between the segments */
            got[many][i] = memcpy(malloc(N * sizeof(float)), x[i].host, N * sizeof(float));
        }
        half[many] = malloc(N * sizeof *half[many]);
        vj_download(be, half[many], copy[0].device.data, N * (int64_t)sizeof *half[many]);
        for (int i = 0; i < 4; i++) drop(be, &x[i]);
        for (int i = 0; i < 2; i++) drop_stored(be, &copy[i]);
    }
    for (int i = 0; i < 4; i++) assert_memory_equal(got[0][i], got[1][i], N * sizeof(float));
    for (int p = 0; p < PIECES; p++)
        for (int64_t i = piece[p].offset; i < piece[p].offset + piece[p].count; i++) {
            uint32_t bits;
            memcpy(&bits, &got[1][0][i], sizeof bits);
            bits += 0x7fff + ((bits >> 16) & 1); /* round to nearest, ties to even */
            assert_int_equal(half[1][i], bits >> 16);
            assert_int_equal(half[0][i], half[1][i]);
        }
    for (int many = 0; many < 2; many++) {
        for (int i = 0; i < 4; i++) free(got[many][i]);
        free(half[many]);
    }
    drop(be, &g);
}

static void segments(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_segments);
}

static void check_spans(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { N = 50001, SPANS = 4 };
    const vj_span span[SPANS] = {{0, 1}, {7, 20000}, {30, 0}, {20000, N - 20000}};
    array x = array_random(be, N, 1, 1);
    double got[SPANS], want, *device = vj_device_alloc(be, sizeof got);
    vj_sum_squares_many(be, device, x.device, span, SPANS);
    vj_download(be, got, device, sizeof got);
    for (int i = 0; i < SPANS; i++) {
        vj_sum_squares(be, device, x.device + span[i].offset, span[i].count);
        vj_download(be, &want, device, sizeof want);
        assert_memory_equal(&got[i], &want, sizeof want);
    }
    float *packed = vj_device_alloc(be, (N + 7) * (int64_t)sizeof *packed); /* the spans overlap by 7 elements */
    array y = array_of(be, N, 0);
    vj_pack_spans(be, packed, x.device, span, SPANS);
    vj_unpack_spans(be, y.device, packed, span, SPANS);
    pull(be, &y);
    for (int64_t i = 0; i < N; i++) assert_true(y.host[i] == (i > 0 && i < 7 ? 0 : x.host[i]));
    vj_download(be, y.host, packed, 2 * (int64_t)sizeof *packed);
    assert_true(y.host[0] == x.host[0] && y.host[1] == x.host[7]);
    vj_device_free(be, packed);
    drop(be, &x);
    drop(be, &y);
    vj_device_free(be, device);
}

static void spans(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_spans);
}

/* Check that the kernel has the bits of the tree sum, also if the sum is written over one of its terms. */
static void check_arrays(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { N = 3001, MOST = 7 };
    for (int count = 1; count <= MOST; count++) {
        array x[MOST] = {{0}};
        const float *host[MOST], *device[MOST];
        for (int i = 0; i < count; i++) {
            x[i] = array_random(be, N, 1, (uint64_t)i);
            host[i] = x[i].host;
            device[i] = x[i].device;
        }
        float *want = malloc(N * sizeof *want), *got = malloc(N * sizeof *got);
        vj_tree_sum(want, host, count, N, 1);
        vj_sum_arrays(be, x[count / 2].device, device, count, N);
        vj_download(be, got, x[count / 2].device, N * (int64_t)sizeof *got);
        assert_memory_equal(got, want, N * sizeof *want);
        for (int i = 0; i < count; i++) drop(be, &x[i]);
        free(want), free(got);
    }
}

static void arrays(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_arrays);
}

enum { TN = 70001 };
static double kept;

static void run_threads(vj_backend *be, bool rounded)
{
    (void)rounded;
    array x = array_random(be, TN, 1, 1);
    double sum, *device = vj_device_alloc(be, 8);
    vj_sum_squares(be, device, x.device, TN);
    vj_download(be, &sum, device, 8);
    if (kept == 0) kept = sum;
    assert_memory_equal(&kept, &sum, sizeof sum);
    drop(be, &x);
    vj_device_free(be, device);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads *= 2) on_backend(NULL, "cpu", VJ_FP32, threads, run_threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums),     cmocka_unit_test(nothing_on_a_fresh_backend),
                                       cmocka_unit_test(add),      cmocka_unit_test(adamw),
                                       cmocka_unit_test(segments), cmocka_unit_test(spans),
                                       cmocka_unit_test(arrays),   cmocka_unit_test(threads_do_not_show)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
