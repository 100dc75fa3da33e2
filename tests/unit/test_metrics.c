/*
 * Tests metrics: ranks with ties, accuracies, intervals and statistical tests, against values computed by hand, closed
 * forms, and each other. (Fixtures: vjepa-parity metrics.h5.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "probe/metrics.h"

static void ranks_with_ties(void **state)
{
    (void)state;
    const double scores[] = {1, 3, 3, 2, 3, -INFINITY};
    static const int32_t want[] = {4, 0, 1, 3, 2, 5};
    for (int32_t c = 0; c < 6; c++) assert_int_equal(vj_metrics_rank(scores, 6, c), want[c]);
    assert_int_equal(vj_metrics_first(scores, 6), 1);
    assert_int_equal(vj_metrics_first((const double[]){0, 0, 0}, 3), 0);
}

static void bad_rows_are_named(void **state)
{
    (void)state;
    const double scores[] = {1, 2, 3, 4, NAN, 6, 7, 8, 9};
    int32_t ranks[3];
    char why[512];
    static const struct {
        int32_t labels[3];
        vj_status status;
        const char *says;
    } cases[] = {{{0, 0, 0}, VJ_ERR_STATE, "the score of class 1 of sample 1 is not a number"},
                 {{0, 3, 0}, VJ_ERR_FORMAT, "sample 1 has label 3; there are classes 0 to 2"},
                 {{-1, 0, 0}, VJ_ERR_FORMAT, "sample 0 has label -1"}};
    for (int i = 0; i < 3; i++) {
        vj_status_divert(why, sizeof why);
        assert_int_equal(vj_metrics_ranks(ranks, scores, cases[i].labels, 3, 3), cases[i].status);
        vj_status_divert(NULL, 0);
        assert_non_null(strstr(why, cases[i].says));
    }
    assert_int_equal(vj_metrics_ranks(ranks, scores, (const int32_t[]){1, 0, 0}, 1, 3), VJ_OK);
    assert_int_equal(ranks[0], 1);
}

static void accuracies(void **state)
{
    (void)state;
    const int32_t ranks[] = {0, 1, 0, 4, 5, 0}, labels[] = {0, 0, 0, 2, 2, 2}, predicted[] = {0, 1, 0, 1, 0, 2};
    int64_t confusion[16];
    assert_true(fabs(vj_metrics_top(ranks, 6, 1) - 50.0) < 1e-12);
    assert_true(fabs(vj_metrics_top(ranks, 6, 5) - 500.0 / 6.0) < 1e-12);
    assert_true(isnan(vj_metrics_top(ranks, 0, 1)));
    /* Classes 1 and 3 have no samples, so the result is the mean of 2/3 and 1/3. */
    assert_true(fabs(vj_metrics_mean_class(ranks, labels, 6, 4) - 50.0) < 1e-12);
    assert_true(fabs(vj_metrics_mean_class(ranks, labels, 4, 4) - 100.0 / 3.0) < 1e-12);
    assert_true(isnan(vj_metrics_mean_class(ranks, labels, 0, 4)));
    vj_metrics_confusion(confusion, labels, predicted, 6, 4);
    static const int64_t want[] = {2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0};
    assert_memory_equal(confusion, want, sizeof want);
}

/* Compute the accuracy GPU by GPU as the released code does, in the order that vj_metrics_as_published() draws. */
static double by_gpus(const int32_t *ranks, int64_t n, int64_t gpus, int64_t each, uint64_t seed)
{
    const int64_t own = (n + gpus - 1) / gpus, batches = (own + each - 1) / each;
    double sum = 0.0;
    for (int64_t batch = 0; batch < batches; batch++) {
        double mean = 0.0;
        for (int64_t gpu = 0; gpu < gpus; gpu++) {
            int64_t seen = 0, right = 0;
            for (int64_t i = batch * each; i < (batch + 1) * each && i < own; i++, seen++)
                right += ranks[vj_permute(seed, UINT64_C(0x500000000), n, (gpu + i * gpus) % n)] == 0;
            mean += (double)right / (double)seen / (double)gpus;
        }
        sum += mean / (double)batches;
    }
    return 100.0 * sum;
}

