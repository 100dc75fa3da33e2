/* A column of a run's metrics as a curve, short enough to be kept for a hundred runs. */
#include <stdlib.h>
#include <string.h>

#include "report/decimate.h"
#include "report/inside.h"
#include "report/recorded.h"

/* More columns than a plot has pixels, so that what is kept here can be thinned again for each plot. */
enum { KEPT_COLUMNS = 2000, RECENT = 100, SHORT = 300, MEDIANS = 120 };

/* The k-th smallest of values without NaN, which are put in another order: those before it are not larger (Hoare 1961).
 */
static double select_smallest(double *value, int64_t count, int64_t k)
{
    for (int64_t low = 0, high = count - 1; low < high;) {
        const double pivot = value[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (value[i] < pivot) i++;
            while (value[j] > pivot) j--;
            if (i > j) break;
            const double other = value[i];
            value[i++] = value[j];
            value[j--] = other;
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            break;
    }
    return value[k];
}

/* Median of the numbers among values, which are put in another order; NaN: there is none. */
static double median_of(double *value, int64_t count)
{
    int64_t numbers = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(value[i])) value[numbers++] = value[i];
    if (numbers == 0) return NAN;
    const double upper = select_smallest(value, numbers, numbers / 2);
    if (numbers % 2) return upper;
    double lower = value[0];
    for (int64_t i = 1; i < numbers / 2; i++) lower = fmax(lower, value[i]);
    return 0.5 * (lower + upper);
}

/* Of the last numbers: a single step is noisy. */
static double recent_of(const double *value, int64_t rows)
{
    double last[RECENT];
    int64_t count = 0;
    for (int64_t i = rows - 1; i >= 0 && count < RECENT; i--)
        if (isfinite(value[i])) last[count++] = value[i];
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

static void count_numbers(vj_curve *curve, const double *step, const double *value, int64_t rows)
{
    curve->last = curve->least = curve->most = NAN;
    for (int64_t i = 0; i < rows; i++) {
        if (!isfinite(value[i])) {
            if (curve->first_empty == 0 && isfinite(step[i])) curve->first_empty = (int64_t)step[i];
            continue;
        }
        curve->numbers++;
        curve->sum += value[i];
        curve->last = value[i];
        if (!(value[i] >= curve->least)) curve->least = value[i];
        if (!(value[i] <= curve->most)) curve->most = value[i];
    }
    curve->recent = recent_of(value, rows);
}

vj_curve vj_curve_from(const char *name, const double *step, const double *value, int64_t rows)
{
    vj_curve curve = {.name = vj_report_copy(name)};
    count_numbers(&curve, step, value, rows);
    curve.sparse = strcmp(name, "effective_rank") == 0 || 2 * curve.numbers < rows;
    double *x = vj_report_memory(rows, sizeof *x), *y = vj_report_memory(rows, sizeof *y);
    bool *keep = vj_report_memory(rows, sizeof *keep);
    int64_t count = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (!isfinite(step[i]) || (curve.sparse && !isfinite(value[i]))) continue;
        x[count] = step[i];
        y[count++] = isfinite(value[i]) ? value[i] : NAN;
    }
    take_medians(&curve, x, y, count);
    if (count > 2 * KEPT_COLUMNS)
        vj_decimate(keep, x, y, count, x[0], x[count - 1], VJ_LINEAR, KEPT_COLUMNS);
    else
        memset(keep, true, (size_t)count * sizeof *keep);
    for (int64_t i = 0; i < count; i++) {
        if (!keep[i]) continue;
        x[curve.count] = x[i];
        y[curve.count++] = y[i];
    }
    curve.step = vj_report_copy_bytes(x, (size_t)curve.count * sizeof *x); /* realloc() would leave holes */
    curve.value = vj_report_copy_bytes(y, (size_t)curve.count * sizeof *y);
    free(keep);
    free(x);
    free(y);
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
