/*
 * The command "speed": times the main operations of the other commands on random rows, and compares them with the
 * processor's peak, which is measured in the same run on all ranks at once. Also makes the forecast with which other
 * commands begin.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/rng.h"
#include "bench/peak.h"
#include "bench/report.h"
#include "bench/spread.h"
#include "parallel/parallel.h"
#include "spectrum/commands.h"
#include "spectrum/neighbours.h"
#include "spectrum/parts.h"
#include "spectrum/ridge_fit.h"

enum { REPEATS = 5, COMPONENTS = 64, NEIGHBOURS = 20, MAX_QUERIES = 1024 };

typedef struct {
    const vj_analysis *analysis;
    int width, rows, threads;
    double peak_gflops; /* of all ranks: the best of several measurements */
    int64_t sum_bytes;  /* left on this rank for vj_begin_sums() */
    float *features;    /* [rows, width], random; x: as doubles, minus a mean */
    double *x, *mean, *sum, *projected, *values;
    vj_factor basis, square; /* [width, COMPONENTS] and [width, width], random */
    double *turned;          /* [VJ_RIDGE_BATCH, width] */
    vj_matrix gram, vectors;
    vj_search search; /* with features as queries */
    json_t *report;
} speed;

/* ------------------------------------------------------------------------------------------------ timing */

/* Measure the peak on all ranks at once, so that they share the machine as during the work. */
static void measure_peak(speed *s)
{
    MPI_Barrier(s->analysis->comm);
    double peak = vj_measure_double_peak(s->threads);
    vj_sum_doubles(s->analysis->comm, &peak, 1);
    if (peak > s->peak_gflops) s->peak_gflops = peak;
}

static vj_status widen(speed *s)
{
    vj_rows_widen(s->x, s->features, s->rows, s->width, s->mean, s->sum);
    return VJ_OK;
}

static vj_status begin_sums(speed *s)
{
    int64_t bytes = s->sum_bytes;
    return vj_begin_sums(&s->gram, &bytes);
}

static vj_status add_products(speed *s)
{
    return vj_matrix_add_gram(&s->gram, s->x, s->rows);
}

static vj_status end_sums(speed *s)
{
    vj_matrix_end_sums(&s->gram);
    return begin_sums(s);
}

static vj_status find_eigenvalues(speed *s)
{
    vj_matrix_end_sums(&s->gram);
    return vj_matrix_eigen(&s->gram, s->values, NULL);
}

static vj_status find_eigenvectors(speed *s)
{
    VJ_TRY(vj_matrix_mirror(&s->gram));
    return vj_matrix_eigen(&s->gram, s->values, &s->vectors);
}

static vj_status project(speed *s)
{
    vj_rows_project(s->projected, s->features, s->mean, s->rows, &s->basis);
    return VJ_OK;
}

/* Operation of compare: cross products of two representations, here of one with itself. */
static vj_status add_cross_products(speed *s)
{
    return vj_matrix_add_cross(&s->gram, s->x, s->x, s->rows);
}

/* Operation of ridge: rows in the basis of eigenvectors, here times any matrix, batch by batch. */
static vj_status turn_rows(speed *s)
{
    for (int at = 0; at < s->rows; at += VJ_RIDGE_BATCH)
        vj_rows_multiply(s->turned, s->x + (int64_t)at * s->width,
                         s->rows - at < VJ_RIDGE_BATCH ? s->rows - at : VJ_RIDGE_BATCH, &s->square);
    return VJ_OK;
}

/* Operation of knn: offer all rows to some of them as queries. */
static vj_status find_neighbours(speed *s)
{
    vj_search_begin(&s->search, s->search.room, 0);
    vj_search_offer(&s->search, s->features, 0, s->rows);
    return VJ_OK;
}

