/* Tests the initial weights: they are those of their definition, on any number of threads, and of a rank's shares. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/params.h"

/* The large tensor is drawn in several pieces, and one or two numbers of so many are left out. */
enum { SEED = 5, ROWS = 4098, COLUMNS = 3000, LARGE = 1 };

/* Describe four tensors; with 3 shares, the large one is divided by rows or by columns. */
static void describe(vj_params *ps, int share, int shares, vj_share how)
{
    const int64_t large[] = {ROWS, COLUMNS}, small[] = {7, 5}, row[] = {COLUMNS};
    *ps = (vj_params){.share = share, .shares = shares};
    vj_params_add(ps, VJ_ENCODER, VJ_START_WEIGHT, 1, VJ_SHARE_WHOLE, 2, small, "a.weight");
    vj_params_add(ps, VJ_ENCODER, VJ_START_RESIDUAL, 2, how, 2, large, "b.weight");
    vj_params_add(ps, VJ_ENCODER, VJ_START_ZERO, 1, VJ_SHARE_WHOLE, 1, row, "b.bias");
    vj_params_add(ps, VJ_ENCODER, VJ_START_ONE, 1, VJ_SHARE_WHOLE, 1, row, "norm.weight");
}

/* Return the initial weights, in memory of the caller. */
static float *weights_of(const vj_params *ps, const char *backend, int threads)
{
    vj_backend *be;
    const int64_t bytes = ps->total * (int64_t)sizeof(float);
    assert_int_equal(vj_backend_open(&be, backend, VJ_FP32, threads), VJ_OK);
    assert_int_equal(vj_backend_threads(be), threads);
    float *device = vj_device_alloc(be, bytes), *host = vj_calloc(ps->total, sizeof *host);
    assert_non_null(device);
    assert_non_null(host);
    vj_params_init_weights(ps, be, device, VJ_INIT_FAN_IN, 1, SEED);
    vj_download(be, host, device, bytes);
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_device_free(be, device);
    vj_backend_close(be);
    return host;
}

/* Draw one number after the other, as docs/method.md, section 5, defines the weights of tensor i; returns how many were
 * left out. */
static int64_t draw_by_definition(float *to, int i, double std, int64_t n)
{
    int64_t left_out = 0;
    vj_rng rng;
    vj_rng_init(&rng, SEED, VJ_RNG_INIT, (uint64_t)i);
    for (int64_t j = 0; j < n;) {
        const double x = vj_rng_normal(&rng);
        if (fabs(x) > 5.3)
            left_out++;
        else
            to[j++] = (float)(std * x);
    }
    return left_out;
}

static void weights_are_those_of_the_definition(void **state)
{
    (void)state;
    vj_params ps;
    describe(&ps, 0, 1, VJ_SHARE_WHOLE);
    float *want = vj_calloc(ps.total, sizeof *want);
    assert_non_null(want);
    draw_by_definition(want + ps.item[0].offset, 0, sqrt(1.0 / 5), ps.item[0].count);
    assert_true(draw_by_definition(want + ps.item[LARGE].offset, LARGE, sqrt(1.0 / COLUMNS) / sqrt(4.0),
                                   ps.item[LARGE].count) > 0);
    for (int64_t j = 0; j < COLUMNS; j++) want[ps.item[3].offset + j] = 1.0f;
    static const struct {
        const char *backend;
        int threads;
    } on[] = {{"cpu", 1}, {"cpu", 3}, {"strict", 2}};
    for (size_t i = 0; i < sizeof on / sizeof on[0]; i++) {
        float *got = weights_of(&ps, on[i].backend, on[i].threads);
        assert_memory_equal(got, want, (size_t)ps.total * sizeof *want);
        free(got);
    }
    free(want);
    vj_params_release(&ps);
}

static void shares_are_parts_of_the_whole(void **state)
{
    (void)state;
    static const vj_share ways[] = {VJ_SHARE_ROWS, VJ_SHARE_COLUMNS};
    enum { SHARES = 3, MINE = 1 };
    vj_params all, ps;
    describe(&all, 0, 1, VJ_SHARE_WHOLE);
    float *whole = weights_of(&all, "cpu", 2);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        describe(&ps, MINE, SHARES, ways[i]);
        const vj_param *p = &ps.item[LARGE];
        float *got = weights_of(&ps, "cpu", 2), *want = vj_calloc(p->count, sizeof *want);
        assert_non_null(want);
        assert_int_equal(SHARES * p->count, p->whole);
        vj_param_cut(p, MINE, 0, p->whole, whole + all.item[LARGE].offset, want);
        assert_memory_equal(got + p->offset, want, (size_t)p->count * sizeof *want);
        free(want), free(got);
        vj_params_release(&ps);
    }
    free(whole);
    vj_params_release(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_definition),
        cmocka_unit_test(shares_are_parts_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
