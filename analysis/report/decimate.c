/* Finds the extremes in each column of pixels. */
#include "report/decimate.h"

typedef struct {
    double low, columns_per_x; /* on a logarithmic scale of log(x) */
    bool log;
    int columns;
} columns;

static int column_of(const columns *c, double x)
{
    const double at = ((c->log ? log(x) : x) - c->low) * c->columns_per_x;
    if (!(at > 0.0)) return 0; /* also what is not finite */
    return at < c->columns ? (int)at : c->columns - 1;
}

void vj_decimate(bool *keep, const double *x, const double *y, int64_t count, double low, double high,
                 vj_axis_scale scale, int bins)
{
    columns c = {.low = low, .log = scale == VJ_LOG, .columns = bins};
    if (c.log) c.low = log(low);
    c.columns_per_x = bins / ((c.log ? log(high) : high) - c.low);
    for (int64_t first = 0, next; first < count; first = next) {
        const int column = column_of(&c, x[first]);
        int64_t min = first, max = first;
        for (next = first; next < count && column_of(&c, x[next]) == column; next++) {
            if (isnan(y[next])) continue;
            if (isnan(y[min]) || y[next] < y[min]) min = next;
            if (isnan(y[max]) || y[next] > y[max]) max = next;
        }
        keep[min] = keep[max] = true;
    }
    if (count > 0) keep[0] = keep[count - 1] = true;
}
