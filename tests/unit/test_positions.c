/* Tests position tables: entries computed by hand, cutting, and resampling of functions that must stay exact. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/positions.h"

/* The error of sines, powers and one product is a few units in the last place. */
static const double tolerance = 1e-14;

static double *allocate(int64_t count)
{
    double *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    return values;
}

/* Return entry i of axis(c) for width w. */
static double axis(int w, int i, int c)
{
    const int half = w / 2, k = i < half ? i : i - half;
    const double angle = c / pow(10000.0, (double)k / half);
    return i < half ? sin(angle) : cos(angle);
}

static void check_video(int D, vj_grid grid, int uniform, const int width[3])
{
    double *table = allocate((int64_t)vj_grid_tokens(grid) * D);
    vj_positions_video(table, D, grid, uniform);
    for (int n = 0; n < vj_grid_tokens(grid); n++) {
        const int c[3] = {n / (grid.y * grid.x), n / grid.x % grid.y, n % grid.x};
        for (int d = 0; d < D; d++) {
            const int part = d < width[0] ? 0 : d < width[0] + width[1] ? 1 : 2;
            const int i = d - (part > 0 ? width[0] : 0) - (part > 1 ? width[1] : 0);
            assert_true(fabs(table[n * D + d] - axis(width[part], i, c[part])) <= tolerance);
        }
    }
    free(table);
}

static void test_video(void **state)
{
    (void)state;
    const vj_grid grid = {3, 4, 5};
    check_video(48, grid, 1, (int[]){16, 16, 16});
    check_video(64, grid, 1, (int[]){22, 22, 22}); /* 66 columns, cut to 64 */
    check_video(1024, (vj_grid){1, 2, 3}, 1, (int[]){342, 342, 342});
    check_video(48, grid, 0, (int[]){24, 12, 12});
    check_video(24, grid, 0, (int[]){12, 6, 6});
}

static void test_image(void **state)
{
    (void)state;
    double *table = allocate(5 * 7 * 48);
    vj_positions_image(table, 48, 5, 7);
    for (int n = 0; n < 35; n++)
        for (int d = 0; d < 48; d++)
            assert_true(fabs(table[n * 48 + d] - axis(24, d % 24, d < 24 ? n / 7 : n % 7)) <= tolerance);
    free(table);
}

/* Check that resampling is exact for linear functions of the coordinates, except at the clamped edge, and that
 * resampling to the same grid changes nothing. */
static void test_resample(void **state)
{
    (void)state;
    const vj_grid from = {4, 5, 6}, to = {8, 5, 9};
    double *source = allocate(vj_grid_tokens(from)), *out = allocate(vj_grid_tokens(to));
    for (int n = 0; n < vj_grid_tokens(from); n++) source[n] = n / 30 * 100.0 + n / 6 % 5 * 10.0 + n % 6;
    vj_positions_resample(out, from, source, from, 1);
    for (int n = 0; n < vj_grid_tokens(from); n++) assert_true(out[n] == source[n]);

    vj_positions_resample(out, to, source, from, 1);
    for (int n = 0; n < vj_grid_tokens(to); n++) {
        const double t = fmin(fmax((n / 45 + 0.5) * 4 / 8 - 0.5, 0), 3),
                     x = fmin(fmax((n % 9 + 0.5) * 6 / 9 - 0.5, 0), 5);
        assert_true(fabs(out[n] - (100 * t + 10 * (n / 9 % 5) + x)) <= 1e-12);
    }
    free(source);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_video), cmocka_unit_test(test_image),
                                       cmocka_unit_test(test_resample)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
