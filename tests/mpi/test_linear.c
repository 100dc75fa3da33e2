/*
 * Tests matrices that are divided over the ranks, against plain loops and LAPACK on one rank. Sizes are below, at and
 * above the block size of the division, so that ranks have parts of different sizes, or none.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../each_isa.h"
#include "../on_ranks.h"
#include "base/rng.h"
#include "linear/matrix.h"
#include "parallel/parallel.h"
#include "train/eigen.h"

void dgesvd_(const char *, const char *, const int *, const int *, double *, const int *, double *, double *,
             const int *, double *, const int *, double *, const int *, int *);

static vj_ranks *ranks;
static int rank, size;

static const int sizes[] = {1, 5, 39, 40, 41, 64, 130};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static double *numbers(int64_t count)
{
    double *x = vj_calloc(count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* Draw a normal matrix with mean `index`, the same on all ranks. */
static double *normal(int64_t rows, int columns, uint64_t index)
{
    double *x = numbers(rows * columns);
    vj_rng rng;
    vj_rng_init(&rng, 7, VJ_RNG_TEST, index);
    for (int64_t i = 0; i < rows * columns; i++) x[i] = (double)index + vj_rng_normal(&rng);
    return x;
}

/* Compute op(A) op(B), row-major; a is [rows, inner] or its transpose. */
static double *product(const double *a, bool transpose_a, const double *b, bool transpose_b, int rows, int inner,
                       int columns)
{
    double *c = numbers((int64_t)rows * columns);
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < inner; k++) {
            const double x = transpose_a ? a[(int64_t)k * rows + i] : a[(int64_t)i * inner + k];
            for (int j = 0; j < columns; j++)
                c[(int64_t)i * columns + j] +=
                    x * (transpose_b ? b[(int64_t)j * inner + k] : b[(int64_t)k * columns + j]);
        }
    return c;
}

/* Compare within the rounding errors of sums of some thousand terms, relative to the largest number of the result. */
static void assert_near(const double *got, const double *want, int64_t count)
{
    double worst = 0.0, scale = 1e-300;
    for (int64_t i = 0; i < count; i++) {
        assert_true(isfinite(got[i]));
        worst = fmax(worst, fabs(got[i] - want[i]));
        scale = fmax(scale, fabs(want[i]));
    }
    if (worst > 1e-12 * scale) fail_msg("off by %g of %g", worst, scale);
}

static void assert_matrix(const vj_matrix *matrix, const double *want)
{
    const int64_t count = (int64_t)matrix->rows * matrix->columns;
    double *got = numbers(count);
    vj_matrix_gather(matrix, got);
    assert_near(got, want, count);
    free(got);
}

static vj_matrix matrix_of(const double *whole, int rows, int columns)
{
    vj_matrix matrix;
    assert_int_equal(vj_matrix_create(&matrix, ranks, rows, columns), VJ_OK);
    vj_matrix_scatter(&matrix, whole);
    return matrix;
}

/* Ways to distribute rows over the ranks: evenly, all on the first, all on the last, or more on each next rank. */
enum { EVEN, FIRST, LAST, GROWING, WAYS };
static void rows_of(int64_t n, int way, int64_t *first, int64_t *last)
{
    vj_split(n, size, rank, first, last);
    if (way == FIRST || way == LAST) {
        *first = rank > (way == FIRST ? 0 : size - 1) ? n : 0;
        *last = rank < (way == FIRST ? 0 : size - 1) ? 0 : n;
    } else if (way == GROWING) {
        *first = n * rank * rank / size / size;
        *last = n * (rank + 1) * (rank + 1) / size / size;
    }
}

static void whole_matrices(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++) {
        const int rows = sizes[i], columns = 97;
        double *want = normal(rows, columns, 1), *some = numbers((int64_t)rows * columns);
        vj_matrix matrix = matrix_of(want, rows, columns);
        assert_matrix(&matrix, want);
        vj_matrix_gather_block(&matrix, rows / 3, rows - rows / 3, 11, 70, some);
        for (int k = 0; k < (rows - rows / 3) * 70; k++)
            assert_true(some[k] == want[(rows / 3 + k / 70) * columns + 11 + k % 70]);
        for (int j = 0; j < matrix.local_columns; j++)
            for (int k = 0; k < matrix.local_rows; k++)
                assert_true(matrix.local[(int64_t)j * matrix.local_rows + k] ==
                            want[(int64_t)vj_matrix_row(&matrix, k) * columns + vj_matrix_column(&matrix, j)]);
        vj_matrix_release(&matrix);
        free(want);
        free(some);
    }
}

