/* Eigenvalues of a symmetric matrix on one rank, and the effective rank that follows from them. Training calls LAPACK
 * only here. */
#ifndef VJ_TRAIN_EIGEN_H
#define VJ_TRAIN_EIGEN_H

#include "base/status.h"

/* Doubles of work space per row of the matrix: dsyev is fastest with 32 + 2, for LAPACK's usual blocks of 32. */
enum { VJ_EIGEN_WORK = 34 };

/**
 * Compute the eigenvalues of a symmetric matrix [D, D], in ascending order; the matrix is overwritten.
 *
 * @param values  [D]                  written
 * @param work    [VJ_EIGEN_WORK * D]  overwritten
 *
 * Not collective.
 */
vj_status vj_eigenvalues(double *matrix, int D, double *values, double *work);

/**
 * Return the effective rank of a positive semi-definite matrix with eigenvalues `values` [D]: exp of the entropy of the
 * normalised spectrum. Eigenvalues that are negative by rounding are left out. Roy, Vetterli 2007. Not collective.
 */
double vj_effective_rank(const double *values, int D);

#endif
