/*
 * The command "spectrum". One pass over the features sums rows and their products. Then the covariances of the
 * representations are diagonalised, one after the other. If projections are wanted, a second pass computes them.
 *
 * A shift near the mean (the mean of the first slabs) is subtracted from each row before summing, so that large means
 * take no digits from small variances: covariance = sum of products / n - (mean - shift)(mean - shift)^T.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "bench/report.h"
#include "parallel/parallel.h"
#include "spectrum/commands.h"
#include "spectrum/measures.h"
#include "spectrum/output.h"
#include "spectrum/parts.h"
#include "train/eigen.h"

/* One representation. All arrays are owned, and the same on all ranks. */
typedef struct {
    const vj_representation *what;
    int D, kept;     /* width, principal components that are kept */
    int64_t rows;    /* number of rows of all ranks */
    double *shift;   /* [D] */
    double *mean;    /* [D]; until all rows are summed: the sum of the rows minus shift */
    vj_matrix gram;  /* [D, D] sum of products of rows minus shift; then the covariance; released after its use */
    double *values;  /* [D] eigenvalues of the covariance, descending */
    double *squares; /* [D] eigenvalues of the mean of x x^T, descending */
    double *basis;   /* [D, kept] the principal components as columns */
    vj_factor onto;  /* the same, for projections */
    char group[VJ_REPRESENTATION_NAME + 32]; /* in the file */
    struct {
        int mean, values, components, explained, projections, whitening;
    } place; /* datasets */
} subject;

typedef struct {
    vj_analysis *analysis;
    vj_analysis_file *output;
    int count, components;
    int64_t sum_bytes; /* left on this rank for vj_begin_sums() */
    bool whitening;
    subject *subjects; /* [count] */
    double *rows;      /* [rows of a slab, D] as doubles */
    double *projected; /* [rows of a slab, components] */
    float *narrow;     /* the same */
} work;

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status prepare_subject(work *w, int i)
{
    subject *s = &w->subjects[i];
    s->what = vj_source_representation(w->analysis->source, i);
    s->D = s->what->width;
    s->kept = w->components < s->D ? w->components : s->D;
    s->rows = vj_source_clips(w->analysis->source) * s->what->tokens;
    snprintf(s->group, sizeof s->group, "representations/%s", s->what->name);
    if (s->rows < 2) return vj_raise(VJ_ERR_FORMAT, "%s has one row: a covariance needs two", s->what->origin);
    s->shift = vj_calloc(s->D, sizeof *s->shift);
    s->mean = vj_calloc(s->D, sizeof *s->mean);
    s->values = vj_calloc(s->D, sizeof *s->values);
    s->squares = vj_calloc(s->D, sizeof *s->squares);
    s->basis = vj_calloc((int64_t)s->D * s->kept + 1, sizeof *s->basis);
    if (s->shift && s->mean && s->values && s->squares && s->basis) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for the spectrum of %s", s->what->name);
}

static vj_status prepare(work *w)
{
    vj_source *source = w->analysis->source;
    int64_t numbers = 1, rows = 1;
    w->count = vj_source_representations(source);
    w->subjects = vj_calloc(w->count, sizeof *w->subjects);
    if (!w->subjects) return vj_raise(VJ_ERR_MEMORY, "no memory for %d representations", w->count);
    for (int i = 0; i < w->count; i++) {
        VJ_TRY(prepare_subject(w, i));
        const int64_t of_slab = vj_source_slab_clips(source) * w->subjects[i].what->tokens;
        if (of_slab > rows) rows = of_slab;
        if (of_slab * w->subjects[i].D > numbers) numbers = of_slab * w->subjects[i].D;
    }
    w->rows = vj_calloc(numbers, sizeof *w->rows);
    w->projected = vj_calloc(rows * w->components + 1, sizeof *w->projected);
    w->narrow = vj_calloc(rows * w->components + 1, sizeof *w->narrow);
    if (w->rows && w->projected && w->narrow) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for slabs of %lld rows", (long long)rows);
}

/*
 * Check that memory suffices for a rank's part of all matrices at once, and, while one is diagonalised, of its copy,
 * vectors and work space. Part of the remaining memory is for sums of each rank's own rows.
 */