static void as_published(void **state)
{
    (void)state;
    int32_t ranks[1000];
    int64_t right = 0;
    for (int i = 0; i < 1000; i++) ranks[i] = i % 7 % 3 + (i > 600);
    static const int64_t sizes[][3] = {{1000, 64, 4}, {1000, 8, 16}, {130, 64, 4},
                                       {24, 64, 1},   {1, 5, 2},     {512, 64, 4}};
    for (size_t c = 0; c < sizeof sizes / sizeof sizes[0]; c++) {
        const int64_t n = sizes[c][0], gpus = sizes[c][1], each = sizes[c][2];
        const double got = vj_metrics_as_published(ranks, n, gpus, gpus * each, 3);
        assert_true(fabs(got - by_gpus(ranks, n, gpus, each, 3)) < 1e-9);
    }
    for (int i = 0; i < 512; i++) right += ranks[i] == 0;
    assert_true(fabs(vj_metrics_as_published(ranks, 512, 64, 256, 3) - (double)right / 5.12) <
                1e-9); /* no sample counts twice */
    assert_true(fabs(vj_metrics_as_published(ranks, 1000, 64, 256, 3) - vj_metrics_top(ranks, 1000, 1)) > 1e-6);
    assert_true(isnan(vj_metrics_as_published(ranks, 0, 64, 256, 3)));
}

static void views_average_probabilities(void **state)
{
    (void)state;
    /* An offset of all scores changes nothing. By the first view the classes are 3 : 1, by the second 1 : 1. */
    const double scores[] = {log(3.0) + 1000.0, 1000.0, -2000.0, -2000.0};
    double probability[2], memory[2];
    vj_metrics_average_views(probability, memory, scores, 2, 2);
    assert_true(fabs(probability[0] - 0.625) < 1e-12 && fabs(probability[1] - 0.375) < 1e-12);
}

/* Check quantiles of Student's t against tables, 12.7062, 4.3027, 2.5706 and 2.0452, and the limit, 1.9600 of the
 * normal distribution. */
static void student(void **state)
{
    static const double want[][2] = {
        {1, 12.706204736}, {2, 4.302652730}, {5, 2.570581836}, {29, 2.045229642}, {1e5, 1.959987709}};
    (void)state;
    for (int i = 0; i < 5; i++) assert_true(fabs(vj_student_975(want[i][0]) - want[i][1]) < 1e-6);
    assert_true(isnan(vj_mean_half_width(1.0, 1.0)));
    assert_true(isnan(vj_mean_half_width(1.0, NAN)));
    assert_true(fabs(vj_mean_half_width(2.0, 4.0) - 3.182446305) < 1e-6);
}

/* Check Wilson's interval (1927): it lies in [0, 1], is the mirrored interval of 1 - p, and its ends solve
 * (p - q)^2 = z^2 q (1 - q) / n. */
static void wilson(void **state)
{
    static const double shares[] = {0.0, 0.03, 0.5, 0.8, 1.0};
    const double z = 1.959963984540054;
    (void)state;
    for (int i = 0; i < 5; i++) {
        double low, high, mirrored_low, mirrored_high;
        vj_wilson_interval(shares[i], 50.0, &low, &high);
        vj_wilson_interval(1.0 - shares[i], 50.0, &mirrored_low, &mirrored_high);
        assert_true(low >= -1e-15 && high <= 1.0 + 1e-15 && low < high);
        assert_true(fabs(low + mirrored_high - 1.0) < 1e-14);
        for (const double *q = (const double[]){low, high}, *end = q + 2; q < end; q++)
            assert_true(fabs(pow(shares[i] - *q, 2) - z * z * *q * (1.0 - *q) / 50.0) < 1e-14);
    }
    double low, high;
    vj_wilson_interval(0.5, NAN, &low, &high);
    assert_true(isnan(low) && isnan(high));
}

