/* Sort plain numbers in ascending order, in place, and look them up. */
#ifndef VJ_BASE_SORT_H
#define VJ_BASE_SORT_H

#include <stdint.h>

/** Sort `count` values in ascending order, in place. None may be NaN. */
void vj_sort_doubles(double *values, int64_t count);
void vj_sort_integers(int64_t *values, int64_t count);

/** Return the median of sorted values, at least one: the middle one, or the mean of the middle two. */
double vj_sorted_median(const double *values, int64_t count);

/** Return the index of `value` in sorted values; -1 if it is not among them. */
int64_t vj_sorted_find(const int64_t *values, int64_t count, int64_t value);

#endif
