/* Deviation and effective rank from moments and eigenvalues. */
#include "train/spectrum.h"

#include <math.h>
#include <stdlib.h>

#include "train/eigen.h"
#include "train/moments.h"

struct vj_spectrum {
    int D;
    vj_moments *moments;
    double *values; /* [D], then work [VJ_EIGEN_WORK D] */
};

vj_status vj_spectrum_open(vj_spectrum **spectrum, vj_backend *be, int D, int64_t terms)
{
    vj_spectrum *s = *spectrum = vj_calloc(1, sizeof *s);
    if (!s) return vj_raise(VJ_ERR_MEMORY, "no memory for the spectrum");
    s->D = D;
    s->values = vj_calloc((1 + VJ_EIGEN_WORK) * (int64_t)D, sizeof *s->values);
    if (!s->values) return vj_raise(VJ_ERR_MEMORY, "no memory for a spectrum of width %d", D);
    return vj_moments_open(&s->moments, be, D, terms);
}

void vj_spectrum_close(vj_spectrum *s)
{
    if (!s) return;
    vj_moments_close(s->moments);
    free(s->values);
    free(s);
}

void vj_spectrum_add(vj_spectrum *s, const float *x, int64_t R, int covariance)
{
    vj_moments_add(s->moments, x, R, covariance);
}

void vj_spectrum_download(vj_spectrum *s)
{
    vj_moments_download(s->moments);
}

/*
 * Compute the effective rank. Rank 0 alone computes the eigenvalues of the covariance, which takes D^3 operations; all
 * ranks get its result and its status.
 */
static vj_status measure_rank(vj_spectrum *s, MPI_Comm comm, const vj_moments_sums *sums, double *effective_rank)
{
    double answer[2] = {NAN, VJ_OK}, *covariance = vj_moments_covariance(s->moments, sums, comm);
    if (covariance) {
        answer[1] = vj_eigenvalues(covariance, s->D, s->values, s->values + s->D);
        if (answer[1] == VJ_OK) answer[0] = vj_effective_rank(s->values, s->D);
    }
    MPI_Bcast(answer, 2, MPI_DOUBLE, 0, comm);
    *effective_rank = answer[0];
    return (vj_status)answer[1];
}

vj_status vj_spectrum_finish(vj_spectrum *s, MPI_Comm comm, vj_spread *spread)
{
    const vj_moments_sums sums = vj_moments_merge(s->moments, comm);
    *spread = (vj_spread){.effective_rank = NAN};
    for (int i = 0; i < s->D; i++) {
        const double mean = sums.sum[i] / sums.rows, variance = sums.squares[i] / sums.rows - mean * mean;
        spread->std += sqrt(variance > 0.0 || isnan(variance) ? variance : 0.0) / s->D;
    }
    vj_status status = VJ_OK;
    if (sums.rows_squared > 0 && isfinite(spread->std)) status = measure_rank(s, comm, &sums, &spread->effective_rank);
    vj_moments_reset(s->moments);
    return status;
}
