/*
 * Tests the sum of a vector that is completed from its end while the sum runs: it has the bits of vj_group_allreduce(),
 * at any speed and for all placements of the ranks on nodes (placements.h). Training with it gives the bits of training
 * on memory that ranks cannot share, where gradients are summed after the backward pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../layouts.h"
#include "../on_ranks.h"
#include "../placements.h"
#include "parallel/gradient_sum.h"
#include "parallel/group.h"
#include "parallel/parallel.h"

enum { MOST = 30001 };

static int rank, size;

static void draw(float *x, int64_t n, int number)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)(1000 * number + rank));
    for (int64_t i = 0; i < n; i++) x[i] = (float)vj_rng_normal(&rng);
}

static void wait_a_little(int turns)
{
    for (volatile int i = 0; i < 20000 * turns;) i = i + 1;
}

/* Set the borders of parts: no parts, even ones, all for the last rank, or none for the first. */
static const int64_t *cut(int64_t *first, int64_t n, int kind)
{
    for (int r = 0; r <= size; r++) first[r] = kind == 1 ? n * r / size : kind == 2 ? 0 : n * (r > 1 ? r : 0) / size;
    first[size] = n;
    return kind == 0 ? NULL : first;
}

static void check(int64_t n, int64_t bucket, int kind, int placement, int threads)
{
    static float alone[MOST], made[MOST], want[MOST];
    int64_t first[17];
    vj_gradient_sum *r;
    vj_group *group;
    const int node = placements[placement][rank];
    const vj_gradient_sum_plan plan = {
        .alone = alone, .n = n, .bucket = bucket, .first = cut(first, n, kind), .node = node, .threads = threads};
    assert_int_equal(vj_gradient_sum_open(&r, MPI_COMM_WORLD, &plan), VJ_OK);
    assert_int_equal(vj_group_open(&group, MPI_COMM_WORLD, node), VJ_OK);
    float *x = vj_gradient_sum_vector(r);
    for (int again = 0; again < 4; again++) {
        draw(made, n, again);
        memcpy(want, made, (size_t)n * sizeof *want);
        vj_group_allreduce(group, want, n);
        /* Steps and pauses have another length on each rank. In one round some ranks never report their progress. */
        const int64_t step = 1 + (n / 7) * (1 + (rank + again) % 3);
        for (int64_t last = n; last > 0; last -= step) {
            const int64_t from = last < step ? 0 : last - step;
            memcpy(x + from, made + from, (size_t)(last - from) * sizeof *x);
            if (again != 1 || rank % 2) vj_gradient_sum_made(r, from);
            wait_a_little((rank + again) % 3);
        }
        vj_gradient_sum_end(r);
        const int64_t begin = plan.first ? first[rank] : 0, end = plan.first ? first[rank + 1] : n;
        assert_memory_equal(x + begin, want + begin, (size_t)(end - begin) * sizeof *x);
    }
    vj_gradient_sum_close(r);
    vj_group_close(group);
}

static void any_pace_gives_the_bits_of_the_group(void **state)
{
    (void)state;
    for (int placement = 0; placement < PLACEMENTS; placement++)
        for (int kind = 0; kind < 4; kind++) {
            check(MOST, 1 << 8, kind, placement, 1);
            check(MOST, 1 << 12, kind, placement, 2);
            check(1000, 1 << 16, kind, placement, 1);
            check(17, 16, kind, placement, 2);
            check(1, 16, kind, placement, 1);
            check(0, 16, kind, placement, 1);
        }
}

