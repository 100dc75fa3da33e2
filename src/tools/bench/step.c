/*
 * Measures the training step with the code of vjepa-pretrain: seconds by phase, and which part of the processor's peak
 * the products of the published method reach. Every repetition does the work of the first step, with its masks and the
 * same number of tokens, so that the spread comes from the machine and not from the masks.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/rng.h"
#include "bench/inner.h"
#include "feed/loader.h"
#include "parallel/parallel.h"
#include "train/precision.h"
#include "train/step.h"

enum { MAX_OPERATIONS = 256 };

/* Clips of a step: random, or from a store through the loader. */
typedef struct {
    float *pixels;
    vj_clips *clips;
    vj_loader *loader;
} source;

typedef struct {
    vj_measurements compute; /* the step without sums over ranks and updates */
    vj_measurements step, comm, backward_comm, phase[VJ_PHASES];
    vj_measurements own[VJ_PHASES]; /* of this rank; all others are of the slowest rank */
    vj_step_report last;            /* of the last step */
    int64_t steps;                  /* steps after the first, including those without a sample */
    vj_progress_line line;          /* lines about the present step */
} measured;

/* ------------------------------------------------------------------------------------------------ clips */

/* Unless the command line asks for something else, use one clip for each rank or tensor group, in one microbatch. */
static vj_status choose_batch(vj_config *c, const vj_bench_work *work)
{
    const bool microbatch_given = vj_config_origin(c, "train.microbatch") < 0;
    if (work->bench->as_configured) return VJ_OK;
    if (!microbatch_given && vj_config_origin(c, "train.batch") < 0)
        return work->rank != 0 ? VJ_ERR_USAGE
                               : vj_raise(VJ_ERR_USAGE, "--set train.batch: give train.microbatch too, or neither");
    if (!microbatch_given) c->train.microbatch = 1;
    const int64_t groups = work->size / c->parallel.tensor;
    if (vj_config_origin(c, "train.batch") >= 0) c->train.batch = c->train.microbatch * (groups > 0 ? groups : 1);
    return VJ_OK;
}

static vj_status open_random(source *from, const vj_step *step)
{
    enum { PERIOD = 1 << 16 };
    const int64_t n = (step->last - step->first) * step->model->net.tokens * (int64_t)step->model->net.patch_values;
    vj_rng rng;
    from->pixels = vj_calloc(n, sizeof *from->pixels);
    if (!from->pixels) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld pixels", (long long)n);
    vj_rng_init(&rng, (uint64_t)step->config->run.seed, VJ_RNG_TEST, (uint64_t)step->layout.data_rank);
    for (int64_t i = 0; i < n; i++)
        from->pixels[i] = i < PERIOD ? (float)vj_rng_normal(&rng) : from->pixels[i - PERIOD];
    return VJ_OK;
}

static vj_status open_store(source *from, const vj_step *step, const char *path)
{
    const vj_config *c = step->config;
    vj_strings paths;
    VJ_TRY(vj_strings_one(&paths, path));
    VJ_TRY(vj_clips_open_training(&from->clips, &paths, (int)c->data.frames, step->layout.world));
    if (vj_clips_frames(from->clips) != c->data.frames)
        return vj_raise(VJ_ERR_USAGE, "%s holds %d frames a clip, data.frames is %lld", path,
                        vj_clips_frames(from->clips), (long long)c->data.frames);
    VJ_TRY(vj_model_accept_frames(step->model, vj_clips_largest_bytes(from->clips)));
    return vj_loader_start_training(&from->loader, from->clips, c, step->be, 0, INT32_MAX, step->first, step->last);
}

static void close_source(source *from)
{
    vj_loader_stop(from->loader);
    vj_clips_close(from->clips);
    free(from->pixels);
}

