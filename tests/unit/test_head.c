/*
 * Tests heads: results equal those of a folded probe on the same batch; the same bits for any order and number of
 * samples and with evaluations in between; short batches; many heads at once. Runs on "cpu" and on "strict", whose
 * memory the host can access only in kernels; VJ_TEST_BACKEND adds another backend.
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
#include "probe/head.h"

enum { BATCH = 37, TOKENS = 17, CLASSES = 5, UPDATES = 2 };

static const struct {
    const char *name;
    vj_head_shape shape;
} kinds[] = {
    {"average", {VJ_POOL_AVERAGE, 24, 1, CLASSES, 1, TOKENS, BATCH, 0}},
    {"attentive", {VJ_POOL_ATTENTIVE, 24, 3, CLASSES, 1, TOKENS, BATCH, 0}},
    {"three deep", {VJ_POOL_ATTENTIVE, 24, 3, CLASSES, 3, TOKENS, BATCH, 0}},
    {"norm last", {VJ_POOL_ATTENTIVE, 24, 4, CLASSES, 1, TOKENS, BATCH, 1}},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static vj_backend *be;

/* Open a backend; each test runs with all of them. */
static int open_backend(const char *name, vj_backend **backend)
{
    return vj_backend_open(backend, name, VJ_FP32, 1) == VJ_OK ? 0 : -1;
}
static int open_cpu(void **state)
{
    (void)state;
    return open_backend("cpu", &be);
}
static int open_strict(void **state)
{
    (void)state;
    return open_backend("strict", &be);
}
static int open_other(void **state)
{
    (void)state;
    return open_backend(getenv("VJ_TEST_BACKEND"), &be);
}
static int close_backend(void **state)
{
    (void)state;
    vj_backend_close(be);
    return 0;
}

static float *device_floats(int64_t n)
{
    float *x = vj_device_alloc(be, (n + 1) * (int64_t)sizeof *x);
    assert_non_null(x);
    vj_fill(be, x, 0.0f, n + 1);
    return x;
}

static float *normal_on_device(int64_t n, double std, uint64_t index)
{
    vj_rng rng;
    float *host = calloc((size_t)n + 1, sizeof *host), *x = device_floats(n);
    vj_rng_init(&rng, 7, VJ_RNG_TEST, index);
    for (int64_t i = 0; i < n; i++) host[i] = (float)(std * vj_rng_normal(&rng));
    vj_upload(be, x, host, n * (int64_t)sizeof *x);
    assert_int_equal(vj_sync(be), VJ_OK);
    free(host);
    return x;
}

/* Make the tokens of `count` samples in the form that the head's pooling needs. */
static float *make_tokens(const vj_head_shape *s, int64_t count)
{
    float *x = normal_on_device(count * s->tokens * s->D, 1.0, 1);
    if (s->pooling == VJ_POOL_ATTENTIVE) vj_probe_normalise(be, x, x, count * s->tokens, s->D);
    return x;
}

static int empty_from = BATCH; /* samples from here on have no label */

static void make_labels(int32_t labels[BATCH])
{
    for (int i = 0; i < BATCH; i++) labels[i] = i < empty_from ? (i * i + 2) % CLASSES : -1;
}

/* Fill a tensor with random numbers, because zeros could hide an error. */
static void disturb(vj_probe_tensor *t, uint64_t index)
{
    float *noise = normal_on_device(t->rows * t->cols, t->decay ? 0.1 : 0.05, 50 + index);
    vj_add(be, t->weight, noise, t->rows * t->cols);
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_device_free(be, noise);
}

static double worst(const float *got, const float *want, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - want[i]);
        if (!(error <= most)) most = isnan(error) ? INFINITY : error;
    }
    return most;
}

static vj_head *make_head(const vj_head_shape *shape)
{
    vj_head *head;
    assert_int_equal(vj_head_create(&head, be, shape), VJ_OK);
    assert_int_equal(vj_head_init(head, 5, 0.1), VJ_OK);
    for (int i = 0; i < vj_head_tensor_count(head); i++) disturb(vj_head_tensor_at(head, i), (uint64_t)i);
    vj_head_weights_changed(head);
    return head;
}

