/* Log lines and metrics. */
#include "train/run_log.h"

#include <math.h>

/* Warn if the warm-up is longer than the whole schedule: the settings are probably those of a longer run. */
static void warn_of_warmup(const vj_config *config)
{
    const vj_schedule schedule = vj_schedules_from(config);
    if (schedule.warmup_steps <= schedule.total_steps) return;
    vj_warn(
        "the learning rate warms up for %lld steps (optimizer.warmup_epochs), the schedule has %lld: it never reaches "
        "optimizer.lr",
        (long long)schedule.warmup_steps, (long long)schedule.total_steps);
}

/* Warn if the run will end without a checkpoint, which is wanted only to try something. */
static void warn_of_checkpoints(const vj_run_log *record)
{
    const vj_config *c = record->config;
    if (c->checkpoint.at_end || c->checkpoint.every_minutes > 0) return;
    if (c->checkpoint.every == 0 || c->checkpoint.every > record->steps)
        vj_warn("no checkpoint will be written, and all that is learned is lost: checkpoint.every is %lld, the run has "
                "%lld steps, and checkpoint.at_end is false",
                (long long)c->checkpoint.every, (long long)record->steps);
}

void vj_run_log_header(const vj_run_log *record, const vj_clips *clips)
{
    const vj_network *net = &record->step->model->net;
    const vj_config *c = record->config;
    const vj_layout *layout = &record->step->layout;
    vj_log("backend %s, %d rank%s, %lld microbatches of %lld clips a step%s", vj_backend_describe(record->step->be),
           layout->size, layout->size == 1 ? "" : "s", (long long)(c->train.batch / c->train.microbatch),
           (long long)c->train.microbatch, record->step->optimizer->zero ? ", optimizer state sharded" : "");
    char sums[128] = "";
    if (layout->data_size > 1) snprintf(sums, sizeof sums, "; sums: %s", record->step->optimizer->sums_way);
    vj_place_log(&layout->place, layout->world, sums);
    if (record->step->tensor)
        vj_log("layout %d data x %d tensor, the stream %s, the predictor %s", layout->data_size, layout->tensor_size,
               record->step->tensor->sequence ? "divided by tokens" : "whole on every rank",
               net->predictor.tensor ? "divided like the encoder"
                                     : "whole on every rank: its heads or hidden width do not divide");
    vj_products_log(&record->step->products);
    vj_log("clips %lld, %d x %d x %d pixels -> %d tokens of %d values", (long long)vj_clips_count(clips),
           net->shape.frames, net->shape.height, net->shape.width_px, net->tokens, net->patch_values);
    vj_log("%s objective, encoder %d x %d, predictor %d x %d, %.1f million parameters, %d mask%s a clip",
           net->shape.objective == VJ_OBJECTIVE_PIXEL ? "pixel" : "feature", net->shape.width, net->shape.depth,
           net->shape.predictor_width, net->shape.predictor_depth, (double)net->params.elements / 1e6, c->mask.count,
           c->mask.count == 1 ? "" : "s");
    if (layout->rank == 0) warn_of_warmup(c);
    if (layout->rank == 0) warn_of_checkpoints(record);
}

void vj_run_log_forecast(const vj_run_log *record, const vj_step_needs *needs, int64_t step)
{
    const double each = needs->flops * 1e-9 / record->step->products.gflops;
    char step_text[32], run_text[32];
    vj_log("activations of step %lld: %.0f MiB in one piece%s", (long long)step + 1,
           (double)needs->activation_bytes / 1048576.0, vj_device_huge_pages(record->step->be) ? " on huge pages" : "");
    if (each < 1e15) /* nothing was measured: no forecast */
        vj_log(
            "a step is %lld microbatch%s and %.5g TFLOP on rank 0, about %s in products alone; the %lld steps to go, "
            "about %s",
            (long long)needs->microbatches, needs->microbatches == 1 ? "" : "es", needs->flops * 1e-12,
            vj_duration(each, step_text), (long long)(record->steps - step),
            vj_duration(each * (double)(record->steps - step), run_text));
}

/* ------------------------------------------------------------------------------------------------ each step */

void vj_run_log_progress(void *listener, int64_t number, double done, int64_t all, double now_s)
{
    vj_run_log *record = listener;
    char which[64] = "", step_text[32], run_text[32];
    const double share = done / (double)all;
    if (record->config->log.print_every <= 0 || number != record->begin_step || share <= 0.0 || share >= 1.0 ||
        !vj_progress_line_is_due(&record->line, now_s))
        return;
    if (all > 1) snprintf(which, sizeof which, "microbatch %lld of %lld, ", (long long)done + 1, (long long)all);
    const double each = (now_s - record->line.began_s) / share;
    vj_log("step %lld/%lld: %s%.0f %% of the step done, about %s a step; the %lld steps to go, about %s",
           (long long)number + 1, (long long)record->steps, which, 100.0 * share, vj_duration(each, step_text),
           (long long)(record->steps - number), vj_duration(each * (double)(record->steps - number), run_text));
}

