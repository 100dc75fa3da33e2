/*
 * Tests V-JEPA 2's deep probe: with depth 1 it equals the plain probe; sums over samples in any order and any division
 * give the same bits, on "cpu" and "strict"; it learns; gradients that are too large are refused. vjepa-parity checks
 * its numbers (deep_probe.h5).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "probe/token_probe.h"

enum { D = 16, HEADS = 2, CLASSES = 3, TOKENS = 11, SAMPLES = 6, VALUES = TOKENS * D };

static const vj_token_probe_shape shape = {D, HEADS, CLASSES, 3, TOKENS};

static float *samples_on_device(vj_backend *be)
{
    vj_rng rng;
    float host[SAMPLES * VALUES], *x = vj_device_alloc(be, (int64_t)sizeof host);
    assert_non_null(x);
    vj_rng_init(&rng, 9, VJ_RNG_TEST, 1);
    for (int i = 0; i < SAMPLES * VALUES; i++)
        host[i] = (float)(vj_rng_normal(&rng) + 2.0 * (i / VALUES % CLASSES == i % CLASSES));
    vj_upload(be, x, host, (int64_t)sizeof host);
    assert_int_equal(vj_sync(be), VJ_OK);
    return x;
}

/* Add sums on the host as MPI adds those of ranks. */
static void add_on_host(vj_backend *be, int64_t *sum, const int64_t *other, int64_t n)
{
    const int64_t bytes = n * (int64_t)sizeof *sum;
    int64_t *a = malloc((size_t)bytes), *b = malloc((size_t)bytes);
    vj_download(be, a, sum, bytes);
    vj_download(be, b, other, bytes);
    for (int64_t i = 0; i < n; i++) a[i] += b[i];
    vj_upload(be, sum, a, bytes);
    assert_int_equal(vj_sync(be), VJ_OK);
    free(a);
    free(b);
}

/* Do updates on all samples. Gradients of the first `half` samples in `order` and of the others are added up
 * separately. Returns the state [3, size]; *loss gets the mean before the last update. */
static float *train(const char *backend, const int *order, int half, int updates, double *loss, int64_t *size)
{
    vj_backend *be;
    vj_token_probe *p;
    assert_int_equal(vj_backend_open(&be, backend, VJ_FP32, 1), VJ_OK);
    assert_int_equal(vj_token_probe_create(&p, be, &shape), VJ_OK);
    assert_int_equal(vj_token_probe_init(p, 3, 0.1), VJ_OK);
    float *x = samples_on_device(be);
    *size = vj_token_probe_size(p);
    for (int u = 1; u <= updates; u++) {
        int64_t *sum[2];
        for (int i = 0; i < 2; i++) {
            sum[i] = vj_device_alloc(be, *size * (int64_t)sizeof **sum);
            vj_fill(be, (float *)sum[i], 0.0f, 2 * *size);
        }
        *loss = 0.0;
        for (int i = 0; i < SAMPLES; i++) {
            double one;
            vj_token_probe_forward(p, x + order[i] * VALUES);
            assert_int_equal(vj_token_probe_backward(p, order[i] % CLASSES, &one, sum[i >= half], SAMPLES), VJ_OK);
            *loss += one / SAMPLES;
        }
        add_on_host(be, sum[0], sum[1], *size);
        const vj_head_step step = {.update = u, .lr = 3e-3, .weight_decay = 0.01, .clip = 1.0, .decay_all = u % 2};
        assert_int_equal(vj_token_probe_update(p, sum[0], SAMPLES, &step), VJ_OK);
        for (int i = 0; i < 2; i++) vj_device_free(be, sum[i]);
    }
    float *state = malloc((size_t)(3 * *size) * sizeof *state);
    vj_download(be, state, vj_token_probe_state(p), 3 * *size * (int64_t)sizeof *state);
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_token_probe_destroy(p);
    vj_backend_close(be);
    return state;
}

static void any_order_any_share(void **state)
{
    (void)state;
    static const int orders[3][SAMPLES] = {{0, 1, 2, 3, 4, 5}, {5, 3, 1, 0, 2, 4}, {2, 0, 5, 4, 3, 1}};
    double loss;
    int64_t size, other_size;
    float *want = train("cpu", orders[0], SAMPLES, 2, &loss, &size);
    for (int i = 1; i < 3; i++) {
        float *got = train(i == 1 ? "cpu" : "strict", orders[i], 2 * i, 2, &loss, &other_size);
        assert_int_equal(other_size, size);
        assert_memory_equal(got, want, (size_t)(3 * size) * sizeof *got);
        free(got);
    }
    free(want);
    if (getenv("VJ_TEST_BACKEND")) {
        want = train(getenv("VJ_TEST_BACKEND"), orders[0], 1, 1, &loss, &size);
        float *got = train(getenv("VJ_TEST_BACKEND"), orders[1], 4, 1, &loss, &size);
        assert_memory_equal(got, want, (size_t)(3 * size) * sizeof *got);
        free(want);
        free(got);
    }
    free(train("cpu", orders[0], SAMPLES, 40, &loss, &size));
    assert_true(loss < 0.1); /* it was log 3 before */
}

