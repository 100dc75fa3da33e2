/*
 * Measures the training step of the published networks on one GPU, with random frames and weights and the published
 * masks. It runs the model's own code, and calls the optimizer's kernels as train/optimizer.c does, which itself needs
 * MPI. Each repetition does the work of the first step.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "base/rng.h"
#include "gpu_check.h"
#include "model/flops.h"
#include "model/model.h"

enum { WARM_UPS = 3, STEPS = 10, PROFILED = 3, MAX_ROWS = 256 };
static const double PEAK_TFLOPS = 989; /* dense bf16 of an H100 or H200 SXM, to which shares are given */

/* Networks as in jobs/configs; `tiny` is for the emulated GPU. */
static const struct {
    const char *name;
    int width, depth, heads, predictor_width, predictor_depth, frames, crop, short_side, clips;
    vj_recompute recompute;
} networks[] = {
    {"L224", 1024, 24, 16, 384, 12, 16, 224, 256, 24, VJ_RECOMPUTE_NONE},
    {"H224", 1280, 32, 16, 384, 12, 16, 224, 256, 24, VJ_RECOMPUTE_BLOCK},
    {"H384", 1280, 32, 16, 384, 12, 16, 384, 440, 10, VJ_RECOMPUTE_BLOCK},
    {"tiny", 64, 2, 2, 32, 1, 4, 64, 70, 2, VJ_RECOMPUTE_NONE},
};
static const char *const recompute_names[] = {"none", "attention", "block"};

typedef struct {
    vj_config config;
    vj_backend *be;
    vj_model *model;
    vj_mask_lists lists;
    uint8_t *frames;     /* owned; vj_host_alloc() */
    vj_clip_view *views; /* owned, [clips] */
    float *first_moment, *second_moment;
    double *sums;          /* device, [params.count] */
    double *squares;       /* owned, the same on the host */
    vj_span *spans;        /* owned, [params.count] */
    vj_segment *segments;  /* owned, [params.count] */
    int64_t update;        /* number of the last update */
    double loss, gradient; /* loss and norm of the gradient in the last step */
    bool counting;         /* kernels only count and compute nothing (work.c) */
} trainer;

/* ------------------------------------------------------------------------------------------------ opening */

static bool configure(trainer *t, const char *name, const char *recompute)
{
    enum { NETWORKS = sizeof networks / sizeof networks[0], WAYS = 3 };
    int i = 0, how = 0;
    while (i < NETWORKS && strcmp(networks[i].name, name) != 0) i++;
    if (i < NETWORKS && !recompute) recompute = recompute_names[networks[i].recompute];
    while (recompute && how < WAYS && strcmp(recompute_names[how], recompute) != 0) how++;
    if (i == NETWORKS || how == WAYS) {
        fprintf(stderr, "gpu-check: step %s %s: expected L224, H224, H384 or tiny, and none, attention or block\n",
                name, recompute ? recompute : "");
        return false;
    }
    vj_config *c = &t->config;
    c->run.seed = 234;
    c->data.frames = networks[i].frames;
    c->data.crop = networks[i].crop;
    c->pack.short_side = networks[i].short_side;
    c->model.width = networks[i].width;
    c->model.depth = networks[i].depth;
    c->model.heads = networks[i].heads;
    c->model.mlp_ratio = 4;
    c->model.patch = 16;
    c->model.tubelet = 2;
    c->model.uniform_power = 1;
    c->predictor.width = networks[i].predictor_width;
    c->predictor.depth = networks[i].predictor_depth;
    c->predictor.heads = networks[i].heads;
    c->mask.cut = VJ_CUT_GROUP;
    c->mask.group = c->train.batch = c->train.microbatch = networks[i].clips;
    c->mask.count = 2;
    for (int g = 0; g < 2; g++)
        c->mask.generator[g] = (vj_mask_settings){.kind = VJ_MASK_MULTIBLOCK,
                                                  .blocks = g == 0 ? 8 : 2,
                                                  .spatial_scale = {g == 0 ? 0.15 : 0.7, g == 0 ? 0.15 : 0.7},
                                                  .temporal_scale = {1, 1},
                                                  .aspect = {0.75, 1.5},
                                                  .max_temporal_keep = 1};
    c->objective.kind = VJ_OBJECTIVE_FEATURE;
    c->objective.loss_exp = 1;
    c->train.recompute = how;
    printf("network %s: batch %d, recompute %s\n", name, networks[i].clips, recompute_names[how]);
    return true;
}

