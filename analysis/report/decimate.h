/* Reduces the points of a long curve without changing how it looks: no minimum or maximum is lost. */
#ifndef VJ_DECIMATE_H
#define VJ_DECIMATE_H

#include "report/plot.h"

/**
 * Mark the points to keep. Cuts [low, high] of the x axis into `bins` columns, of equal width on this scale, and keeps
 * the smallest and the largest y of each column. Of a column without any number it keeps one point, so that the gap
 * stays. The first and the last point are always kept.
 *
 * @param keep  [count] set to true for each point to keep, not changed for others; so calls with several y add up
 * @param x, y  [count] in the order of the curve
 */
void vj_decimate(bool *keep, const double *x, const double *y, int64_t count, double low, double high,
                 vj_axis_scale scale, int bins);

#endif
