/* Eigenvalues of a symmetric matrix on one rank, and what they say of its rank. The one place that calls LAPACK. */
#ifndef VJ_TRAIN_EIGEN_H
#define VJ_TRAIN_EIGEN_H

#include "base/status.h"

/* Numbers of work space per row of the matrix: (32 + 2) for dsyev, best with LAPACK's usual blocks of 32. */
enum { VJ_EIGEN_WORK = 34 };

/**
 * Eigenvalues of a symmetric matrix [D, D], which is overwritten, in ascending order.
 *
 * @param values  [D]                  written
 * @param work    [VJ_EIGEN_WORK * D]  overwritten
 *
 * Not collective.
 */
vj_status vj_eigenvalues(double *matrix, int D, double *values, double *work);

/**
 * Effective rank of a positive semi-definite matrix with eigenvalues `values` [D]: exp of the entropy of the normalised
 * spectrum. Eigenvalues that are negative by rounding are left out. Roy, Vetterli 2007. Not collective.
 */
double vj_effective_rank(const double *values, int D);

#endif