/* Check X^T X in two calls, whose sums each rank adds up by itself first or not; the second continues the first sum. */
static void check_gram(int width, int64_t n, int way, bool apart)
{
    double *x = normal(n, width, 2), *want = product(x, true, x, false, width, (int)n, width);
    int64_t first, last;
    vj_matrix gram;
    rows_of(n, way, &first, &last);
    assert_int_equal(vj_matrix_create(&gram, ranks, width, width), VJ_OK);
    const int64_t half = (last - first) / 2;
    if (apart) assert_int_equal(vj_matrix_begin_sums(&gram), VJ_OK);
    assert_int_equal(vj_matrix_add_gram(&gram, x + first * width, half), VJ_OK);
    if (apart && n % 2 == 0) {
        vj_matrix_end_sums(&gram);
        assert_int_equal(vj_matrix_begin_sums(&gram), VJ_OK);
    }
    assert_int_equal(vj_matrix_add_gram(&gram, x + (first + half) * width, last - first - half), VJ_OK);
    vj_matrix_end_sums(&gram);
    assert_null(gram.own);
    assert_int_equal(vj_matrix_mirror(&gram), VJ_OK);
    assert_matrix(&gram, want);
    vj_matrix_release(&gram);
    free(x);
    free(want);
}

static void check_grams(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int way = 0; way < WAYS; way++)
            for (int n = 0; n < 100; n += 33) check_gram(sizes[i], n, way, n > 0);
    for (int apart = 0; apart < 2; apart++) {
        check_gram(65, 4800, LAST, apart); /* several pieces, not the same number on each rank */
        check_gram(321, 2100, EVEN, apart);
        check_gram(130, 99, GROWING, apart);
    }
    check_gram(3, 40000, EVEN, true);
}

static void grams(void **state)
{
    (void)state;
    on_each_isa(check_grams);
}

static void check_crosses(void)
{
    for (int i = 0; i < SIZES; i++)
        for (int way = 0; way < WAYS; way++) {
            const int width = sizes[i], other = 97, n = way == LAST ? 2300 : 77;
            double *x = normal(n, width, 3), *y = normal(n, other, 4),
                   *want = product(x, true, y, false, width, n, other);
            int64_t first, last;
            vj_matrix cross;
            rows_of(n, way, &first, &last);
            assert_int_equal(vj_matrix_create(&cross, ranks, width, other), VJ_OK);
            if (i % 2) assert_int_equal(vj_matrix_begin_sums(&cross), VJ_OK);
            assert_int_equal(vj_matrix_add_cross(&cross, x + first * width, y + first * other, last - first), VJ_OK);
            vj_matrix_end_sums(&cross);
            assert_matrix(&cross, want);
            vj_matrix_release(&cross);
            free(x);
            free(y);
            free(want);
        }
}

static void crosses(void **state)
{
    (void)state;
    on_each_isa(check_crosses);
}

static void products(void **state)
{
    (void)state;
    const int rows = 130, inner = 65, columns = 97;
    for (int ways = 0; ways < 4; ways++) {
        const bool ta = ways & 1, tb = ways & 2;
        double *a = normal(rows, inner, 5), *b = normal(inner, columns, 6), *old = normal(rows, columns, 7),
               *want = product(a, ta, b, tb, rows, inner, columns);
        vj_matrix A = matrix_of(a, ta ? inner : rows, ta ? rows : inner),
                  B = matrix_of(b, tb ? columns : inner, tb ? inner : columns), C = matrix_of(old, rows, columns);
        vj_matrix_multiply(2.0, &A, ta, &B, tb, -1.0, &C);
        for (int i = 0; i < rows * columns; i++) want[i] = 2.0 * want[i] - old[i];
        assert_matrix(&C, want);
        vj_matrix_release(&A);
        vj_matrix_release(&B);
        vj_matrix_release(&C);
        free(a);
        free(b);
        free(old);
        free(want);
    }
}

