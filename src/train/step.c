/* One update of pretraining. Read vj_step_run(), at the end of the file, first: it is the algorithm. */
#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fold.h"
#include "feed/loader.h"
#include "model/flops.h"
#include "train/alike.h"
#include "train/layout.h"
#include "train/precision.h"

/* ------------------------------------------------------------------------------------------------ opening */

/* Divide the microbatches of a batch over the data ranks. All ranks of a tensor group get the same clips. */
static void divide_batch(vj_step *s)
{
    const vj_config *c = s->config;
    vj_split(c->train.batch / c->train.microbatch, s->layout.data_size, s->layout.data_rank, &s->first, &s->last);
    s->first *= c->train.microbatch;
    s->last *= c->train.microbatch;
}

static vj_status open_step(vj_step *s)
{
    const vj_config *c = s->config;
    VJ_TRY(vj_tensor_open(&s->tensor, &s->layout, c->parallel.tensor_sequence));
    divide_batch(s);
    VJ_TRY(vj_backend_open_alike(&s->be, c->train.backend, vj_precision_of(c), &s->layout.place, s->layout.world));
    VJ_TRY(vj_products_choose(&s->products, s->be, c->train.products, s->layout.world));
    VJ_TRY(vj_tensor_use_device(s->tensor, s->be, &s->layout));

    const vj_shape shape = vj_shape_from(c);
    const vj_objective_settings settings =
        vj_objective_from(c, s->layout.data_size, (s->last - s->first) / c->train.microbatch);
    const vj_grid grid = vj_shape_grid(&shape);
    const vj_ragged_bounds bounds = vj_ragged_bounds_from(c, grid, c->train.microbatch);
    VJ_TRY(vj_model_create(&s->model, &shape, &settings, &bounds, s->tensor, s->be));
    VJ_TRY(vj_optimizer_open(&s->optimizer, &s->model->trained, c, &s->layout));
    if (shape.objective == VJ_OBJECTIVE_FEATURE)
        VJ_TRY(
            vj_spectrum_open(&s->spectrum, s->be, shape.width, s->optimizer->reproducible ? s->optimizer->terms : 0));
    VJ_TRY(vj_mask_lists_create(&s->lists, c->mask.count, c->train.microbatch, vj_grid_tokens(grid)));
    VJ_TRY(vj_tree_init(&s->losses, c->mask.count + 1, s->optimizer->terms));
    s->downloaded_losses = vj_calloc((s->optimizer->terms + 1) * (c->mask.count + 1), sizeof *s->downloaded_losses);
    if (!s->downloaded_losses) return vj_raise(VJ_ERR_MEMORY, "no memory for the losses of a step");
    s->schedule = vj_schedules_from(c);
    return VJ_OK;
}

vj_status vj_step_open(vj_step **step, const vj_config *config, MPI_Comm comm)
{
    vj_step *s = *step = vj_calloc(1, sizeof *s);
    if (!s) return vj_raise(VJ_ERR_MEMORY, "no memory for a training step");
    s->config = config;
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    VJ_TRY(vj_agree(comm, vj_layout_check(config, rank, size)));
    VJ_TRY(vj_layout_open(&s->layout, comm, (int)config->parallel.tensor));
    return open_step(s);
}

void vj_step_close(vj_step *s)
{
    if (!s) return;
    vj_mask_lists_release(&s->lists);
    vj_tree_release(&s->losses);
    free(s->downloaded_losses);
    vj_spectrum_close(s->spectrum);
    vj_optimizer_close(s->optimizer);
    vj_model_destroy(s->model);
    vj_tensor_close(s->tensor);
    vj_backend_close(s->be);
    vj_layout_close(&s->layout);
    free(s);
}

vj_status vj_step_count_needs(vj_step *s, int64_t number, vj_step_needs *needs)
{
    const int64_t clips = s->config->train.microbatch;
    *needs = (vj_step_needs){.microbatches = (s->last - s->first) / clips};
    for (int64_t at = s->first; at < s->last; at += clips) {
        VJ_TRY(vj_masks_sample(&s->lists, s->config, s->model->net.grid, number, number * s->config->train.batch + at,
                               clips));
        const bool accumulate = at > s->first && !s->optimizer->reproducible;
        const int64_t bytes = vj_model_activations(s->model, &s->lists, accumulate);
        if (bytes > needs->activation_bytes) needs->activation_bytes = bytes;
        needs->flops += vj_step_flops(&s->model->net, &s->lists);
    }
    return VJ_OK;
}

vj_status vj_step_touch(vj_step *s, const vj_step_needs *needs)
{
    VJ_TRY(vj_model_touch(s->model, needs->activation_bytes));
    return vj_sync(s->be);
}

