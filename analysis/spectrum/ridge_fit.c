/* Fits a ridge regression: sums, the eigendecomposition, and the results for every penalty. */
#include "spectrum/ridge_fit.h"

#include <math.h>
#include <stdlib.h>

#include "parallel/parallel.h"
#include "spectrum/parts.h"

enum { TOP = 5 };

struct vj_ridge {
    vj_ridge_shape shape;
    vj_ranks *ranks;
    int64_t all;                  /* n, training rows */
    double *clips;                /* [C] training rows of each class */
    double *weight;               /* [C] weight of a row of each class; the weights of all rows sum to n */
    double *mean;                 /* [D] weighted mean of the rows */
    double *target;               /* [C] weighted mean of the targets */
    double *sum;                  /* [C, D] sum of the rows of each class */
    vj_matrix gram;               /* weighted, divided over the ranks; until it is solved */
    double *value;                /* [D] its eigenvalues, g */
    double *vectors;              /* [D, D] its eigenvectors as columns, V */
    double *cross;                /* [D, C] V^T X^T Y, weighted */
    vj_factor turning, answering; /* V and V^T X^T Y, by which rows are multiplied */
    vj_ridge_path path;
    double *right;     /* [L, C] correctly predicted validation clips of each class */
    double *asked;     /* [C] all validation clips of each class */
    double *p, *q, *f; /* a batch: [VJ_RIDGE_BATCH, D] rows in the eigenvectors' directions, divided; [VJ_RIDGE_BATCH,
                          C] answers */
};

/* Each rank has a whole [D, D]: while rows are added the sums of its own rows, then the eigenvectors, which it has
 * twice. */
int64_t vj_ridge_bytes(const vj_ridge_shape *shape, int ranks)
{
    const double D = shape->D, C = shape->C, L = shape->lambdas;
    const double numbers =
        D * D * (2.0 + 1.0 / ranks) + 4.0 * C * D + VJ_RIDGE_BATCH * (2.0 * D + C) + (L + 4.0) * C + 6.0 * L;
    return (int64_t)(numbers * (double)sizeof(double));
}

static bool allocate(vj_ridge *r)
{
    const int64_t D = r->shape.D, C = r->shape.C, L = r->shape.lambdas;
    r->clips = vj_calloc(C, sizeof(double));
    r->weight = vj_calloc(C, sizeof(double));
    r->mean = vj_calloc(D, sizeof(double));
    r->target = vj_calloc(C, sizeof(double));
    r->sum = vj_calloc(C * D, sizeof(double));
    r->value = vj_calloc(D, sizeof(double));
    r->cross = vj_calloc(D * C, sizeof(double));
    r->path.lambda = vj_calloc(6 * L, sizeof(double));
    r->right = vj_calloc(L * C, sizeof(double));
    r->asked = vj_calloc(C, sizeof(double));
    r->p = vj_calloc(VJ_RIDGE_BATCH * D, sizeof(double));
    r->q = vj_calloc(VJ_RIDGE_BATCH * D, sizeof(double));
    r->f = vj_calloc(VJ_RIDGE_BATCH * C, sizeof(double));
    if (!r->path.lambda) return false;
    r->path.error = r->path.lambda + L;
    r->path.squared = r->path.error + L;
    r->path.top1 = r->path.squared + L;
    r->path.top5 = r->path.top1 + L;
    r->path.class_mean = r->path.top5 + L;
    return r->clips && r->weight && r->mean && r->target && r->sum && r->value && r->cross && r->right && r->asked &&
           r->p && r->q && r->f;
}

