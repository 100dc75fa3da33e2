/* Tests the nearest neighbours of the in-run watch against a count by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "probe/watch.h"

/* Check few samples: all vote, a tie goes to the class with the nearest neighbour, and the length of a feature does not
 * matter. */
static void test_votes(void **state)
{
    (void)state;
    static const float samples[] = {1, 0, 0.9F, 0.1F, 0, 5, 0.1F, 2}, queries[] = {3, 0.1F, 0, 0.01F, -1, 0};
    static const int32_t labels[] = {0, 0, 1, 1}, wanted[] = {0, 1, 1};
    double top1;
    assert_int_equal(vj_watch_knn(&top1, samples, labels, 4, queries, wanted, 3, 2, 2), VJ_OK);
    assert_true(top1 == 100.0);
    static const int32_t others[] = {1, 1, 0};
    assert_int_equal(vj_watch_knn(&top1, samples, labels, 4, queries, others, 3, 2, 2), VJ_OK);
    assert_true(top1 == 100.0 / 3.0);
    static const float none[] = {0, 0}; /* equally similar to all, so the first sample decides */
    assert_int_equal(vj_watch_knn(&top1, samples, labels, 4, none, labels, 1, 2, 2), VJ_OK);
    assert_true(top1 == 100.0);
}

enum { N = 300, M = 40, D = 3 };

static double cosine(const float *a, const float *b)
{
    double product = 0.0, x = 0.0, y = 0.0;
    for (int i = 0; i < D; i++) {
        product += (double)a[i] * b[i];
        x += (double)a[i] * a[i];
        y += (double)b[i] * b[i];
    }
    return product / __builtin_sqrt(x * y);
}

/* Compare with a count of the votes of the 20 nearest, only where the votes are not tied, so that the order does not
 * matter. */
static void test_against_count(void **state)
{
    (void)state;
    static float samples[N * D], queries[M * D];
    static int32_t labels[N], wanted[M];
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 0);
    for (int i = 0; i < N * D; i++) samples[i] = (float)vj_rng_u32(&rng) / 4e9F - 0.5F;
    for (int i = 0; i < M * D; i++) queries[i] = (float)vj_rng_u32(&rng) / 4e9F - 0.5F;
    for (int i = 0; i < N; i++) labels[i] = samples[i * D] > 0.0F;
    for (int q = 0; q < M; q++) {
        int votes = 0; /* votes for class 1 by samples of which fewer than 20 others are nearer */
        for (int s = 0; s < N; s++) {
            int nearer = 0;
            for (int o = 0; o < N; o++)
                nearer += cosine(queries + q * D, samples + o * D) > cosine(queries + q * D, samples + s * D);
            votes += nearer < VJ_WATCH_NEIGHBOURS && labels[s];
        }
        wanted[q] = votes == VJ_WATCH_NEIGHBOURS / 2 ? 7 : votes > VJ_WATCH_NEIGHBOURS / 2;
    }
    int ties = 0;
    for (int q = 0; q < M; q++) ties += wanted[q] == 7;
    double top1;
    assert_int_equal(vj_watch_knn(&top1, samples, labels, N, queries, wanted, M, D, 2), VJ_OK);
    assert_true(top1 == 100.0 * (M - ties) / M);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_votes), cmocka_unit_test(test_against_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
