/*
 * Plots of a document: curves, points, bands, error bars, marks, and heat maps. A plot holds the numbers; the document
 * decides how they are drawn (colours, dash patterns, theme).
 */
#ifndef VJ_PLOT_H
#define VJ_PLOT_H

#include "report/document.h"

typedef struct vj_series vj_series;

typedef enum { VJ_LINEAR, VJ_LOG } vj_axis_scale;

typedef enum {
    VJ_LINES,        /* NaN in y interrupts the line */
    VJ_LINES_POINTS, /* few numbers, each of them marked */
    VJ_FAINT,        /* a line behind the others and not in the legend: the raw values of a smoothed curve */
    VJ_POINTS,
    VJ_BARS /* x counts the bars from 0; vj_plot_x_names() names them */
} vj_style;

/** Name the axes, such as "learning rate"; `unit` may be "". On a logarithmic axis numbers <= 0 are left out. */
void vj_plot_x(vj_plot *plot, const char *name, const char *unit, vj_axis_scale scale);
void vj_plot_y(vj_plot *plot, const char *name, const char *unit, vj_axis_scale scale);
/** Set the limits of the y axis; NaN: from the numbers. */
void vj_plot_y_limits(vj_plot *plot, double low, double high);
/** Show names instead of numbers at x = 0, 1, ..., count - 1. */
void vj_plot_x_names(vj_plot *plot, const char *const *names, int count);
/** Set a sentence below the plot. */
void vj_plot_caption(vj_plot *plot, const char *format, ...) VJ_PRINTF(2, 3);

/**
 * Add a curve. Curves of the same number (from 0) look the same in all plots of a document; pass the run's number.
 *
 * @param x, y  [count] copied. Long curves are drawn with fewer points; minima and maxima stay. NaN in x is left out
 */
vj_series *vj_plot_series(vj_plot *plot, vj_style style, int number, const char *name, const double *x, const double *y,
                          int64_t count);
/** Add a shaded band from low to high behind the curve, [count] each, copied. */
void vj_series_band(vj_series *series, const double *low, const double *high);
/** Add error bars from low to high, [count] each, copied. */
void vj_series_errors(vj_series *series, const double *low, const double *high);

/** Add a vertical line at x with a short text, such as "restart", or "". `number`: number of the curve that it belongs
 * to; -1: none. */
void vj_plot_mark(vj_plot *plot, double x, int number, const char *text);
/** Add a short line at x on the axis, for events that are frequent, such as checkpoints. */
void vj_plot_tick(vj_plot *plot, double x, int number);
/** Add a horizontal line at y with a short text, such as "alarm". */
void vj_plot_level(vj_plot *plot, double y, const char *text);

/**
 * Make the plot a heat map: rows from top to bottom, columns from left to right, values low to high as colours, and
 * written into the cells if there are few.
 *
 * @param values            [rows, columns] copied; NaN: an empty cell
 * @param row_names, column_names  [rows], [columns] copied; NULL: their numbers from 0
 * @param low, high         values of the first and the last colour; NaN: smallest and largest value
 */
void vj_plot_heat_map(vj_plot *plot, int rows, int columns, const double *values, const char *const *row_names,
                      const char *const *column_names, double low, double high);

#endif
