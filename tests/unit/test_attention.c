/* Attention over packed segments against the formula in double, forward and backward, all widths of heads. */
#include "kernel_test.h"

typedef struct {
    int segments, D, heads;
    const int32_t *offset;
    bool rounded; /* operands to bf16, as the kernels do */
} shape;

static double operand(const shape *s, double x)
{
    return s->rounded ? bf16(x) : x;
}

/* p[S, S] of one head of one segment, unrounded. Returns the head's qkv. */
static const double *probabilities(double *p, double *lse, const double *qkv, const shape *s, int segment, int h)
{
    int first = s->offset[segment], S = s->offset[segment + 1] - first, d = s->D / s->heads, row = 3 * s->D;
    const double *q = qkv + (int64_t)first * row + h * d, *k = q + s->D;
    for (int i = 0; i < S; i++) {
        double top = -1e300, sum = 0;
        for (int j = 0; j < S; j++) {
            double score = 0;
            for (int x = 0; x < d; x++) score += operand(s, q[i * row + x]) * operand(s, k[j * row + x]);
            p[i * S + j] = score / sqrt(d);
            top = fmax(top, p[i * S + j]);
        }
        for (int j = 0; j < S; j++) sum += p[i * S + j] = exp(p[i * S + j] - top);
        for (int j = 0; j < S; j++) p[i * S + j] /= sum;
        lse[i] = top + log(sum);
    }
    return q;
}

