/*
 * Sums over the components of rows of floats, in double. The order of summation does not depend on the processor, so
 * the bits are the same on all ranks. Local.
 */
#ifndef VJ_SPECTRUM_ROW_SUMS_H
#define VJ_SPECTRUM_ROW_SUMS_H

/** Return x . y for rows [D]. */
double vj_row_product(const float *x, const float *y, int D);
/** Return |x - y|^2 for rows [D]. */
double vj_row_squared_distance(const float *x, const float *y, int D);

typedef struct {
    double square;         /* x . x, the bits of vj_row_product() */
    double squared_spread; /* |x - centre|^2 */
    double offset;         /* centre . x */
} vj_row_sums;

/** to [D] = x - centre [D], rounded to floats. Returns the sums for x. */
vj_row_sums vj_row_centre(float *to, const float *x, const double *centre, int D);

#endif