/* Check intervals over runs with 1 and 2 degrees of freedom, for which the quantile has a closed form. */
static void runs(void **state)
{
    (void)state;
    assert_true(fabs(vj_student_975(1.0) - tan(M_PI * 0.475)) < 1e-9);
    assert_true(fabs(vj_student_975(2.0) - 0.95 / sqrt(2.0 * 0.975 * 0.025)) < 1e-9);
    vj_runs_summary s = vj_metrics_runs((const double[]){1, 2, 6}, 3);
    assert_true(fabs(s.mean - 3.0) < 1e-12 && fabs(s.sd - sqrt(7.0)) < 1e-12);
    assert_true(fabs(s.half - 4.302652729911 * sqrt(7.0 / 3.0)) < 1e-9);
    s = vj_metrics_runs((const double[]){5}, 1);
    assert_true(s.mean == 5.0 && s.sd == 0.0 && isnan(s.half));
}

static void mcnemar(void **state)
{
    (void)state;
    assert_true(vj_mcnemar(0, 0) == 1.0);
    assert_true(vj_mcnemar(5, 5) == 1.0);
    assert_true(fabs(vj_mcnemar(0, 10) - 2.0 / 1024.0) < 1e-15);
    assert_true(fabs(vj_mcnemar(8, 1) - 20.0 / 512.0) < 1e-14);
    assert_true(vj_mcnemar(1, 8) == vj_mcnemar(8, 1));
    assert_true(vj_mcnemar(0, 100000) == 0.0); /* the value is below the smallest double */
    /* Large counts approach the normal distribution: with continuity correction z = 199 / sqrt(20000). */
    assert_true(fabs(vj_mcnemar(9900, 10100) - erfc(199.0 / sqrt(20000.0) / sqrt(2.0))) < 1e-4);
}

static void bootstrap(void **state)
{
    (void)state;
    enum { N = 400 };
    uint8_t a[N], b[N];
    int32_t surplus[N], thrice[N];
    const int32_t none[N] = {0};
    double low, high;
    for (int i = 0; i < N; i++) {
        a[i] = i % 4 != 0; /* 75 % */
        b[i] = i % 2 != 0; /* 50 %, and never right where a is wrong */
        surplus[i] = a[i] - b[i];
        thrice[i] = 3 * surplus[i];
    }
    const vj_pair_counts counts = vj_metrics_pair(a, b, N);
    assert_true(counts.both == 200 && counts.only_a == 100 && counts.only_b == 0);
    vj_resampled all[] = {
        {.surplus = surplus, .runs = 1}, {.surplus = thrice, .runs = 3}, {.surplus = none, .runs = 1}};
    vj_resampled alone = all[0];
    assert_int_equal(vj_metrics_bootstrap(all, 3, N, 2000, 7), VJ_OK);
    /* The difference is 25 points with a standard error of sqrt(0.25 * 0.75 / 400) = 2.165. Quantiles of 2000 draws are
     * within 0.4 of the exact ones. */
    assert_true(fabs(all[0].low - (25.0 - 1.96 * 2.165)) < 0.6 && fabs(all[0].high - (25.0 + 1.96 * 2.165)) < 0.6);
    /* Three equal runs give the same interval over clips as one. */
    assert_true(all[1].low == all[0].low && all[1].high == all[0].high);
    assert_true(all[2].low == 0.0 && all[2].high == 0.0);
    assert_int_equal(vj_metrics_bootstrap(&alone, 1, N, 2000, 7), VJ_OK);
    assert_true(alone.low == all[0].low && alone.high == all[0].high);
    double values[] = {4, 1, 3, 2, 0};
    vj_metrics_interval(&low, &high, values, 5);
    assert_true(fabs(low - 0.1) < 1e-12 && fabs(high - 3.9) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_with_ties),
        cmocka_unit_test(bad_rows_are_named),
        cmocka_unit_test(accuracies),
        cmocka_unit_test(as_published),
        cmocka_unit_test(views_average_probabilities),
        cmocka_unit_test(student),
        cmocka_unit_test(wilson),
        cmocka_unit_test(runs),
        cmocka_unit_test(mcnemar),
        cmocka_unit_test(bootstrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