/* Check that with depth 1 initial weights, gradients and scores are those of a plain probe. */
static void depth_one_is_the_plain_probe(void **state)
{
    (void)state;
    vj_backend *be;
    vj_token_probe *p;
    vj_probe *plain;
    vj_token_probe_shape flat = shape;
    flat.depth = 1;
    const vj_probe_shape of_plain = {.D = D, .heads = HEADS, .classes = CLASSES, .tokens = TOKENS, .batch = 1};
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_OK);
    assert_int_equal(vj_token_probe_create(&p, be, &flat), VJ_OK);
    assert_int_equal(vj_probe_create(&plain, be, &of_plain), VJ_OK);
    assert_int_equal(vj_token_probe_init(p, 3, 0.1), VJ_OK);
    assert_int_equal(vj_probe_init(plain, 3, 0.1), VJ_OK);
    float *x = samples_on_device(be), dx[VALUES];
    int64_t *sum = calloc((size_t)vj_token_probe_size(p), sizeof *sum);
    const int32_t label = 1;
    double loss;
    const float *scores = vj_token_probe_forward(p, x);
    vj_probe_forward(plain, x, 1);
    assert_memory_equal(scores, vj_probe_logits(plain), CLASSES * sizeof *scores);
    assert_int_equal(vj_token_probe_backward(p, label, &loss, sum, 1), VJ_OK);
    assert_true(loss == vj_probe_loss(plain, &label));
    vj_probe_backward(plain, dx);
    assert_memory_equal(vj_token_probe_token_gradient(p), dx, sizeof dx);
    assert_int_equal(vj_token_probe_tensor_count(p), vj_probe_tensor_count(plain));
    for (int i = 0; i < vj_token_probe_tensor_count(p); i++) {
        const vj_probe_tensor *a = vj_token_probe_tensor_at(p, i), *b = NULL;
        for (int j = 0; j < vj_probe_tensor_count(plain); j++)
            if (strcmp(vj_probe_tensor_at(plain, j)->name, a->name) == 0) b = vj_probe_tensor_at(plain, j);
        assert_non_null(b);
        assert_memory_equal(a->weight, b->weight, (size_t)(a->rows * a->cols) * sizeof(float));
        assert_memory_equal(a->gradient, b->gradient, (size_t)(a->rows * a->cols) * sizeof(float));
    }
    free(sum);
    vj_probe_destroy(plain);
    vj_token_probe_destroy(p);
    vj_backend_close(be);
}

/* Check the standard deviations of the initial weights that are divided by depth, by the rule in the header. */
static void initial_weights(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double divisor;
    } want[] = {
        {"pooler.blocks.0.attn.qkv.weight", 1.0},
        {"pooler.blocks.0.attn.proj.weight", M_SQRT2},
        {"pooler.blocks.1.attn.proj.weight", 2.0},
        {"pooler.blocks.1.mlp.fc2.weight", 2.0},
        {"pooler.cross_attention_block.mlp.fc2.weight", 2.0},
        {"pooler.cross_attention_block.mlp.fc1.weight", 1.0},
    };
    vj_backend *be;
    vj_token_probe *p;
    vj_token_probe_shape wide = shape;
    wide.D = 64;
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_OK);
    assert_int_equal(vj_token_probe_create(&p, be, &wide), VJ_OK);
    assert_int_equal(vj_token_probe_init(p, 3, 0.02), VJ_OK);
    int found = 0;
    for (int i = 0; i < vj_token_probe_tensor_count(p); i++) {
        const vj_probe_tensor *t = vj_token_probe_tensor_at(p, i);
        for (size_t k = 0; k < sizeof want / sizeof want[0]; k++) {
            if (strcmp(t->name, want[k].name) != 0) continue;
            double squares = 0.0;
            const int64_t n = t->rows * t->cols;
            for (int64_t j = 0; j < n; j++) squares += (double)t->weight[j] * t->weight[j];
            const double error = sqrt(squares / (double)n) / (0.02 / want[k].divisor) - 1.0;
            assert_true(fabs(error) < 5.0 / sqrt(2.0 * (double)n)); /* five standard errors of a standard deviation */
            found++;
        }
    }
    assert_int_equal(found, sizeof want / sizeof want[0]);
    vj_token_probe_destroy(p);
    vj_backend_close(be);
}

