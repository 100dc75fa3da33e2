/* Tests random streams: known answers, independence of streams, the permutation, the Mersenne twister. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

/* Check Philox4x32-10 of counter 0 and key 0 against the known answer of Random123 (kat_vectors). */
static void test_philox_known_answer(void **state)
{
    (void)state;
    static const uint32_t want[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    vj_rng rng;
    vj_rng_init(&rng, 0, (vj_rng_purpose)0, 0);
    for (int i = 0; i < 4; i++) assert_int_equal(vj_rng_u32(&rng), want[i]);
}

/* Check that these numbers never change, because runs of older versions must be reproducible. */
static void test_stream_is_stable(void **state)
{
    (void)state;
    static const uint32_t want[6] = {3045450458u, 620316295u, 2830410234u, 1796925984u, 535539289u, 2143031785u};
    vj_rng rng;
    vj_rng_init(&rng, 234, VJ_RNG_MASK, 64 * 1000 + 1);
    for (int i = 0; i < 6; i++) assert_int_equal(vj_rng_u32(&rng), want[i]);
}

static void test_streams_differ(void **state)
{
    (void)state;
    vj_rng rng[4];
    vj_rng_init(&rng[0], 1, VJ_RNG_MASK, 7);
    vj_rng_init(&rng[1], 2, VJ_RNG_MASK, 7);
    vj_rng_init(&rng[2], 1, VJ_RNG_CROP, 7);
    vj_rng_init(&rng[3], 1, VJ_RNG_MASK, 8);
    uint32_t word[4][32];
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < 32; i++) word[s][i] = vj_rng_u32(&rng[s]);
    for (int a = 0; a < 4; a++)
        for (int b = a + 1; b < 4; b++) {
            int equal = 0;
            for (int i = 0; i < 32; i++) equal += word[a][i] == word[b][i];
            assert_int_equal(equal, 0); /* the probability that one is equal is 32 / 2^32 */
        }
}

/* Check that mean and variance of n draws are within five standard errors. */
static void check_moments(double sum, double squares, int n, double mean, double variance, double fourth_moment)
{
    const double got_mean = sum / n, got_variance = squares / n - got_mean * got_mean;
    assert_true(fabs(got_mean - mean) < 5 * sqrt(variance / n));
    assert_true(fabs(got_variance - variance) < 5 * sqrt((fourth_moment - variance * variance) / n));
}

static void test_distributions(void **state)
{
    (void)state;
    enum { n = 200000 };
    vj_rng rng;
    vj_rng_init(&rng, 5, VJ_RNG_TEST, 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        const double u = vj_rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    check_moments(sum, squares, n, 0.5, 1.0 / 12, 1.0 / 80);
    sum = squares = 0;
    for (int i = 0; i < n; i++) {
        const double z = vj_rng_normal(&rng);
        sum += z;
        squares += z * z;
    }
    check_moments(sum, squares, n, 0, 1, 3);
}

/* Check that a number of the stream is the same whether those before it were drawn or not. */
static void test_normals_by_place(void **state)
{
    (void)state;
    enum { n = 9 };
    double want[n];
    vj_rng rng, other;
    vj_rng_init(&rng, 5, VJ_RNG_TEST, 3);
    other = rng;
    for (int i = 0; i < n; i++) want[i] = vj_rng_normal(&rng);
    for (int i = n - 1; i >= 0; i--) {
        vj_rng_go_to_normal(&other, i);
        for (int j = i; j < n; j++) assert_true(vj_rng_normal(&other) == want[j]);
    }
}

static void test_below_is_even(void **state)
{
    (void)state;
    enum { n = 70000 };
    vj_rng rng;
    vj_rng_init(&rng, 6, VJ_RNG_TEST, 1);
    int hits[7] = {0};
    for (int i = 0; i < n; i++) {
        const int64_t x = vj_rng_below(&rng, 7);
        assert_in_range(x, 0, 6);
        hits[x]++;
    }
    for (int k = 0; k < 7; k++) assert_true(fabs(hits[k] - n / 7.0) < 5 * sqrt(n * (1 / 7.0) * (6 / 7.0)));
    assert_int_equal(vj_rng_below(&rng, 1), 0);
}

static void test_permutation_is_bijective(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 255, 257, 1000, 4096, 4097, 20000};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t n = sizes[k];
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            char *seen = calloc((size_t)n, 1);
            assert_non_null(seen);
            for (int64_t i = 0; i < n; i++) {
                const int64_t to = vj_permute(234, epoch, n, i);
                assert_true(to >= 0 && to < n && !seen[to]);
                seen[to] = 1;
            }
            free(seen);
        }
    }
}

/* Check that there are few fixed points and that each epoch has another order. Two random orders have one place in
 * common on average. */
static void test_permutation_shuffles(void **state)
{
    (void)state;
    const int64_t n = 5000;
    int fixed = 0, same = 0;
    for (int64_t i = 0; i < n; i++) {
        fixed += vj_permute(234, 0, n, i) == i;
        same += vj_permute(234, 0, n, i) == vj_permute(234, 1, n, i);
    }
    assert_true(fixed < 8 && same < 8);
    assert_true(vj_permute(1, 0, INT64_C(1) << 40, 12345) >= 0); /* sizes beyond 32 bits */
}

/* Check the first outputs for the standard seed, and output 10000, which the C++ standard states (mt19937: 4123659995).
 */
static void test_twister_known_answers(void **state)
{
    (void)state;
    vj_twister t;
    vj_twister_init(&t, 5489);
    static const uint32_t want[3] = {3499211612u, 581869302u, 3890346734u};
    for (int i = 0; i < 3; i++) assert_int_equal(vj_twister_u32(&t), want[i]);
    for (int i = 3; i < 9999; i++) vj_twister_u32(&t);
    assert_int_equal(vj_twister_u32(&t), 4123659995u);

    vj_twister_init(&t, 5489);
    assert_true(vj_twister_unit(&t) == (3499211612u & 0xffffff) / 16777216.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answer),  cmocka_unit_test(test_stream_is_stable),
        cmocka_unit_test(test_streams_differ),       cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_below_is_even),        cmocka_unit_test(test_permutation_is_bijective),
        cmocka_unit_test(test_permutation_shuffles), cmocka_unit_test(test_twister_known_answers),
        cmocka_unit_test(test_normals_by_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
