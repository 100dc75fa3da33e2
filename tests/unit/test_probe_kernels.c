/* Tests the kernels of probes: each backend against the definition, cpu_probe.c, on odd shapes. */
#include "kernel_test.h"

/* The inputs and results of one kernel on one backend. */
typedef struct {
    int64_t B, N;
    int D, heads;
} shape;

enum { RESULTS = 3 };
typedef struct {
    array out[RESULTS];
    int count;
} results;

static array *next(vj_backend *be, results *r, int64_t n, float value)
{
    r->out[r->count] = array_of(be, n, value);
    return &r->out[r->count++];
}

typedef void kernel_run(vj_backend *be, results *r, const shape *s);

static void run_loss(vj_backend *be, results *r, const shape *s)
{
    const int classes = s->D;
    array logits = array_random(be, s->B * classes, 3, 1);
    int32_t *labels = malloc((size_t)s->B * sizeof *labels);
    for (int64_t b = 0; b < s->B; b++) labels[b] = (int32_t)(b * 7 % classes);
    int32_t *device = ints_on_device(be, labels, s->B);
    double loss, *sum = vj_device_alloc(be, sizeof *sum);
    array *dlogits = next(be, r, s->B * classes, NAN), *kept = next(be, r, 1, 0);
    vj_softmax_loss(be, sum, dlogits->device, logits.device, device, s->B, classes);
    vj_download(be, &loss, sum, sizeof loss);
    kept->host[0] = (float)loss;
    push(be, kept);
    drop(be, &logits);
    free(labels);
}

static void run_means(vj_backend *be, results *r, const shape *s)
{
    array x = array_random(be, s->B * s->N * s->D, 1, 1);
    array *mean = next(be, r, s->B * s->D, NAN), *dx = next(be, r, x.n, NAN);
    vj_mean_tokens(be, mean->device, x.device, s->B, s->N, s->D);
    vj_mean_tokens_backward(be, dx->device, mean->device, s->B, s->N, s->D);
    drop(be, &x);
}

static void run_heads(vj_backend *be, results *r, const shape *s)
{
    array x = array_random(be, s->B * s->D, 1, 1), row = array_random(be, s->D, 1, 2);
    array *apart = next(be, r, x.n, NAN), *y = next(be, r, x.n, NAN);
    vj_split_heads(be, apart->device, x.device, s->B, s->D, s->heads);
    vj_join_heads(be, y->device, apart->device, row.device, s->B, s->D, s->heads);
    drop(be, &x), drop(be, &row);
}

static void run_fold(vj_backend *be, results *r, const shape *s)
{
    const int R = s->heads;
    array x = array_random(be, (int64_t)R * s->D, 1, 1), gain = array_random(be, s->D, 1, 2);
    array *y = next(be, r, x.n, NAN), *dx = next(be, r, x.n, NAN), *dgain = next(be, r, s->D, 0.5f);
    vj_fold_gain(be, y->device, x.device, gain.device, R, s->D);
    vj_fold_gain_backward(be, dx->device, dgain->device, y->device, x.device, gain.device, R, s->D);
    drop(be, &x), drop(be, &gain);
}

static void run_affine(vj_backend *be, results *r, const shape *s)
{
    array x = array_random(be, s->B * s->heads * s->D, 1, 1), gain = array_random(be, s->D, 1, 2),
          bias = array_random(be, s->D, 1, 3);
    array *y = next(be, r, x.n, NAN);
    vj_affine_heads(be, y->device, x.device, gain.device, bias.device, s->B, s->D, s->heads);
    drop(be, &x), drop(be, &gain), drop(be, &bias);
}

static void run_affine_backward(vj_backend *be, results *r, const shape *s)
{
    array x = array_random(be, s->B * s->heads * s->D, 1, 1), gain = array_random(be, s->D, 1, 2),
          dy = array_random(be, x.n, 1, 3);
    array *dx = next(be, r, x.n, NAN), *dgain = next(be, r, s->D, NAN), *dbias = next(be, r, s->D, NAN);
    vj_affine_heads_backward(be, dx->device, dgain->device, dbias->device, dy.device, x.device, gain.device, s->B, s->D,
                             s->heads);
    drop(be, &x), drop(be, &gain), drop(be, &dy);
}