vj_status vj_ridge_create(vj_ridge **ridge, MPI_Comm comm, vj_ranks *ranks, const vj_ridge_shape *shape,
                          const int64_t *clips)
{
    vj_ridge *r = *ridge = vj_calloc(1, sizeof *r);
    if (r) r->shape = *shape;
    VJ_TRY(vj_agree(
        comm, r && allocate(r)
                  ? VJ_OK
                  : vj_raise(VJ_ERR_MEMORY, "no memory for a ridge probe, width %d, %d classes", shape->D, shape->C)));
    r->ranks = ranks;
    int present = 0;
    for (int c = 0; c < shape->C; c++) {
        r->all += clips[c];
        present += clips[c] > 0;
    }
    VJ_ASSERT(present > 0);
    for (int c = 0; c < shape->C; c++) {
        r->clips[c] = (double)clips[c];
        r->weight[c] = !shape->balanced ? 1.0 : clips[c] > 0 ? (double)r->all / (present * r->clips[c]) : 0.0;
        r->target[c] = r->weight[c] * r->clips[c] / (double)r->all;
    }
    r->path.clips = r->all;
    VJ_TRY(vj_matrix_create(&r->gram, ranks, shape->D, shape->D));
    return vj_matrix_begin_sums(&r->gram);
}

void vj_ridge_destroy(vj_ridge *r)
{
    if (!r) return;
    free(r->clips);
    free(r->weight);
    free(r->mean);
    free(r->target);
    free(r->sum);
    vj_matrix_release(&r->gram);
    free(r->value);
    free(r->vectors);
    free(r->cross);
    vj_factor_release(&r->turning);
    vj_factor_release(&r->answering);
    free(r->path.lambda);
    free(r->right);
    free(r->asked);
    free(r->p);
    free(r->q);
    free(r->f);
    free(r);
}

/* ------------------------------------------------------------------------------------------------ first pass */

vj_status vj_ridge_add(vj_ridge *r, double *x, const int *classes, int64_t count)
{
    const int D = r->shape.D;
    for (int64_t i = 0; i < count; i++) {
        double *row = x + i * D, *sum = r->sum + (int64_t)classes[i] * D;
        const double root = sqrt(r->weight[classes[i]]);
        for (int k = 0; k < D; k++) {
            sum[k] += row[k];
            row[k] *= root;
        }
    }
    return vj_matrix_add_gram(&r->gram, x, count);
}

/* Change the Gram matrix to that of centred rows, and compute X^T Y [D, C] for centred rows; then targets need not be
 * centred. */
static void centre(vj_ridge *r, double *cross)
{
    const int D = r->shape.D, C = r->shape.C;
    for (int c = 0; c < C; c++)
        for (int k = 0; k < D; k++) r->mean[k] += r->weight[c] * r->sum[(int64_t)c * D + k] / (double)r->all;
    for (int c = 0; c < C; c++)
        for (int k = 0; k < D; k++)
            cross[(int64_t)k * C + c] = r->weight[c] * (r->sum[(int64_t)c * D + k] - r->clips[c] * r->mean[k]);
    for (int j = 0; j < r->gram.local_columns; j++) {
        const double other = (double)r->all * r->mean[vj_matrix_column(&r->gram, j)];
        for (int i = 0; i < r->gram.local_rows; i++)
            r->gram.local[(int64_t)j * r->gram.local_rows + i] -= other * r->mean[vj_matrix_row(&r->gram, i)];
    }
}