static vj_status write_row(vj_run_log *record, int64_t step, int64_t samples, int64_t skipped, const vj_step_report *r)
{
    static const char *const mask_name[VJ_MAX_MASKS] = {"loss_mask0", "loss_mask1", "loss_mask2", "loss_mask3",
                                                        "loss_mask4", "loss_mask5", "loss_mask6", "loss_mask7"};
    const vj_config *c = record->config;
    vj_metrics_row row = {0};
    vj_metrics_put(&row, "step", (double)(step + 1));
    vj_metrics_put(&row, "samples", (double)samples);
    vj_metrics_put(&row, "loss", r->loss);
    for (int i = 0; i < record->step->model->bounds.masks; i++) vj_metrics_put(&row, mask_name[i], r->by_mask[i]);
    vj_metrics_put(&row, "spread_penalty", r->penalty);
    vj_metrics_put(&row, "lr", r->lr);
    vj_metrics_put(&row, "weight_decay", r->weight_decay);
    vj_metrics_put(&row, "ema", r->ema);
    vj_metrics_put(&row, "grad_norm_encoder", r->norm[VJ_ENCODER]);
    vj_metrics_put(&row, "grad_norm_predictor", r->norm[VJ_PREDICTOR]);
    vj_metrics_put(&row, "target_std", r->spread.std);
    vj_metrics_put(&row, "effective_rank", r->spread.effective_rank);
    if (c->watch.every > 0) {
        vj_metrics_put(&row, "watch_knn", r->watch_knn);
        vj_metrics_put(&row, "watch_probe", r->watch_probe);
    }
    vj_metrics_put(&row, "skipped_steps", (double)skipped);
    vj_metrics_put(&row, "failed_checkpoints", (double)vj_saver_failures(record->saver));
    vj_metrics_put(&row, "clips_per_s", (double)c->train.batch / r->step_s);
    vj_metrics_put(&row, "step_s", r->step_s);
    vj_metrics_put(&row, "data_wait_s", r->wait_s);
    vj_metrics_put(&row, "comm_s", r->comm_s);
    vj_metrics_put(&row, "peak_memory_mib", r->peak_bytes / 1048576.0);
    return vj_metrics_write(record->metrics, &row);
}

/* Watch for a collapse: one alarm when the effective rank falls below the limit, one line when it is above it again. */
static void watch_rank(vj_run_log *record, int64_t step, const vj_spread *s)
{
    if (!isfinite(s->effective_rank)) return;
    const int low = s->effective_rank < record->config->log.rank_alarm;
    if (low && !record->rank_is_low)
        vj_log("ALARM: step %lld: the target features' effective rank is %.1f of %d, below log.rank_alarm %.1f: the "
               "representation is collapsing, whatever the loss says. A lower optimizer.lr with a higher "
               "optimizer.predictor_lr_scale, or model.init fan_in, has cured this",
               (long long)step + 1, s->effective_rank, record->step->model->net.shape.width,
               record->config->log.rank_alarm);
    if (!low && record->rank_is_low)
        vj_log("step %lld: the effective rank is back at %.1f", (long long)step + 1, s->effective_rank);
    record->rank_is_low = low;
}

static void say(vj_run_log *record, int64_t step, const vj_step_report *r)
{
    const vj_config *c = record->config;
    char rank_text[16] = "-";
    if (isfinite(r->spread.effective_rank)) record->last_rank = r->spread.effective_rank;
    if (isfinite(record->last_rank)) snprintf(rank_text, sizeof rank_text, "%.1f", record->last_rank);
    if (c->log.print_every <= 0) return;
    const double now = vj_now();
    const bool due = vj_progress_line_is_due(&record->line, now);
    if (!due && (step + 1) % c->log.print_every != 0 && step + 1 != record->steps) return;
    record->line.logged_s = now;
    const double each = (now - record->line.began_s) / (double)(step + 1 - record->begin_step);
    const int64_t left = (int64_t)(each * (double)(record->steps - step - 1));
    vj_log("step %lld/%lld  loss %.4f  rank %s  lr %.2e  |g| %.3f %.3f  %.1f clips/s  wait %.1f %%  ETA "
           "%lld:%02lld:%02lld",
           (long long)step + 1, (long long)record->steps, r->loss, rank_text, r->lr, r->norm[VJ_ENCODER],
           r->norm[VJ_PREDICTOR], (double)c->train.batch / r->step_s, 100.0 * r->wait_s / r->step_s,
           (long long)left / 3600, (long long)left / 60 % 60, (long long)left % 60);
}

/* ------------------------------------------------------------------------------------------------ life */

vj_status vj_run_log_open(vj_run_log *record, int64_t step)
{
    record->line = vj_progress_line_begin();
    record->begin_step = step;
    record->last_rank = NAN;
    return record->step->layout.rank == 0 ? vj_metrics_open(&record->metrics, record->config->run.dir, step) : VJ_OK;
}

void vj_run_log_sync(vj_run_log *record)
{
    if (record->metrics) vj_metrics_sync(record->metrics);
}

vj_status vj_run_log_close(vj_run_log *record)
{
    vj_metrics *metrics = record->metrics;
    record->metrics = NULL;
    return vj_metrics_close(metrics);
}

vj_status vj_run_log_step(vj_run_log *record, int64_t number, int64_t samples, int64_t skipped, const vj_step_report *r)
{
    if (record->step->layout.rank != 0) return VJ_OK;
    VJ_TRY(write_row(record, number, samples, skipped, r));
    watch_rank(record, number, &r->spread);
    say(record, number, r);
    return VJ_OK;
}

void vj_run_log_done(const vj_run_log *record, bool trained)
{
    char spent[32];
    if (!trained) {
        vj_log("done: all %lld steps had been done before; to go on, raise %s", (long long)record->steps,
               record->config->train.stop_after == record->steps ? "train.stop_after" : "train.epochs");
        return;
    }
    vj_log("done: %lld steps in %s, peak memory of a rank %.0f MiB, at most %.0f MiB of it activations",
           (long long)(record->steps - record->begin_step), vj_duration(vj_now() - record->line.began_s, spent),
           (double)vj_peak_bytes() / 1048576.0, (double)record->step->model->bytes.used / 1048576.0);
}