static vj_status next_batch(source *from, const vj_step *step, vj_batch *batch, double *wait_s)
{
    *wait_s = 0;
    *batch = (vj_batch){.count = step->last - step->first, .pixels = from->pixels};
    if (from->loader) VJ_TRY(vj_loader_next(from->loader, batch, wait_s));
    batch->step = 0;
    batch->first = step->first;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ steps */

static vj_status one_step(vj_step *step, source *from, measured *m, int64_t update)
{
    const double begin = vj_now();
    vj_step_report *report = &m->last;
    vj_batch batch;
    m->line = vj_progress_line_begin();
    m->steps = update - 1;
    vj_phase_enter(step->be, VJ_PHASE_DATA);
    VJ_TRY(next_batch(from, step, &batch, &report->wait_s));
    VJ_TRY(vj_step_run(step, 0, update, &batch, report));
    report->step_s = vj_now() - begin;
    return VJ_OK;
}

/* To be used as vj_step.progress. */
static void log_progress(void *user, int64_t number, double done, int64_t all, double now_s)
{
    measured *m = user;
    char what[64];
    (void)number; /* always 0 */
    snprintf(what, sizeof what, "bench: step %lld, of at least %d", (long long)m->steps + 1, VJ_FEWEST_REPEATS + 1);
    vj_progress_line_log(&m->line, what, done / (double)all, now_s);
}

static vj_status measure(const vj_bench_work *work, vj_step *step, source *from, measured *m)
{
    double before[VJ_PHASES], after[VJ_PHASES];
    int64_t update = 1;
    if (work->rank == 0) step->progress.tell = log_progress, step->progress.listener = m;
    VJ_TRY(vj_agree(work->comm, one_step(step, from, m, update))); /* touches all memory */
    vj_phase_reset(step->be);
    while (vj_plan_goes_on(&work->plan, &m->step)) {
        MPI_Barrier(work->comm);
        vj_phase_seconds(step->be, before);
        VJ_TRY(vj_agree(work->comm, one_step(step, from, m, ++update)));
        vj_phase_seconds(step->be, after);
        const double slowest_s = vj_bench_sample(work, &m->step, m->last.step_s);
        vj_bench_sample(work, &m->comm, m->last.comm_s);
        vj_bench_sample(work, &m->backward_comm, m->last.backward_comm_s);
        double compute_s = m->last.step_s;
        for (int p = VJ_PHASE_REDUCE; p <= VJ_PHASE_OPTIMIZER; p++) compute_s -= after[p] - before[p];
        vj_bench_sample(work, &m->compute, compute_s);
        for (int p = 0; p < VJ_PHASES; p++) {
            vj_bench_sample(work, &m->phase[p], after[p] - before[p]);
            vj_measurements_add(&m->own[p], after[p] - before[p]);
        }
        if (vj_bench_pause(work, slowest_s)) VJ_TRY(vj_agree(work->comm, one_step(step, from, m, ++update)));
    }
    m->steps = update - 1;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ report */

static int longest_first(const void *a, const void *b)
{
    const double x = ((const vj_op_profile *)a)->seconds, y = ((const vj_op_profile *)b)->seconds;
    return (x < y) - (x > y);
}

/*
 * Add the operations by phase on this rank, as means of a step. The floor of an operation is that of the roofline
 * model: the time of its products at the peak `top`, or of its bytes at the rate of a copy, whichever is longer.
 */
static void put_profile(json_t *report, const vj_step *step, const measured *m, double top, double bandwidth)
{
    static vj_op_profile profile[MAX_OPERATIONS];
    const int count = vj_backend_profile(step->be, profile, MAX_OPERATIONS);
    const double steps = (double)m->steps;
    double all = 0; /* mean seconds of a step with a sample, times the number of steps */
    VJ_ASSERT(count <= MAX_OPERATIONS);
    qsort(profile, (size_t)count, sizeof *profile, longest_first);
    for (int i = 0; i < m->step.count; i++) all += m->step.value[i] * steps / m->step.count;
    for (int i = 0; i < count; i++) {
        const vj_op_profile *p = &profile[i];
        const double floor_s = 1e-9 * fmax(p->flops / top, p->bytes / bandwidth);
        json_t *row = vj_put_row(report, "profile");
        vj_put_text(row, "operation", p->name);
        vj_put_text(row, "phase", vj_phase_name(p->phase));
        vj_put_number(row, "calls", (double)p->calls / steps);
        vj_put_number(row, "seconds", p->seconds / steps);
        vj_put_number(row, "share", p->seconds / all);
        vj_put_number(row, "gflops", 1e-9 * p->flops / p->seconds);
        vj_put_number(row, "gb_s", 1e-9 * p->bytes / p->seconds);
        vj_put_number(row, "floor_s", floor_s / steps);
        vj_put_number(row, "of_floor", floor_s / p->seconds);
    }
}

/* The median of a phase over the steps, on one rank. */
typedef struct {
    double median;
    int rank;
    char node[64];
} rank_phase;

/* Add minimum, mean and maximum of each phase over the ranks, and the slowest rank. Collective. */
static void put_ranks(const vj_bench_work *work, const measured *m)
{
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;
    rank_phase *all = vj_calloc(work->rank == 0 ? work->size : 0, sizeof *all);
    VJ_ASSERT(all);
    MPI_Get_processor_name(host, &length);
    for (int p = 0; p < VJ_PHASES; p++) {
        rank_phase mine = {.median = vj_measurements_timing(&m->own[p]).median, .rank = work->rank};
        snprintf(mine.node, sizeof mine.node, "%.63s", host);
        MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, 0, work->comm);
        if (work->rank != 0) continue;
        double min = INFINITY, sum = 0;
        const rank_phase *slowest = all;
        for (int r = 0; r < work->size; r++) {
            min = fmin(min, all[r].median);
            sum += all[r].median;
            if (all[r].median > slowest->median) slowest = &all[r];
        }
        json_t *row = vj_put_row(work->report, "phases_over_ranks");
        vj_put_text(row, "phase", vj_phase_name((vj_phase)p));
        vj_put_number(row, "min", min);
        vj_put_number(row, "mean", sum / work->size);
        vj_put_number(row, "max", slowest->median);
        vj_put_count(row, "slowest_rank", slowest->rank);
        vj_put_text(row, "slowest_node", slowest->node);
    }
    free(all);
}

/* Add the time of a step and the rates of its products: `gflop` of all ranks in a step, `top` and `parts_top` the peaks
 * of their precision and of bf16 parts. */
static void put_rates(const vj_bench_work *work, const vj_step *step, const measured *m, const vj_peak *peak,
                      double gflop, double top, double parts_top)
{
    json_t *report = work->report;
    const vj_timing time = vj_measurements_timing(&m->step);
    const double gflops = gflop / time.median;
    vj_put_timing(report, "step_s", time);
    if (work->size > 1) { /* waiting for other ranks included */
        vj_put_timing(report, "comm_s", vj_measurements_timing(&m->comm));
        vj_put_timing(report, "comm_in_backward_s", vj_measurements_timing(&m->backward_comm));
    }
    vj_put_number(report, "gflop", gflop);
    vj_put_number(report, "gflops", gflops);
    vj_put_number(report, "compute_gflops", gflop / vj_measurements_timing(&m->compute).median); /* cluster.gflops_* */
    vj_put_number(report, "peak_gflops", top);
    vj_put_number(report, "fraction_of_peak", gflops / top);
    if (vj_backend_precision(step->be) == VJ_BF16) /* shows the gain from matrix tiles */
        vj_put_number(report, "fraction_of_vector_peak", gflops / peak->bf16_vector_gflops);
    if (vj_backend_parts_products(step->be) >
        0) /* floats are multiplied in bf16 parts: relative to the peak of tiles */
        vj_put_number(report, "fraction_of_parts_peak", gflops / parts_top);
}

static void put_phases(json_t *report, const measured *m)
{
    json_t *phases = vj_put_object(report, "phases"), *spread = vj_put_object(report, "phases_spread");
    for (int p = 0; p < VJ_PHASES; p++) {
        const vj_timing phase = vj_measurements_timing(&m->phase[p]);
        vj_put_number(phases, vj_phase_name((vj_phase)p), phase.median);
        vj_put_timing(spread, vj_phase_name((vj_phase)p), phase);
    }
}

static void put_result(const vj_bench_work *work, const vj_step *step, const measured *m, const vj_peak *peak)
{
    const vj_config *c = step->config;
    json_t *report = work->report;
    const double top = vj_backend_precision(step->be) == VJ_BF16 ? peak->bf16_gflops : peak->fp32_gflops;
    const int products = vj_backend_parts_products(step->be);
    const double parts_top = products ? fmax(top, peak->bf16_gflops / products) : top;
    const bool counts = step->layout.tensor_rank == 0; /* the clips of its group */
    double sums[4] = {m->last.flops, counts ? (double)m->last.context_rows : 0.0,
                      counts ? (double)m->last.predictor_rows : 0.0, (double)vj_peak_bytes()};
    double largest = sums[3];
    vj_sum_doubles(work->comm, sums, 4);
    MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE, MPI_MAX, work->comm);

    vj_put_text(report, "kernels", vj_backend_describe(step->be));
    vj_put_text(report, "products", step->products.rates);
    vj_put_text(report, "precision", c->train.precision);
    vj_put_text(report, "clip_source", work->bench->clips ? work->bench->clips : "synthetic");
    vj_put_count(report, "clips", c->train.batch);
    vj_put_count(report, "microbatch", c->train.microbatch);
    vj_put_count(report, "data_ranks", step->layout.data_size);
    vj_put_count(report, "tensor_ranks", step->layout.tensor_size);
    vj_put_count(report, "tokens", step->model->net.tokens);
    vj_put_count(report, "context_rows", (int64_t)sums[1]);
    vj_put_count(report, "predictor_rows", (int64_t)sums[2]);
    vj_put_count(report, "parameters", step->model->net.params.elements);
    vj_put_number(report, "loss", m->last.loss);
    vj_put_count(report, "repeats", m->step.count);
    put_rates(work, step, m, peak, 1e-9 * sums[0], top, parts_top);
    vj_put_count(report, "peak_bytes", (int64_t)largest);
    vj_put_count(report, "peak_bytes_all_ranks", (int64_t)sums[3]);
    put_phases(report, m);
    put_ranks(work, m);
    if (work->bench->profile) {
        const double bandwidth = vj_measure_bandwidth(work->threads);
        vj_put_number(report, "copy_gb_s", bandwidth);
        put_profile(report, step, m, parts_top / work->size, bandwidth);
    }
}

