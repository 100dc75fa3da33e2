/* LAPACK's dsyev, and the entropy of a spectrum. */
#include "train/eigen.h"

#include <math.h>
#include <stddef.h>

/*
 * LAPACK: eigenvalues of a symmetric matrix. The last two arguments are lengths of strings, which Fortran passes
 * hidden.
 */
extern void dsyev_(const char *job, const char *triangle, const int *n, double *a, const int *lda, double *values,
                   double *work, const int *work_size, int *info, size_t job_length, size_t triangle_length);

vj_status vj_eigenvalues(double *matrix, int D, double *values, double *work)
{
    int info = 0;
    const int size = VJ_EIGEN_WORK * D;
    dsyev_("N", "U", &D, matrix, &D, values, work, &size, &info, 1, 1);
    if (info != 0) return vj_raise(VJ_ERR_LIBRARY, "LAPACK's dsyev gave %d for a %d x %d matrix", info, D, D);
    return VJ_OK;
}

double vj_effective_rank(const double *values, int D)
{
    double sum = 0.0, entropy = 0.0;
    for (int i = 0; i < D; i++) sum += values[i] > 0.0 ? values[i] : 0.0;
    for (int i = 0; i < D; i++)
        if (values[i] > 0.0) entropy -= values[i] / sum * log(values[i] / sum);
    return exp(entropy);
}
