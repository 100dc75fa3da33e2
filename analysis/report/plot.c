/* Fills a plot with curves, marks and names. */
#include "report/plot.h"

#include <stdarg.h>
#include <stdlib.h>

#include "report/inside.h"

static double *copy_numbers(const double *numbers, int64_t count)
{
    return vj_report_copy_bytes(numbers, (size_t)count * sizeof *numbers);
}

static void name_axis(vj_axis *axis, const char *name, const char *unit, vj_axis_scale scale)
{
    free(axis->name);
    free(axis->unit);
    axis->name = vj_report_copy(name);
    axis->unit = vj_report_copy(unit);
    axis->scale = scale;
}

void vj_plot_x(vj_plot *plot, const char *name, const char *unit, vj_axis_scale scale)
{
    name_axis(&plot->x, name, unit, scale);
}

void vj_plot_y(vj_plot *plot, const char *name, const char *unit, vj_axis_scale scale)
{
    name_axis(&plot->y, name, unit, scale);
}

void vj_plot_y_limits(vj_plot *plot, double low, double high)
{
    plot->y.low = low;
    plot->y.high = high;
}

void vj_plot_x_names(vj_plot *plot, const char *const *names, int count)
{
    vj_report_free_names(plot->x.names, plot->x.name_count);
    plot->x.names = vj_report_names(names, count);
    plot->x.name_count = count;
}

void vj_plot_caption(vj_plot *plot, const char *format, ...)
{
    va_list arguments;
    free(plot->caption);
    va_start(arguments, format);
    VJ_ASSERT(vasprintf(&plot->caption, format, arguments) >= 0);
    va_end(arguments);
}

vj_series *vj_plot_series(vj_plot *plot, vj_style style, int number, const char *name, const double *x, const double *y,
                          int64_t count)
{
    vj_series *series = vj_report_memory(1, sizeof *series);
    *series = (vj_series){.style = style, .number = number, .count = count};
    series->name = vj_report_copy(name);
    series->x = copy_numbers(x, count);
    series->y = copy_numbers(y, count);
    plot->series = vj_report_room(plot->series, plot->series_count, sizeof *plot->series);
    return plot->series[plot->series_count++] = series;
}

static void set_interval(vj_series *series, vj_interval interval, const double *low, const double *high)
{
    VJ_ASSERT(series->interval == VJ_NO_INTERVAL);
    series->interval = interval;
    series->low = copy_numbers(low, series->count);
    series->high = copy_numbers(high, series->count);
}

void vj_series_band(vj_series *series, const double *low, const double *high)
{
    set_interval(series, VJ_BAND, low, high);
}

void vj_series_errors(vj_series *series, const double *low, const double *high)
{
    set_interval(series, VJ_ERRORS, low, high);
}

void vj_plot_mark(vj_plot *plot, double x, int number, const char *text)
{
    plot->marks = vj_report_room(plot->marks, plot->mark_count, sizeof *plot->marks);
    plot->marks[plot->mark_count++] = (vj_mark){.at = x, .number = number, .text = vj_report_copy(text)};
}

void vj_plot_tick(vj_plot *plot, double x, int number)
{
    vj_plot_mark(plot, x, number, "");
    plot->marks[plot->mark_count - 1].short_line = true;
}

void vj_plot_level(vj_plot *plot, double y, const char *text)
{
    plot->levels = vj_report_room(plot->levels, plot->level_count, sizeof *plot->levels);
    plot->levels[plot->level_count++] = (vj_mark){.at = y, .number = -1, .text = vj_report_copy(text)};
}

void vj_plot_heat_map(vj_plot *plot, int rows, int columns, const double *values, const char *const *row_names,
                      const char *const *column_names, double low, double high)
{
    VJ_ASSERT(!plot->heat);
    plot->rows = rows;
    plot->columns = columns;
    plot->heat = copy_numbers(values, (int64_t)rows * columns);
    plot->row_names = vj_report_names(row_names, rows);
    plot->column_names = vj_report_names(column_names, columns);
    plot->heat_low = low;
    plot->heat_high = high;
}

static void destroy_marks(vj_mark *marks, int count)
{
    for (int i = 0; i < count; i++) free(marks[i].text);
    free(marks);
}

static void destroy_axis(vj_axis *axis)
{
    free(axis->name);
    free(axis->unit);
    vj_report_free_names(axis->names, axis->name_count);
}

void vj_plot_destroy(vj_plot *plot)
{
    for (int i = 0; i < plot->series_count; i++) {
        vj_series *series = plot->series[i];
        free(series->name);
        free(series->x);
        free(series->y);
        free(series->low);
        free(series->high);
        free(series);
    }
    free(plot->series);
    destroy_marks(plot->marks, plot->mark_count);
    destroy_marks(plot->levels, plot->level_count);
    vj_report_free_names(plot->row_names, plot->rows);
    vj_report_free_names(plot->column_names, plot->columns);
    free(plot->heat);
    destroy_axis(&plot->x);
    destroy_axis(&plot->y);
    free(plot->name);
    free(plot->title);
    free(plot->caption);
    free(plot->svg);
    free(plot);
}