/* Make random frames, the same for each clip, of which a part is cropped. */
static vj_status make_clips(trainer *t)
{
    const vj_config *c = &t->config;
    const int height = (int)c->pack.short_side, width = height * 4 / 3, crop = (int)c->data.crop;
    const int64_t clips = c->train.microbatch, bytes = c->data.frames * height * width * 3;
    t->frames = vj_host_alloc(t->be, clips * bytes);
    t->views = vj_calloc(clips, sizeof *t->views);
    if (!t->frames || !t->views) return vj_raise(VJ_ERR_MEMORY, "no memory for clips");
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, 0);
    for (int64_t i = 0; i < bytes; i++) t->frames[i] = (uint8_t)vj_rng_u32(&rng);
    for (int64_t i = 0; i < clips; i++) {
        if (i > 0) memcpy(t->frames + i * bytes, t->frames, (size_t)bytes);
        t->views[i] = (vj_clip_view){i * bytes, height, width, {1, 2, crop, crop, (int)i % 2}};
    }
    return vj_model_accept_frames(t->model, bytes);
}

/*
 * Set weights to repeating numbers from N(0, 0.02) and gains to one. Drawing half a billion numbers would take longer
 * than all that is measured, and does not matter for the time of a step.
 */
static vj_status make_weights(trainer *t)
{
    enum { PERIOD = 1 << 20 };
    const vj_params *ps = &t->model->net.params;
    float *host = vj_calloc(PERIOD, sizeof *host), *weights = t->model->trained.weights;
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory for weights");
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, 1);
    for (int i = 0; i < PERIOD; i++) host[i] = (float)(0.02 * vj_rng_normal(&rng));
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        t->spans[i] = (vj_span){p->offset, p->count};
        t->segments[i] = (vj_segment){p->offset, p->count, 1e-4, 0.04 * p->decay};
        if (p->start == VJ_START_ONE) vj_fill(t->be, weights + p->offset, 1.0f, p->count);
        if (p->start == VJ_START_ONE || p->start == VJ_START_ZERO || t->counting) continue;
        for (int64_t at = 0; at < p->count; at += PERIOD)
            vj_upload(t->be, weights + p->offset + at, host, (p->count - at < PERIOD ? p->count - at : PERIOD) * 4);
    }
    vj_copy(t->be, t->model->trained.target, weights, ps->encoder_total);
    vj_fill(t->be, t->first_moment, 0, ps->total);
    vj_fill(t->be, t->second_moment, 0, ps->total);
    free(host);
    return vj_sync(t->be);
}

/* Open the GPU, with the candidate that is fastest for products there, unless the environment chooses. */
static vj_status open_gpu(trainer *t)
{
    vj_product_rate rates[VJ_PRODUCT_CANDIDATES];
    int count;
    VJ_TRY(vj_backend_open(&t->be, "cuda", VJ_BF16, 0));
    if (!getenv("VJ_PRODUCTS")) {
        VJ_TRY(vj_backend_time_products(t->be, rates, VJ_PRODUCT_CANDIDATES, &count));
        for (int i = 0; i < count; i++)
            printf("products %-10s %8.1f TFLOP/s (%s)\n", rates[i].name, 1e-3 * rates[i].gflops, rates[i].detail);
        VJ_TRY(vj_backend_set_products(t->be, rates[vj_product_rates_pick(rates, count)].name));
    }
    vj_kernels kernels;
    vj_backend_kernels(t->be, &kernels);
    printf("%s, products %s (%s)\n", vj_backend_describe(t->be), vj_backend_products(t->be), kernels.library);
    return VJ_OK;
}

