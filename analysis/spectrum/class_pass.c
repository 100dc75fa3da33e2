/*
 * Computes the variance within and between classes, and the measures of neural collapse, in two passes over the
 * features. The covariance within classes, [D, D], is never computed: the measures need only its part in the span of
 * the C class means, onto which rows are projected.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "parallel/parallel.h"
#include "spectrum/classes.h"

enum { BATCH = 256 }; /* rows that are multiplied at a time */

struct vj_class_pass {
    const vj_task *task;
    int D, C;
    double *mean;        /* [C, D] mean of each class; after the first pass minus their mean: M */
    vj_factor turned;    /* [D, C] M^T */
    double *centre;      /* [D] the mean of the class means */
    double *gram;        /* [C, C] M M^T */
    vj_factor direction; /* [C, rank] eigenvectors of M M^T / C whose eigenvalue is not zero */
    double *value;       /* [rank] these eigenvalues */
    int rank;
    /* Sums of the second pass. */
    double *within;    /* [C] squared distances to the own class mean */
    double *projected; /* [rank] sum of (U^T M (x - own mean))^2, with equal weight for every class */
    double right;      /* clips whose nearest class mean is that of their own class */
    /* A batch. */
    double *x, *z, *y; /* [BATCH, D] x - own mean, [BATCH, C] M x, [BATCH, rank] U^T M x */
    int *own;          /* [BATCH] class of each row */
};

int64_t vj_class_pass_bytes(const vj_task *task, int D)
{
    const double C = task->count, numbers = 2.0 * C * D + 5.0 * C * C + BATCH * (D + 2.0 * C) + D + 3.0 * C;
    return (int64_t)(numbers * (double)sizeof(double));
}

vj_status vj_class_pass_create(vj_class_pass **pass, const vj_task *task, int D)
{
    const int64_t C = task->count;
    vj_class_pass *p = *pass = vj_calloc(1, sizeof *p);
    if (!p) return vj_raise(VJ_ERR_MEMORY, "no memory for %d classes", task->count);
    p->task = task;
    p->D = D;
    p->C = task->count;
    p->mean = vj_calloc(C * D, sizeof *p->mean);
    p->centre = vj_calloc(D, sizeof *p->centre);
    p->gram = vj_calloc(C * C, sizeof *p->gram);
    p->value = vj_calloc(C, sizeof *p->value);
    p->within = vj_calloc(C, sizeof *p->within);
    p->projected = vj_calloc(C, sizeof *p->projected);
    p->x = vj_calloc((int64_t)BATCH * D, sizeof *p->x);
    p->z = vj_calloc(BATCH * C, sizeof *p->z);
    p->y = vj_calloc(BATCH * C, sizeof *p->y);
    p->own = vj_calloc(BATCH, sizeof *p->own);
    if (p->mean && p->centre && p->gram && p->value && p->within && p->projected && p->x && p->z && p->y && p->own)
        return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for %d classes of width %d", task->count, D);
}

void vj_class_pass_destroy(vj_class_pass *p)
{
    if (!p) return;
    free(p->mean);
    vj_factor_release(&p->turned);
    free(p->centre);
    free(p->gram);
    vj_factor_release(&p->direction);
    free(p->value);
    free(p->within);
    free(p->projected);
    free(p->x);
    free(p->z);
    free(p->y);
    free(p->own);
    free(p);
}

static int place_of(const vj_task *task, int32_t label)
{
    return label < 0 ? -1 : task->place[label];
}

/* ------------------------------------------------------------------------------------------------ means */

void vj_class_pass_add(vj_class_pass *p, const float *x, const int32_t *labels, int64_t stride, int64_t count)
{
    for (int64_t i = 0; i < count; i++, x += p->D) {
        const int c = place_of(p->task, labels[i * stride]);
        if (c < 0) continue;
        double *sum = p->mean + (int64_t)c * p->D;
        for (int k = 0; k < p->D; k++) sum[k] += (double)x[k];
    }
}

/* Compute M, its transpose, and M M^T from the sums of the rows of each class. */
static vj_status centre_means(vj_class_pass *p)
{
    double *turned = vj_calloc((int64_t)p->C * p->D, sizeof *turned);
    if (!turned) return vj_raise(VJ_ERR_MEMORY, "no memory for %d classes of width %d", p->C, p->D);
    for (int c = 0; c < p->C; c++)
        for (int k = 0; k < p->D; k++) {
            double *mean = &p->mean[(int64_t)c * p->D + k];
            *mean /= (double)p->task->clips[c];
            p->centre[k] += *mean / p->C;
        }
    for (int c = 0; c < p->C; c++)
        for (int k = 0; k < p->D; k++) {
            double *mean = &p->mean[(int64_t)c * p->D + k];
            *mean -= p->centre[k];
            turned[(int64_t)k * p->C + c] = *mean;
        }
    const vj_status status = vj_factor_create(&p->turned, turned, p->D, p->C);
    free(turned);
    VJ_TRY(status);
    vj_rows_multiply(p->gram, p->mean, p->C, &p->turned);
    return VJ_OK;
}

