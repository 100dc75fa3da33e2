/*
 * Spread and effective rank of the target features, to detect a collapse: a run can collapse to a few directions while
 * its loss falls smoothly and the standard deviation looks healthy; only the effective rank shows it.
 */
#ifndef VJ_TRAIN_SPECTRUM_H
#define VJ_TRAIN_SPECTRUM_H

#include <mpi.h>

#include "kernels/kernels.h"

typedef struct vj_spectrum vj_spectrum;

typedef struct {
    double std;            /* mean over features of the standard deviation over rows */
    double effective_rank; /* exp of the entropy of the normalised spectrum of the covariance; NaN when not measured */
} vj_spread;

/**
 * Create sums for features of width D. `terms`: as in vj_moments_open(), number of calls of vj_spectrum_add() to one of
 * vj_spectrum_finish(). Not collective. Free with vj_spectrum_close().
 */
vj_status vj_spectrum_open(vj_spectrum **spectrum, vj_backend *be, int D, int64_t terms);
void vj_spectrum_close(vj_spectrum *spectrum);

/** Add rows x [R, D] (device). `covariance`: measure their effective rank too (R D^2 multiply-adds). */
void vj_spectrum_add(vj_spectrum *spectrum, const float *x, int64_t R, int covariance);

/** Optional, to save a wait: vj_moments_download() for vj_spectrum_finish(). */
void vj_spectrum_download(vj_spectrum *spectrum);

/** Compute *spread of the rows that all ranks added since the last call, the same on all ranks, and set the sums to
 * zero. Collective over comm. */
vj_status vj_spectrum_finish(vj_spectrum *spectrum, MPI_Comm comm, vj_spread *spread);

#endif