/* Time an operation and add a row to the table. `flops`: of all ranks; 0: not counted. Returns the median seconds. */
static vj_status time_it(speed *s, const char *name, vj_status (*body)(speed *s), double flops, int repeats,
                         double *median_s)
{
    vj_measurements samples = {0};
    for (int i = 0; i < repeats + 1; i++) { /* the first time does not count */
        MPI_Barrier(s->analysis->comm);
        double seconds = vj_now();
        VJ_TRY(vj_agree(s->analysis->comm, body(s)));
        seconds = vj_now() - seconds;
        MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, s->analysis->comm);
        if (i > 0) vj_measurements_add(&samples, seconds);
    }
    measure_peak(s);
    const vj_timing timing = vj_measurements_timing(&samples);
    json_t *row = vj_put_row(s->report, "operations");
    vj_put_text(row, "operation", name);
    vj_put_timing(row, "time_s", timing);
    vj_put_number(row, "gflops", flops > 0 ? flops / timing.median / 1e9 : NAN);
    vj_put_number(row, "best_gflops", flops > 0 ? flops / timing.min / 1e9 : NAN);
    *median_s = timing.median;
    return VJ_OK;
}

/* Add fractions of the peak to all rows, once it is known. */
static void put_fractions(speed *s)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(s->report, "operations"), i, row)
    {
        const json_t *rate = json_object_get(row, "gflops"), *best = json_object_get(row, "best_gflops");
        vj_put_number(row, "fraction_of_peak", json_is_real(rate) ? json_real_value(rate) / s->peak_gflops : NAN);
        vj_put_number(row, "best_fraction", json_is_real(best) ? json_real_value(best) / s->peak_gflops : NAN);
    }
}

/* ------------------------------------------------------------------------------------------------ the command */

static vj_status random_factor(vj_factor *factor, vj_rng *rng, int width, int columns)
{
    double *numbers = vj_calloc((int64_t)width * columns, sizeof *numbers);
    if (!numbers) return vj_raise(VJ_ERR_MEMORY, "no memory for a matrix [%d, %d]", width, columns);
    for (int64_t i = 0; i < (int64_t)width * columns; i++) numbers[i] = vj_rng_uniform(rng);
    const vj_status status = vj_factor_create(factor, numbers, width, columns);
    free(numbers);
    return status;
}

static vj_status prepare(speed *s)
{
    const int64_t numbers = (int64_t)s->rows * s->width;
    vj_rng rng;
    s->features = vj_calloc(numbers, sizeof *s->features);
    s->x = vj_calloc(numbers, sizeof *s->x);
    s->mean = vj_calloc(s->width, sizeof *s->mean);
    s->sum = vj_calloc(s->width, sizeof *s->sum);
    s->projected = vj_calloc((int64_t)s->rows * COMPONENTS, sizeof *s->projected);
    s->values = vj_calloc(s->width, sizeof *s->values);
    s->turned = vj_calloc((int64_t)VJ_RIDGE_BATCH * s->width, sizeof *s->turned);
    if (!s->features || !s->x || !s->mean || !s->sum || !s->projected || !s->values || !s->turned)
        return vj_raise(VJ_ERR_MEMORY, "no memory for %d rows of width %d", s->rows, s->width);
    vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)s->analysis->rank);
    for (int64_t i = 0; i < numbers; i++) s->features[i] = (float)vj_rng_uniform(&rng) - 0.5F;
    VJ_TRY(random_factor(&s->basis, &rng, s->width, COMPONENTS));
    VJ_TRY(random_factor(&s->square, &rng, s->width, s->width));
    const int queries = s->rows < MAX_QUERIES ? s->rows : MAX_QUERIES;
    VJ_TRY(vj_search_create(&s->search, VJ_COSINE, s->width, NEIGHBOURS, 1, queries));
    memcpy(s->search.queries, s->features, (size_t)queries * (size_t)s->width * sizeof *s->features);
    return VJ_OK;
}

