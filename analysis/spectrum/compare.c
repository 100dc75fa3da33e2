/*
 * The command "compare": similarity of representations of the same clips. Computes linear CKA, unbiased CKA and the
 * orthogonal Procrustes distance of all pairs (docs/method.md, section 15.2) in two passes over the features: the first
 * for the means, the second for the cross products of centred features, from which all three follow.
 */
#include <math.h>
#include <stdlib.h>

#include "bench/report.h"
#include "parallel/parallel.h"
#include "spectrum/output.h"
#include "spectrum/parts.h"

typedef struct {
    const vj_analysis *analysis;
    vj_source *source;
    int m;              /* representations */
    int64_t rows;       /* n */
    double **mean, **x; /* for each: [D]; this rank's rows of the slab minus the mean, [slab rows, D] */
    double *square;     /* [m, slab rows] x_i . x_i */
    double *sum;        /* [m] sum over rows of x_i . x_i */
    double *product;    /* [m, m] sum over rows of (x_i . x_i) (y_i . y_i) */
    double *norm;       /* [m, m] |X^T Y|^2, sum of squares */
    vj_matrix *cross;   /* [m, m] X^T Y, where i <= j */
    int64_t slab_rows;
    int64_t sum_bytes; /* left on this rank for vj_begin_sums() */
} comparison;