static void run_query(vj_backend *be, results *r, const shape *s)
{
    array q = array_random(be, s->D, 1, 1), kv = array_random(be, s->B * s->N * 2 * s->D, 1, 2),
          row = array_random(be, s->D, 1, 3);
    array *y = next(be, r, s->B * s->D, NAN), *prob = next(be, r, s->B * s->heads * s->N, NAN);
    vj_query_attention_forward(be, y->device, prob->device, q.device, kv.device, row.device, s->B, s->N, s->D,
                               s->heads);
    drop(be, &q), drop(be, &kv), drop(be, &row);
}

static void run_query_backward(vj_backend *be, results *r, const shape *s)
{
    array q = array_random(be, s->D, 1, 1), kv = array_random(be, s->B * s->N * 2 * s->D, 1, 2),
          row = array_of(be, s->D, 0), y = array_empty(be, s->B * s->D), dy = array_random(be, s->B * s->D, 1, 4);
    array *prob = next(be, r, s->B * s->heads * s->N, NAN), *dq = next(be, r, s->B * s->D, NAN),
          *dkv = next(be, r, kv.n, NAN);
    vj_query_attention_forward(be, y.device, prob->device, q.device, kv.device, row.device, s->B, s->N, s->D, s->heads);
    vj_query_attention_backward(be, dq->device, dkv->device, dy.device, prob->device, q.device, kv.device, s->B, s->N,
                                s->D, s->heads);
    drop(be, &q), drop(be, &kv), drop(be, &row), drop(be, &y), drop(be, &dy);
}

/* Run the kernels that add values as integers, with values so different that the order of a float sum would matter, and
 * take the mean. */
static void run_units(vj_backend *be, results *r, const shape *s)
{
    const int64_t n = s->B * s->N * s->D;
    array a = array_random(be, n, 1000, 1), b = array_random(be, n, 1e-3, 2);
    array *mean = next(be, r, n, NAN);
    int64_t *sums = vj_device_alloc(be, n * (int64_t)sizeof *sums);
    vj_fill(be, (float *)sums, 0.0f, 2 * n);
    vj_add_units(be, sums, a.device, 0x1p44, n);
    vj_add_units(be, sums, b.device, 0x1p44, n);
    vj_mean_of_units(be, mean->device, sums, 0x1p44, 3, n);
    vj_device_free(be, sums);
    drop(be, &a), drop(be, &b);
}

static const struct {
    const char *name;
    kernel_run *run;
} kernels[] = {{"units", run_units},
               {"softmax_loss", run_loss},
               {"mean_tokens", run_means},
               {"split and join heads", run_heads},
               {"fold_gain", run_fold},
               {"affine_heads", run_affine},
               {"affine_heads_backward", run_affine_backward},
               {"query_attention", run_query},
               {"query_attention_backward", run_query_backward}};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

static void check(vj_backend *be, bool rounded)
{
    (void)rounded;
    const shape shapes[] = {{1, 1, 1, 1}, {3, 17, 24, 3}, {2, 300, 70, 7}, {131, 2, 12, 4}};
    vj_backend *cpu;
    assert_int_equal(vj_backend_open(&cpu, "cpu", VJ_FP32, 1), VJ_OK);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int k = 0; k < KERNELS; k++) {
            results got = {.count = 0}, want = {.count = 0};
            kernels[k].run(be, &got, &shapes[s]);
            kernels[k].run(cpu, &want, &shapes[s]);
            assert_int_equal(got.count, want.count);
            for (int i = 0; i < got.count; i++) {
                pull(be, &got.out[i]), pull(cpu, &want.out[i]);
                double *exact = widened(want.out[i].host, want.out[i].n);
                assert_close(kernels[k].name, got.out[i].host, exact, got.out[i].n, 2e-6, 2e-6);
                free(exact);
                drop(be, &got.out[i]), drop(cpu, &want.out[i]);
            }
        }
    vj_backend_close(cpu);
}

static void as_defined(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_defined)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
