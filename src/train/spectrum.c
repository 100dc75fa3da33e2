/* Moments of features over all ranks, and the entropy of their spectrum. */
#include "train/spectrum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/tree.h"

/* LAPACK, eigenvalues of a symmetric matrix; the hidden string lengths are Fortran's. */
extern void dsyev_(const char *job, const char *triangle, const int *n, double *a, const int *lda, double *values,
                   double *work, const int *work_size, int *info, size_t job_length, size_t triangle_length);

enum { PIECE = 1 << 20 }; /* elements of a reduction, and of a host view */
_Static_assert(PIECE * sizeof(float) <= VJ_MAP_BYTES, "a piece fits a host view");

struct vj_spectrum {
    vj_backend *be;
    int D;
    int64_t rows, rows_squared; /* rows in first and in second */
    double *first;              /* device [2 D]: sums and sums of squares */
    float *second;              /* device [D, D] */
    vj_tree moments, products;  /* of first and of second; no terms: these are the sums */
    double *host;               /* [D, D], then a copy of first */
    double *work;               /* [VJ_SPECTRUM_WORK D]: eigenvalues */
};

vj_status vj_spectrum_open(vj_spectrum **spectrum, vj_backend *be, int D, int64_t terms)
{
    vj_spectrum *s = *spectrum = vj_calloc(1, sizeof *s);
    if (!s) return vj_raise(VJ_ERR_MEMORY, "no memory for the spectrum");
    s->be = be;
    s->D = D;
    s->first = vj_device_alloc(be, 2 * D * (int64_t)sizeof *s->first);
    s->second = vj_device_alloc(be, (int64_t)D * D * (int64_t)sizeof *s->second);
    s->host = vj_calloc((int64_t)D * D + 2 * D, sizeof *s->host);
    s->work = vj_calloc(VJ_SPECTRUM_WORK * (int64_t)D, sizeof *s->work);
    if (!s->first || !s->second || !s->host || !s->work)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a spectrum of width %d", D);
    vj_fill(be, (float *)s->first, 0.0f, 4 * D);
    if (terms == 0) return VJ_OK;
    VJ_TRY(vj_tree_init(&s->moments, 2 * D, terms));
    return vj_tree_init(&s->products, (int64_t)D * D, terms);
}

void vj_spectrum_close(vj_spectrum *s)
{
    if (!s) return;
    vj_device_free(s->be, s->first);
    vj_device_free(s->be, s->second);
    vj_tree_release(&s->moments);
    vj_tree_release(&s->products);
    free(s->host);
    free(s->work);
    free(s);
}

/* Second moments, in pieces that fit a host view. */
static void download_products(const vj_spectrum *s, double *out)
{
    const int64_t cells = (int64_t)s->D * s->D;
    for (int64_t at = 0; at < cells; at += PIECE) {
        const int64_t n = cells - at < PIECE ? cells - at : PIECE;
        float *view = vj_map(s->be, s->second + at, n * (int64_t)sizeof(float), VJ_MAP_READ);
        for (int64_t i = 0; i < n; i++) out[at + i] = view[i];
        vj_unmap(s->be, view);
    }
}

static void download_moments(const vj_spectrum *s, double *out)
{
    vj_download(s->be, out, s->first, 2 * s->D * (int64_t)sizeof *out);
    vj_fill(s->be, (float *)s->first, 0.0f, 4 * s->D); /* a double is two floats */
}

void vj_spectrum_add(vj_spectrum *s, const float *x, int64_t R, int covariance)
{
    vj_column_moments(s->be, s->first, x, R, s->D);
    s->rows += R;
    if (s->moments.terms) {
        download_moments(s, vj_tree_next(&s->moments));
        vj_tree_add(&s->moments);
    }
    if (!covariance) return;
    const bool accumulate = s->rows_squared > 0 && s->products.terms == 0;
    const vj_precision precision = vj_backend_precision(s->be);
    vj_backend_set_precision(s->be, VJ_FP32);
    vj_linear_backward_weight(s->be, s->second, NULL, vj_f32(x), vj_f32(x), accumulate, R, s->D, s->D);
    vj_backend_set_precision(s->be, precision);
    s->rows_squared += R;
    if (s->products.terms == 0) return;
    download_products(s, vj_tree_next(&s->products));
    vj_tree_add(&s->products);
}