static const vj_representation *representation(const comparison *c, int i)
{
    return vj_source_representation(c->source, i);
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Return the bytes that this rank needs: its part of the cross products, and the slab. */
static int64_t bytes_needed(const comparison *c)
{
    double numbers = 0.0, largest = 0.0;
    for (int i = 0; i < c->m; i++) {
        const double width = representation(c, i)->width;
        for (int j = i; j < c->m; j++) {
            const double pair = width * representation(c, j)->width;
            numbers += pair;
            if (pair > largest) largest = pair;
        }
        numbers += (double)(c->analysis->size * c->slab_rows) * (width + 1.0);
    }
    numbers += 3.0 * largest; /* while singular values are computed */
    return (int64_t)(numbers * (double)sizeof(double) / c->analysis->size);
}

static vj_status check(comparison *c)
{
    const vj_representation *first = representation(c, 0);
    if (c->m < 2)
        return vj_raise(VJ_ERR_USAGE, "compare needs two representations or more, and got %s alone", first->name);
    for (int i = 1; i < c->m; i++)
        if (representation(c, i)->tokens != first->tokens)
            return vj_raise(VJ_ERR_USAGE,
                            "%s has %lld tokens a clip, %s %lld: they can be compared by the means over tokens, "
                            "without --tokens",
                            first->name, (long long)first->tokens, representation(c, i)->name,
                            (long long)representation(c, i)->tokens);
    c->rows = vj_source_clips(c->source) * first->tokens;
    c->slab_rows = vj_source_slab_clips(c->source) * first->tokens;
    if (c->rows < 4)
        return vj_raise(VJ_ERR_USAGE, "the unbiased CKA needs 4 rows or more, and there are %lld", (long long)c->rows);
    return VJ_OK;
}

static vj_status allocate(comparison *c)
{
    const int64_t m = c->m;
    c->mean = vj_calloc(m, sizeof *c->mean);
    c->x = vj_calloc(m, sizeof *c->x);
    c->square = vj_calloc(m * c->slab_rows, sizeof *c->square);
    c->sum = vj_calloc(m, sizeof *c->sum);
    c->product = vj_calloc(m * m, sizeof *c->product);
    c->norm = vj_calloc(m * m, sizeof *c->norm);
    c->cross = vj_calloc(m * m, sizeof *c->cross);
    bool good = c->mean && c->x && c->square && c->sum && c->product && c->norm && c->cross;
    for (int i = 0; i < m && good; i++) {
        const int64_t width = representation(c, i)->width;
        c->mean[i] = vj_calloc(width, sizeof *c->mean[i]);
        c->x[i] = vj_calloc(c->slab_rows * width, sizeof *c->x[i]);
        good = c->mean[i] && c->x[i];
    }
    VJ_TRY(vj_agree(c->analysis->comm, good ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to compare features")));
    for (int i = 0; i < m; i++)
        for (int j = i; j < m; j++) {
            VJ_TRY(vj_matrix_create(&c->cross[i * m + j], c->analysis->ranks, representation(c, i)->width,
                                    representation(c, j)->width));
            VJ_TRY(vj_begin_sums(&c->cross[i * m + j], &c->sum_bytes));
        }
    return VJ_OK;
}

static void release(comparison *c)
{
    for (int i = 0; i < c->m; i++) {
        for (int j = i; j < c->m && c->cross; j++) vj_matrix_release(&c->cross[i * c->m + j]);
        if (c->mean) free(c->mean[i]);
        if (c->x) free(c->x[i]);
    }
    free(c->mean);
    free(c->x);
    free(c->square);
    free(c->sum);
    free(c->product);
    free(c->norm);
    free(c->cross);
}

/* ------------------------------------------------------------------------------------------------ the second pass */

/* Centre a slab's rows of representation i, and compute their squared norms. */
static void centre(comparison *c, int i, const float *x, int64_t rows)
{
    const int width = representation(c, i)->width;
    const double *mean = c->mean[i];
    for (int64_t row = 0; row < rows; row++) {
        double *centred = c->x[i] + row * width, square = 0.0;
        for (int k = 0; k < width; k++) {
            centred[k] = (double)x[row * width + k] - mean[k];
            square += centred[k] * centred[k];
        }
        c->square[i * c->slab_rows + row] = square;
        c->sum[i] += square;
    }
}

static vj_status add_slab(comparison *c, const vj_slab *slab)
{
    const int64_t rows = slab->count * representation(c, 0)->tokens;
    for (int i = 0; i < c->m; i++) centre(c, i, slab->x[i], rows);
    for (int i = 0; i < c->m; i++)
        for (int j = i; j < c->m; j++) {
            const double *a = c->square + i * c->slab_rows, *b = c->square + j * c->slab_rows;
            for (int64_t row = 0; row < rows; row++) c->product[i * c->m + j] += a[row] * b[row];
            vj_matrix *cross = &c->cross[i * c->m + j];
            VJ_TRY(i == j ? vj_matrix_add_gram(cross, c->x[i], rows)
                          : vj_matrix_add_cross(cross, c->x[i], c->x[j], rows));
        }
    return VJ_OK;
}

static vj_status read_twice(comparison *c)
{
    vj_slab slab;
    bool more;
    vj_progress progress = vj_progress_begin("compare");
    vj_progress_expect(&progress, c->source, 2);
    VJ_TRY(vj_source_means(c->source, c->analysis->comm, c->mean, &progress));
    VJ_TRY(vj_source_begin(c->source));
    for (;;) {
        VJ_TRY(vj_source_next(c->source, &slab, &more));
        if (!more) break;
        VJ_TRY(add_slab(c, &slab));
        vj_progress_add(&progress, slab.count);
    }
    vj_progress_end(&progress);
    for (int i = 0; i < c->m; i++)
        for (int j = i; j < c->m; j++) vj_matrix_end_sums(&c->cross[i * c->m + j]);
    vj_sum_many(c->analysis->comm, c->sum, c->m);
    vj_sum_many(c->analysis->comm, c->product, (int64_t)c->m * c->m);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ results */

/* Fail if all features are equal except for rounding of their mean, since they have no direction then. */
static vj_status check_constant(const comparison *c)
{
    for (int i = 0; i < c->m; i++) {
        double mean = 0.0;
        for (int k = 0; k < representation(c, i)->width; k++) mean += c->mean[i][k] * c->mean[i][k];
        if (c->sum[i] <= 1e-28 * (double)c->rows * mean)
            return vj_raise(VJ_ERR_FORMAT, "all %lld rows of %s are equal: there is nothing to compare",
                            (long long)c->rows, representation(c, i)->name);
    }
    return VJ_OK;
}

/*
 * Return n (n - 3) times the unbiased HSIC. Rows are centred, so the row sums of the kernel x_i . x_j without its
 * diagonal are -x_i . x_i. Therefore the n x n form needs only the diagonal of the kernel.
 */
static double unbiased_hsic(const comparison *c, int i, int j)
{
    const double n = (double)c->rows, product = c->product[i * c->m + j];
    return c->norm[i * c->m + j] - product + c->sum[i] * c->sum[j] / ((n - 1.0) * (n - 2.0)) -
           2.0 * product / (n - 2.0);
}

/* Compute the sum of the singular values of X^T Y, which is overwritten. */
static vj_status nuclear_norm(double *norm, vj_matrix *cross)
{
    const int count = cross->rows < cross->columns ? cross->rows : cross->columns;
    double *values = vj_calloc(count, sizeof *values);
    *norm = 0.0;
    vj_status status = values ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d singular values", count);
    if (status == VJ_OK) status = vj_matrix_singular_values(cross, values);
    for (int k = 0; k < count && status == VJ_OK; k++) *norm += values[k];
    free(values);
    return status;
}

static vj_status evaluate(comparison *c, double *cka, double *unbiased, double *procrustes)
{
    const int m = c->m;
    for (int i = 0; i < m; i++) VJ_TRY(vj_matrix_mirror(&c->cross[i * m + i]));
    for (int i = 0; i < m; i++)
        for (int j = i; j < m; j++) {
            const vj_matrix *cross = &c->cross[i * m + j];
            for (int64_t k = 0; k < (int64_t)cross->local_rows * cross->local_columns; k++)
                c->norm[i * m + j] += cross->local[k] * cross->local[k];
        }
    vj_sum_many(c->analysis->comm, c->norm, (int64_t)m * m);
    for (int i = 0; i < m; i++)
        for (int j = i; j < m; j++) {
            double nuclear = c->sum[i]; /* of X^T X: its trace */
            if (i != j) VJ_TRY(nuclear_norm(&nuclear, &c->cross[i * m + j]));
            const double own[2] = {unbiased_hsic(c, i, i), unbiased_hsic(c, j, j)};
            cka[i * m + j] = c->norm[i * m + j] / sqrt(c->norm[i * m + i]) / sqrt(c->norm[j * m + j]);
            unbiased[i * m + j] =
                own[0] > 0.0 && own[1] > 0.0 ? unbiased_hsic(c, i, j) / sqrt(own[0]) / sqrt(own[1]) : NAN;
            procrustes[i * m + j] = 2.0 - 2.0 * nuclear / (sqrt(c->sum[i]) * sqrt(c->sum[j]));
            if (procrustes[i * m + j] < 0.0) procrustes[i * m + j] = 0.0; /* by rounding; a NaN stays */
            cka[j * m + i] = cka[i * m + j];
            unbiased[j * m + i] = unbiased[i * m + j];
            procrustes[j * m + i] = procrustes[i * m + j];
        }
    return VJ_OK;
}

static void report(const comparison *c, const double *cka, const double *unbiased, const double *procrustes)
{
    json_t *out = c->analysis->report;
    vj_put_count(out, "rows", c->rows);
    for (int i = 0; i < c->m; i++) {
        json_t *row = vj_put_row(out, "representations");
        vj_put_text(row, "name", representation(c, i)->name);
        vj_put_text(row, "origin", representation(c, i)->origin);
        vj_put_count(row, "width", representation(c, i)->width);
    }
    for (int i = 0; i < c->m; i++)
        for (int j = i + 1; j < c->m; j++) {
            json_t *row = vj_put_row(out, "pairs");
            vj_put_text(row, "a", representation(c, i)->name);
            vj_put_text(row, "b", representation(c, j)->name);
            vj_put_number(row, "cka", cka[i * c->m + j]);
            vj_put_number(row, "cka_unbiased", unbiased[i * c->m + j]);
            vj_put_number(row, "procrustes", procrustes[i * c->m + j]);
        }
}

/* Numbers of the datasets in the output file. */
typedef struct {
    int names, cka, unbiased, procrustes;
} datasets;

static datasets declare(const comparison *c, vj_analysis_file *output)
{
    const int64_t dim[2] = {c->m, c->m};
    return (datasets){.names = vj_analysis_file_texts(output, c->m, VJ_REPRESENTATION_NAME, "compare/names"),
                      .cka = vj_analysis_file_dataset(output, H5T_IEEE_F64LE, 2, dim, "compare/cka"),
                      .unbiased = vj_analysis_file_dataset(output, H5T_IEEE_F64LE, 2, dim, "compare/cka_unbiased"),
                      .procrustes = vj_analysis_file_dataset(output, H5T_IEEE_F64LE, 2, dim, "compare/procrustes")};
}

/* Only rank 0 calls this. */
static vj_status write(const comparison *c, vj_analysis_file *output, const datasets *to, const double *cka,
                       const double *unbiased, const double *procrustes)
{
    const int64_t pairs = (int64_t)c->m * c->m;
    for (int i = 0; i < c->m; i++) VJ_TRY(vj_analysis_file_write(output, to->names, i, 1, representation(c, i)->name));
    VJ_TRY(vj_analysis_file_write(output, to->cka, 0, pairs, cka));
    VJ_TRY(vj_analysis_file_write(output, to->unbiased, 0, pairs, unbiased));
    return vj_analysis_file_write(output, to->procrustes, 0, pairs, procrustes);
}

static vj_status compute(comparison *c, vj_analysis_file *output, const datasets *to)
{
    const int64_t pairs = (int64_t)c->m * c->m;
    VJ_TRY(allocate(c));
    VJ_TRY(read_twice(c));
    VJ_TRY(vj_agree(c->analysis->comm, c->analysis->rank == 0 ? check_constant(c) : VJ_OK));
    double *cka = vj_calloc(3 * pairs, sizeof *cka), *unbiased = cka + pairs, *procrustes = unbiased + pairs;
    vj_status status = vj_agree(c->analysis->comm, cka ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for results"));
    if (status == VJ_OK) status = evaluate(c, cka, unbiased, procrustes);
    if (status == VJ_OK) report(c, cka, unbiased, procrustes);
    if (status == VJ_OK && c->analysis->rank == 0) status = write(c, output, to, cka, unbiased, procrustes);
    free(cka);
    return status;
}

static void forecast(const comparison *c)
{
    double operations = 0.0;
    int widest = 1;
    for (int i = 0; i < c->m; i++) {
        const double D = representation(c, i)->width;
        for (int j = i + 1; j < c->m; j++) operations += 2.0 * (double)c->rows * D * representation(c, j)->width;
        operations += (double)c->rows * D * (D + 1.0);
        if (representation(c, i)->width > widest) widest = representation(c, i)->width;
    }
    vj_speed_forecast(c->analysis, "compare", operations, 0.0, widest);
}

static vj_status run(comparison *c)
{
    vj_analysis_file *output;
    VJ_TRY(vj_agree(c->analysis->comm, c->analysis->rank == 0 ? check(c) : VJ_OK));
    if (c->analysis->rank != 0) VJ_TRY(check(c)); /* it also sets members that every rank needs */
    const int64_t bytes = bytes_needed(c);
    vj_log("compare: %d representations of %lld rows, %lld MiB a rank", c->m, (long long)c->rows,
           (long long)(bytes >> 20));
    forecast(c);
    VJ_TRY(vj_check_memory(c->analysis->comm, bytes, "the products of all pairs",
                           "compare fewer representations at a time, or take more nodes"));
    VJ_TRY(vj_memory_for_sums(&c->sum_bytes, c->analysis->comm, c->analysis->options->memory, bytes));
    if (c->analysis->dry_run) return VJ_OK;
    VJ_TRY(vj_analysis_file_open(&output, c->analysis, "compare"));
    const datasets to = declare(c, output);
    vj_status status = vj_analysis_file_begin(output);
    if (status == VJ_OK) status = compute(c, output, &to);
    return vj_analysis_file_commit(output, status);
}

vj_status vj_compare_run(vj_analysis *analysis)
{
    comparison c = {.analysis = analysis, .source = analysis->source, .m = vj_source_representations(analysis->source)};
    const vj_status status = run(&c);
    release(&c);
    return status;
}