/* Train on one batch of `count` samples in the order `order`, `chunk` at a time. loss [count] gets the loss of each
 * sample. */
static void train(vj_head *head, const vj_head_shape *s, const float *tokens, int64_t count, const int64_t *order,
                  int64_t chunk, const vj_head_step *step, double *loss)
{
    const int64_t R = vj_head_row_floats(s), K = vj_head_key_floats(s), P = s->heads * s->tokens;
    float *rows = device_floats(count * R), *drows = device_floats(count * R), *prob = device_floats(count * P);
    float *dkeys = device_floats(count * K);
    const float *key = vj_head_key(head);
    int32_t labels[BATCH];
    make_labels(labels);
    assert_true((key != NULL) == (K > 0));
    for (int64_t first = 0; first < count; first += chunk) {
        const int64_t n = count - first < chunk ? count - first : chunk;
        int32_t chosen[BATCH];
        double some[BATCH];
        for (int64_t i = 0; i < n; i++) {
            const int64_t b = order[first + i];
            chosen[i] = labels[b];
            vj_head_pool(be, s, rows + i * R, prob + i * P, key, tokens + b * s->tokens * s->D);
        }
        assert_int_equal(vj_head_rows(head, K ? drows : NULL, some, rows, order + first, chosen, n, count), VJ_OK);
        for (int64_t i = 0; i < n; i++) {
            const int64_t b = order[first + i];
            loss[b] = some[i];
            if (K > 0)
                vj_head_pool_backward_many(be, s, 1, dkeys + b * K, drows + i * R, rows + i * R, prob + i * P,
                                           tokens + b * s->tokens * s->D);
        }
        float *logits = device_floats(n * CLASSES); /* measuring in the middle of a batch changes nothing */
        vj_head_score(head, logits, rows, 0, n);
        assert_int_equal(vj_sync(be), VJ_OK);
        vj_device_free(be, logits);
    }
    assert_int_equal(vj_head_update(head, K ? dkeys : NULL, count, step), VJ_OK);
    vj_device_free(be, rows);
    vj_device_free(be, drows);
    vj_device_free(be, prob);
    vj_device_free(be, dkeys);
}

static float *copy_state(vj_head *head, int64_t *count)
{
    float *from = vj_head_state(head, count), *state = calloc((size_t)(3 * *count), sizeof *state);
    vj_download(be, state, from, 3 * *count * (int64_t)sizeof *state);
    assert_int_equal(vj_sync(be), VJ_OK);
    return state;
}

/* ------------------------------------------------------------------------------------------------ tests */

/* Compare loss, gradients and weights with those of a probe on the whole batch. Gradients are sums of up to 37 x 17
   products of order 0.1. The learning rate is tiny, because Adam's first step is lr however small the gradient is. */