/* ------------------------------------------------------------------------------------------------ one step */

/*
 * Sum the losses over the data ranks (they are equal within a tensor group), and take the largest of what each rank
 * measured or was asked for, so that all ranks have the same report and agree on stopping and writing.
 */
static void share_report(vj_step *s, vj_step_report *r)
{
    enum { WAIT, COMM, BACKWARD_COMM, PEAK, STOP, WRITE, NOT_FINITE, MESSAGES, MAXIMA };
    const int masks = s->model->bounds.masks;
    double sums[VJ_MAX_MASKS + 1], max[MAXIMA] = {
                                       [WAIT] = r->wait_s,
                                       [COMM] = r->comm_s,
                                       [BACKWARD_COMM] = r->backward_comm_s,
                                       [PEAK] = (double)vj_peak_bytes(),
                                       [STOP] = s->requests ? s->requests[VJ_REQUEST_STOP] : 0,
                                       [WRITE] = s->requests ? s->requests[VJ_REQUEST_WRITE] : 0,
                                       [MESSAGES] = vj_status_kept() > 0,
                                   };
    memcpy(sums, r->by_mask, sizeof r->by_mask);
    sums[masks] = r->penalty;
    bool finite = isfinite(r->norm[VJ_ENCODER]) && isfinite(r->norm[VJ_PREDICTOR]);
    for (int i = 0; i <= masks; i++) finite = finite && isfinite(sums[i]);
    max[NOT_FINITE] = !finite;
    vj_sum_doubles(s->layout.data, sums, masks + 1);
    MPI_Allreduce(MPI_IN_PLACE, max, MAXIMA, MPI_DOUBLE, MPI_MAX, s->layout.world);
    if (max[MESSAGES] > 0.0) vj_fold(s->layout.world);
    r->loss = 0.0;
    for (int i = 0; i < masks; i++) {
        r->loss += sums[i];
        r->by_mask[i] = sums[i] * masks; /* the mean over this mask's targets */
    }
    r->penalty = sums[masks];
    r->wait_s = max[WAIT];
    r->comm_s = max[COMM];
    r->backward_comm_s = max[BACKWARD_COMM];
    r->peak_bytes = max[PEAK];
    r->stop = (int)max[STOP];
    r->write = (int)max[WRITE];
    r->healthy = max[NOT_FINITE] == 0.0;
}

/*
 * Add up this rank's losses, which have been downloaded: one sum over all microbatches or, reproducible, those of each
 * microbatch in the order of the gradients.
 */
static void take_losses(vj_step *s, vj_step_report *r)
{
    const int masks = s->model->bounds.masks;
    if (!s->optimizer->reproducible) {
        vj_model_losses(s->model, s->downloaded_losses, r->by_mask, &r->penalty);
        return;
    }
    for (int64_t i = 0; i < s->losses.terms; i++) {
        double *term = vj_tree_next(&s->losses);
        vj_model_losses(s->model, s->downloaded_losses + i * (masks + 1), term, &term[masks]);
        vj_tree_add(&s->losses);
    }
    const double *sums = vj_tree_total(&s->losses);
    memcpy(r->by_mask, sums, (size_t)masks * sizeof *r->by_mask);
    r->penalty = sums[masks];
}

/* Start the report of step `step` with what the schedules give for it. */
static void begin_report(const vj_step *s, int64_t step, vj_step_report *r)
{
    *r = (vj_step_report){.lr = vj_schedule_lr(&s->schedule, step + 1),
                          .weight_decay = vj_schedule_weight_decay(&s->schedule, step + 1),
                          .ema = vj_schedule_ema(&s->schedule, step + 1),
                          .spread = {.std = NAN, .effective_rank = NAN},
                          .watch_knn = NAN,
                          .watch_probe = NAN,
                          .wait_s = r->wait_s};
}

/* For vj_work_begin(). */
static void tell_progress(void *step, double share, double now_s)
{
    const vj_step *s = step;
    s->progress.tell(s->progress.listener, s->progress.step, (double)s->progress.microbatch + share,
                     s->progress.microbatches, now_s);
}

/*
 * Draw the masks of the microbatch that begins at clip `at` of the batch, and run it: target encoder, context encoder,
 * predictor, loss, backward pass.
 */