static vj_status open_network(trainer *t)
{
    const vj_config *c = &t->config;
    const vj_shape shape = vj_shape_from(c);
    const vj_objective_settings objective = vj_objective_from(c, 1, 1);
    const vj_grid grid = vj_shape_grid(&shape);
    const vj_ragged_bounds bounds = vj_ragged_bounds_from(c, grid, c->train.microbatch);
    VJ_TRY(vj_model_create(&t->model, &shape, &objective, &bounds, NULL, t->be));
    VJ_TRY(vj_mask_lists_create(&t->lists, c->mask.count, c->train.microbatch, vj_grid_tokens(grid)));
    const vj_params *ps = &t->model->net.params;
    t->first_moment = vj_device_alloc(t->be, ps->total * 4);
    t->second_moment = vj_device_alloc(t->be, ps->total * 4);
    t->sums = vj_device_alloc(t->be, ps->count * (int64_t)sizeof *t->sums);
    t->squares = vj_calloc(ps->count, sizeof *t->squares);
    t->spans = vj_calloc(ps->count, sizeof *t->spans);
    t->segments = vj_calloc(ps->count, sizeof *t->segments);
    if (!t->first_moment || !t->second_moment || !t->sums || !t->squares || !t->spans || !t->segments)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    VJ_TRY(make_clips(t));
    return make_weights(t);
}

static void close_trainer(trainer *t)
{
    vj_mask_lists_release(&t->lists);
    if (t->be) vj_host_free(t->be, t->frames);
    vj_model_destroy(t->model);
    vj_backend_close(t->be);
    free(t->views);
    free(t->squares);
    free(t->spans);
    free(t->segments);
    free(t);
}

/* ------------------------------------------------------------------------------------------------ steps */

static void update_part(trainer *t, int first, int count, const vj_adamw_step *step, bool target)
{
    const vj_trainable *trained = &t->model->trained;
    const vj_adamw_vectors vectors = {.w = trained->weights,
                                      .first_moment = t->first_moment,
                                      .second_moment = t->second_moment,
                                      .gradient = trained->gradient,
                                      .target = target ? trained->target : NULL,
                                      .rounded_w = trained->rounded_weights,
                                      .rounded_target = target ? trained->rounded_target : NULL};
    vj_adamw(t->be, &vectors, t->segments + first, count, step);
}

static vj_status one_step(trainer *t)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    const vj_config *c = &t->config;
    const vj_params *ps = &t->model->net.params;
    const vj_input clips = {.frames = t->frames, .views = t->views, .mean = mean, .std = std};
    vj_phase_enter(t->be, VJ_PHASE_DATA);
    VJ_TRY(vj_masks_sample(&t->lists, c, t->model->net.grid, 0, 0, c->train.microbatch));
    VJ_TRY(vj_model_microbatch(t->model, &clips, &t->lists, c->train.batch, 0));

    vj_phase_enter(t->be, VJ_PHASE_OPTIMIZER);
    double asked[VJ_MAX_MASKS + 1], by_mask[VJ_MAX_MASKS], penalty, squares = 0;
    vj_sum_squares_many(t->be, t->sums, t->model->trained.gradient, t->spans, ps->count);
    vj_download_later(t->be, t->squares, t->sums, ps->count * (int64_t)sizeof *t->squares);
    vj_model_download_losses(t->model, asked);
    VJ_TRY(vj_sync(t->be));
    for (int i = 0; i < ps->count; i++) squares += t->squares[i];
    vj_model_losses(t->model, asked, by_mask, &penalty);
    t->loss = penalty;
    for (int i = 0; i < c->mask.count; i++) t->loss += by_mask[i];
    t->gradient = sqrt(squares);
    t->update++;
    const vj_adamw_step step = {.beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = 1e-8,
                                .correction1 = 1 - pow(0.9, (double)t->update),
                                .correction2 = 1 - pow(0.999, (double)t->update),
                                .gradient_scale = t->gradient > 10 ? 10 / t->gradient : 1,
                                .ema = 0.998};
    int encoder = 0;
    while (encoder < ps->count && ps->item[encoder].part == VJ_ENCODER) encoder++;
    update_part(t, 0, encoder, &step, true);
    update_part(t, encoder, ps->count - encoder, &step, false);
    t->model->trained.copies_updated = true;
    vj_phase_enter(t->be, VJ_PHASE_OTHER);
    return vj_sync(t->be);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static int longest_first(const void *a, const void *b)
{
    return ascending(&((const vj_op_profile *)b)->seconds, &((const vj_op_profile *)a)->seconds);
}

