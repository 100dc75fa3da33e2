/* First and second moments of features: added up on the device, then over the ranks. */
#include "train/moments.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/tree.h"

enum { PIECE = 1 << 20 }; /* elements of an MPI reduction and of a host view, at most */
_Static_assert(PIECE * sizeof(float) <= VJ_MAP_BYTES, "a piece fits a host view");

struct vj_moments {
    vj_backend *be;
    int D;
    int64_t rows, rows_squared; /* rows in first and in second */
    double *first;              /* device [2 D]: sums and sums of squares */
    float *second;              /* device [D, D]: sums of products */
    vj_tree firsts, products;   /* trees for first and second; without terms first and second are the sums */
    double *pending;            /* [pending_max, 2 D] of vj_host_alloc(): terms being downloaded; or NULL */
    int64_t pending_count, pending_max;
    double *sums;  /* [2 D] a copy of first */
    double *host;  /* [D, D] */
    float *copied; /* [D, D] of vj_host_alloc(), a copy of second; NULL: the device is the host */
    bool asked;    /* sums, and products if there are any, were asked for */
};

vj_status vj_moments_open(vj_moments **moments, vj_backend *be, int D, int64_t terms)
{
    vj_moments *m = *moments = vj_calloc(1, sizeof *m);
    if (!m) return vj_raise(VJ_ERR_MEMORY, "no memory for moments");
    m->be = be;
    m->D = D;
    m->first = vj_device_alloc(be, 2 * D * (int64_t)sizeof *m->first);
    m->second = vj_device_alloc(be, (int64_t)D * D * (int64_t)sizeof *m->second);
    m->sums = vj_calloc(2 * (int64_t)D, sizeof *m->sums);
    m->host = vj_calloc((int64_t)D * D, sizeof *m->host);
    if (!vj_device_is_host(be)) m->copied = vj_host_alloc(be, (int64_t)D * D * (int64_t)sizeof *m->copied);
    if (!m->first || !m->second || !m->sums || !m->host || (!m->copied && !vj_device_is_host(be)))
        return vj_raise(VJ_ERR_MEMORY, "no memory for the moments of features of width %d", D);
    vj_fill(be, (float *)m->first, 0.0f, 4 * D);
    if (terms == 0) return VJ_OK;
    m->pending_max = vj_device_is_host(be) ? 1 : terms; /* a device may be all terms behind: nothing waits for it */
    m->pending = vj_host_alloc(be, m->pending_max * 2 * (int64_t)D * (int64_t)sizeof *m->pending);
    if (!m->pending) return VJ_ERR_MEMORY; /* reported by the device */
    VJ_TRY(vj_tree_init(&m->firsts, 2 * D, terms));
    return vj_tree_init(&m->products, (int64_t)D * D, terms);
}

void vj_moments_close(vj_moments *m)
{
    if (!m) return;
    vj_device_free(m->be, m->first);
    vj_device_free(m->be, m->second);
    vj_host_free(m->be, m->copied);
    vj_host_free(m->be, m->pending);
    vj_tree_release(&m->firsts);
    vj_tree_release(&m->products);
    free(m->sums);
    free(m->host);
    free(m);
}

/* Second moments: those that were asked for, else in pieces that fit a host view. */
static void download_products(const vj_moments *m, double *out)
{
    const int64_t cells = (int64_t)m->D * m->D;
    if (m->copied && m->asked && !m->products.terms) {
        for (int64_t i = 0; i < cells; i++) out[i] = m->copied[i];
        return;
    }
    for (int64_t at = 0; at < cells; at += PIECE) {
        const int64_t n = cells - at < PIECE ? cells - at : PIECE;
        float *view = vj_map(m->be, m->second + at, n * (int64_t)sizeof(float), VJ_MAP_READ);
        for (int64_t i = 0; i < n; i++) out[at + i] = view[i];
        vj_unmap(m->be, view);
    }
}

static void download_moments(const vj_moments *m, double *out)
{
    vj_download(m->be, out, m->first, 2 * m->D * (int64_t)sizeof *out);
    vj_fill(m->be, (float *)m->first, 0.0f, 4 * m->D); /* a double is two floats */
}

/* Add the terms whose download is complete to the tree. */
static void add_pending(vj_moments *m)
{
    for (int64_t i = 0; i < m->pending_count; i++) {
        memcpy(vj_tree_next(&m->firsts), m->pending + i * 2 * m->D, 2 * (size_t)m->D * sizeof *m->pending);
        vj_tree_add(&m->firsts);
    }
    m->pending_count = 0;
}