static vj_status run_microbatch(vj_step *s, int64_t step, const vj_batch *batch, int64_t at, vj_step_report *r)
{
    const vj_config *c = s->config;
    const int64_t clips = c->train.microbatch, number = at / clips;
    const vj_input all = {batch->pixels, batch->frames, batch->views, c->data.mean, c->data.std};
    const vj_input input = vj_input_from(&all, at, &s->model->net.shape);
    s->progress.step = step;
    s->progress.microbatch = number;
    s->progress.microbatches = batch->count / clips;
    vj_phase_enter(s->be, VJ_PHASE_DATA);
    VJ_TRY(vj_masks_sample(&s->lists, c, s->model->net.grid, batch->step, batch->first + at, clips));
    const bool adds = vj_optimizer_before(s->optimizer);
    if (s->progress.tell)
        vj_work_begin(s->be, vj_step_work(&s->model->net, &s->lists, s->model->settings.recompute), tell_progress, s);
    VJ_TRY(vj_model_microbatch(s->model, &input, &s->lists, c->train.batch, adds));
    vj_work_end(s->be);
    vj_optimizer_after(s->optimizer);
    if (s->optimizer->reproducible)
        vj_model_download_losses(s->model, s->downloaded_losses + number * (s->model->bounds.masks + 1));
    r->flops += vj_step_flops(&s->model->net, &s->lists);
    r->context_rows += s->model->packing.context.rows;
    r->predictor_rows += s->model->packing.predictor.rows;
    if (s->spectrum) {
        const bool covariance = c->log.rank_every > 0 && (step + 1) % c->log.rank_every == 0;
        vj_spectrum_add(s->spectrum, s->model->target.values, clips * s->model->net.tokens, covariance);
    }
    if (s->progress.tell) tell_progress(s, 1.0, vj_now());
    return VJ_OK;
}

/* Begin to download what was measured of this rank's clips. It is there when measure() has waited for the device. */
static void download_measures(vj_step *s)
{
    if (!s->optimizer->reproducible) vj_model_download_losses(s->model, s->downloaded_losses);
    if (s->spectrum) vj_spectrum_download(s->spectrum);
}

/* Sum the gradient over the ranks, which may wait for other nodes. Most of it was summed during the backward pass. */
static void sum_gradient(vj_step *s)
{
    vj_phase_enter(s->be, VJ_PHASE_REDUCE);
    vj_optimizer_reduce(s->optimizer);
    vj_model_complete_gradient(s->model);
}

/* Set the communication times of the report: those since the last report, which include the exchange after the step
 * before. */
static void report_communication(vj_step *s, vj_step_report *r)
{
    const double comm_s = s->optimizer->comm_s + (s->tensor ? s->tensor->comm_s : 0.0);
    r->comm_s = comm_s - s->reported_comm_s;
    r->backward_comm_s = s->optimizer->backward_s - s->reported_backward_s;
    s->reported_comm_s = comm_s;
    s->reported_backward_s = s->optimizer->backward_s;
}

/* Download the gradient's norms and the losses, waiting for the device once, and make the report equal on all ranks. */
static vj_status measure(vj_step *s, vj_step_report *r)
{
    vj_phase_enter(s->be, VJ_PHASE_OPTIMIZER);
    vj_optimizer_download_norms(s->optimizer);
    VJ_TRY(vj_sync(s->be));
    vj_optimizer_norms(s->optimizer, r->norm);
    vj_phase_enter(s->be, VJ_PHASE_REDUCE);
    take_losses(s, r);
    report_communication(s, r);
    share_report(s, r);
    return VJ_OK;
}

/* AdamW, and the moving average in the target encoder. */
static void update_weights(vj_step *s, int64_t step, int64_t update, const vj_step_report *r)
{
    const vj_config *c = s->config;
    const vj_update u = {.update = update,
                         .lr = r->lr,
                         .weight_decay = r->weight_decay,
                         .ema = r->ema,
                         .clip = {vj_schedule_clip_factor(c, step + 1, r->norm[VJ_ENCODER]),
                                  vj_schedule_clip_factor(c, step + 1, r->norm[VJ_PREDICTOR])}};
    vj_phase_enter(s->be, VJ_PHASE_OPTIMIZER);
    vj_optimizer_update(s->optimizer, &u);
}

vj_status vj_step_run(vj_step *s, int64_t step, int64_t update, const vj_batch *batch, vj_step_report *r)
{
    begin_report(s, step, r);
    for (int64_t at = 0; at < batch->count; at += s->config->train.microbatch)
        VJ_TRY(run_microbatch(s, step, batch, at, r));
    download_measures(s); /* before the sums: all that needs none is launched before this rank may wait for others */
    sum_gradient(s);
    VJ_TRY(measure(s, r));
    if (r->healthy) update_weights(s, step, update, r);
    vj_phase_enter(s->be, VJ_PHASE_OTHER);
    if (s->spectrum) VJ_TRY(vj_spectrum_finish(s->spectrum, s->layout.data, &r->spread));
    return vj_sync(s->be);
}
