/* Tests the collapse watch: effective rank of matrices and features with known spectrum, deviation of known columns. */
#include "kernel_test.h"

#include <mpi.h>

#include "train/eigen.h"
#include "train/spectrum.h"

enum { D = 12, WIDE = 70 }; /* WIDE: more than one of LAPACK's blocks of 32 */

static void equal_eigenvalues(void **state)
{
    (void)state;
    static double matrix[WIDE * WIDE], values[WIDE], work[VJ_EIGEN_WORK * WIDE];
    for (int k = 1; k <= WIDE; k += 23) {
        memset(matrix, 0, sizeof matrix);
        for (int i = 0; i < k; i++) matrix[(WIDE - 1 - i) * (WIDE + 1)] = 0.3;
        assert_int_equal(vj_eigenvalues(matrix, WIDE, values, work), VJ_OK);
        const double rank = vj_effective_rank(values, WIDE);
        assert_true(fabs(rank - k) <= 1e-10 * k); /* rounding errors of k logarithms in double */
    }
}

/* Check a matrix with 2 on the diagonal and 1 elsewhere: one eigenvalue is WIDE + 1, the others are 1. */
static void coupled(void **state)
{
    (void)state;
    static double matrix[WIDE * WIDE], values[WIDE], work[VJ_EIGEN_WORK * WIDE];
    double all = 2.0 * WIDE, first = (WIDE + 1) / all, other = 1 / all;
    for (int i = 0; i < WIDE * WIDE; i++) matrix[i] = i % (WIDE + 1) == 0 ? 2 : 1;
    assert_int_equal(vj_eigenvalues(matrix, WIDE, values, work), VJ_OK);
    for (int i = 0; i < WIDE; i++) assert_true(fabs(values[i] - (i < WIDE - 1 ? 1 : WIDE + 1)) <= 1e-10 * WIDE);
    const double rank = vj_effective_rank(values, WIDE);
    double want = exp(-first * log(first) - (WIDE - 1) * other * log(other));
    assert_true(fabs(rank - want) <= 1e-10 * want); /* as above */
}

/*
 * Make rows in pairs that differ from the mean only in column i, by side[i] and -side[i], so the covariance is diagonal
 * with side[i]^2 / D. All numbers are exact in binary.
 */
static void fill_rows(float *x, const double *side)
{
    for (int r = 0; r < 2 * D; r++)
        for (int i = 0; i < D; i++) x[r * D + i] = (float)(0.25 * i + (r / 2 != i ? 0.0 : r % 2 ? -side[i] : side[i]));
}

static void check_sums(vj_backend *be, int64_t terms)
{
    double side[D], all = 0, entropy = 0, std = 0;
    for (int i = 0; i < D; i++) side[i] = i < 3 ? 0.0 : 1 + i % 4;
    for (int i = 0; i < D; i++) all += side[i] * side[i], std += side[i] / sqrt(D) / D;
    for (int i = 0; i < D; i++)
        if (side[i] > 0) entropy -= side[i] * side[i] / all * log(side[i] * side[i] / all);
    array x = array_empty(be, 2 * D * D);
    fill_rows(x.host, side);
    push(be, &x);
    vj_spectrum *s;
    vj_spread spread;
    assert_int_equal(vj_spectrum_open(&s, be, D, terms), VJ_OK);
    for (int again = 0; again < 2; again++) { /* the second time shows that finish starts anew */
        vj_spectrum_add(s, x.device, 2, 1);   /* in two parts */
        vj_spectrum_add(s, x.device + 2 * D, 2 * D - 2, 1);
        assert_int_equal(vj_spectrum_finish(s, MPI_COMM_WORLD, &spread), VJ_OK);
        /* Sums are exact. Variances are differences of numbers of up to 10, and divisions and roots are in double. */
        assert_true(fabs(spread.std - std) <= 1e-7);
        assert_true(fabs(spread.effective_rank - exp(entropy)) <= 1e-7);
    }
    vj_spectrum_add(s, x.device, 2, 0);
    vj_spectrum_add(s, x.device + 2 * D, 2 * D - 2, 0);
    assert_int_equal(vj_spectrum_finish(s, MPI_COMM_WORLD, &spread), VJ_OK);
    assert_true(fabs(spread.std - std) <= 1e-7);
    assert_true(isnan(spread.effective_rank)); /* not measured */
    vj_spectrum_close(s);
    drop(be, &x);
}

static void check_features(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_sums(be, 0);
    check_sums(be, 2);
}

static void features(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_features);
    on_each_backend(VJ_BF16, check_features); /* the spectrum is measured in fp32 in this precision too */
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_eigenvalues), cmocka_unit_test(coupled),
                                       cmocka_unit_test(features)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