vj_status vj_effective_rank(double *covariance, int D, double *work, double *rank)
{
    double *values = work, sum = 0.0, entropy = 0.0;
    int info = 0;
    const int size = (VJ_SPECTRUM_WORK - 1) * D;
    dsyev_("N", "U", &D, covariance, &D, values, work + D, &size, &info, 1, 1);
    if (info != 0) return vj_raise(VJ_ERR_LIBRARY, "LAPACK's dsyev gave %d for a %d x %d covariance", info, D, D);
    for (int i = 0; i < D; i++) sum += values[i] > 0.0 ? values[i] : 0.0;
    for (int i = 0; i < D; i++)
        if (values[i] > 0.0) entropy -= values[i] / sum * log(values[i] / sum);
    *rank = exp(entropy);
    return VJ_OK;
}

/*
 * Second moments of all ranks into rank 0's s->host, in pieces: counts stay small, large reductions are slow. A tree
 * goes on over the ranks.
 */
static void collect(vj_spectrum *s, MPI_Comm comm, int rank)
{
    const int64_t cells = (int64_t)s->D * s->D;
    if (s->products.terms)
        memcpy(s->host, vj_tree_total(&s->products), (size_t)cells * sizeof *s->host);
    else if (s->rows_squared > 0)
        download_products(s, s->host);
    else
        memset(s->host, 0, (size_t)cells * sizeof *s->host);
    for (int64_t at = 0; at < cells; at += PIECE) {
        const int n = (int)(cells - at < PIECE ? cells - at : PIECE);
        double *x = s->host + at;
        if (s->products.terms)
            vj_sum_doubles(comm, x, n);
        else
            MPI_Reduce(rank == 0 ? MPI_IN_PLACE : x, x, n, MPI_DOUBLE, MPI_SUM, 0, comm);
    }
}

/* Rank 0 alone finds the eigenvalues of the covariance, D^3 operations; all get its answer and its status. */
static vj_status measure_rank(vj_spectrum *s, MPI_Comm comm, const double *sums, double rows, double *effective_rank)
{
    int rank;
    double answer[2] = {NAN, VJ_OK};
    MPI_Comm_rank(comm, &rank);
    collect(s, comm, rank);
    if (rank == 0) {
        for (int i = 0; i < s->D; i++)
            for (int j = 0; j < s->D; j++) {
                double *c = &s->host[(int64_t)i * s->D + j];
                *c = *c / rows - sums[i] / rows * (sums[j] / rows);
            }
        answer[1] = vj_effective_rank(s->host, s->D, s->work, &answer[0]);
    }
    MPI_Bcast(answer, 2, MPI_DOUBLE, 0, comm);
    *effective_rank = answer[0];
    return (vj_status)answer[1];
}

vj_status vj_spectrum_finish(vj_spectrum *s, MPI_Comm comm, vj_spread *spread)
{
    double *sums = s->host + (int64_t)s->D * s->D, counts[2] = {(double)s->rows, (double)s->rows_squared};
    if (s->moments.terms)
        memcpy(sums, vj_tree_total(&s->moments), 2 * (size_t)s->D * sizeof *sums);
    else
        download_moments(s, sums);
    vj_sum_doubles(comm, sums, 2 * s->D);
    vj_sum_doubles(comm, counts, 2);

    *spread = (vj_spread){.effective_rank = NAN};
    for (int i = 0; i < s->D; i++) {
        const double mean = sums[i] / counts[0], variance = sums[s->D + i] / counts[0] - mean * mean;
        spread->std += sqrt(variance > 0.0 || isnan(variance) ? variance : 0.0) / s->D;
    }
    vj_status status = VJ_OK;
    if (counts[1] > 0 && isfinite(spread->std))
        status = measure_rank(s, comm, sums, counts[1], &spread->effective_rank);
    s->rows = s->rows_squared = s->products.done = 0;
    return status;
}
