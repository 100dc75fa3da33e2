/* Makes a curve from a column of a run's metrics, reduced so that a hundred runs fit into memory. */
#include <stdlib.h>
#include <string.h>

#include "report/decimate.h"
#include "report/inside.h"
#include "report/recorded.h"

/* KEPT_COLUMNS is larger than the width of a plot in pixels, so that a curve can be reduced again for each plot. */
enum { KEPT_COLUMNS = 2000, RECENT = 100, SHORT = 300, MEDIANS = 120 };

/* Order two values without a branch, which a processor might mispredict. */
static void order(double *a, double *b)
{
    const double min = *a < *b ? *a : *b, max = *a < *b ? *b : *a;
    *a = min;
    *b = max;
}

/*
 * Return the k-th smallest of values without NaN. Reorders them, so that those before it are not larger (Hoare 1961;
 * with Lomuto's partition, whose loop needs no branch). If many values equal the pivot, they are set aside, so that
 * constant columns are as fast.
 */
static double select_smallest(double *value, int64_t count, int64_t k)
{
    int64_t low = 0, high = count; /* it is in [low, high) */
    while (high - low > 1) {
        int64_t below = low, equal;
        order(&value[low], &value[high - 1]);
        order(&value[low], &value[(low + high) / 2]);
        order(&value[(low + high) / 2], &value[high - 1]);
        const double pivot = value[(low + high) / 2];
        for (int64_t i = low; i < high; i++) {
            const double other = value[i];
            value[i] = value[below];
            value[below] = other;
            below += other < pivot;
        }
        if (k < below) {
            high = below;
            continue;
        }
        equal = below;
        for (int64_t i = below; i < high; i++) {
            const double other = value[i];
            value[i] = value[equal];
            value[equal] = other;
            equal += other == pivot;
        }
        if (k < equal) break;
        low = equal;
    }
    return value[k];
}

/* Return the median of the values that are numbers; NaN if there are none. Reorders the values. */
static double median_of(double *value, int64_t count)
{
    int64_t numbers = 0;
    for (int64_t i = 0; i < count; i++)
        if (vj_is_drawn(value[i])) value[numbers++] = value[i];
    if (numbers == 0) return NAN;
    const double upper = select_smallest(value, numbers, numbers / 2);
    if (numbers % 2) return upper;
    double lower = value[0];
    for (int64_t i = 1; i < numbers / 2; i++) lower = fmax(lower, value[i]);
    return 0.5 * (lower + upper);
}

/* Return the median of the last numbers, because a single step is noisy. */
static double recent_of(const double *value, int64_t rows)
{
    double last[RECENT];
    int64_t count = 0;
    for (int64_t i = rows - 1; i >= 0 && count < RECENT; i--)
        if (vj_is_drawn(value[i])) last[count++] = value[i];
    return median_of(last, count);
}

static void take_medians(vj_curve *curve, const double *x, const double *y, int64_t count)
{
    if (count <= SHORT) return;
    curve->median_rows = (count + MEDIANS - 1) / MEDIANS;
    curve->median_step = vj_report_memory(MEDIANS, sizeof(double));
    curve->median = vj_report_memory(MEDIANS, sizeof(double));
    double *group = vj_report_memory(curve->median_rows, sizeof *group);
    for (int64_t first = 0; first < count; first += curve->median_rows) {
        const int64_t rows = count - first < curve->median_rows ? count - first : curve->median_rows;
        memcpy(group, y + first, (size_t)rows * sizeof *group);
        curve->median_step[curve->median_count] = 0.5 * (x[first] + x[first + rows - 1]);
        curve->median[curve->median_count++] = median_of(group, rows);
    }
    free(group);
}

/* Return whether a column has a number in every row, unless that was not finite (docs/formats.md, "Run folder"). */
static bool is_of_every_step(const char *name)
{
    return strncmp(name, "loss", 4) == 0 || strncmp(name, "grad_norm", 9) == 0 || strcmp(name, "lr") == 0 ||
           strcmp(name, "step_s") == 0;
}

static bool all_finite(const double *value, int64_t count)
{
    bool all = true;
    for (int64_t i = 0; i < count; i++) all &= isfinite(value[i]) != 0;
    return all;
}

/* Count and sum the values that are numbers, in the order of the rows. */
static void count_numbers(vj_curve *curve, const double *step, const double *value, int64_t rows)
{
    double sum = 0.0, min = INFINITY, max = -INFINITY;
    for (int64_t i = 0; i < rows; i++) {
        const double number = value[i];
        if (!vj_is_drawn(number)) {
            if (curve->first_empty == 0 && isfinite(step[i])) curve->first_empty = (int64_t)step[i];
            continue;
        }
        curve->numbers++;
        sum += number;
        min = number < min ? number : min;
        max = number > max ? number : max;
        curve->last = number;
    }
    curve->sum = sum;
    if (curve->numbers == 0) curve->last = min = max = NAN;
    curve->min = min;
    curve->max = max;
    curve->recent = recent_of(value, rows);
}

/* Copy the rows that are points of the curve, and return their number. */
static int64_t take_points(const vj_curve *curve, const double *step, const double *value, int64_t rows, double *x,
                           double *y)
{
    int64_t count = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (!isfinite(step[i]) || (curve->sparse && !vj_is_drawn(value[i]))) continue;
        x[count] = step[i];
        y[count++] = vj_is_drawn(value[i]) ? value[i] : NAN;
    }
    return count;
}

/* Keep only the extremes of a long curve [count]. */
static void keep_extremes(vj_curve *curve, const double *x, const double *y, int64_t count)
{
    bool *keep = vj_report_memory(count, sizeof *keep);
    vj_decimate(keep, x, y, count, x[0], x[count - 1], VJ_LINEAR, KEPT_COLUMNS);
    for (int64_t i = 0; i < count; i++) curve->count += keep[i];
    curve->step = vj_report_memory(curve->count, sizeof *x);
    curve->value = vj_report_memory(curve->count, sizeof *y);
    for (int64_t i = 0, n = 0; i < count; i++) {
        if (!keep[i]) continue;
        curve->step[n] = x[i];
        curve->value[n++] = y[i];
    }
    free(keep);
}

vj_curve vj_curve_from(const char *name, const double *step, const double *value, int64_t rows)
{
    vj_curve curve = {.name = vj_report_copy(name)};
    count_numbers(&curve, step, value, rows);
    curve.sparse = strcmp(name, "effective_rank") == 0 || (2 * curve.numbers < rows && !is_of_every_step(name));
    double *copy = NULL;
    const double *x = step, *y = value;
    int64_t count = rows;
    if (curve.numbers < rows || !all_finite(step, rows)) { /* some rows are not points */
        x = copy = vj_report_memory(2 * rows, sizeof *copy);
        y = copy + rows;
        count = take_points(&curve, step, value, rows, copy, copy + rows);
    }
    take_medians(&curve, x, y, count);
    if (count > 2 * KEPT_COLUMNS) {
        keep_extremes(&curve, x, y, count);
    } else {
        curve.count = count;
        curve.step = vj_report_copy_bytes(x, (size_t)count * sizeof *x);
        curve.value = vj_report_copy_bytes(y, (size_t)count * sizeof *y);
    }
    free(copy);
    return curve;
}

void vj_curve_release(vj_curve *curve)
{
    free(curve->name);
    free(curve->step);
    free(curve->value);
    free(curve->median_step);
    free(curve->median);
    *curve = (vj_curve){0};
}