static vj_status check_memory(work *w)
{
    enum { TEMPORARY = 6 };
    const vj_source *source = w->analysis->source;
    double numbers = 0.0, largest = 0.0;
    for (int i = 0; i < vj_source_representations(source); i++) {
        const double D = vj_source_representation(source, i)->width;
        numbers += D * D;
        if (D * D > largest) largest = D * D;
    }
    const int64_t bytes = (int64_t)((numbers + TEMPORARY * largest) / w->analysis->size * sizeof(double));
    VJ_TRY(vj_check_memory(w->analysis->comm, bytes, "covariances",
                           "take more nodes, or fewer representations at a time"));
    return vj_memory_for_sums(&w->sum_bytes, w->analysis->comm, w->analysis->options->memory, bytes);
}

static void release(work *w)
{
    for (int i = 0; i < w->count && w->subjects; i++) {
        subject *s = &w->subjects[i];
        vj_matrix_release(&s->gram);
        free(s->shift);
        free(s->mean);
        free(s->values);
        free(s->squares);
        free(s->basis);
        vj_factor_release(&s->onto);
    }
    free(w->subjects);
    free(w->rows);
    free(w->projected);
    free(w->narrow);
}

/* ------------------------------------------------------------------------------------------------ first pass */

/* Set the shift to the mean of the rows in the first slabs of all ranks. */
static void choose_shift(work *w, subject *s, const float *x, int64_t rows)
{
    double count = (double)rows;
    for (int64_t i = 0; i < rows; i++)
        for (int j = 0; j < s->D; j++) s->shift[j] += (double)x[i * s->D + j];
    vj_sum_doubles(w->analysis->comm, &count, 1);
    vj_sum_doubles(w->analysis->comm, s->shift, s->D);
    for (int j = 0; j < s->D; j++) s->shift[j] /= count;
}

static vj_status add_slab(work *w, subject *s, const float *x, int64_t rows)
{
    vj_rows_widen(w->rows, x, rows, s->D, s->shift, s->mean);
    return vj_matrix_add_gram(&s->gram, w->rows, rows);
}

