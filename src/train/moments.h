/*
 * Sums of features and of their products, over rows and ranks: mean, variance, covariance. eigen.h has the eigenvalues
 * of the covariance.
 */
#ifndef VJ_TRAIN_MOMENTS_H
#define VJ_TRAIN_MOMENTS_H

#include <mpi.h>

#include "kernels/kernels.h"

typedef struct vj_moments vj_moments;

/**
 * Create sums for features of width D. If `terms` > 0, vj_moments_add() must be called `terms` times between two
 * merges, and its contributions are added in the order of parallel/tree.h, which takes D^2 doubles for each level of
 * the tree. Not collective. Free with vj_moments_close().
 */
vj_status vj_moments_open(vj_moments **moments, vj_backend *be, int D, int64_t terms);
void vj_moments_close(vj_moments *moments);

/** Add rows x [R, D] (device). `covariance`: add their products too (R D^2 multiply-adds). */
void vj_moments_add(vj_moments *moments, const float *x, int64_t R, int covariance);

/* What all ranks added since the last reset. Borrowed from the moments. */
typedef struct {
    double rows, rows_squared;   /* number of rows added; number of those that were added with `covariance` */
    const double *sum, *squares; /* [D] sums of each column, and of its squares */
} vj_moments_sums;

/** Optional, to save a wait: begin to download this rank's sums (vj_download_later()), so that a merge after the next
 * vj_sync() does not wait for the device, nor does vj_moments_covariance(). */
void vj_moments_download(vj_moments *moments);

/** Sum over the ranks; the result is the same on all. Call once between resets. Collective. */
vj_moments_sums vj_moments_merge(vj_moments *moments, MPI_Comm comm);

/**
 * Return the covariance [D, D], row-major, of the rows that were added with `covariance`, of which there must be at
 * least one; NULL on all ranks but 0. Borrowed; the caller may overwrite it. Call at most once after each merge.
 * Collective.
 */
double *vj_moments_covariance(vj_moments *moments, const vj_moments_sums *sums, MPI_Comm comm);

/** Set all sums to zero. */
void vj_moments_reset(vj_moments *moments);

#endif
