/*
 * One ridge regression on one-hot targets with an intercept, for a whole path of penalties from one eigendecomposition
 * (docs/method.md, section 15.4). Its rows come in three passes: training rows into the sums, training rows again for
 * the leave-one-out errors, then validation rows. All functions without a communicator are local.
 */
#ifndef VJ_SPECTRUM_RIDGE_FIT_H
#define VJ_SPECTRUM_RIDGE_FIT_H

#include "linear/matrix.h"

/* Rows that are multiplied at a time: a BLAS copies the whole matrix for each time; with 256 it took 7 % longer. */
enum { VJ_RIDGE_BATCH = 512 };

typedef struct {
    int D, C;            /* width of the features; classes */
    int lambdas;         /* L */
    const double *ratio; /* [L] the penalties over the mean eigenvalue of the Gram matrix, ascending. Borrowed */
    bool balanced;       /* every class counts alike; otherwise every clip */
} vj_ridge_shape;

/* Of every penalty: what leave-one-out says of the training clips, and the accuracy on validation clips. */
typedef struct {
    double *lambda;                   /* [L] */
    double *error, *squared;          /* [L] leave-one-out: share of wrong answers; squared error of the targets */
    double *top1, *top5, *class_mean; /* [L] shares of validation clips; the mean over classes */
    int chosen;                       /* the penalty of the least leave-one-out error */
    int64_t clips, validation_clips;
} vj_ridge_path;

typedef struct vj_ridge vj_ridge;

/**
 * clips [C]: the training rows of each class, of one class at least. Of a class of none
 * all answers are 0. Collective, agreed.
 */
vj_status vj_ridge_create(vj_ridge **ridge, MPI_Comm comm, vj_ranks *ranks, const vj_ridge_shape *shape,
                          const int64_t *clips);
void vj_ridge_destroy(vj_ridge *ridge);
/** Bytes that one takes on a rank, of so many. */
int64_t vj_ridge_bytes(const vj_ridge_shape *shape, int ranks);

/**
 * First pass: this rank's next training rows x [count, D] and their classes [count]; x is overwritten. Rows should be
 * roughly centred, so that the sums lose no digits. Collective, agreed.
 */
vj_status vj_ridge_add(vj_ridge *ridge, double *x, const int *classes, int64_t count);
/** Between the passes: the eigendecomposition. Collective, agreed. */
vj_status vj_ridge_solve(vj_ridge *ridge, MPI_Comm comm);
/** Second pass: all training rows again, in any order; x is overwritten. */
void vj_ridge_leave_out(vj_ridge *ridge, double *x, const int *classes, int64_t count);
/** Third pass: validation rows, less what was subtracted from the training rows; x is overwritten. */
void vj_ridge_validate(vj_ridge *ridge, double *x, const int *classes, int64_t count);
/** The path, of all ranks' rows; owned by `ridge`. Collective. */
const vj_ridge_path *vj_ridge_finish(vj_ridge *ridge, MPI_Comm comm);

/** Answers are x W + b: W [D, C] and b [C] of the chosen penalty, for rows as they were given. */
vj_status vj_ridge_weights(const vj_ridge *ridge, double *weights, double *intercept);

#endif