/* Compute the eigenvectors, and `cross` in their basis. */
static vj_status decompose(vj_ridge *r, MPI_Comm comm)
{
    const int D = r->shape.D, C = r->shape.C;
    vj_matrix vectors = {0}, cross = {0}, turned = {0};
    r->vectors = vj_calloc((int64_t)D * D, sizeof(double));
    vj_status status =
        vj_agree(comm, r->vectors ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the eigenvectors of a ridge probe"));
    if (status == VJ_OK) status = vj_matrix_create(&vectors, r->ranks, D, D);
    if (status == VJ_OK) status = vj_matrix_create(&cross, r->ranks, D, C);
    if (status == VJ_OK) status = vj_matrix_create(&turned, r->ranks, D, C);
    if (status == VJ_OK) status = vj_matrix_eigen(&r->gram, r->value, &vectors);
    if (status == VJ_OK) {
        vj_matrix_scatter(&cross, r->cross);
        vj_matrix_multiply(1.0, &vectors, true, &cross, false, 0.0, &turned);
        vj_matrix_gather(&turned, r->cross);
        vj_matrix_gather(&vectors, r->vectors);
    }
    vj_matrix_release(&vectors);
    vj_matrix_release(&cross);
    vj_matrix_release(&turned);
    return status;
}

vj_status vj_ridge_solve(vj_ridge *r, MPI_Comm comm)
{
    double trace = 0.0;
    vj_matrix_end_sums(&r->gram);
    vj_sum_many(comm, r->sum, (int64_t)r->shape.C * r->shape.D);
    centre(r, r->cross);
    VJ_TRY(decompose(r, comm));
    vj_matrix_release(&r->gram);
    VJ_TRY(vj_agree(comm, vj_factor_create(&r->turning, r->vectors, r->shape.D, r->shape.D)));
    VJ_TRY(vj_agree(comm, vj_factor_create(&r->answering, r->cross, r->shape.D, r->shape.C)));
    for (int k = 0; k < r->shape.D; k++) {
        r->value[k] = fmax(r->value[k], 0.0); /* rounding alone can make it negative */
        trace += r->value[k];
    }
    if (trace <= 0.0)
        return vj_comm_rank(comm) == 0
                   ? vj_raise(VJ_ERR_FORMAT, "all training features of %s are equal: there is nothing to learn",
                              r->shape.name)
                   : VJ_ERR_FORMAT;
    for (int l = 0; l < r->shape.lambdas; l++) r->path.lambda[l] = r->shape.ratio[l] * trace / r->shape.D;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ answers */

/* Compute p: the rows in the basis of the eigenvectors. */
static void turn(vj_ridge *r, double *x, int rows)
{
    const int D = r->shape.D;
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < D; k++) x[(int64_t)i * D + k] -= r->mean[k];
    vj_rows_multiply(r->p, x, rows, &r->turning);
}

/* Compute for penalty l: q = p / (g + lambda), and the predictions f = q V^T X^T Y + mean target. */
static void answer(vj_ridge *r, int rows, int l)
{
    const int D = r->shape.D, C = r->shape.C;
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < D; k++)
            r->q[(int64_t)i * D + k] = r->p[(int64_t)i * D + k] / (r->value[k] + r->path.lambda[l]);
    vj_rows_multiply(r->f, r->q, rows, &r->answering);
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < C; c++) r->f[(int64_t)i * C + c] += r->target[c];
}

/* Return how many classes come before the right one. Among equal predictions the lower class number comes first. */
static int place_of(const double *f, int C, int right)
{
    int ahead = 0;
    for (int c = 0; c < C; c++) ahead += f[c] > f[right] || (f[c] == f[right] && c < right);
    return ahead;
}

/*
 * Change f to the predictions for row i if it had been left out: the residual is divided by 1 - h, where h = w (1 / n +
 * x^T (G + lambda)^-1 x) is the row's diagonal element of the hat matrix. Returns the squared error.
 */
static double leave_out(const vj_ridge *r, int i, int own)
{
    const int D = r->shape.D, C = r->shape.C;
    const double *p = r->p + (int64_t)i * D, *q = r->q + (int64_t)i * D;
    double h = 1.0 / (double)r->all, square = 0.0, *f = r->f + (int64_t)i * C;
    for (int k = 0; k < D; k++) h += p[k] * q[k];
    h *= r->weight[own];
    for (int c = 0; c < C; c++) {
        const double residual = ((c == own) - f[c]) / (1.0 - h);
        f[c] = (c == own) - residual;
        square += residual * residual;
    }
    return square;
}

