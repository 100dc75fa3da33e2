/* Tests attention over packed segments against the formula in double, forward and backward, for all widths of heads. */
#include "kernel_test.h"

typedef struct {
    int segments, D, heads;
    const int32_t *offset;
} shape;

/* Compute the probabilities p [S, S] of one head in one segment, without rounding. Returns the head's part of qkv. */
static const double *probabilities(double *p, double *lse, const double *qkv, const shape *s, int segment, int h)
{
    int first = s->offset[segment], S = s->offset[segment + 1] - first, d = s->D / s->heads, row = 3 * s->D;
    const double *q = qkv + (int64_t)first * row + h * d, *k = q + s->D;
    for (int i = 0; i < S; i++) {
        double top = -1e300, sum = 0;
        for (int j = 0; j < S; j++) {
            double score = 0;
            for (int x = 0; x < d; x++) score += q[i * row + x] * k[j * row + x];
            p[i * S + j] = score / sqrt(d);
            top = fmax(top, p[i * S + j]);
        }
        for (int j = 0; j < S; j++) sum += p[i * S + j] = exp(p[i * S + j] - top);
        for (int j = 0; j < S; j++) p[i * S + j] /= sum;
        lse[i] = top + log(sum);
    }
    return q;
}

/* Allocate memory for the probabilities of one head. */
static double *square_room(const shape *s)
{
    int64_t longest = 1;
    for (int i = 0; i < s->segments; i++)
        if (s->offset[i + 1] - s->offset[i] > longest) longest = s->offset[i + 1] - s->offset[i];
    return doubles(longest * longest);
}

static void forward_lse(double *out, double *lse, const double *qkv, const shape *s)
{
    double *p = square_room(s), *head_lse = doubles(s->offset[s->segments]);
    for (int segment = 0; segment < s->segments; segment++)
        for (int h = 0; h < s->heads; h++) {
            int first = s->offset[segment], S = s->offset[segment + 1] - first, d = s->D / s->heads;
            const double *v = probabilities(p, head_lse, qkv, s, segment, h) + 2 * s->D;
            for (int i = 0; i < S; i++) {
                lse[(first + i) * s->heads + h] = head_lse[i];
                for (int x = 0; x < d; x++) {
                    double sum = 0;
                    for (int j = 0; j < S; j++) sum += p[i * S + j] * v[j * 3 * s->D + x];
                    out[(int64_t)(first + i) * s->D + h * d + x] = sum;
                }
            }
        }
    free(p), free(head_lse);
}

static void forward(double *out, const double *qkv, const void *context)
{
    const shape *s = context;
    double *lse = doubles((int64_t)s->offset[s->segments] * s->heads);
    forward_lse(out, lse, qkv, s);
    free(lse);
}

static void backward(double *dqkv, const double *dout, const double *qkv, const shape *s)
{
    int64_t row = 3 * s->D;
    double *p = square_room(s), *dp = square_room(s), *lse = doubles(s->offset[s->segments]);
    memset(dqkv, 0, (size_t)(s->offset[s->segments] * row) * sizeof *dqkv);
    for (int segment = 0; segment < s->segments; segment++)
        for (int h = 0; h < s->heads; h++) {
            int first = s->offset[segment], S = s->offset[segment + 1] - first, d = s->D / s->heads, D = s->D;
            const double *q = probabilities(p, lse, qkv, s, segment, h), *k = q + D, *v = q + 2 * D;
            const double *g = dout + (int64_t)first * D + h * d;
            double *dq = dqkv + first * row + h * d, *dk = dq + D, *dv = dq + 2 * D;
            for (int i = 0; i < S; i++) {
                double mean = 0;
                for (int j = 0; j < S; j++) {
                    double sum = 0;
                    for (int x = 0; x < d; x++) sum += g[i * D + x] * v[j * row + x];
                    dp[i * S + j] = sum;
                    mean += p[i * S + j] * sum;
                }
                for (int j = 0; j < S; j++)
                    for (int x = 0; x < d; x++) {
                        double ds = p[i * S + j] * (dp[i * S + j] - mean) / sqrt(d);
                        dq[i * row + x] += ds * k[j * row + x];
                        dk[j * row + x] += ds * q[i * row + x];
                        dv[j * row + x] += p[i * S + j] * g[i * D + x];
                    }
            }
        }
    free(p), free(dp), free(lse);
}