/* Print the mean time of each phase of a step, measured by the device. */
static void print_phases(const trainer *t, int steps)
{
    double phases[VJ_PHASES];
    vj_phase_seconds(t->be, phases);
    for (int p = 0; p < VJ_PHASES; p++)
        if (phases[p] > 0) printf("phase %-10s %9.3f ms\n", vj_phase_name((vj_phase)p), 1e3 * phases[p] / steps);
}

/* Print the mean time of each operation of a step. Each launch is waited for, so the step takes somewhat longer. */
static void print_profile(const trainer *t)
{
    static vj_op_profile row[MAX_ROWS];
    const int count = vj_backend_profile(t->be, row, MAX_ROWS);
    VJ_ASSERT(count <= MAX_ROWS);
    qsort(row, (size_t)count, sizeof *row, longest_first);
    for (int i = 0; i < count; i++) {
        const double s = row[i].seconds;
        printf("%-28s %-10s %6.0f calls %9.3f ms %8.1f TFLOP/s %8.1f GB/s\n", row[i].name, vj_phase_name(row[i].phase),
               (double)row[i].calls / PROFILED, 1e3 * s / PROFILED, 1e-12 * row[i].flops / s, 1e-9 * row[i].bytes / s);
    }
}

static vj_status measure(trainer *t, bool profile)
{
    double seconds[STEPS];
    size_t unused, total;
    const int steps = profile ? PROFILED : STEPS;
    for (int i = 0; i < WARM_UPS; i++) VJ_TRY(one_step(t));
    vj_phase_reset(t->be);
    for (int i = 0; i < steps; i++) {
        const double began_s = vj_now();
        VJ_TRY(one_step(t));
        seconds[i] = vj_now() - began_s;
    }
    if (!isfinite(t->loss) || !isfinite(t->gradient))
        return vj_raise(VJ_ERR_STATE, "loss %g, norm of the gradient %g: expected finite numbers", t->loss,
                        t->gradient);
    const double flops = vj_step_flops(&t->model->net, &t->lists);
    qsort(seconds, (size_t)steps, sizeof *seconds, ascending);
    const double median = seconds[steps / 2];
    printf("%s %.3f ms a step (median of %d, %.3f to %.3f), %.4f TFLOP, %.2f TFLOP/s, %.2f %% of %.0f TFLOP/s\n",
           profile ? "profiled:" : "measured:", 1e3 * median, steps, 1e3 * seconds[0], 1e3 * seconds[steps - 1],
           1e-12 * flops, 1e-12 * flops / median, 1e-10 * flops / median / PEAK_TFLOPS, PEAK_TFLOPS);
    print_phases(t, steps);
    if (profile) print_profile(t);
    printf("loss %.6f, norm of the gradient %.6g, context rows %lld, predictor rows %lld\n", t->loss, t->gradient,
           (long long)t->model->packing.context.rows, (long long)t->model->packing.predictor.rows);
    printf("tokens a clip: "); /* all clips have the same number, because the batch is one group */
    for (int i = 0; i < t->lists.masks; i++)
        printf("%s%d context %d target", i ? ", " : "", t->lists.contexts[i * t->lists.clips],
               t->lists.targets[i * t->lists.clips]);
    printf("\n");
    printf("device memory: %.3f GiB allocated for arrays", (double)vj_device_bytes(t->be) / (1 << 30));
    if (cudaMemGetInfo(&unused, &total) == cudaSuccess)
        printf(", %.3f of %.3f GiB of the device in use", (double)(total - unused) / (1 << 30),
               (double)total / (1 << 30));
    printf("\n");
    return VJ_OK;
}

