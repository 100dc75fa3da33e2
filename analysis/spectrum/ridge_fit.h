/*
 * One ridge regression on one-hot targets with an intercept, for a whole path of penalties from one eigendecomposition
 * (docs/method.md, section 15.4). The caller passes rows in three passes: training rows for the sums, training rows
 * again for the leave-one-out errors, then validation rows. Functions that are not marked collective are local.
 */
#ifndef VJ_SPECTRUM_RIDGE_FIT_H
#define VJ_SPECTRUM_RIDGE_FIT_H

#include "linear/matrix.h"

/* Rows in one product. A BLAS copies the whole matrix for each product; with 256 rows it took 7 % longer. */
enum { VJ_RIDGE_BATCH = 512 };

typedef struct {
    const char *name;    /* of the features, for messages. Borrowed */
    int D, C;            /* width of the features; classes */
    int lambdas;         /* L */
    const double *ratio; /* [L] the penalties over the mean eigenvalue of the Gram matrix, ascending. Borrowed */
    bool balanced;       /* every class has the same weight; otherwise every clip has */
} vj_ridge_shape;

/* For every penalty: leave-one-out errors on the training clips, and accuracy on the validation clips. */
typedef struct {
    double *lambda;                   /* [L] */
    double *error, *squared;          /* [L] leave-one-out: share of wrong predictions; squared error of the targets */
    double *top1, *top5, *class_mean; /* [L] shares of validation clips; class_mean: mean of top-1 over classes */
    int chosen;                       /* index of the penalty with the least leave-one-out error */
    int64_t clips, validation_clips;
} vj_ridge_path;

typedef struct vj_ridge vj_ridge;

/**
 * Create a regression. clips [C]: number of training rows of each class; at least one class must have rows. For a class
 * without rows all predictions are 0. Destroy it with vj_ridge_destroy(). Collective, agreed.
 */
vj_status vj_ridge_create(vj_ridge **ridge, MPI_Comm comm, vj_ranks *ranks, const vj_ridge_shape *shape,
                          const int64_t *clips);
void vj_ridge_destroy(vj_ridge *ridge);
/** Return the bytes that a regression needs on each of `ranks` ranks. */
int64_t vj_ridge_bytes(const vj_ridge_shape *shape, int ranks);

/**
 * First pass: add this rank's next training rows x [count, D] with their classes [count]. x is overwritten. Rows should
 * be roughly centred, so that the sums lose no digits. Collective, agreed.
 */
vj_status vj_ridge_add(vj_ridge *ridge, double *x, const int *classes, int64_t count);
/** After the first pass: compute the eigendecomposition. Collective, agreed. */
vj_status vj_ridge_solve(vj_ridge *ridge, MPI_Comm comm);
/** Second pass: add all training rows again, in any order. x is overwritten. */
void vj_ridge_leave_out(vj_ridge *ridge, double *x, const int *classes, int64_t count);
/** Third pass: add validation rows, from which the same was subtracted as from the training rows. x is overwritten. */
void vj_ridge_validate(vj_ridge *ridge, double *x, const int *classes, int64_t count);
/** Return the path computed from the rows of all ranks; owned by `ridge`. Collective. */
const vj_ridge_path *vj_ridge_finish(vj_ridge *ridge, MPI_Comm comm);

/** Compute the weights W [D, C] and intercept b [C] of the chosen penalty. Predictions are x W + b for rows x as they
 * were passed in. */
vj_status vj_ridge_weights(const vj_ridge *ridge, double *weights, double *intercept);

#endif