static void equal_to_a_probe(void **state)
{
    (void)state;
    const double lr = 1e-6;
    for (int k = 0; k < KINDS; k++)
        for (int short_batch = 0; short_batch < 2; short_batch++) {
            const vj_head_shape *s = &kinds[k].shape;
            const int64_t B = short_batch ? 21 : BATCH;
            const vj_probe_shape of_probe = {.pooling = s->pooling,
                                             .D = s->D,
                                             .heads = s->heads,
                                             .classes = s->classes,
                                             .tokens = s->tokens,
                                             .batch = s->batch,
                                             .folded = s->pooling == VJ_POOL_ATTENTIVE,
                                             .blocks = s->depth - 1,
                                             .norm_last = s->norm_last};
            vj_probe *probe;
            vj_head *head = make_head(s);
            int32_t labels[BATCH];
            int64_t order[BATCH];
            double loss[BATCH], mean = 0.0;
            for (int64_t b = 0; b < B; b++) order[b] = b;
            make_labels(labels);
            assert_int_equal(vj_probe_create(&probe, be, &of_probe), VJ_OK);
            assert_int_equal(vj_probe_init(probe, 5, 0.1), VJ_OK);
            assert_int_equal(vj_probe_tensor_count(probe), vj_head_tensor_count(head));
            for (int i = 0; i < vj_probe_tensor_count(probe); i++) disturb(vj_probe_tensor_at(probe, i), (uint64_t)i);
            float *tokens = make_tokens(s, B);
            vj_probe_forward(probe, tokens, B);
            const double want = vj_probe_loss(probe, labels);
            vj_probe_backward(probe, NULL);
            vj_probe_update(probe, 1, lr, 0.1, 0.5);
            const vj_head_step step = {.update = 1, .lr = lr, .weight_decay = 0.1, .clip = 0.5};
            train(head, s, tokens, B, order, 5, &step, loss);
            for (int64_t b = 0; b < B; b++) mean += loss[b] / (double)B;
            assert_true(fabs(mean - want) <= 2e-6);
            for (int i = 0; i < vj_probe_tensor_count(probe); i++) {
                const vj_probe_tensor *a = vj_head_tensor_at(head, i), *b = vj_probe_tensor_at(probe, i);
                const int64_t n = a->rows * a->cols, bytes = n * (int64_t)sizeof(float);
                float *x = malloc((size_t)bytes), *y = malloc((size_t)bytes);
                assert_string_equal(a->name, b->name);
                for (int what = 0; what < 2; what++) {
                    vj_download(be, x, what ? a->weight : a->gradient, bytes);
                    vj_download(be, y, what ? b->weight : b->gradient, bytes);
                    assert_int_equal(vj_sync(be), VJ_OK);
                    const double error = worst(x, y, n);
                    if (!(error <= 4e-6))
                        print_error("%s, %s, %s: error %.2e\n", kinds[k].name, a->name, what ? "weight" : "gradient",
                                    error);
                    assert_true(error <= 4e-6);
                }
                free(x);
                free(y);
            }
            vj_device_free(be, tokens);
            vj_probe_destroy(probe);
            vj_head_destroy(head);
        }
}

/* Check that two updates, one on a short batch, have the same bits for any order of the samples. On slow backends fewer
 * orders are tried. */
static void any_order_the_same_bits(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        const vj_head_shape *s = &kinds[k].shape;
        float *tokens = make_tokens(s, BATCH), *want = NULL;
        double want_loss[BATCH];
        for (int way = 0; way < (vj_device_is_host(be) ? 5 : 2); way++) {
            static const int64_t chunks[] = {BATCH, 5, 16, 1, BATCH};
            vj_head *head = make_head(s);
            double loss[BATCH];
            int64_t order[BATCH], size;
            for (int u = 1; u <= UPDATES; u++) {
                const int64_t B = u == UPDATES ? 19 : BATCH;
                const vj_head_step step = {
                    .update = u, .lr = 0.01, .weight_decay = 0.1, .clip = 1.0, .decay_all = u % 2};
                for (int64_t b = 0; b < B; b++)
                    order[b] = way % 2 ? vj_permute(3, (uint64_t)(way + u), B, b) : way < 4 ? b : B - 1 - b;
                train(head, s, tokens, B, order, chunks[way], &step, loss);
            }
            float *got = copy_state(head, &size);
            if (!want) {
                want = got;
                memcpy(want_loss, loss, sizeof loss);
            } else {
                assert_memory_equal(got, want, (size_t)(3 * size) * sizeof *got);
                assert_memory_equal(loss, want_loss, 19 * sizeof *loss);
                free(got);
            }
            vj_head_destroy(head);
        }
        free(want);
        vj_device_free(be, tokens);
    }
}

static float *copy_gradient(vj_head *head, int i, int64_t *n)
{
    const vj_probe_tensor *t = vj_head_tensor_at(head, i);
    *n = t->rows * t->cols;
    float *to = malloc((size_t)*n * sizeof *to);
    vj_download(be, to, t->gradient, *n * (int64_t)sizeof *to);
    assert_int_equal(vj_sync(be), VJ_OK);
    return to;
}

/* Check that samples without a label do not change the result: the gradient is that of the others, divided by the size
   of the whole batch. They do not change the next batch either. */