/* Check products of float rows less a row: they have the bits of the products of doubles. */
static void check_project(const double *x, int rows, const vj_factor *b)
{
    const int width = b->width;
    const int64_t all = (int64_t)rows * b->columns;
    double *minus = normal(1, width, 3), *less = numbers((int64_t)rows * width), *got = numbers(all),
           *want = numbers(all);
    float *narrow = vj_calloc((int64_t)rows * width + 1, sizeof *narrow);
    assert_non_null(narrow);
    for (int64_t i = 0; i < (int64_t)rows * width; i++) {
        narrow[i] = (float)x[i];
        less[i] = (double)narrow[i] - minus[i % width];
    }
    vj_rows_project(got, narrow, minus, rows, b);
    vj_rows_multiply(want, less, rows, b);
    assert_memory_equal(got, want, (size_t)all * sizeof *got);
    free(minus), free(less), free(got), free(want), free(narrow);
}

/* Check sizes below, at and above those of tiles and of blocks of rows, columns and depth. */
static void check_rows(void)
{
    static const int counts[] = {0, 1, 5, 7, 96, 103}, widths[] = {1, 40, 224, 513}, columns[] = {1, 8, 17, 96, 257};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (size_t j = 0; j < sizeof widths / sizeof widths[0]; j++)
            for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++) {
                const int rows = counts[i], width = widths[j], E = columns[k];
                const int64_t all = (int64_t)rows * E;
                if ((int)(i + j + k) % size != rank)
                    continue; /* the product is local, so each rank tests other sizes */
                double *x = normal(rows, width, 1), *b = normal(width, E, 0), *got = numbers(all),
                       *want = product(x, false, b, false, rows, width, E);
                got[all] = 42.0;
                vj_factor by;
                assert_int_equal(vj_factor_create(&by, b, width, E), VJ_OK);
                vj_rows_multiply(got, x, rows, &by);
                assert_near(got, want, all);
                assert_true(got[all] == 42.0);
                for (int row = 0; row < rows; row += 17) { /* a row has the same bits at any place */
                    vj_rows_multiply(want, x + (int64_t)row * width, 1, &by);
                    assert_memory_equal(want, got + (int64_t)row * E, (size_t)E * sizeof *got);
                }
                check_project(x, rows, &by);
                vj_factor_release(&by);
                free(x), free(b), free(got), free(want);
            }
}

static void rows_times_matrix(void **state)
{
    (void)state;
    on_each_isa(check_rows);
}

/* Check that the eigenvalues are those of LAPACK, that A V = V diag(values) and V^T V = 1, and that the largest element
 * of each vector is positive. */
static void check_eigen(double *a, int n)
{
    double *values = numbers(n), *want = numbers(n), *work = numbers((int64_t)VJ_EIGEN_WORK * n),
           *v = numbers((int64_t)n * n), *scaled = numbers((int64_t)n * n), *unit = numbers((int64_t)n * n);
    vj_matrix matrix = matrix_of(a, n, n), vectors, again = matrix_of(a, n, n);
    for (int j = 0; j < matrix.local_columns; j++) /* elements above the diagonal must not be read */
        for (int i = 0; i < matrix.local_rows; i++)
            if (vj_matrix_row(&matrix, i) < vj_matrix_column(&matrix, j))
                matrix.local[(int64_t)j * matrix.local_rows + i] = 1e6;
    assert_int_equal(vj_matrix_create(&vectors, ranks, n, n), VJ_OK);
    assert_int_equal(vj_matrix_eigen(&matrix, values, &vectors), VJ_OK);
    vj_matrix_gather(&vectors, v);
    double *av = product(a, false, v, false, n, n, n), *vv = product(v, true, v, false, n, n, n), most = 1e-300;
    for (int i = 0; i < n; i++) {
        int largest = 0;
        for (int j = 0; j < n; j++) {
            scaled[i * n + j] = v[i * n + j] * values[j];
            unit[i * n + j] = i == j;
            if (fabs(v[j * n + i]) > fabs(v[largest * n + i])) largest = j;
        }
        assert_true(v[largest * n + i] > 0.0);
        assert_true(i == 0 || values[i] >= values[i - 1]);
        most = fmax(most, fabs(values[i]));
    }
    for (int i = 0; i < n * n; i++) assert_true(fabs(av[i] - scaled[i]) <= 1e-12 * most);
    assert_near(vv, unit, (int64_t)n * n);
    assert_int_equal(vj_eigenvalues(a, n, want, work), VJ_OK);
    assert_near(values, want, n);
    assert_int_equal(vj_matrix_eigen(&again, values, NULL), VJ_OK);
    assert_near(values, want, n);
    vj_matrix_release(&matrix);
    vj_matrix_release(&vectors);
    vj_matrix_release(&again);
    free(values), free(want), free(work), free(v), free(scaled), free(unit), free(av), free(vv);
}