/* Check that what all ranks have completed is summed although no rank waits for it. */
static void sums_are_made_on_the_way(void **state)
{
    (void)state;
    vj_gradient_sum *r;
    float *alone = calloc(MOST, sizeof *alone);
    const vj_gradient_sum_plan plan = {.alone = alone, .n = MOST, .bucket = 1 << 10, .threads = 1};
    assert_non_null(alone);
    assert_int_equal(vj_gradient_sum_open(&r, MPI_COMM_WORLD, &plan), VJ_OK);
    float *x = vj_gradient_sum_vector(r);
    const int64_t half = MOST / 2;
    for (int64_t i = 0; i < MOST; i++) x[i] = 1;
    for (int i = 0; i < 2; i++) {
        vj_gradient_sum_made(r, half);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    assert_true(x[0] == 1 && x[half - 1] == 1 && x[MOST - 1] == (float)size);
    MPI_Barrier(MPI_COMM_WORLD);
    vj_gradient_sum_end(r);
    for (int64_t i = 0; i < MOST; i++) assert_true(x[i] == (float)size);
    vj_gradient_sum_close(r);
    free(alone);
}

/* ------------------------------------------------------------------------------------------------ training */

typedef struct {
    layout layout;
    bool reproducible;
    int64_t microbatch; /* a batch has 16 clips */
} run;

typedef struct {
    float *gradient, *weights, *target;
    int64_t n, encoder, first, last; /* this rank has the sum of elements [first, last) of the gradient */
    bool on_the_way;
} outcome;

static float *copy(const vj_step *s, const float *device, int64_t n)
{
    float *host = calloc((size_t)n, sizeof *host);
    assert_non_null(host);
    vj_download(s->be, host, device, n * (int64_t)sizeof *host);
    return host;
}

static void train(const run *k, const char *backend, MPI_Comm comm, outcome *o)
{
    static vj_config c;
    vj_step *s;
    vj_step_report report;
    layout_config(&c, k->layout, 2, 32);
    snprintf(c.train.backend, sizeof c.train.backend, "%s", backend);
    c.train.microbatch = k->microbatch;
    c.parallel.bucket_mb = 1;
    c.parallel.reduction = k->reproducible ? VJ_REDUCTION_REPRODUCIBLE : VJ_REDUCTION_FAST;
    assert_int_equal(vj_step_open(&s, &c, comm), VJ_OK);
    vj_model_init_weights(s->model, (vj_init)c.model.init, 0, c.run.seed);
    for (int step = 0; step < 3; step++) assert_int_equal(layout_step(s, step, &report), VJ_OK);
    const vj_params *ps = &s->model->net.params;
    *o = (outcome){.gradient = copy(s, s->model->trained.gradient, ps->total),
                   .weights = copy(s, s->model->trained.weights, ps->total),
                   .target = copy(s, s->model->trained.target, ps->encoder_total),
                   .n = ps->total,
                   .encoder = ps->encoder_total,
                   .first = s->optimizer->first,
                   .last = s->optimizer->last,
                   .on_the_way = s->optimizer->backward_s > 0};
    vj_step_close(s);
}

static void release(outcome *o)
{
    free(o->gradient);
    free(o->weights);
    free(o->target);
}

static void training_has_the_bits_of_sums_after_backward(void **state)
{
    (void)state;
    static const run runs[] = {
        {{1, 1, 0, 0}, false, 2}, {{2, 1, 0, 0}, false, 2}, {{2, 1, 0, 0}, false, 8}, {{2, 1, 0, 1}, false, 4},
        {{2, 1, 0, 0}, true, 8},  {{2, 1, 0, 0}, true, 2},  {{2, 2, 0, 0}, false, 4}, {{3, 1, 0, 0}, false, 2},
        {{3, 1, 0, 1}, false, 2}, {{3, 1, 0, 1}, false, 4}, {{4, 1, 0, 0}, true, 4},  {{4, 1, 0, 1}, false, 4},
        {{4, 2, 0, 0}, false, 4}, {{4, 2, 1, 1}, false, 4}, {{4, 2, 0, 0}, true, 8},
    };
    if (size == 1) skip(); /* one rank has nothing to sum */
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        const run *k = &runs[i];
        /* Each layout is tested on all ranks of the test that has so many, the first two also on a part of the ranks.
         */
        if (k->layout.ranks != size && (i > 1 || size != 4)) continue;
        MPI_Comm comm = layout_comm(k->layout);
        if (comm != MPI_COMM_NULL) {
            outcome got, want;
            train(k, "cpu", comm, &got);
            train(k, "strict", comm, &want);
            const int64_t data_ranks = k->layout.ranks / k->layout.tensor;
            assert_int_equal(got.on_the_way, data_ranks > 1 && (!k->reproducible || 16 / k->microbatch == data_ranks));
            assert_false(want.on_the_way);
            if (memcmp(got.gradient + got.first, want.gradient + got.first,
                       (size_t)(got.last - got.first) * sizeof(float)) != 0 ||
                memcmp(got.weights, want.weights, (size_t)got.n * sizeof(float)) != 0 ||
                memcmp(got.target, want.target, (size_t)got.encoder * sizeof(float)) != 0)
                fail_msg(LAYOUT_TEXT "%s, microbatches of %lld: other bits", LAYOUT_ARGS(k->layout),
                         k->reproducible ? ", reproducible" : "", (long long)k->microbatch);
            release(&got);
            release(&want);
            MPI_Comm_free(&comm);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pace_gives_the_bits_of_the_group),
        cmocka_unit_test(sums_are_made_on_the_way),
        cmocka_unit_test(training_has_the_bits_of_sums_after_backward),
    };
    return end_on_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
