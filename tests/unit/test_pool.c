/* Tests attention pooling with one query a head, forward and backward, against double. */
#include "kernel_test.h"

typedef struct {
    int B, N, D, heads;
    const double *x;
    double *prob;
} pool;

static void forward(double *pooled, const double *query, const void *context)
{
    const pool *s = context;
    for (int b = 0; b < s->B; b++)
        for (int h = 0; h < s->heads; h++) {
            const double *x = s->x + (int64_t)b * s->N * s->D;
            double *p = s->prob + (b * s->heads + h) * s->N, *y = pooled + (int64_t)(b * s->heads + h) * s->D;
            double top = -1e300, sum = 0;
            for (int n = 0; n < s->N; n++) {
                p[n] = 0;
                for (int d = 0; d < s->D; d++) p[n] += x[n * s->D + d] * query[h * s->D + d];
                top = fmax(top, p[n]);
            }
            for (int n = 0; n < s->N; n++) sum += p[n] = exp(p[n] - top);
            for (int d = 0; d < s->D; d++) y[d] = 0;
            for (int n = 0; n < s->N; n++) {
                p[n] /= sum;
                for (int d = 0; d < s->D; d++) y[d] += p[n] * x[n * s->D + d];
            }
        }
}

static void backward(double *dquery, const double *dpooled, const double *pooled, const pool *s)
{
    for (int i = 0; i < s->heads * s->D; i++) dquery[i] = 0;
    for (int b = 0; b < s->B; b++)
        for (int h = 0; h < s->heads; h++)
            for (int n = 0; n < s->N; n++) {
                const double *x = s->x + ((int64_t)b * s->N + n) * s->D;
                const double *g = dpooled + (b * s->heads + h) * s->D, *y = pooled + (b * s->heads + h) * s->D;
                double along = 0;
                for (int d = 0; d < s->D; d++) along += g[d] * (x[d] - y[d]);
                for (int d = 0; d < s->D; d++)
                    dquery[h * s->D + d] += s->prob[(b * s->heads + h) * s->N + n] * along * x[d];
            }
}

static void check_shape(vj_backend *be, int B, int N, int D, int heads)
{
    int64_t out = (int64_t)B * heads * D;
    array x = array_random(be, (int64_t)B * N * D, 1, 1), query = array_random(be, heads * D, 1 / sqrt(D), 2);
    array dpooled = array_random(be, out, 1, 3), pooled = array_empty(be, out);
    array prob = array_empty(be, (int64_t)B * heads * N), dquery = array_empty(be, heads * D);
    double *wx = widened(x.host, x.n), *wq = widened(query.host, query.n), *wd = widened(dpooled.host, out);
    pool s = {B, N, D, heads, wx, doubles(prob.n)};
    double *want = doubles(out), *want_d = doubles(heads * D);

    forward(want, wq, &s);
    vj_pool_forward(be, pooled.device, prob.device, x.device, query.device, B, N, D, heads);
    pull(be, &pooled);
    pull(be, &prob);
    assert_close("pooled", pooled.host, want, out, 3e-6, 0);
    assert_close("prob", prob.host, s.prob, prob.n, 3e-6, 0);

    backward(want_d, wd, want, &s);
    vj_pool_backward(be, dquery.device, dpooled.device, pooled.device, prob.device, x.device, B, N, D, heads);
    pull(be, &dquery);
    assert_close("dquery", dquery.host, want_d, heads * D, 2e-6 * sqrt(D) * B, 1e-6);

    array *all[] = {&x, &query, &dpooled, &pooled, &prob, &dquery};
    for (int i = 0; i < 6; i++) drop(be, all[i]);
    free(wx), free(wq), free(wd), free(s.prob), free(want), free(want_d);
}

static void check_shapes(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_shape(be, 1, 1, 1, 1);
    check_shape(be, 3, 7, 33, 2);
    check_shape(be, 2, 129, 96, 3);
    check_shape(be, 1, 50, 40, 21); /* threads share the heads */
}

/* Check that the heads of one clip can be divided among any number of threads. */
static void any_number_of_threads(void **state)
{
    (void)state;
    enum { N = 30, D = 20, HEADS = 7, OUT = HEADS * D };
    float result[3][2 * OUT];
    for (int threads = 1; threads <= 9; threads += 4) {
        vj_backend *be;
        assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, threads), VJ_OK);
        array x = array_random(be, N * D, 1, 1), query = array_random(be, OUT, 0.3, 2);
        array dpooled = array_random(be, OUT, 1, 3), prob = array_empty(be, HEADS * N), out = array_empty(be, 2 * OUT);
        vj_pool_forward(be, out.device, prob.device, x.device, query.device, 1, N, D, HEADS);
        vj_pool_backward(be, out.device + OUT, dpooled.device, out.device, prob.device, x.device, 1, N, D, HEADS);
        pull(be, &out);
        memcpy(result[threads / 4], out.host, sizeof result[0]);
        array *all[] = {&x, &query, &dpooled, &prob, &out};
        for (int i = 0; i < 5; i++) drop(be, all[i]);
        vj_backend_close(be);
    }
    assert_memory_equal(result[1], result[0], sizeof result[0]);
    assert_memory_equal(result[2], result[0], sizeof result[0]);
}

static void against_double(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_shapes);
}

static void reference_backward(void **state)
{
    (void)state;
    enum { B = 2, N = 5, D = 4, HEADS = 2 };
    double x[B * N * D], query[HEADS * D], dpooled[B * HEADS * D], pooled[B * HEADS * D], prob[B * HEADS * N];
    double dquery[HEADS * D];
    vj_rng rng;
    vj_rng_init(&rng, 5, VJ_RNG_TEST, 1);
    for (int i = 0; i < B * N * D; i++) x[i] = vj_rng_normal(&rng);
    for (int i = 0; i < HEADS * D; i++) query[i] = vj_rng_normal(&rng);
    for (int i = 0; i < B * HEADS * D; i++) dpooled[i] = vj_rng_normal(&rng);
    pool s = {B, N, D, HEADS, x, prob};
    forward(pooled, query, &s);
    backward(dquery, dpooled, pooled, &s);
    assert_gradient("dquery", forward, &s, query, HEADS * D, B * HEADS * D, dpooled, dquery, 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reference_backward), cmocka_unit_test(against_double),
                                       cmocka_unit_test(any_number_of_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
