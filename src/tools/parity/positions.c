/* Checks positions.h5: some rows and two sums of video tables, image tables, resampled tables. */
#include <stdio.h>
#include <string.h>

#include "model/positions.h"
#include "parity/kinds.h"

/* Everything is computed in double; the remaining error is the rounding of sines of angles up to about 24. */
static const double tolerance = 1e-12;

static void check_video(vj_fixture *f, const char *group)
{
    int D, g[3], uniform;
    double sum, squares;
    if (!vj_fixture_ints(f, group, "dim", &D, 1) || !vj_fixture_ints(f, group, "grid", g, 3) ||
        !vj_fixture_ints(f, group, "uniform_power", &uniform, 1) || !vj_fixture_numbers(f, group, "sum_all", &sum, 1) ||
        !vj_fixture_numbers(f, group, "sum_squares_all", &squares, 1))
        return;
    const int divisor = uniform ? 1 : 8;
    if (D < 1 || D > 1 << 16 || D % divisor != 0 || g[0] < 1 || g[1] < 1 || g[2] < 1) {
        char reason[VJ_FIXTURE_NAME];
        snprintf(reason, sizeof reason,
                 "found dim %d and grid %d x %d x %d, expected more than 0, dim in multiples of %d", D, g[0], g[1],
                 g[2], divisor);
        vj_fixture_fail(f, group, reason);
        return;
    }
    const vj_grid grid = {g[0], g[1], g[2]};
    const int64_t count = (int64_t)vj_grid_tokens(grid) * D;
    double *table = vj_fixture_take(f, count * (int64_t)sizeof *table);
    vj_positions_video(table, D, grid, uniform);

    const vj_values *rows = vj_fixture_array(f, "%s/rows", group), *values = vj_fixture_array(f, "%s/values", group);
    if (rows && values) {
        double *got = vj_fixture_take(f, rows->count * D * (int64_t)sizeof *got);
        for (int64_t r = 0; r < rows->count; r++) {
            const int64_t row = (int64_t)rows->value[r];
            if (row < 0 || row >= vj_grid_tokens(grid)) {
                vj_fixture_fail(f, rows->name, "found the number of a row outside the table, expected one inside");
                return;
            }
            memcpy(got + r * D, table + row * D, (size_t)D * sizeof *got);
        }
        vj_fixture_compare(f, values->name, got, rows->count * D, values, vj_within(tolerance));
    }

    double got_sum = 0, got_squares = 0;
    for (int64_t i = 0; i < count; i++) {
        got_sum += table[i];
        got_squares += table[i] * table[i];
    }
    /* These are sums of entries of at most 1, each of which may be off by `tolerance`. */
    char name[VJ_FIXTURE_NAME + 32];
    snprintf(name, sizeof name, "%s sum", group);
    vj_fixture_compare_number(f, name, got_sum, sum, tolerance * (double)count);
    snprintf(name, sizeof name, "%s sum of squares", group);
    vj_fixture_compare_number(f, name, got_squares, squares, 2 * tolerance * (double)count);
}

static void check_image(vj_fixture *f, const char *group, int D, int rows, int columns)
{
    if (D < 1 || D % 4 != 0 || rows < 1 || columns < 1) {
        vj_fixture_fail(f, group, "found these sizes in its name, expected more than 0, the width in multiples of 4");
        return;
    }
    const int64_t count = (int64_t)rows * columns * D;
    double *table = vj_fixture_take(f, count * (int64_t)sizeof *table);
    vj_positions_image(table, D, rows, columns);
    const vj_values *values = vj_fixture_array(f, "%s/values", group);
    vj_fixture_compare(f, group, table, count, values, vj_within(tolerance));
}

/* Check a table that is resampled from the uniform table as models store it, rounded to float. */
static void check_resampled(vj_fixture *f, const char *name)
{
    vj_grid from, to;
    const vj_values *want = vj_fixture_array(f, "resampled/%s", name);
    if (!want) return;
    if (sscanf(name, "from_%dx%dx%d_to_%dx%dx%d", &from.t, &from.y, &from.x, &to.t, &to.y, &to.x) != 6 ||
        want->ndim != 2 || want->count < 1 || from.t < 1 || from.y < 1 || from.x < 1 || to.t < 1 || to.y < 1 ||
        to.x < 1) {
        vj_fixture_fail(f, want->name, "found another name or shape, expected from_TxYxX_to_TxYxX and [tokens, width]");
        return;
    }
    const int D = (int)want->dim[1];
    const int64_t source_count = (int64_t)vj_grid_tokens(from) * D, count = (int64_t)vj_grid_tokens(to) * D;
    double *source = vj_fixture_take(f, source_count * (int64_t)sizeof *source);
    double *got = vj_fixture_take(f, count * (int64_t)sizeof *got);
    vj_positions_video(source, D, from, 1);
    for (int64_t i = 0; i < source_count; i++) source[i] = (float)source[i];
    vj_positions_resample(got, to, source, from, D);
    vj_fixture_compare(f, want->name, got, count, want, vj_within(tolerance));
}

vj_status vj_parity_positions(vj_fixture *f)
{
    const vj_names groups = vj_fixture_children(f, "/");
    for (int i = 0; i < groups.count; i++) {
        const char *group = groups.name[i];
        int D, rows, columns;
        if (strcmp(group, "resampled") == 0) {
            const vj_names names = vj_fixture_children(f, group);
            for (int k = 0; k < names.count; k++) check_resampled(f, names.name[k]);
        } else if (sscanf(group, "image_dim%d_%dx%d", &D, &rows, &columns) == 3) {
            check_image(f, group, D, rows, columns);
        } else {
            check_video(f, group);
        }
    }
    return VJ_OK;
}