/* ------------------------------------------------------------------------------------------------ command */

static vj_status run(const vj_bench_work *work, vj_step *step, source *from, measured *m)
{
    const vj_config *c = step->config;
    const char *clips = work->bench->clips;
    vj_model_init_weights(step->model, (vj_init)c->model.init, c->predictor.zero_init_mask_tokens, c->run.seed);
    const bool random = !clips || strcmp(clips, "synthetic") == 0;
    VJ_TRY(vj_agree(work->comm, random ? open_random(from, step) : open_store(from, step, clips)));
    vj_bench_watch_peak(work);
    VJ_TRY(measure(work, step, from, m));
    const vj_peak peak = vj_bench_peak(work);
    put_result(work, step, m, &peak);
    return VJ_OK;
}

vj_status vj_bench_step(vj_bench_work *work)
{
    vj_config *c = vj_calloc(1, sizeof *c);
    measured *m = vj_calloc(1, sizeof *m);
    vj_step *step = NULL;
    source from = {0};
    vj_status status = c && m ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a measurement");
    if (status == VJ_OK) *c = *work->config;
    if (status == VJ_OK) status = choose_batch(c, work);
    if (status == VJ_OK) status = vj_precision_choose(c, work->comm);
    if (status == VJ_OK) status = vj_step_open(&step, c, work->comm);
    if (status == VJ_OK) status = run(work, step, &from, m);
    close_source(&from);
    if (status == VJ_OK) vj_step_close(step); /* collective: a rank that failed alone would wait for ever */
    free(m);
    free(c);
    return status;
}