static vj_status sum_products(work *w)
{
    vj_slab slab;
    bool more, first = true;
    vj_progress progress = vj_progress_begin("spectrum");
    vj_progress_expect(&progress, w->analysis->source, 1);
    VJ_TRY(vj_source_begin(w->analysis->source));
    for (;;) {
        VJ_TRY(vj_source_next(w->analysis->source, &slab, &more));
        if (!more) break;
        for (int i = 0; i < w->count; i++) {
            subject *s = &w->subjects[i];
            const int64_t rows = slab.count * s->what->tokens;
            if (first) choose_shift(w, s, slab.x[i], rows);
            VJ_TRY(add_slab(w, s, slab.x[i], rows));
        }
        first = false;
        vj_progress_add(&progress, slab.count);
    }
    vj_progress_end(&progress);
    for (int i = 0; i < w->count; i++) {
        vj_matrix_end_sums(&w->subjects[i].gram);
        vj_sum_many(w->analysis->comm, w->subjects[i].mean, w->subjects[i].D);
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ spectra */

/* a = a / divide + sign u u^T, u [D]. */
static void scale_and_add(vj_matrix *a, double divide, double sign, const double *u)
{
    for (int j = 0; j < a->local_columns; j++)
        for (int i = 0; i < a->local_rows; i++) {
            double *at = &a->local[(int64_t)j * a->local_rows + i];
            *at = *at / divide + sign * u[vj_matrix_row(a, i)] * u[vj_matrix_column(a, j)];
        }
}

static void reverse(double *values, int n)
{
    for (int i = 0; i < n / 2; i++) {
        const double x = values[i];
        values[i] = values[n - 1 - i];
        values[n - 1 - i] = x;
    }
}

/* Compute from the sums the mean, the covariance (in s->gram), and the eigenvalues of the mean of x x^T. */
static vj_status centre(work *w, subject *s)
{
    vj_matrix uncentred = {0};
    for (int j = 0; j < s->D; j++) s->mean[j] /= (double)s->rows;
    scale_and_add(&s->gram, (double)s->rows, -1.0, s->mean);
    for (int j = 0; j < s->D; j++) s->mean[j] += s->shift[j];
    VJ_TRY(vj_matrix_create(&uncentred, w->analysis->ranks, s->D, s->D));
    memcpy(uncentred.local, s->gram.local,
           (size_t)s->gram.local_rows * (size_t)s->gram.local_columns * sizeof *uncentred.local);
    scale_and_add(&uncentred, 1.0, 1.0, s->mean);
    const vj_status status = vj_matrix_eigen(&uncentred, s->squares, NULL);
    reverse(s->squares, s->D);
    vj_matrix_release(&uncentred);
    return status;
}

/*
 * Write covariance^-1/2 = V diag(values^-1/2) V^T, which is symmetric, without directions that have no variance. It is
 * written in blocks of rows by all ranks in turn. `vectors` is overwritten.
 */
static vj_status write_whitening(work *w, const subject *s, vj_matrix *vectors)
{
    enum { ROWS = 64 };
    const vj_analysis *analysis = w->analysis;
    const int known = vj_eigenvalues_above_rounding(s->values, s->D, s->rows - 1);
    vj_matrix whitening = {0};
    double *block = vj_calloc((int64_t)ROWS * s->D, sizeof *block);
    vj_status status = vj_agree(analysis->comm, block ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d rows", ROWS));
    if (status == VJ_OK) status = vj_matrix_create(&whitening, analysis->ranks, s->D, s->D);
    if (status == VJ_OK) {
        for (int j = 0; j < vectors->local_columns; j++) {
            const int number = s->D - 1 - vj_matrix_column(vectors, j);
            const double factor = number < known ? pow(s->values[number], -0.25) : 0.0;
            for (int i = 0; i < vectors->local_rows; i++)
                vectors->local[(int64_t)j * vectors->local_rows + i] *= factor;
        }
        vj_matrix_multiply(1.0, vectors, false, vectors, true, 0.0, &whitening);
    }
    for (int row = 0; status == VJ_OK && row < s->D; row += ROWS) {
        const int rows = s->D - row < ROWS ? s->D - row : ROWS;
        vj_matrix_gather_block(&whitening, row, rows, 0, s->D, block);
        if (row / ROWS % analysis->size == analysis->rank)
            status =
                vj_analysis_file_write(w->output, s->place.whitening, (int64_t)row * s->D, (int64_t)rows * s->D, block);
        status = vj_agree(analysis->comm, status);
    }
    vj_matrix_release(&whitening);
    free(block);
    return status;
}

/* Keep the last `kept` eigenvectors, which have the largest eigenvalues, in descending order. */
static vj_status take_basis(const work *w, subject *s, const vj_matrix *vectors)
{
    if (s->kept == 0) return VJ_OK;
    vj_matrix_gather_block(vectors, 0, s->D, s->D - s->kept, s->kept, s->basis);
    for (int j = 0; j < s->D; j++) reverse(s->basis + (int64_t)j * s->kept, s->kept);
    return vj_agree(w->analysis->comm, vj_factor_create(&s->onto, s->basis, s->D, s->kept));
}

static vj_status diagonalise(work *w, subject *s)
{
    const bool wants_vectors = s->kept > 0 || w->whitening;
    vj_matrix vectors = {0};
    VJ_TRY(centre(w, s));
    if (wants_vectors) VJ_TRY(vj_matrix_create(&vectors, w->analysis->ranks, s->D, s->D));
    vj_status status = vj_matrix_eigen(&s->gram, s->values, wants_vectors ? &vectors : NULL);
    vj_matrix_release(&s->gram);
    reverse(s->values, s->D);
    if (status == VJ_OK) status = take_basis(w, s, &vectors);
    if (status == VJ_OK && w->whitening) status = write_whitening(w, s, &vectors);
    vj_matrix_release(&vectors);
    return status;
}

static vj_status diagonalise_all(work *w)
{
    const double begin = vj_now();
    char each[32], all[32];
    for (int i = 0; i < w->count; i++) {
        VJ_TRY(diagonalise(w, &w->subjects[i]));
        const double seconds = (vj_now() - begin) / (i + 1);
        if (i == 0 && w->count > 1 && w->count * seconds > 5.0)
            vj_log("spectrum: %s for the eigenvalues of the first representation, about %s for all",
                   vj_duration(seconds, each), vj_duration(w->count * seconds, all));
    }
    vj_log("spectrum: all eigenvalues in %s", vj_duration(vj_now() - begin, all));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ second pass */

static vj_status project_slab(work *w, const subject *s, const float *x, int64_t first, int64_t count)
{
    const int64_t rows = count * s->what->tokens;
    vj_rows_project(w->projected, x, s->mean, rows, &s->onto);
    for (int64_t i = 0; i < rows * s->kept; i++) w->narrow[i] = (float)w->projected[i];
    return vj_analysis_file_write(w->output, s->place.projections, first * s->what->tokens * s->kept, rows * s->kept,
                                  w->narrow);
}

static vj_status project(work *w)
{
    vj_slab slab;
    bool more;
    vj_progress progress = vj_progress_begin("projections");
    vj_progress_expect(&progress, w->analysis->source, 1);
    VJ_TRY(vj_source_begin(w->analysis->source));
    for (;;) {
        vj_status status = VJ_OK;
        VJ_TRY(vj_source_next(w->analysis->source, &slab, &more));
        if (!more) break;
        for (int i = 0; i < w->count && status == VJ_OK; i++)
            status = project_slab(w, &w->subjects[i], slab.x[i], slab.first, slab.count);
        VJ_TRY(vj_agree(w->analysis->comm, status));
        vj_progress_add(&progress, slab.count);
    }
    vj_progress_end(&progress);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ results */

static void declare(work *w)
{
    for (int i = 0; i < w->count; i++) {
        subject *s = &w->subjects[i];
        const int64_t D = s->D, k = s->kept, square[] = {D, D}, components[] = {k, D},
                      projections[] = {vj_source_clips(w->analysis->source), s->what->tokens, k};
        s->place.mean = vj_analysis_file_dataset(w->output, H5T_IEEE_F64LE, 1, &D, "%s/mean", s->group);
        s->place.values = vj_analysis_file_dataset(w->output, H5T_IEEE_F64LE, 1, &D, "%s/eigenvalues", s->group);
        if (w->whitening)
            s->place.whitening =
                vj_analysis_file_dataset(w->output, H5T_IEEE_F64LE, 2, square, "%s/whitening", s->group);
        if (k == 0) continue;
        s->place.components =
            vj_analysis_file_dataset(w->output, H5T_IEEE_F64LE, 2, components, "%s/components", s->group);
        s->place.explained = vj_analysis_file_dataset(w->output, H5T_IEEE_F64LE, 1, &k, "%s/explained", s->group);
        s->place.projections =
            vj_analysis_file_dataset(w->output, H5T_IEEE_F32LE, 3, projections, "%s/projections", s->group);
    }
}

/* Only rank 0 calls this. */
static vj_status write_arrays(work *w, const subject *s)
{
    double total = 0.0, *row = vj_calloc(s->D, sizeof *row);
    vj_status status = row ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a component");
    for (int i = 0; i < s->D; i++) total += s->values[i];
    if (status == VJ_OK) status = vj_analysis_file_write(w->output, s->place.mean, 0, s->D, s->mean);
    if (status == VJ_OK) status = vj_analysis_file_write(w->output, s->place.values, 0, s->D, s->values);
    for (int c = 0; c < s->kept && status == VJ_OK; c++) {
        const double explained = s->values[c] / total;
        for (int j = 0; j < s->D; j++) row[j] = s->basis[(int64_t)j * s->kept + c];
        status = vj_analysis_file_write(w->output, s->place.components, (int64_t)c * s->D, s->D, row);
        if (status == VJ_OK) status = vj_analysis_file_write(w->output, s->place.explained, c, 1, &explained);
    }
    free(row);
    return status;
}

static void put_number(const work *w, const subject *s, json_t *row, const char *name, double value)
{
    vj_analysis_file_number(w->output, s->group, name, value);
    vj_put_number(row, name, value);
}

static void put_measures(const work *w, const subject *s)
{
    json_t *row = vj_put_row(w->analysis->report, "representations");
    const int known = vj_eigenvalues_above_rounding(s->values, s->D, s->rows - 1);
    const vj_power_law law = vj_fit_power_law(s->values, known);
    if (known == 0 && w->analysis->rank == 0)
        vj_warn("%s: all %lld rows are equal: the features have collapsed", s->what->name, (long long)s->rows);
    vj_put_text(row, "name", s->what->name);
    vj_put_count(row, "width", s->D);
    vj_put_count(row, "rows", s->rows);
    put_number(w, s, row, "effective_rank", vj_effective_rank(s->values, s->D));
    put_number(w, s, row, "rankme", vj_rankme(s->squares, vj_eigenvalues_above_rounding(s->squares, s->D, s->rows)));
    put_number(w, s, row, "participation_ratio", vj_participation_ratio(s->values, s->D));
    put_number(w, s, row, "stable_rank", vj_stable_rank(s->values, s->D));
    put_number(w, s, row, "power_law_exponent", law.exponent);
    put_number(w, s, row, "power_law_r2", law.r2);
    vj_analysis_file_count(w->output, s->group, "power_law_first", law.first);
    vj_analysis_file_count(w->output, s->group, "power_law_last", law.last);
    vj_analysis_file_number(w->output, s->group, "power_law_intercept", law.intercept);
    vj_analysis_file_text(w->output, s->group, "name", s->what->name);
    vj_analysis_file_text(w->output, s->group, "origin", s->what->origin);
    vj_analysis_file_digest(w->output, s->group, "encoder_digest", s->what->digest);
    vj_analysis_file_count(w->output, s->group, "width", s->D);
    vj_analysis_file_count(w->output, s->group, "tokens", s->what->tokens);
    if (s->what->grid[0] > 0) vj_analysis_file_u64s(w->output, s->group, "grid", s->what->grid, 3);
    vj_analysis_file_count(w->output, s->group, "rows", s->rows);
}

/* ------------------------------------------------------------------------------------------------ the command */

static vj_status compute(work *w)
{
    const vj_analysis *analysis = w->analysis;
    vj_status status = VJ_OK;
    for (int i = 0; i < w->count; i++) {
        VJ_TRY(vj_matrix_create(&w->subjects[i].gram, analysis->ranks, w->subjects[i].D, w->subjects[i].D));
        VJ_TRY(vj_begin_sums(&w->subjects[i].gram, &w->sum_bytes));
    }
    VJ_TRY(sum_products(w));
    VJ_TRY(diagonalise_all(w));
    if (w->components > 0) VJ_TRY(project(w));
    for (int i = 0; i < w->count; i++) {
        put_measures(w, &w->subjects[i]);
        if (status == VJ_OK && analysis->rank == 0) status = write_arrays(w, &w->subjects[i]);
    }
    return vj_agree(analysis->comm, status);
}

static vj_status read_options(work *w)
{
    const vj_analysis_options *options = w->analysis->options;
    int64_t count = 0;
    w->whitening = options->whitening != NULL;
    if ((options->components || options->whitening) && !w->analysis->out)
        return vj_raise(VJ_ERR_USAGE, "--components and --whitening are written into a file: give --out OUT.h5");
    VJ_TRY(vj_option_number("--components", options->components, 0, 1 << 16, &count));
    w->components = (int)count;
    return VJ_OK;
}

/* Note if there are few rows: whatever the features are, n rows minus their mean have at most n - 1 directions. */
static void note_few_rows(const work *w)
{
    int few = 0;
    const subject *first = NULL;
    for (int i = 0; i < w->count; i++) {
        if (w->subjects[i].rows > w->subjects[i].D) continue;
        if (few++ == 0) first = &w->subjects[i];
    }
    if (few > 0)
        vj_log("note: %s has %lld rows for width %d%s: no rank can be above the number of rows; more clips, or "
               "--tokens, say "
               "more about the encoder",
               first->what->name, (long long)first->rows, first->D, few > 1 ? ", and others likewise" : "");
}

/* Forecast the time of sums of products, and of projections. */
static void forecast(const work *w)
{
    double operations = 0.0;
    int widest = 1;
    for (int i = 0; i < w->count; i++) {
        const double D = w->subjects[i].D;
        operations += (double)w->subjects[i].rows * D * (D + 1.0 + 2.0 * w->subjects[i].kept);
        if (w->subjects[i].D > widest) widest = w->subjects[i].D;
    }
    vj_speed_forecast(w->analysis, "spectrum", operations, 0.0, widest);
}

vj_status vj_spectrum_run(vj_analysis *analysis)
{
    work w = {.analysis = analysis};
    VJ_TRY(read_options(&w));
    vj_status status = check_memory(&w);
    if (status == VJ_OK) status = vj_agree(analysis->comm, prepare(&w));
    if (status == VJ_OK) note_few_rows(&w);
    if (status == VJ_OK) forecast(&w);
    if (status == VJ_OK && !analysis->dry_run) status = vj_analysis_file_open(&w.output, analysis, "spectrum");
    if (w.output) {
        declare(&w);
        status = vj_analysis_file_begin(w.output);
        if (status == VJ_OK) status = compute(&w);
        status = vj_analysis_file_commit(w.output, status);
    }
    release(&w);
    return status;
}
