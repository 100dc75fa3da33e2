/* Sort plain numbers. */
#include "base/sort.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int compare_integers(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* qsort() must not be called with a null pointer, which an empty array may be. */
static void sort(void *values, int64_t count, size_t bytes, int (*compare)(const void *, const void *))
{
    if (count > 0) qsort(values, (size_t)count, bytes, compare);
}

void vj_sort_doubles(double *values, int64_t count)
{
    sort(values, count, sizeof *values, compare_doubles);
}

void vj_sort_integers(int64_t *values, int64_t count)
{
    sort(values, count, sizeof *values, compare_integers);
}

double vj_sorted_median(const double *values, int64_t count)
{
    return 0.5 * (values[(count - 1) / 2] + values[count / 2]);
}

int64_t vj_sorted_find(const int64_t *values, int64_t count, int64_t value)
{
    const int64_t *at = count > 0 ? bsearch(&value, values, (size_t)count, sizeof *values, compare_integers) : NULL;
    return at ? at - values : -1;
}