/* Room for one head's probabilities. */
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
                    for (int j = 0; j < S; j++) sum += p[i * S + j] * operand(s, v[j * 3 * s->D + x]);
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
                    for (int x = 0; x < d; x++) sum += operand(s, g[i * D + x]) * operand(s, v[j * row + x]);
                    dp[i * S + j] = sum;
                    mean += p[i * S + j] * sum;
                }
                for (int j = 0; j < S; j++)
                    for (int x = 0; x < d; x++) {
                        double ds = p[i * S + j] * (dp[i * S + j] - mean) / sqrt(d);
                        dq[i * row + x] += ds * operand(s, k[j * row + x]);
                        dk[j * row + x] += ds * operand(s, q[i * row + x]);
                        dv[j * row + x] += p[i * S + j] * operand(s, g[i * D + x]);
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

/*
 * fp32: a few roundings, amplified by the size of the scores. bf16: probabilities and score gradients are rounded as
 * well, 2^-9 each, which the reference leaves out.
 */
static void check_shape(vj_backend *be, const int32_t *offset, int segments, int d, int heads, double sharp,
                        bool rounded)
{
    int D = d * heads;
    int64_t R = offset[segments], longest = 0;
    for (int i = 0; i < segments; i++)
        if (offset[i + 1] - offset[i] > longest) longest = offset[i + 1] - offset[i];
    shape s = {segments, D, heads, offset, rounded};
    array qkv = array_random(be, R * 3 * D, sharp, 1), dout = array_random(be, R * D, 1, 2),
          out = array_empty(be, R * D);
    array lse = array_empty(be, R * heads), dqkv = array_empty(be, R * 3 * D);
    int32_t *dev_offset = ints_on_device(be, offset, segments + 1);
    double *in = widened(qkv.host, R * 3 * D), *g = widened(dout.host, R * D), *want = doubles(R * D);
    double *want_lse = doubles(R * heads), *want_d = doubles(R * 3 * D);
    double tolerance = rounded ? 8e-3 : sharp > 1 ? 1e-5 : 2e-6;

    forward_lse(want, want_lse, in, &s);
    vj_attention_forward(be, vj_f32(out.device), lse.device, vj_f32(qkv.device), dev_offset, segments, longest, R, D,
                         heads);
    pull(be, &out);
    pull(be, &lse);
    assert_close("out", out.host, want, R * D, tolerance * (1 + sharp), 0);
    assert_close("lse", lse.host, want_lse, R * heads, 3e-6, 3e-6);

    backward(want_d, g, in, &s);
    vj_attention_backward(be, vj_f32(dqkv.device), vj_f32(dout.device), vj_f32(qkv.device), vj_f32(out.device),
                          lse.device, dev_offset, segments, longest, R, D, heads);
    pull(be, &dqkv);
    assert_close("dqkv", dqkv.host, want_d, R * 3 * D, tolerance * (1 + largest(want_d, R * 3 * D)), 0);

    vj_fill(be, out.device, NAN, R * D);
    vj_attention_forward(be, vj_f32(out.device), NULL, vj_f32(qkv.device), dev_offset, segments, longest, R, D, heads);
    pull(be, &out);
    assert_close("out without lse", out.host, want, R * D, tolerance * (1 + sharp), 0);

    array *all[] = {&qkv, &dout, &out, &lse, &dqkv};
    for (int i = 0; i < 5; i++) drop(be, all[i]);
    vj_device_free(be, dev_offset);
    free(in), free(g), free(want), free(want_lse), free(want_d);
}

static void check_shapes(vj_backend *be, bool rounded)
{
    const int32_t one[] = {0, 1}, few[] = {0, 7, 7, 40}, ragged[] = {0, 97, 100, 201}, plain[] = {0, 66};
    check_shape(be, one, 1, 1, 1, 1, rounded);
    check_shape(be, few, 3, 33, 2, 1, rounded);
    check_shape(be, ragged, 3, 16, 2, 1, rounded);
    check_shape(be, ragged, 3, 32, 3, 1, rounded);
    check_shape(be, few, 3, 24, 2, 4, rounded);
    check_shape(be, plain, 1, 64, 1, 1, rounded);
    check_shape(be, plain, 1, 80, 1, 1, rounded);
    check_shape(be, few, 3, 128, 1, 1, rounded);
    check_shape(be, few, 3, 5, 3, 1, rounded);
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

static void reference_backward(void **state)
{
    (void)state;
    enum { R = 7, D = 6 };
    const int32_t offset[] = {0, 4, 7};
    shape s = {2, D, 2, offset, false};
    double qkv[R * 3 * D], dout[R * D], dqkv[R * 3 * D];
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 1);
    for (int i = 0; i < R * 3 * D; i++) qkv[i] = vj_rng_normal(&rng);
    for (int i = 0; i < R * D; i++) dout[i] = vj_rng_normal(&rng);
    backward(dqkv, dout, qkv, &s);
    assert_gradient("dqkv", forward, &s, qkv, R * 3 * D, R * D, dout, dqkv, 1e-7);
}

/* A NaN in one query spoils its row only; one in a key spoils its segment. */
static void check_nan(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 60, D = 16 };
    const int32_t offset[] = {0, 30, 60};
    array qkv = array_random(be, R * 3 * D, 1, 1), out = array_empty(be, R * D);
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    qkv.host[5 * 3 * D + 2] = NAN;
    qkv.host[40 * 3 * D + D + 2] = NAN;
    push(be, &qkv);
    vj_attention_forward(be, vj_f32(out.device), NULL, vj_f32(qkv.device), dev_offset, 2, 30, R, D, 1);
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

enum { TR = 150, TD = 32 };
static float kept[TR * 3 * TD];
static bool have;

static void run_threads(vj_backend *be, bool rounded)
{
    (void)rounded;
    const int32_t offset[] = {0, 70, 150};
    array qkv = array_random(be, TR * 3 * TD, 1, 1), out = array_empty(be, TR * TD), lse = array_empty(be, TR * 2);
    array dqkv = array_empty(be, TR * 3 * TD);
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    vj_attention_forward(be, vj_f32(out.device), lse.device, vj_f32(qkv.device), dev_offset, 2, 80, TR, TD, 2);
    vj_attention_backward(be, vj_f32(dqkv.device), vj_f32(out.device), vj_f32(qkv.device), vj_f32(out.device),
                          lse.device, dev_offset, 2, 80, TR, TD, 2);
    pull(be, &dqkv);
    if (!have) memcpy(kept, dqkv.host, sizeof kept);
    have = true;
    assert_memory_equal(kept, dqkv.host, sizeof kept);
    array *all[] = {&qkv, &out, &lse, &dqkv};
    for (int i = 0; i < 4; i++) drop(be, all[i]);
    vj_device_free(be, dev_offset);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads *= 2) on_backend(NULL, "cpu", VJ_FP32, threads, run_threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reference_backward), cmocka_unit_test(in_fp32),
                                       cmocka_unit_test(in_bf16), cmocka_unit_test(nan_spreads),
                                       cmocka_unit_test(threads_do_not_show)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
