/*
 * The collapse watch: spread and effective rank of features. A run can collapse to a few directions while its loss
 * falls smoothly and the deviation looks healthy; the effective rank tells.
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
 * Sums for features of width D. With `terms` above 0 there are so many calls of vj_spectrum_add() to one of _finish(),
 * and they are summed in the order of parallel/tree.h, at D^2 doubles a level. Not collective. Free with
 * vj_spectrum_close().
 */
vj_status vj_spectrum_open(vj_spectrum **spectrum, vj_backend *be, int D, int64_t terms);
void vj_spectrum_close(vj_spectrum *spectrum);

/** Add rows x [R, D], device; with `covariance` the second moments too (R D^2 multiply-adds). */
void vj_spectrum_add(vj_spectrum *spectrum, const float *x, int64_t R, int covariance);

/** vj_moments_ask() for vj_spectrum_finish(). */
void vj_spectrum_ask(vj_spectrum *spectrum);

/** What all ranks added since the last call, and start anew; the same answer on all ranks. Collective over comm. */
vj_status vj_spectrum_finish(vj_spectrum *spectrum, MPI_Comm comm, vj_spread *spread);

#endif