int gpu_step(const char *name, const char *recompute, bool profile)
{
    trainer *t = vj_calloc(1, sizeof *t);
    if (!t) return VJ_EXIT_FAILED;
    const bool known = configure(t, name, recompute);
    const bool good = known && open_gpu(t) == VJ_OK && open_network(t) == VJ_OK && measure(t, profile) == VJ_OK;
    if (known && !good) printf("step %s: FAILED\n", name);
    close_trainer(t);
    if (!known) return VJ_EXIT_USAGE;
    return good ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}

/* ------------------------------------------------------------------------------------------------ work */

static vj_status count_step(trainer *t)
{
    VJ_TRY(vj_backend_open(&t->be, "cuda", VJ_BF16, 0));
    t->counting = true;
    gpu_count_work(t->be);
    VJ_TRY(open_network(t));
    gpu_count_work(t->be); /* of the step only */
    VJ_TRY(one_step(t));
    printf("step_flops %.0f\n", vj_step_flops(&t->model->net, &t->lists));
    gpu_print_work(t->be);
    return VJ_OK;
}

int gpu_work(const char *name, const char *recompute)
{
    trainer *t = vj_calloc(1, sizeof *t);
    if (!t) return VJ_EXIT_FAILED;
    const bool known = configure(t, name, recompute), good = known && count_step(t) == VJ_OK;
    if (known && !good) printf("work %s: FAILED\n", name);
    close_trainer(t);
    if (!known) return VJ_EXIT_USAGE;
    return good ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}

/* ------------------------------------------------------------------------------------------------ model */

enum { COMPARED = 3 };
typedef struct {
    double loss[COMPARED], gradient[COMPARED];
} course;

static vj_status run_course(trainer *t, const char *backend, vj_precision precision, course *result)
{
    VJ_TRY(vj_backend_open(&t->be, backend, precision, 0));
    VJ_TRY(open_network(t));
    for (int i = 0; i < COMPARED; i++) {
        VJ_TRY(one_step(t));
        result->loss[i] = t->loss;
        result->gradient[i] = t->gradient;
    }
    return VJ_OK;
}

static bool follow(const char *backend, vj_precision precision, course *result)
{
    trainer *t = vj_calloc(1, sizeof *t);
    if (!t) return false;
    const bool good = configure(t, "tiny", NULL) && run_course(t, backend, precision, result) == VJ_OK;
    close_trainer(t);
    return good;
}

int gpu_model(void)
{
    bool good = true;
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        const double allowed = precision == VJ_BF16 ? 3e-4 : 1e-5;
        course want, got; /* "strict": the cpu's kernels, on frames as a GPU takes them */
        if (!follow("strict", (vj_precision)precision, &want) || !follow("cuda", (vj_precision)precision, &got)) {
            good = false;
            continue;
        }
        for (int i = 0; i < COMPARED; i++) {
            const double loss = fabs(got.loss[i] / want.loss[i] - 1);
            const double gradient = fabs(got.gradient[i] / want.gradient[i] - 1);
            const bool close = loss <= allowed && gradient <= allowed;
            printf(
                "%-4s %s step %d: loss %.8g, off by %.1e of the cpu's; norm of the gradient %.8g, off by %.1e (allowed "
                "%.0e)\n",
                close ? "ok" : "FAIL", precision == VJ_BF16 ? "bf16" : "fp32", i + 1, got.loss[i], loss,
                got.gradient[i], gradient, allowed);
            good = good && close;
        }
    }
    return good ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}