static double largest(const double *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

static double relative(const float *got, const double *want, int64_t n)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

static void assert_relative(const char *what, const float *got, const double *want, int64_t n, double tolerance)
{
    const double error = relative(got, want, n);
    if (!(error <= tolerance)) fail_msg("%s: off by %.3g of its norm, more than %.3g", what, error, tolerance);
}

/* The inputs and results of one attention, on the device. */
typedef struct {
    stored qkv, dout, out, dqkv;
    array lse, dbias; /* dbias: of ones before */
} arrays;

/* The sums of dqkv's columns were added to ones. They may be those of its values before they were rounded. */
static void check_sums(const arrays *a, int64_t R, int columns)
{
    const double rounding = a->dqkv.device.type == VJ_TYPE_BF16 ? 1.0 / 256 : 1e-6;
    for (int c = 0; c < columns; c++) {
        double want = 1, size = 1;
        for (int64_t r = 0; r < R; r++) {
            want += (double)a->dqkv.host[r * columns + c];
            size += fabs((double)a->dqkv.host[r * columns + c]);
        }
        if (!(fabs(a->dbias.host[c] - want) <= rounding * size))
            fail_msg("sum of column %d: got %.9g, wanted %.9g", c, (double)a->dbias.host[c], want);
    }
}

static void run(vj_backend *be, const arrays *a, const vj_rows *rows, int D, int heads)
{
    vj_attention_forward(be, a->out.device, a->lse.device, a->qkv.device, rows, D, heads);
    vj_attention_backward(be, a->dqkv.device, a->dbias.device, a->dout.device, a->qkv.device, a->out.device,
                          a->lse.device, 1, rows, D, heads);
    pull_stored(be, &a->out);
    pull_stored(be, &a->dqkv);
    pull(be, &a->lse), pull(be, &a->dbias);
    check_sums(a, rows->rows, 3 * D);
}

static void drop_arrays(vj_backend *be, arrays *a)
{
    stored *all[] = {&a->qkv, &a->dout, &a->out, &a->dqkv};
    for (int i = 0; i < 4; i++) drop_stored(be, all[i]);
    drop(be, &a->lse), drop(be, &a->dbias);
}

/*
 * Check that results stored as bf16 are the float results for the same inputs, rounded once. The backward pass reads
 * the rounded `out`, so the floats that it is compared with are computed from the rounded `out` too.
 */
static void check_kept(vj_backend *be, const arrays *floats, const vj_rows *rows, int D, int heads)
{
    const int64_t R = rows->rows;
    arrays half = {.qkv = stored_copy(be, VJ_TYPE_BF16, &floats->qkv),
                   .dout = stored_copy(be, VJ_TYPE_BF16, &floats->dout),
                   .out = stored_empty(be, VJ_TYPE_BF16, R * D),
                   .dqkv = stored_empty(be, VJ_TYPE_BF16, R * 3 * D),
                   .lse = array_empty(be, R * heads),
                   .dbias = array_of(be, 3 * D, 1)};
    run(be, &half, rows, D, heads);
    assert_rounded("out", &half.out, &floats->out);
    assert_same("lse", half.lse.host, floats->lse.host, R * heads);

    stored out = stored_copy(be, VJ_TYPE_F32, &half.out), dqkv = stored_empty(be, VJ_TYPE_F32, R * 3 * D);
    vj_attention_backward(be, dqkv.device, NULL, floats->dout.device, floats->qkv.device, out.device,
                          floats->lse.device, 0, rows, D, heads);
    pull_stored(be, &dqkv);
    assert_rounded("dqkv", &half.dqkv, &dqkv);
    drop_stored(be, &out), drop_stored(be, &dqkv);
    drop_arrays(be, &half);
}

/*
 * fp32: a few roundings, amplified by the size of the scores. bf16: probabilities and score gradients are rounded as
 * well, by up to 2^-8 each, which the reference leaves out: 1.3e-3 of the norm of out and 1.8e-3 of that of dqkv were
 * measured at worst. `sharp` is the size of q, k and v.
 */
static void check_shape(vj_backend *be, const int32_t *offset, int segments, int d, int heads, double sharp,
                        bool rounded)
{
    int D = d * heads;
    int64_t R = offset[segments];
    shape s = {segments, D, heads, offset};
    /* All values can be stored exactly as bf16, so both types hold the same ones. */
    stored half_qkv = stored_random(be, VJ_TYPE_BF16, R * 3 * D, sharp, 1);
    stored half_dout = stored_random(be, VJ_TYPE_BF16, R * D, 1, 2);
    arrays a = {.qkv = stored_copy(be, VJ_TYPE_F32, &half_qkv),
                .dout = stored_copy(be, VJ_TYPE_F32, &half_dout),
                .out = stored_empty(be, VJ_TYPE_F32, R * D),
                .dqkv = stored_empty(be, VJ_TYPE_F32, R * 3 * D),
                .lse = array_empty(be, R * heads),
                .dbias = array_of(be, 3 * D, 1)};
    int32_t *dev_offset = ints_on_device(be, offset, segments + 1);
    const vj_rows rows = vj_rows_from(offset, dev_offset, segments);
    double *in = widened(a.qkv.host, R * 3 * D), *g = widened(a.dout.host, R * D), *want = doubles(R * D);
    double *want_lse = doubles(R * heads), *want_d = doubles(R * 3 * D);
    double tolerance = rounded ? 8e-3 : sharp > 1 ? 1e-5 : 2e-6;

    forward_lse(want, want_lse, in, &s);
    backward(want_d, g, in, &s);
    run(be, &a, &rows, D, heads);
    assert_close("out", a.out.host, want, R * D, tolerance * (1 + sharp), 0);
    assert_close("lse", a.lse.host, want_lse, R * heads, 3e-6, 3e-6);
    assert_close("dqkv", a.dqkv.host, want_d, R * 3 * D, tolerance * (1 + largest(want_d, R * 3 * D)), 0);
    if (rounded) {
        assert_relative("out", a.out.host, want, R * D, 2.6e-3);
        assert_relative("dqkv", a.dqkv.host, want_d, R * 3 * D, 3.6e-3);
    }
    check_kept(be, &a, &rows, D, heads);

    stored again = stored_empty(be, VJ_TYPE_F32, R * D);
    vj_attention_forward(be, again.device, NULL, a.qkv.device, &rows, D, heads);
    pull_stored(be, &again);
    assert_same("out without lse", again.host, a.out.host, R * D);

    drop_stored(be, &half_qkv), drop_stored(be, &half_dout), drop_stored(be, &again);
    drop_arrays(be, &a);
    vj_device_free(be, dev_offset);
    free(in), free(g), free(want), free(want_lse), free(want_d);
}

/* Check segments that are shorter than a tile, longer, and a few rows longer. Tiles have 8 to 32 queries and 96 or 256
 * keys. */
static void check_shapes(vj_backend *be, bool rounded)
{
    const int32_t one[] = {0, 1}, few[] = {0, 7, 7, 40}, plain[] = {0, 66}, ragged[] = {0, 1, 32, 65, 162, 462};
    check_shape(be, one, 1, 1, 1, 1, rounded);
    check_shape(be, few, 3, 5, 3, 1, rounded);
    check_shape(be, few, 3, 24, 2, 4, rounded);
    check_shape(be, plain, 1, 16, 2, 1, rounded);
    check_shape(be, few, 3, 1300, 1, 1, rounded);
    const int widths[] = {7, 24, 32, 33, 64, 80, 128};
    for (int i = 0; i < 7; i++)
        check_shape(be, ragged, slow_run() ? 4 : 5, widths[i], widths[i] == 24 ? 2 : 1, 1, rounded);
}

static void in_fp32(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_shapes);
}