static void refuses(void **state)
{
    (void)state;
    vj_backend *be;
    vj_token_probe *p;
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_OK);
    vj_token_probe_shape bad = shape;
    bad.heads = 3;
    assert_int_equal(vj_token_probe_create(&p, be, &bad), VJ_ERR_USAGE);
    assert_int_equal(vj_token_probe_bytes(&bad, 1), 0);
    bad = shape;
    bad.depth = 0;
    assert_int_equal(vj_token_probe_create(&p, be, &bad), VJ_ERR_USAGE);

    assert_int_equal(vj_token_probe_create(&p, be, &shape), VJ_OK);
    assert_true(vj_token_probe_bytes(&shape, 1) > 4 * vj_token_probe_size(p) * (int64_t)sizeof(float));
    assert_int_equal(vj_token_probe_init(p, 3, 0.1), VJ_OK);
    float *x = samples_on_device(be);
    int64_t *sum = calloc((size_t)vj_token_probe_size(p), sizeof *sum);
    double loss;
    /* A batch of so many samples that gradients of order one could overflow the sum; then a weight that is NaN. */
    vj_token_probe_forward(p, x);
    assert_int_equal(vj_token_probe_backward(p, 1, &loss, sum, INT64_C(1) << 24), VJ_ERR_STATE);
    vj_fill(be, vj_token_probe_tensor_at(p, 0)->weight, NAN, 1);
    vj_token_probe_forward(p, x);
    assert_int_equal(vj_token_probe_backward(p, 1, &loss, sum, 1), VJ_ERR_STATE);
    free(sum);
    vj_token_probe_destroy(p);
    vj_backend_close(be);

    /* V-JEPA 2's probe, 4 blocks of width 1024 on 8 x 1568 tokens, takes about 9 TFLOP forward and backward. */
    const vj_token_probe_shape published = {1024, 16, 400, 4, 8 * 1568};
    const double flops = 3.0 * vj_token_probe_flops(&published);
    assert_true(flops > 8e12 && flops < 10e12);
}

/* Check that two probes which share the memory of their passes and are used in turn have the bits that each has alone.
 */
static void side_by_side(void **state)
{
    (void)state;
    vj_backend *be;
    vj_token_probe *alone[2], *p[2];
    int64_t *sum[4];
    double loss;
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_OK);
    float *x = samples_on_device(be);
    assert_int_equal(vj_token_probe_create(&p[0], be, &shape), VJ_OK);
    assert_int_equal(vj_token_probe_create_beside(&p[1], p[0]), VJ_OK);
    const size_t size = (size_t)vj_token_probe_size(p[0]);
    for (int i = 0; i < 2; i++) assert_int_equal(vj_token_probe_create(&alone[i], be, &shape), VJ_OK);
    for (int i = 0; i < 4; i++) {
        sum[i] = calloc(size, sizeof **sum);
        assert_int_equal(vj_token_probe_init(i < 2 ? p[i] : alone[i - 2], (uint64_t)i % 2, 0.1), VJ_OK);
    }
    for (int s = 0; s < SAMPLES; s++)
        for (int i = 0; i < 4; i++) {
            vj_token_probe *one = i < 2 ? p[i] : alone[i - 2];
            vj_token_probe_forward(one, x + s * VALUES);
            assert_int_equal(vj_token_probe_backward(one, s % CLASSES, &loss, sum[i], SAMPLES), VJ_OK);
        }
    const vj_head_step step = {.update = 1, .lr = 3e-3, .weight_decay = 0.01};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(vj_token_probe_update(i < 2 ? p[i] : alone[i - 2], sum[i], SAMPLES, &step), VJ_OK);
        free(sum[i]);
    }
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(vj_token_probe_state(p[i]), vj_token_probe_state(alone[i]), 3 * size * sizeof(float));
        vj_token_probe_destroy(alone[i]);
        vj_token_probe_destroy(p[i]); /* the probe that owns the shared memory is destroyed first */
    }
    const int64_t one = vj_token_probe_bytes(&shape, 1), two = vj_token_probe_bytes(&shape, 2);
    assert_int_equal(two - one, 3 * size * sizeof(float));
    vj_backend_close(be);
}

static void names(void **state)
{
    (void)state;
    char name[32];
    assert_string_equal(vj_token_probe_name(name, 4), "tokens4");
    assert_int_equal(vj_token_probe_depth("tokens4"), 4);
    assert_int_equal(vj_token_probe_depth("tokens64"), 64);
    static const char *const others[] = {"tokens", "tokens0", "tokens04", "tokens4 ", "tokens65", "average", ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) assert_int_equal(vj_token_probe_depth(others[i]), 0);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_any_share), cmocka_unit_test(depth_one_is_the_plain_probe),
        cmocka_unit_test(initial_weights),     cmocka_unit_test(refuses),
        cmocka_unit_test(side_by_side),        cmocka_unit_test(names),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