static void empty_places(void **state)
{
    (void)state;
    enum { WHOLE = 29 };
    const vj_head_step step = {.update = 1, .lr = 1e-6};
    for (int k = 0; k < KINDS; k++) {
        const vj_head_shape *s = &kinds[k].shape;
        float *tokens = make_tokens(s, BATCH);
        vj_head *one = make_head(s), *with_empty = make_head(s);
        int64_t order[BATCH], n;
        double loss[BATCH];
        for (int64_t b = 0; b < BATCH; b++) order[b] = BATCH - 1 - b;
        empty_from = WHOLE;
        train(with_empty, s, tokens, BATCH, order, 5, &step, loss);
        for (int b = 0; b < BATCH; b++) assert_true(b < WHOLE ? loss[b] > 0.0 : loss[b] == 0.0);
        train(one, s, tokens, WHOLE, order + BATCH - WHOLE, WHOLE, &step, loss);
        for (int i = 0; i < vj_head_tensor_count(one); i++) {
            float *got = copy_gradient(with_empty, i, &n), *want = copy_gradient(one, i, &n);
            for (int64_t j = 0; j < n; j++) want[j] *= (float)WHOLE / BATCH;
            assert_true(worst(got, want, n) <= 4e-6);
            free(got);
            free(want);
        }
        vj_head_destroy(one);
        empty_from = BATCH;
        one = make_head(s);
        const float *from = vj_head_state(with_empty, &n);
        vj_copy(be, vj_head_state(one, &n), from, 3 * n);
        vj_head_weights_changed(one);
        for (int i = 0; i < 2; i++) train(i ? one : with_empty, s, tokens, BATCH, order, 7, &step, loss);
        float *got = copy_state(with_empty, &n), *want = copy_state(one, &n);
        assert_memory_equal(got, want, (size_t)(3 * n) * sizeof *got);
        free(got);
        free(want);
        vj_head_destroy(one);
        vj_head_destroy(with_empty);
        vj_device_free(be, tokens);
    }
}

/* Check weight decay on all tensors, and on matrices only, by how much weights shrink; the gradients' part is
 * negligible.
 */
static void decay_of_all_or_of_matrices(void **state)
{
    (void)state;
    const vj_head_shape *s = &kinds[1].shape;
    float *tokens = make_tokens(s, BATCH);
    int64_t order[BATCH];
    double loss[BATCH];
    for (int64_t b = 0; b < BATCH; b++) order[b] = b;
    for (int all = 0; all < 2; all++) {
        vj_head *head = make_head(s);
        const vj_head_step step = {.update = 1, .lr = 1e-6, .weight_decay = 1e5, .decay_all = all};
        int64_t size;
        float *before = copy_state(head, &size), *weights = vj_head_state(head, &size);
        train(head, s, tokens, BATCH, order, BATCH, &step, loss);
        float *after = copy_state(head, &size);
        for (int i = 0; i < vj_head_tensor_count(head); i++) {
            const vj_probe_tensor *t = vj_head_tensor_at(head, i);
            const int64_t at = t->weight - weights;
            const double factor = t->decay || all ? 0.9 : 1.0;
            for (int64_t j = at; j < at + t->rows * t->cols; j++)
                assert_true(fabs(after[j] - factor * before[j]) <= 3e-6);
        }
        free(before);
        free(after);
        vj_head_destroy(head);
    }
    vj_device_free(be, tokens);
}

static void scores_alone_or_together(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        const vj_head_shape *s = &kinds[k].shape;
        const int64_t R = vj_head_row_floats(s), bytes = BATCH * CLASSES * (int64_t)sizeof(float);
        vj_head *head = make_head(s);
        float *rows = normal_on_device(BATCH * R, 0.3, 2), *logits = device_floats(BATCH * CLASSES);
        float *together = malloc((size_t)bytes), *alone = malloc((size_t)bytes);
        vj_head_score(head, logits, rows, 0, BATCH);
        vj_download(be, together, logits, bytes);
        for (int64_t i = BATCH - 1; i >= 0; i--) vj_head_score(head, logits + i * CLASSES, rows + i * R, i, 1);
        vj_download(be, alone, logits, bytes);
        assert_int_equal(vj_sync(be), VJ_OK);
        assert_memory_equal(alone, together, (size_t)bytes);
        free(together);
        free(alone);
        vj_device_free(be, rows);
        vj_device_free(be, logits);
        vj_head_destroy(head);
    }
}