static void in_bf16(void **state)
{
    (void)state;
    on_each_backend(VJ_BF16, check_shapes);
}

/* Check segments of 48, 64 and 128 rows, one less and one more, because kernels for some widths take so many rows at a
 * time. */
static void check_edges(vj_backend *be, bool rounded)
{
    const int32_t offset[] = {0, 1, 64, 128, 193, 322, 370};
    const int widths[] = {16, 24, 48, 64, 80, 96};
    for (int i = 0; i < 6; i++) check_shape(be, offset, slow_run() ? 4 : 6, widths[i], 1, 1, rounded);
}

static void edges_of_tiles(void **state)
{
    (void)state;
    on_each_backend(VJ_BF16, check_edges);
}

/* Copy an array to memory that begins one element after an aligned address, with room for a guard value after it. */
static vj_array moved(vj_backend *be, const stored *a)
{
    const int64_t size = vj_type_bytes(a->device.type), bytes = (a->n + GUARD) * size;
    void *host = malloc((size_t)bytes);
    char *device = vj_device_alloc(be, bytes + size);
    assert_true(host && device);
    open_guard(a->device, a->n);
    vj_download(be, host, a->device.data, bytes);
    close_guard(a->device, a->n);
    vj_upload(be, device + size, host, bytes);
    free(host);
    return (vj_array){device + size, a->device.type};
}

