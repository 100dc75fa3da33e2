/*
 * Sums over the components of rows of floats, in double, always in the same order whatever the processor: their bits
 * are the same on all ranks. Local.
 */
#ifndef VJ_SPECTRUM_ROW_SUMS_H
#define VJ_SPECTRUM_ROW_SUMS_H

/** x . y, of rows [D]. */
double vj_row_product(const float *x, const float *y, int D);
/** |x - y|^2. */
double vj_row_squared_distance(const float *x, const float *y, int D);

typedef struct {
    double square;         /* x . x, the bits of vj_row_product() */
    double squared_spread; /* |x - centre|^2 */
    double offset;         /* centre . x */
} vj_row_sums;

/** to [D] = x - centre [D], rounded to floats, and sums over it. */
vj_row_sums vj_row_centre(float *to, const float *x, const double *centre, int D);

#endif
