/* Moments of features over all ranks, and the entropy of their spectrum. */
#include "train/spectrum.h"

#include <math.h>
#include <stdlib.h>

#include "parallel/parallel.h"

/* LAPACK, eigenvalues of a symmetric matrix; the hidden string lengths are Fortran's. */
extern void dsyev_(const char *job, const char *triangle, const int *n, double *a, const int *lda, double *values,
                   double *work, const int *work_size, int *info, size_t job_length, size_t triangle_length);

struct vj_spectrum {
    vj_backend *be;
    int D;
    int64_t rows, rows_squared; /* rows in first and in second */
    double *first;              /* device [2 D]: sums and sums of squares */
    float *second;              /* device [D, D] */
    double *host;               /* [D, D] */
};

vj_status vj_spectrum_open(vj_spectrum **spectrum, vj_backend *be, int D)
{
    vj_spectrum *s = *spectrum = vj_calloc(1, sizeof *s);
    if (!s) return vj_raise(VJ_ERR_MEMORY, "no memory for the spectrum");
    s->be = be;
    s->D = D;
    s->first = vj_device_alloc(be, 2 * D * (int64_t)sizeof *s->first);
    s->second = vj_device_alloc(be, (int64_t)D * D * (int64_t)sizeof *s->second);
    s->host = vj_calloc((int64_t)D * D + 2 * D, sizeof *s->host);
    if (!s->first || !s->second || !s->host) return vj_raise(VJ_ERR_MEMORY, "no memory for a spectrum of width %d", D);
    vj_fill(be, (float *)s->first, 0.0f, 4 * D);
    return VJ_OK;
}

void vj_spectrum_close(vj_spectrum *s)
{
    if (!s) return;
    vj_device_free(s->be, s->first);
    vj_device_free(s->be, s->second);
    free(s->host);
    free(s);
}

void vj_spectrum_add(vj_spectrum *s, const float *x, int64_t R, int covariance)
{
    vj_column_moments(s->be, s->first, x, R, s->D);
    s->rows += R;
    if (!covariance) return;
    const vj_precision precision = vj_backend_precision(s->be);
    vj_backend_set_precision(s->be, VJ_FP32);
    vj_linear_backward_weight(s->be, s->second, NULL, x, x, s->rows_squared > 0, R, s->D, s->D);
    vj_backend_set_precision(s->be, precision);
    s->rows_squared += R;
}

vj_status vj_effective_rank(double *covariance, int D, double *rank)
{
    double query, sum = 0.0, entropy = 0.0;
    int ask = -1, info = 0, size;
    double *values = vj_calloc(D, sizeof *values);
    if (!values) return vj_raise(VJ_ERR_MEMORY, "no memory for %d eigenvalues", D);
    dsyev_("N", "U", &D, covariance, &D, values, &query, &ask, &info, 1, 1);
    size = (int)query;
    double *work = vj_calloc(size, sizeof *work);
    if (work) dsyev_("N", "U", &D, covariance, &D, values, work, &size, &info, 1, 1);
    free(work);
    for (int i = 0; i < D; i++) sum += values[i] > 0.0 ? values[i] : 0.0;
    for (int i = 0; i < D; i++)
        if (values[i] > 0.0) entropy -= values[i] / sum * log(values[i] / sum);
    free(values);
    if (!work) return vj_raise(VJ_ERR_MEMORY, "no memory for the eigenvalues of a %d x %d matrix", D, D);
    if (info != 0) return vj_raise(VJ_ERR_LIBRARY, "LAPACK's dsyev gave %d for a %d x %d covariance", info, D, D);
    *rank = exp(entropy);
    return VJ_OK;
}

/* Covariance from second moments and means, into s->host. */
static void centre(vj_spectrum *s, MPI_Comm comm, const double *sums, int64_t rows)
{
    const int64_t cells = (int64_t)s->D * s->D, piece = VJ_MAP_BYTES / (int64_t)sizeof(float);
    for (int64_t at = 0; at < cells; at += piece) {
        const int64_t n = cells - at < piece ? cells - at : piece;
        float *view = vj_map(s->be, s->second + at, n * (int64_t)sizeof(float), VJ_MAP_READ);
        for (int64_t i = 0; i < n; i++) s->host[at + i] = s->rows_squared > 0 ? view[i] : 0.0;
        vj_unmap(s->be, view);
    }
    MPI_Allreduce(MPI_IN_PLACE, s->host, (int)cells, MPI_DOUBLE, MPI_SUM, comm);
    for (int i = 0; i < s->D; i++)
        for (int j = 0; j < s->D; j++) {
            double *c = &s->host[(int64_t)i * s->D + j];
            *c = *c / (double)rows - sums[i] / (double)rows * (sums[j] / (double)rows);
        }
}

vj_status vj_spectrum_finish(vj_spectrum *s, MPI_Comm comm, vj_spread *spread)
{
    double *sums = s->host + (int64_t)s->D * s->D, counts[2] = {(double)s->rows, (double)s->rows_squared};
    vj_download(s->be, sums, s->first, 2 * s->D * (int64_t)sizeof *sums);
    vj_sum_doubles(comm, sums, 2 * s->D);
    vj_sum_doubles(comm, counts, 2);

    *spread = (vj_spread){.effective_rank = NAN};
    for (int i = 0; i < s->D; i++) {
        const double mean = sums[i] / counts[0], variance = sums[s->D + i] / counts[0] - mean * mean;
        spread->std += sqrt(variance > 0.0 || isnan(variance) ? variance : 0.0) / s->D;
    }
    vj_status status = VJ_OK;
    if (counts[1] > 0 && isfinite(spread->std)) {
        centre(s, comm, sums, (int64_t)counts[1]);
        status = vj_effective_rank(s->host, s->D, &spread->effective_rank);
    }
    vj_fill(s->be, (float *)s->first, 0.0f, 4 * s->D);
    s->rows = s->rows_squared = 0;
    return status;
}
