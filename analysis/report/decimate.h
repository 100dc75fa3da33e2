/* Fewer points of a long curve, so that it looks the same: no minimum or maximum is lost. */
#ifndef VJ_DECIMATE_H
#define VJ_DECIMATE_H

#include "report/plot.h"

/**
 * Mark the points that are to be kept: cut [low, high] of the x axis into `bins` columns of equal width, as seen on
 * that scale, and keep the smallest and the largest y of each column, and of a column without any number one point, so
 * that the gap stays. The first and the last point are kept.
 *
 * @param keep  [count] set to true for each point kept, otherwise left as it is: calls with other y add theirs
 * @param x, y  [count] in the order of the curve
 */
void vj_decimate(bool *keep, const double *x, const double *y, int64_t count, double low, double high,
                 vj_axis_scale scale, int bins);

#endif