static vj_status measure(speed *s)
{
    const vj_analysis *analysis = s->analysis;
    const double D = s->width, rows = (double)s->rows * analysis->size;
    const double batch = 2.0 * rows * D, queries = (double)s->search.room;
    double widen_s, products_s, sums_s, values_s, vectors_s, project_s, other_s;
    char blas[256];
    VJ_TRY(vj_matrix_create(&s->gram, analysis->ranks, s->width, s->width));
    VJ_TRY(vj_matrix_create(&s->vectors, analysis->ranks, s->width, s->width));
    VJ_TRY(begin_sums(s));
    measure_peak(s);
    VJ_TRY(time_it(s, "to doubles", widen, 0.0, REPEATS, &widen_s));
    VJ_TRY(time_it(s, "sum of products", add_products, rows * D * (D + 1.0), REPEATS, &products_s));
    VJ_TRY(time_it(s, "sum of cross products", add_cross_products, batch * D, REPEATS, &other_s));
    VJ_TRY(time_it(s, "sum of all ranks", end_sums, 0.0, VJ_FEWEST_REPEATS, &sums_s));
    VJ_TRY(time_it(s, "projections", project, batch * COMPONENTS, REPEATS, &project_s));
    VJ_TRY(time_it(s, "rotations", turn_rows, batch * D, REPEATS, &other_s));
    VJ_TRY(time_it(s, "nearest neighbours", find_neighbours, batch * queries, REPEATS, &other_s));
    VJ_TRY(time_it(s, "eigenvalues", find_eigenvalues, 0.0, VJ_FEWEST_REPEATS, &values_s));
    VJ_TRY(time_it(s, "eigenvectors", find_eigenvectors, 0.0, VJ_FEWEST_REPEATS, &vectors_s));
    put_fractions(s);
    vj_blas_describe(blas, sizeof blas);
    vj_put_text(s->report, "blas", blas);
    vj_put_count(s->report, "threads", s->threads);
    vj_put_count(s->report, "width", s->width);
    vj_put_count(s->report, "rows", s->rows);
    vj_put_number(s->report, "fp64_peak_gflops", s->peak_gflops);
    /* Includes the eigenvalues for RankMe, and the eigenvectors of the covariance. */
    vj_put_number(s->report, "extrapolated_s_of_1e7_rows",
                  1e7 / rows * (widen_s + products_s) + sums_s + values_s + vectors_s);
    vj_put_number(s->report, "extrapolated_s_of_projecting_them", 1e7 / rows * project_s);
    return VJ_OK;
}

vj_status vj_speed_run(vj_analysis *analysis)
{
    enum { MAX_WIDTH = 1 << 15, MAX_ROWS = 1 << 20 };
    speed s = {.analysis = analysis, .report = analysis->report, .threads = vj_place_of(analysis->comm).threads};
    int64_t width = 1408, rows = 4096;
    VJ_TRY(vj_option_number("--width", analysis->options->width, 1, MAX_WIDTH, &width));
    VJ_TRY(vj_option_number("--rows", analysis->options->rows, 1, MAX_ROWS, &rows));
    s.width = (int)width;
    s.rows = (int)rows;
    VJ_TRY(vj_memory_for_sums(&s.sum_bytes, analysis->comm, analysis->options->memory, 0));
    if (analysis->dry_run) return VJ_OK;
    vj_status status = vj_agree(analysis->comm, prepare(&s));
    if (status == VJ_OK) status = measure(&s);
    vj_matrix_release(&s.gram);
    vj_matrix_release(&s.vectors);
    free(s.features);
    free(s.x);
    free(s.mean);
    free(s.sum);
    vj_factor_release(&s.basis);
    free(s.projected);
    free(s.values);
    vj_factor_release(&s.square);
    free(s.turned);
    vj_search_release(&s.search);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the forecast */

void vj_speed_forecast(const vj_analysis *analysis, const char *command, double sums, double others, int width)
{
    const double much = 2e11, slow = 0.2;
    const int threads = vj_place_of(analysis->comm).threads;
    char blas[256], time[32];
    if (sums + others < much) return;
    MPI_Barrier(analysis->comm); /* all at once, so that ranks share what they will share */
    double rates[3] = {vj_sums_gflops(width), vj_blas_gflops(width), vj_measure_double_peak(threads)};
    vj_sum_doubles(analysis->comm, rates, 3);
    const double share = rates[1] / rates[2], seconds = (sums / rates[0] + others / rates[1]) / 1e9,
                 rate = (sums + others) / seconds / 1e9;
    vj_blas_describe(blas, sizeof blas);
    vj_log("%s: %.3g operations in products take about %s, at %.0f GFLOP/s (%.0f %% of the double peak; BLAS: %s)",
           command, sums + others, vj_duration(seconds, time), rate, 100.0 * rate / rates[2], blas);
    if (share < slow && analysis->rank == 0)
        vj_warn("the BLAS reaches %.0f %% of what the processor can do: install a fast one (Debian: "
                "libopenblas0-openmp), or see INSTALL, \"Analysis of features\"",
                100.0 * share);
}
