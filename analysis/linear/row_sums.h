/*
 * Sums over the components of rows of floats, in double. The order of summation does not depend on the processor, so
 * the bits are the same on all ranks. Local.
 */
#ifndef VJ_LINEAR_ROW_SUMS_H
#define VJ_LINEAR_ROW_SUMS_H

typedef struct vj_row_loops vj_row_loops;
/** Return the loops of this processor's instruction set, or of the one that VJ_ISA names (vj_backend_isa()). Static. */
const vj_row_loops *vj_row_loops_here(void);

/** Return x . y for rows [D]. */
double vj_row_product(const vj_row_loops *loops, const float *x, const float *y, int D);
/** Return |x - y|^2 for rows [D]. */
double vj_row_squared_distance(const vj_row_loops *loops, const float *x, const float *y, int D);

typedef struct {
    double square;         /* x . x, the bits of vj_row_product() */
    double squared_spread; /* |x - centre|^2 */
    double offset;         /* centre . x */
} vj_row_sums;

/** to [D] = x - centre [D], rounded to floats. Returns the sums for x. */
vj_row_sums vj_row_centre(const vj_row_loops *loops, float *to, const float *x, const double *centre, int D);

#endif