static void move_back(vj_backend *be, const stored *a, vj_array from)
{
    const int64_t size = vj_type_bytes(a->device.type), bytes = (a->n + GUARD) * size;
    void *host = malloc((size_t)bytes);
    assert_non_null(host);
    vj_download(be, host, from.data, bytes);
    open_guard(a->device, a->n);
    vj_upload(be, a->device.data, host, bytes);
    settle(be);
    close_guard(a->device, a->n);
    free(host);
    vj_device_free(be, (char *)from.data - size);
    pull_stored(be, a);
}

/* Check that results do not depend on where operands and results begin in memory, even if another kernel is used. */
static void check_moved(vj_backend *be, bool rounded)
{
    enum { R = 70, D = 48, HEADS = 2 };
    const int32_t offset[] = {0, 3, R};
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    const vj_rows rows = vj_rows_from(offset, dev_offset, 2);
    for (int type = VJ_TYPE_F32; type <= VJ_TYPE_BF16; type++) {
        arrays a = {.qkv = stored_random(be, (vj_type)type, R * 3 * D, 1, 1),
                    .dout = stored_random(be, (vj_type)type, R * D, 1, 2),
                    .out = stored_empty(be, (vj_type)type, R * D),
                    .dqkv = stored_empty(be, (vj_type)type, R * 3 * D),
                    .lse = array_empty(be, R * HEADS),
                    .dbias = array_of(be, 3 * D, 1)};
        stored out = stored_empty(be, (vj_type)type, R * D), dqkv = stored_empty(be, (vj_type)type, R * 3 * D);
        run(be, &a, &rows, D, HEADS);
        double *want = widened(a.out.host, R * D), *want_d = widened(a.dqkv.host, R * 3 * D);

        vj_array qkv = moved(be, &a.qkv), dout = moved(be, &a.dout), to = moved(be, &out), to_d = moved(be, &dqkv);
        vj_attention_forward(be, out.device, NULL, qkv, &rows, D, HEADS);
        pull_stored(be, &out);
        assert_same("out of moved operands", out.host, a.out.host, R * D);
        vj_attention_backward(be, dqkv.device, NULL, dout, qkv, out.device, a.lse.device, 0, &rows, D, HEADS);
        pull_stored(be, &dqkv);
        assert_same("dqkv of moved operands", dqkv.host, a.dqkv.host, R * 3 * D);

        vj_attention_forward(be, to, NULL, qkv, &rows, D, HEADS);
        vj_attention_backward(be, to_d, NULL, dout, qkv, out.device, a.lse.device, 0, &rows, D, HEADS);
        move_back(be, &out, to), move_back(be, &dqkv, to_d);
        const double tolerance = rounded || type == VJ_TYPE_BF16 ? 3e-3 : 1e-6;
        assert_relative("moved out", out.host, want, R * D, tolerance);
        assert_relative("moved dqkv", dqkv.host, want_d, R * 3 * D, tolerance);
        move_back(be, &a.qkv, qkv), move_back(be, &a.dout, dout);
        free(want), free(want_d);
        drop_stored(be, &out), drop_stored(be, &dqkv);
        drop_arrays(be, &a);
    }
    vj_device_free(be, dev_offset);
}

