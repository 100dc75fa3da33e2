/* Eigenvalues and singular values with ScaLAPACK. */
#include <math.h>
#include <stdlib.h>

#include "linear/inner.h"
#include "parallel/parallel.h"

static const int one = 1;

/* Check that all elements are finite, because ScaLAPACK may never return if one is NaN. */
static vj_status check_finite(const vj_matrix *a)
{
    int finite = 1;
    for (int64_t i = 0; i < (int64_t)a->local_rows * a->local_columns && finite; i++) finite = isfinite(a->local[i]);
    MPI_Allreduce(MPI_IN_PLACE, &finite, 1, MPI_INT, MPI_MIN, a->ranks->comm);
    if (finite) return VJ_OK;
    return vj_raise(VJ_ERR_STATE, "a %d x %d matrix has elements that are not finite", a->rows, a->columns);
}

/* Give every column the sign that makes its largest element positive, because the sign of an eigenvector is arbitrary.
 */
static vj_status fix_signs(vj_matrix *vectors)
{
    typedef struct {
        double size;
        int place; /* row * 2, + 1 if it is negative there; MPI takes the lowest of equal sizes */
    } largest;
    const int n = vectors->columns;
    largest *of = vj_calloc(n, sizeof *of);
    VJ_TRY(vj_agree(vectors->ranks->comm, of ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d signs", n)));
    for (int j = 0; j < n; j++) of[j].size = -1.0;
    for (int j = 0; j < vectors->local_columns; j++) {
        largest *best = &of[vj_matrix_column(vectors, j)];
        for (int i = 0; i < vectors->local_rows; i++) {
            const double x = vectors->local[(int64_t)j * vectors->local_rows + i];
            if (fabs(x) > best->size) *best = (largest){fabs(x), 2 * vj_matrix_row(vectors, i) + (x < 0.0)};
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, of, n, MPI_DOUBLE_INT, MPI_MAXLOC, vectors->ranks->comm);
    for (int j = 0; j < vectors->local_columns; j++) {
        if (of[vj_matrix_column(vectors, j)].place % 2 == 0) continue;
        for (int i = 0; i < vectors->local_rows; i++) vectors->local[(int64_t)j * vectors->local_rows + i] *= -1.0;
    }
    free(of);
    return VJ_OK;
}

static vj_status no_memory(int64_t numbers)
{
    return vj_raise(VJ_ERR_MEMORY, "no memory for %lld numbers of ScaLAPACK's work space", (long long)numbers);
}

/*
 * Return the size of the work space. ScaLAPACK 2.2 asks for less than pdormtr needs, which then reports an error and
 * leaves wrong vectors; so add all that pdormtr needs.
 */
static int work_count(double wanted, int n)
{
    return (int)wanted + (2 * n + 4 * VJ_BLOCK) * VJ_BLOCK;
}

/* Compute all eigenvalues and eigenvectors by divide and conquer. docs/method.md, section 15.1, says why not by
 * pdsyevr.
 */
static vj_status find_vectors(vj_matrix *a, double *values, vj_matrix *vectors, int *info)
{
    const int n = a->rows, ask = -1;
    double wanted = 0.0;
    int wanted_int = 0;
    pdsyevd_("V", "L", &n, a->local, &one, &one, a->descriptor, values, vectors->local, &one, &one, vectors->descriptor,
             &wanted, &ask, &wanted_int, &ask, info);
    VJ_ASSERT(*info == 0);
    const int count = work_count(wanted, n);
    double *work = vj_calloc(count, sizeof *work);
    int *work_int = vj_calloc(wanted_int + 1, sizeof *work_int);
    const vj_status status = vj_agree(a->ranks->comm, work && work_int ? VJ_OK : no_memory(count));
    if (status == VJ_OK)
        pdsyevd_("V", "L", &n, a->local, &one, &one, a->descriptor, values, vectors->local, &one, &one,
                 vectors->descriptor, work, &count, work_int, &wanted_int, info);
    free(work);
    free(work_int);
    return status;
}

/* Compute only the eigenvalues. This takes about half the time of pdsyevd, which always computes the vectors, and needs
 * no memory for them. */
static vj_status find_values(vj_matrix *a, double *values, int *info)
{
    const int n = a->rows, ask = -1;
    double wanted = 0.0, none[1];
    pdsyev_("N", "L", &n, a->local, &one, &one, a->descriptor, values, none, &one, &one, a->descriptor, &wanted, &ask,
            info);
    VJ_ASSERT(*info == 0);
    const int count = work_count(wanted, n);
    double *work = vj_calloc(count, sizeof *work);
    const vj_status status = vj_agree(a->ranks->comm, work ? VJ_OK : no_memory(count));
    if (status == VJ_OK)
        pdsyev_("N", "L", &n, a->local, &one, &one, a->descriptor, values, none, &one, &one, a->descriptor, work,
                &count, info);
    free(work);
    if (*info == n + 1) *info = 0; /* the ranks' values differ in bits: the caller gives all of them those of rank 0 */
    return status;
}

vj_status vj_matrix_eigen(vj_matrix *a, double *values, vj_matrix *vectors)
{
    int info = 0;
    VJ_ASSERT(a->rows == a->columns);
    VJ_TRY(check_finite(a));
    vj_status status = vectors ? find_vectors(a, values, vectors, &info) : find_values(a, values, &info);
    VJ_ASSERT(info >= 0);
    if (status == VJ_OK && info > 0)
        status = vj_raise(VJ_ERR_STATE, "ScaLAPACK's %s found no eigenvalues of a %d x %d matrix (info %d)",
                          vectors ? "pdsyevd" : "pdsyev", a->rows, a->rows, info);
    status = vj_agree(a->ranks->comm, status);
    MPI_Bcast(values, a->rows, MPI_DOUBLE, 0, a->ranks->comm); /* the same bits for all */
    return status == VJ_OK && vectors ? fix_signs(vectors) : status;
}

vj_status vj_matrix_singular_values(vj_matrix *a, double *values)
{
    const int ask = -1;
    double wanted = 0.0, none[1];
    int info = 0, count;
    VJ_TRY(check_finite(a));
    pdgesvd_("N", "N", &a->rows, &a->columns, a->local, &one, &one, a->descriptor, values, none, &one, &one,
             a->descriptor, none, &one, &one, a->descriptor, &wanted, &ask, &info);
    VJ_ASSERT(info == 0);
    count = (int)wanted + 4 * (a->rows > a->columns ? a->rows : a->columns) * VJ_BLOCK;
    double *work = vj_calloc(count, sizeof *work);
    vj_status status = vj_agree(a->ranks->comm, work ? VJ_OK : no_memory(count));
    if (status == VJ_OK)
        pdgesvd_("N", "N", &a->rows, &a->columns, a->local, &one, &one, a->descriptor, values, none, &one, &one,
                 a->descriptor, none, &one, &one, a->descriptor, work, &count, &info);
    VJ_ASSERT(info >= 0);
    free(work);
    if (status == VJ_OK && info > 0)
        status = vj_raise(VJ_ERR_STATE, "ScaLAPACK's pdgesvd found no singular values of a %d x %d matrix (info %d)",
                          a->rows, a->columns, info);
    status = vj_agree(a->ranks->comm, status);
    MPI_Bcast(values, a->rows < a->columns ? a->rows : a->columns, MPI_DOUBLE, 0, a->ranks->comm);
    return status;
}
