/*
 * First and second moments of features, summed over rows and ranks. For the eigenvalues of the covariance see eigen.h.
 */
#ifndef VJ_TRAIN_MOMENTS_H
#define VJ_TRAIN_MOMENTS_H

#include <mpi.h>

#include "kernels/kernels.h"

typedef struct vj_moments vj_moments;

/**
 * Sums for features of width D. With `terms` above 0 there are so many calls of vj_moments_add() to one of _merge(),
 * and they are summed in the order of parallel/tree.h, at D^2 doubles a level. Not collective. Free with
 * vj_moments_close().
 */
vj_status vj_moments_open(vj_moments **moments, vj_backend *be, int D, int64_t terms);
void vj_moments_close(vj_moments *moments);

/** Add rows x [R, D], device; with `covariance` the second moments too (R D^2 multiply-adds). */
void vj_moments_add(vj_moments *moments, const float *x, int64_t R, int covariance);

/* What all ranks added since the last reset. Borrowed from the moments. */
typedef struct {
    double rows, rows_squared;   /* number of rows, and of those added with `covariance` */
    const double *sum, *squares; /* [D] sums of a column's numbers and of their squares */
} vj_moments_sums;

/** Begin to download the sums of this rank, as vj_download_later(), and of the second moments: a merge after the next
 * vj_sync(), and the covariance, then do not wait for the device. Needed for nothing else. */
void vj_moments_ask(vj_moments *moments);

/** Sum over the ranks; the result is the same on all. Call once between resets. Collective. */
vj_moments_sums vj_moments_merge(vj_moments *moments, MPI_Comm comm);

/**
 * The covariance of the rows that were added with `covariance`, at least one: [D, D], row-major, on rank 0; NULL on the
 * others. Borrowed, and the caller may overwrite it. Once after a merge; collective.
 */
double *vj_moments_covariance(vj_moments *moments, const vj_moments_sums *sums, MPI_Comm comm);

/** Set all sums to zero. */
void vj_moments_reset(vj_moments *moments);

#endif