/* Check that heads of one shape have the same bits when trained at once and one by one. */
static void many_heads_at_once(void **state)
{
    (void)state;
    enum { HEADS = 7 };
    const vj_head_shape *s = &kinds[1].shape;
    const int64_t R = vj_head_row_floats(s), P = s->heads * s->tokens, bytes = HEADS * R * (int64_t)sizeof(float);
    float *tokens = make_tokens(s, 1), *keys = normal_on_device(HEADS * R, 1.0, 3);
    float *drows = normal_on_device(HEADS * R, 1.0, 4), *prob = device_floats(HEADS * P);
    float *rows = device_floats(HEADS * R), *dkeys = device_floats(HEADS * R);
    float *host[4];
    for (int i = 0; i < 4; i++) host[i] = calloc(1, (size_t)bytes);
    vj_head_pool_many(be, s, HEADS, rows, prob, keys, tokens);
    vj_head_pool_backward_many(be, s, HEADS, dkeys, drows, rows, prob, tokens);
    vj_download(be, host[0], rows, bytes);
    vj_download(be, host[1], dkeys, bytes);
    vj_fill(be, rows, 0.0f, HEADS * R);
    vj_fill(be, dkeys, 0.0f, HEADS * R);
    for (int h = 0; h < HEADS; h++) {
        vj_head_pool(be, s, rows + h * R, prob + h * P, keys + h * R, tokens);
        vj_head_pool_backward_many(be, s, 1, dkeys + h * R, drows + h * R, rows + h * R, prob + h * P, tokens);
    }
    vj_download(be, host[2], rows, bytes);
    vj_download(be, host[3], dkeys, bytes);
    assert_int_equal(vj_sync(be), VJ_OK);
    assert_true(host[0][0] != 0.0f && host[1][0] != 0.0f);
    assert_memory_equal(host[0], host[2], (size_t)bytes);
    assert_memory_equal(host[1], host[3], (size_t)bytes);
    for (int i = 0; i < 4; i++) free(host[i]);
    float *all[] = {tokens, keys, drows, prob, rows, dkeys};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) vj_device_free(be, all[i]);
}

static void refuses_impossible_shapes(void **state)
{
    (void)state;
    vj_head *head;
    for (int i = 0; i < 5; i++) {
        vj_head_shape s = kinds[1].shape;
        if (i == 0) s.heads = 5; /* 5 does not divide 24 */
        if (i == 1) s.depth = 0;
        if (i == 2) s.norm_last = 1, s.depth = 2;
        if (i == 3) s.pooling = VJ_POOL_AVERAGE, s.depth = 2;
        if (i == 4) s.batch = 0;
        assert_int_equal(vj_head_create(&head, be, &s), VJ_ERR_USAGE);
        assert_null(head);
    }
    /* 4 arrays of weights, moments and gradients, and less than 100 times the batch's rows. */
    const vj_head_shape *s = &kinds[1].shape;
    assert_int_equal(vj_head_create(&head, be, s), VJ_OK);
    int64_t count;
    vj_head_state(head, &count);
    const int64_t bytes = vj_head_bytes(s), weights = 4 * count * (int64_t)sizeof(float);
    assert_true(bytes > weights && bytes < weights + 100 * 64 * vj_head_row_floats(s) * (int64_t)sizeof(float));
    vj_head_destroy(head);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_a_probe),
        cmocka_unit_test(any_order_the_same_bits),
        cmocka_unit_test(empty_places),
        cmocka_unit_test(scores_alone_or_together),
        cmocka_unit_test(many_heads_at_once),
        cmocka_unit_test(refuses_impossible_shapes),
        cmocka_unit_test(decay_of_all_or_of_matrices),
    };
    int failed = cmocka_run_group_tests_name("cpu", tests, open_cpu, close_backend);
    failed += cmocka_run_group_tests_name("strict", tests, open_strict, close_backend);
    if (getenv("VJ_TEST_BACKEND")) failed += cmocka_run_group_tests_name("other", tests, open_other, close_backend);
    MPI_Finalize();
    return failed;
}