static void arrays_begin_anywhere(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_moved);
    on_each_backend(VJ_BF16, check_moved);
}

static void reference_backward(void **state)
{
    (void)state;
    enum { R = 7, D = 6 };
    const int32_t offset[] = {0, 4, 7};
    shape s = {2, D, 2, offset};
    double qkv[R * 3 * D], dout[R * D], dqkv[R * 3 * D];
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 1);
    for (int i = 0; i < R * 3 * D; i++) qkv[i] = vj_rng_normal(&rng);
    for (int i = 0; i < R * D; i++) dout[i] = vj_rng_normal(&rng);
    backward(dqkv, dout, qkv, &s);
    assert_gradient("dqkv", forward, &s, qkv, R * 3 * D, R * D, dout, dqkv, 1e-7);
}

/* Check that a NaN in a query reaches only the result of its row, and a NaN in a key all results of its segment. */
static void check_nan(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 60, D = 16 };
    const int32_t offset[] = {0, 30, 60};
    array qkv = array_random(be, R * 3 * D, 1, 1), out = array_empty(be, R * D);
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    const vj_rows rows = vj_rows_from(offset, dev_offset, 2);
    qkv.host[5 * 3 * D + 2] = NAN;
    qkv.host[40 * 3 * D + D + 2] = NAN;
    push(be, &qkv);
    vj_attention_forward(be, vj_f32(out.device), NULL, vj_f32(qkv.device), &rows, D, 1);
    pull(be, &out);
    for (int i = 0; i < R * D; i++) assert_true(isnan(out.host[i]) == (i / D == 5 || i / D >= 30));
    drop(be, &qkv), drop(be, &out);
    vj_device_free(be, dev_offset);
}

static void nan_spreads(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_nan);
    on_each_backend(VJ_BF16, check_nan);
}

/* Check for each type and precision that the bits do not depend on the number of threads. */
enum { TR = 150, TD = 32 };
static float kept[TR * 3 * TD];
static bool have;

static void run_threads_with(vj_backend *be, vj_type type)
{
    const int32_t offset[] = {0, 70, 150};
    arrays a = {.qkv = stored_random(be, type, TR * 3 * TD, 1, 1),
                .dout = stored_random(be, type, TR * TD, 1, 2),
                .out = stored_empty(be, type, TR * TD),
                .dqkv = stored_empty(be, type, TR * 3 * TD),
                .lse = array_empty(be, TR * 2),
                .dbias = array_of(be, 3 * TD, 1)};
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    const vj_rows rows = vj_rows_from(offset, dev_offset, 2);
    run(be, &a, &rows, TD, 2);
    if (!have) memcpy(kept, a.dqkv.host, sizeof kept);
    have = true;
    assert_memory_equal(kept, a.dqkv.host, sizeof kept);
    drop_arrays(be, &a);
    vj_device_free(be, dev_offset);
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
            have = false;
            for (int threads = 1; threads <= 4; threads++)
                on_backend(NULL, "cpu", (vj_precision)precision, threads, type ? run_threads_bf16 : run_threads);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reference_backward),
                                       cmocka_unit_test(in_fp32),
                                       cmocka_unit_test(in_bf16),
                                       cmocka_unit_test(edges_of_tiles),
                                       cmocka_unit_test(arrays_begin_anywhere),
                                       cmocka_unit_test(nan_spreads),
                                       cmocka_unit_test(threads_do_not_show)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