/* Take the eigenvectors of M M^T / C. The covariance between classes, M^T M / C, has the same nonzero eigenvalues. */
static vj_status find_directions(vj_class_pass *p, const double *values, const double *vectors)
{
    const int C = p->C, rank = C - 1 < p->D ? C - 1 : p->D;
    const double least = DBL_EPSILON * (C > p->D ? C : p->D) * values[C - 1];
    for (int k = C - 1; k >= C - rank && values[k] > least && values[k] > 0.0; k--) p->value[p->rank++] = values[k];
    if (p->rank == 0)
        return vj_raise(VJ_ERR_FORMAT, "task %s: the mean features of all %d classes are the same", p->task->name, C);
    double *direction = vj_calloc((int64_t)C * p->rank, sizeof *direction);
    if (!direction) return vj_raise(VJ_ERR_MEMORY, "no memory for %d directions of %d classes", p->rank, C);
    for (int c = 0; c < C; c++)
        for (int k = 0; k < p->rank; k++) direction[c * (int64_t)p->rank + k] = vectors[(int64_t)c * C + C - 1 - k];
    const vj_status status = vj_factor_create(&p->direction, direction, C, p->rank);
    free(direction);
    return status;
}

vj_status vj_class_pass_means(vj_class_pass *p, MPI_Comm comm, vj_ranks *ranks)
{
    const int64_t C = p->C;
    vj_matrix between = {0}, vectors = {0};
    vj_sum_many(comm, p->mean, C * p->D);
    VJ_TRY(vj_agree(comm, centre_means(p)));
    double *values = vj_calloc(C, sizeof *values), *whole = vj_calloc(C * C, sizeof *whole);
    vj_status status = vj_agree(comm, values && whole ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for eigenvectors"));
    if (status == VJ_OK) status = vj_matrix_create(&between, ranks, p->C, p->C);
    if (status == VJ_OK) status = vj_matrix_create(&vectors, ranks, p->C, p->C);
    if (status == VJ_OK) {
        for (int64_t i = 0; i < C * C; i++) whole[i] = p->gram[i] / (double)C;
        vj_matrix_scatter(&between, whole);
        status = vj_matrix_eigen(&between, values, &vectors);
    }
    if (status == VJ_OK) vj_matrix_gather(&vectors, whole);
    /* All ranks have the same numbers; rank 0 reports. */
    if (status == VJ_OK) status = vj_comm_rank(comm) == 0 ? find_directions(p, values, whole) : VJ_OK;
    status = vj_agree(comm, status);
    if (status == VJ_OK) status = vj_agree(comm, vj_comm_rank(comm) != 0 ? find_directions(p, values, whole) : VJ_OK);
    vj_matrix_release(&between);
    vj_matrix_release(&vectors);
    free(values);
    free(whole);
    return status;
}

/* ------------------------------------------------------------------------------------------------ second pass */

/* Return the class whose mean is nearest to a row x, from z = M (x - own mean). Compares |x - m_k|^2 without the terms
 * that are equal for all k. */
static int nearest_to(const vj_class_pass *p, const double *z, int own)
{
    int nearest = 0;
    double least = INFINITY;
    for (int k = 0; k < p->C; k++) {
        const double distance = p->gram[(int64_t)k * p->C + k] - 2.0 * (z[k] + p->gram[(int64_t)own * p->C + k]);
        if (distance < least) least = distance, nearest = k;
    }
    return nearest;
}

static void finish_batch(vj_class_pass *p, int rows)
{
    if (rows == 0) return;
    vj_rows_multiply(p->z, p->x, rows, &p->turned);
    vj_rows_multiply(p->y, p->z, rows, &p->direction);
    for (int i = 0; i < rows; i++) {
        const double weight = 1.0 / ((double)p->C * (double)p->task->clips[p->own[i]]);
        const double *y = p->y + (int64_t)i * p->rank;
        p->right += nearest_to(p, p->z + (int64_t)i * p->C, p->own[i]) == p->own[i];
        for (int k = 0; k < p->rank; k++) p->projected[k] += weight * y[k] * y[k];
    }
}

void vj_class_pass_scatter(vj_class_pass *p, const float *x, const int32_t *labels, int64_t stride, int64_t count)
{
    int rows = 0;
    for (int64_t i = 0; i < count; i++, x += p->D) {
        const int c = place_of(p->task, labels[i * stride]);
        if (c < 0) continue;
        const double *mean = p->mean + (int64_t)c * p->D;
        double *difference = p->x + (int64_t)rows * p->D, square = 0.0;
        for (int k = 0; k < p->D; k++) {
            difference[k] = (double)x[k] - p->centre[k] - mean[k];
            square += difference[k] * difference[k];
        }
        p->within[c] += square;
        p->own[rows++] = c;
        if (rows < BATCH) continue;
        finish_batch(p, rows);
        rows = 0;
    }
    finish_batch(p, rows);
}

/* ------------------------------------------------------------------------------------------------ results */

/* Compute the variances as means over clips, and the variance components of a one-way analysis of variance with groups
 * of unequal size. */
static void measure_variance(const vj_class_pass *p, vj_class_measures *m)
{
    const double N = (double)p->task->all, C = p->C;
    double squares = 0.0, mean = 0.0;
    for (int k = 0; k < p->D; k++) {
        double sum = 0.0, square = 0.0;
        for (int c = 0; c < p->C; c++) sum += (double)p->task->clips[c] * p->mean[(int64_t)c * p->D + k];
        mean = sum / N;
        for (int c = 0; c < p->C; c++) {
            const double away = p->mean[(int64_t)c * p->D + k] - mean;
            square += (double)p->task->clips[c] * away * away;
        }
        m->between += square / N;
    }
    for (int c = 0; c < p->C; c++) {
        m->within += p->within[c] / N;
        m->class_within[c] = p->within[c] / (double)p->task->clips[c];
        squares += (double)p->task->clips[c] * (double)p->task->clips[c];
    }
    m->total = m->within + m->between;
    m->ratio = m->between / m->within;
    const double noise = N * m->within / (N - C), size = (N - squares / N) / (C - 1.0);
    m->signal_to_noise = (N * m->between / (C - 1.0) - noise) / size / noise;
}

/* Compute norms and angles of the centred class means, and the nearest class of each class. */
static void measure_means(const vj_class_pass *p, vj_class_measures *m)
{
    const int64_t C = p->C;
    const double pairs = (double)C * (double)(C - 1) / 2.0;
    double norms = 0.0, norm_squares = 0.0, cosines = 0.0, cosine_squares = 0.0;
    for (int64_t c = 0; c < C; c++) norms += sqrt(p->gram[c * C + c]) / (double)C;
    for (int64_t c = 0; c < C; c++) norm_squares += pow(sqrt(p->gram[c * C + c]) - norms, 2.0) / (double)C;
    m->nc2_norms = sqrt(norm_squares) / norms;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t k = 0; k < c; k++) {
                const double cosine = p->gram[c * C + k] / sqrt(p->gram[c * C + c]) / sqrt(p->gram[k * C + k]);
                if (pass == 0)
                    cosines += cosine / pairs;
                else
                    cosine_squares += (cosine - cosines) * (cosine - cosines) / pairs;
            }
    m->nc2_cosine = cosines;
    m->nc2_deviation = sqrt(cosine_squares);
    for (int64_t c = 0; c < C; c++) {
        double least = INFINITY;
        for (int64_t k = 0; k < C; k++) {
            const double distance = p->gram[c * C + c] + p->gram[k * C + k] - 2.0 * p->gram[c * C + k];
            if (k != c && distance < least) least = distance, m->nearest[c] = (int32_t)k;
        }
        m->nearest_distance[c] = sqrt(fmax(least, 0.0));
    }
}

vj_status vj_class_pass_finish(vj_class_pass *p, MPI_Comm comm, vj_class_measures *m)
{
    *m = (vj_class_measures){0};
    m->class_within = vj_calloc(p->C, sizeof *m->class_within);
    m->nearest = vj_calloc(p->C, sizeof *m->nearest);
    m->nearest_distance = vj_calloc(p->C, sizeof *m->nearest_distance);
    VJ_TRY(vj_agree(comm, m->class_within && m->nearest && m->nearest_distance
                              ? VJ_OK
                              : vj_raise(VJ_ERR_MEMORY, "no memory for %d classes", p->C)));
    vj_sum_many(comm, p->within, p->C);
    vj_sum_many(comm, p->projected, p->rank);
    vj_sum_many(comm, &p->right, 1);
    measure_variance(p, m);
    measure_means(p, m);
    for (int k = 0; k < p->rank; k++) m->nc1 += p->projected[k] / (p->C * p->value[k] * p->value[k]) / p->C;
    m->nc4 = p->right / (double)p->task->all;
    return VJ_OK;
}

void vj_class_measures_release(vj_class_measures *m)
{
    free(m->class_within);
    free(m->nearest);
    free(m->nearest_distance);
    *m = (vj_class_measures){0};
}