static void wait_for_pending(vj_moments *m)
{
    if (m->pending_count > 0) vj_event_wait(m->be, vj_event_record(m->be));
    add_pending(m);
}

/* The present content of `first` is one term. */
static void take_term(vj_moments *m)
{
    if (m->pending_count == m->pending_max) wait_for_pending(m);
    double *term = m->pending + m->pending_count++ * 2 * m->D;
    vj_download_begin(m->be, term, m->first, 2 * m->D * (int64_t)sizeof *term);
    vj_fill(m->be, (float *)m->first, 0.0f, 4 * m->D); /* a double is two floats */
}

void vj_moments_add(vj_moments *m, const float *x, int64_t R, int covariance)
{
    vj_column_moments(m->be, m->first, x, R, m->D);
    m->rows += R;
    if (m->firsts.terms) take_term(m);
    if (!covariance) return;
    const bool accumulate = m->rows_squared > 0 && m->products.terms == 0;
    const vj_precision precision = vj_backend_precision(m->be);
    vj_backend_set_precision(m->be, VJ_FP32);
    if (R == 0 && !accumulate) vj_fill(m->be, m->second, 0.0f, (int64_t)m->D * m->D);
    if (R > 0) vj_linear_backward_weight(m->be, m->second, NULL, vj_f32(x), vj_f32(x), accumulate, R, m->D, m->D);
    vj_backend_set_precision(m->be, precision);
    m->rows_squared += R;
    if (m->products.terms == 0) return;
    download_products(m, vj_tree_next(&m->products));
    vj_tree_add(&m->products);
}

void vj_moments_download(vj_moments *m)
{
    m->asked = true;
    if (m->firsts.terms) return; /* their download has begun already */
    vj_download_later(m->be, m->sums, m->first, 2 * m->D * (int64_t)sizeof *m->sums);
    vj_fill(m->be, (float *)m->first, 0.0f, 4 * m->D);
    if (m->copied && m->rows_squared > 0)
        vj_download_begin(m->be, m->copied, m->second, (int64_t)m->D * m->D * (int64_t)sizeof *m->copied);
}

vj_moments_sums vj_moments_merge(vj_moments *m, MPI_Comm comm)
{
    double rows[2] = {(double)m->rows, (double)m->rows_squared};
    if (!m->asked) wait_for_pending(m);
    add_pending(m);
    if (m->firsts.terms)
        memcpy(m->sums, vj_tree_total(&m->firsts), 2 * (size_t)m->D * sizeof *m->sums);
    else if (!m->asked)
        download_moments(m, m->sums);
    vj_sum_doubles(comm, m->sums, 2 * m->D);
    vj_sum_doubles(comm, rows, 2);
    return (vj_moments_sums){.rows = rows[0], .rows_squared = rows[1], .sum = m->sums, .squares = m->sums + m->D};
}

/*
 * Sums of products over all ranks into rank 0's m->host, in pieces: counts stay small, large reductions are slow. A
 * tree goes on over the ranks.
 */
static void collect(vj_moments *m, MPI_Comm comm, int rank)
{
    const int64_t cells = (int64_t)m->D * m->D;
    if (m->products.terms)
        memcpy(m->host, vj_tree_total(&m->products), (size_t)cells * sizeof *m->host);
    else if (m->rows_squared > 0)
        download_products(m, m->host);
    else
        memset(m->host, 0, (size_t)cells * sizeof *m->host);
    for (int64_t at = 0; at < cells; at += PIECE) {
        const int n = (int)(cells - at < PIECE ? cells - at : PIECE);
        double *x = m->host + at;
        if (m->products.terms)
            vj_sum_doubles(comm, x, n);
        else
            MPI_Reduce(rank == 0 ? MPI_IN_PLACE : x, x, n, MPI_DOUBLE, MPI_SUM, 0, comm);
    }
}

double *vj_moments_covariance(vj_moments *m, const vj_moments_sums *sums, MPI_Comm comm)
{
    int rank;
    const double rows = sums->rows_squared;
    MPI_Comm_rank(comm, &rank);
    collect(m, comm, rank);
    if (rank != 0) return NULL;
    for (int i = 0; i < m->D; i++)
        for (int j = 0; j < m->D; j++) {
            double *c = &m->host[(int64_t)i * m->D + j];
            *c = *c / rows - sums->sum[i] / rows * (sums->sum[j] / rows);
        }
    return m->host;
}

void vj_moments_reset(vj_moments *m)
{
    m->rows = m->rows_squared = m->products.done = 0;
    m->asked = false;
}