void vj_ridge_leave_out(vj_ridge *r, double *x, const int *classes, int64_t count)
{
    for (int64_t at = 0; at < count; at += VJ_RIDGE_BATCH) {
        const int rows = (int)(count - at < VJ_RIDGE_BATCH ? count - at : VJ_RIDGE_BATCH);
        turn(r, x + at * r->shape.D, rows);
        for (int l = 0; l < r->shape.lambdas; l++) {
            answer(r, rows, l);
            for (int i = 0; i < rows; i++) {
                const int own = classes[at + i];
                const double weight = r->weight[own] / (double)r->all;
                r->path.squared[l] += weight * leave_out(r, i, own);
                if (place_of(r->f + (int64_t)i * r->shape.C, r->shape.C, own) > 0) r->path.error[l] += weight;
            }
        }
    }
}

void vj_ridge_validate(vj_ridge *r, double *x, const int *classes, int64_t count)
{
    const int C = r->shape.C;
    for (int64_t i = 0; i < count; i++) r->asked[classes[i]] += 1.0;
    for (int64_t at = 0; at < count; at += VJ_RIDGE_BATCH) {
        const int rows = (int)(count - at < VJ_RIDGE_BATCH ? count - at : VJ_RIDGE_BATCH);
        turn(r, x + at * r->shape.D, rows);
        for (int l = 0; l < r->shape.lambdas; l++) {
            answer(r, rows, l);
            for (int i = 0; i < rows; i++) {
                const int own = classes[at + i], place = place_of(r->f + (int64_t)i * C, C, own);
                r->right[(int64_t)l * C + own] += place == 0;
                r->path.top5[l] += place < TOP;
            }
        }
    }
}

/* ------------------------------------------------------------------------------------------------ results */

const vj_ridge_path *vj_ridge_finish(vj_ridge *r, MPI_Comm comm)
{
    const int L = r->shape.lambdas, C = r->shape.C;
    vj_ridge_path *path = &r->path;
    double asked = 0.0, classes = 0.0;
    vj_sum_many(comm, path->error, L);
    vj_sum_many(comm, path->squared, L);
    vj_sum_many(comm, path->top5, L);
    vj_sum_many(comm, r->right, (int64_t)L * C);
    vj_sum_many(comm, r->asked, C);
    for (int c = 0; c < C; c++) asked += r->asked[c], classes += r->asked[c] > 0.0;
    path->validation_clips = (int64_t)asked;
    for (int l = 0; l < L; l++) {
        for (int c = 0; c < C; c++) {
            path->top1[l] += r->right[(int64_t)l * C + c] / asked;
            if (r->asked[c] > 0.0) path->class_mean[l] += r->right[(int64_t)l * C + c] / r->asked[c] / classes;
        }
        path->top5[l] /= asked;
        const double better = path->error[l] - path->error[path->chosen], rounding = 1e-12;
        if (better < -rounding || (better <= rounding && path->squared[l] < path->squared[path->chosen]))
            path->chosen = l;
    }
    return path;
}

vj_status vj_ridge_weights(const vj_ridge *r, double *weights, double *intercept)
{
    const int D = r->shape.D, C = r->shape.C;
    const double lambda = r->path.lambda[r->path.chosen];
    double *scaled = vj_calloc((int64_t)D * C, sizeof *scaled);
    if (!scaled) return vj_raise(VJ_ERR_MEMORY, "no memory for weights [%d, %d]", D, C);
    for (int k = 0; k < D; k++)
        for (int c = 0; c < C; c++) scaled[(int64_t)k * C + c] = r->cross[(int64_t)k * C + c] / (r->value[k] + lambda);
    vj_factor by;
    const vj_status status = vj_factor_create(&by, scaled, D, C);
    free(scaled);
    VJ_TRY(status);
    vj_rows_multiply(weights, r->vectors, D, &by);
    vj_factor_release(&by);
    for (int c = 0; c < C; c++) {
        intercept[c] = r->target[c];
        for (int k = 0; k < D; k++) intercept[c] -= r->mean[k] * weights[(int64_t)k * C + c];
    }
    return VJ_OK;
}