/* Make a symmetric matrix [n, n] with two eigenvalues, each for half of the directions. pdsyevr finds no vectors of it
 * on one rank. */
static double *clustered(int n)
{
    double *u = normal(n, 1, 2), *a = numbers((int64_t)n * n), square = 0.0, inner = 0.0;
    for (int i = 0; i < n; i++) square += u[i] * u[i];
    for (int i = 0; i < n; i++) inner += u[i] * u[i] / square * (i < n / 2 ? 1.0 : 1e-3);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const double both = (i < n / 2 ? 1.0 : 1e-3) + (j < n / 2 ? 1.0 : 1e-3), uu = u[i] * u[j] / square;
            a[(int64_t)i * n + j] = (i == j ? both / 2.0 : 0.0) + uu * (4.0 * inner - 2.0 * both);
        }
    free(u);
    return a;
}

static void eigenvalues(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++) {
        const int n = sizes[i];
        double *x = normal(200, n, 0), *few = normal(3, n, 1), *a = product(x, true, x, false, n, 200, n),
               *deficient = product(few, true, few, false, n, 3, n), *zero = numbers((int64_t)n * n),
               *two = clustered(n);
        check_eigen(a, n);
        check_eigen(deficient, n);
        check_eigen(zero, n);
        check_eigen(two, n);
        free(x), free(few), free(a), free(deficient), free(zero), free(two);
    }
}

static void singular_values(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {1, 5}, {5, 1}, {63, 64}, {65, 130}, {130, 97}, {97, 130}};
    for (size_t s = 0; s < 2 * sizeof shapes / sizeof shapes[0]; s++) {
        const int rows = shapes[s / 2][0], columns = shapes[s / 2][1], least = rows < columns ? rows : columns, one = 1,
                  room = 64 * (rows + columns);
        double *a = s % 2 ? normal(1, rows * columns, 0) : NULL, *got = numbers(least), *want = numbers(least),
               *work = numbers(room);
        int info;
        if (!a) { /* a matrix of rank 1 */
            a = numbers((int64_t)rows * columns);
            for (int i = 0; i < rows * columns; i++) a[i] = (1.0 + i / columns) * (2.0 + i % columns);
        }
        vj_matrix matrix = matrix_of(a, rows, columns);
        assert_int_equal(vj_matrix_singular_values(&matrix, got), VJ_OK);
        dgesvd_("N", "N", &columns, &rows, a, &columns, want, NULL, &one, NULL, &one, work, &room, &info);
        assert_int_equal(info, 0);
        assert_near(got, want, least);
        vj_matrix_release(&matrix);
        free(a), free(got), free(want), free(work);
    }
}

static void nan_is_refused(void **state)
{
    (void)state;
    double *a = normal(70, 70, 1), values[70];
    a[69 * 70 + 2] = NAN;
    vj_matrix matrix = matrix_of(a, 70, 70);
    assert_int_equal(vj_matrix_eigen(&matrix, values, NULL), VJ_ERR_STATE);
    assert_int_equal(vj_matrix_singular_values(&matrix, values), VJ_ERR_STATE);
    vj_matrix_release(&matrix);
    free(a);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (vj_ranks_open(&ranks, MPI_COMM_WORLD) != VJ_OK) MPI_Abort(MPI_COMM_WORLD, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_matrices),    cmocka_unit_test(grams),
        cmocka_unit_test(crosses),           cmocka_unit_test(products),
        cmocka_unit_test(rows_times_matrix), cmocka_unit_test(eigenvalues),
        cmocka_unit_test(singular_values),   cmocka_unit_test(nan_is_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    vj_ranks_close(ranks);
    return end_on_ranks(failed);
}
