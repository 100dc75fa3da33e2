/* A pretraining run: its folder, resuming, checkpoints, records, signals. One update is vj_step_run() in step.c. */
#include "train/pretrain.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/program.h"
#include "clips/clips.h"
#include "parallel/parallel.h"
#include "train/checkpoint.h"
#include "train/layout.h"
#include "train/metrics.h"
#include "train/step.h"

typedef struct {
    vj_config *config; /* owned; train.products is settled when everything is open */
    MPI_Comm comm;
    int rank, size;
    int64_t steps; /* of the whole run */
    vj_clips *clips;
    vj_step *step;
    vj_loader *loader;
    vj_metrics *metrics; /* rank 0 */
    vj_ckpt_state state;
    int64_t bad_in_a_row;
    int rank_is_low;
    double begin_s, saved_s; /* when the loop began and the last checkpoint was written */
    int64_t begin_step;
} pretrainer;

static volatile sig_atomic_t asked[VJ_ASKS];

static void on_signal(int number)
{
    asked[number == SIGUSR2 ? VJ_ASK_WRITE : VJ_ASK_STOP] = 1;
}

static void listen_for_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    for (int i = 0; i < VJ_ASKS; i++) asked[i] = 0;
}

int64_t vj_pretrain_steps(const vj_config *c)
{
    const int64_t all = c->train.epochs * c->train.steps_per_epoch;
    return c->train.stop_after > 0 && c->train.stop_after < all ? c->train.stop_after : all;
}

/* ------------------------------------------------------------------------------------------------ one step */

static vj_status pretrain_step(pretrainer *t, int64_t step, vj_step_report *r)
{
    const double begin = vj_now();
    vj_batch batch;
    vj_phase_enter(t->step->be, VJ_PHASE_DATA);
    VJ_TRY(vj_loader_next(t->loader, &batch, &r->wait_s));
    VJ_ASSERT(batch.step == step);
    VJ_TRY(vj_step_run(t->step, step, step + 1 - t->state.bad_steps, &batch, r));
    if (r->write) asked[VJ_ASK_WRITE] = 0;
    r->step_s = vj_now() - begin;
    return VJ_OK;
}

/* A step with a loss or gradient that is not finite was skipped: count it, and give up after too many in a row. */
static vj_status judge_health(pretrainer *t, int64_t step, const vj_step_report *r)
{
    if (r->healthy) {
        t->bad_in_a_row = 0;
        return VJ_OK;
    }
    t->state.bad_steps++;
    t->bad_in_a_row++;
    vj_log("step %lld skipped: loss %g, gradient norms %g (encoder) %g (predictor) are not all finite; %lld skipped so "
           "far, %lld in a row",
           (long long)step + 1, r->loss, r->norm[VJ_ENCODER], r->norm[VJ_PREDICTOR], (long long)t->state.bad_steps,
           (long long)t->bad_in_a_row);
    if (t->bad_in_a_row < t->config->train.max_bad_steps) return VJ_OK;
    if (t->rank != 0) return VJ_ERR_STATE;
    return vj_raise(
        VJ_ERR_STATE,
        "%lld steps in a row had no finite loss and gradient (train.max_bad_steps): stopped at step %lld; the "
        "weights are untouched since step %lld and the last checkpoint in %s is good. Lower optimizer.lr, "
        "or look at the clips of these steps",
        (long long)t->bad_in_a_row, (long long)step + 1, (long long)(step + 1 - t->bad_in_a_row), t->config->run.dir);
}

/* ------------------------------------------------------------------------------------------------ reports */

static vj_status record(pretrainer *t, int64_t step, const vj_step_report *r)
{
    if (t->rank != 0) return VJ_OK;
    static const char *const mask_name[VJ_MAX_MASKS] = {"loss_mask0", "loss_mask1", "loss_mask2", "loss_mask3",
                                                        "loss_mask4", "loss_mask5", "loss_mask6", "loss_mask7"};
    const vj_config *c = t->config;
    vj_metrics_row row = {0};
    vj_metrics_put(&row, "step", (double)(step + 1));
    vj_metrics_put(&row, "samples", (double)((step + 1) * c->train.batch));
    vj_metrics_put(&row, "loss", r->loss);
    for (int i = 0; i < t->step->model->bounds.masks; i++) vj_metrics_put(&row, mask_name[i], r->by_mask[i]);
    vj_metrics_put(&row, "spread_penalty", r->penalty);
    vj_metrics_put(&row, "lr", r->lr);
    vj_metrics_put(&row, "weight_decay", r->weight_decay);
    vj_metrics_put(&row, "ema", r->ema);
    vj_metrics_put(&row, "grad_norm_encoder", r->norm[VJ_ENCODER]);
    vj_metrics_put(&row, "grad_norm_predictor", r->norm[VJ_PREDICTOR]);
    vj_metrics_put(&row, "target_std", r->spread.std);
    vj_metrics_put(&row, "effective_rank", r->spread.effective_rank);
    vj_metrics_put(&row, "skipped_steps", (double)t->state.bad_steps);
    vj_metrics_put(&row, "clips_per_s", (double)c->train.batch / r->step_s);
    vj_metrics_put(&row, "step_s", r->step_s);
    vj_metrics_put(&row, "data_wait_s", r->wait_s);
    vj_metrics_put(&row, "comm_s", r->comm_s);
    vj_metrics_put(&row, "peak_memory_mib", r->peak_bytes / 1048576.0);
    return vj_metrics_write(t->metrics, &row);
}

/* Collapse watch: one alarm when the rank falls below the limit, one line when it is back. */
static void watch_rank(pretrainer *t, int64_t step, const vj_spread *s)
{
    if (!isfinite(s->effective_rank)) return;
    const int low = s->effective_rank < t->config->log.rank_alarm;
    if (low && !t->rank_is_low)
        vj_log("ALARM: step %lld: the target features' effective rank is %.1f of %d, below log.rank_alarm %.1f: the "
               "representation is collapsing, whatever the loss says. A lower optimizer.lr with a higher "
               "optimizer.predictor_lr_scale, or model.init fan_in, has cured this",
               (long long)step + 1, s->effective_rank, t->step->model->net.shape.width, t->config->log.rank_alarm);
    if (!low && t->rank_is_low)
        vj_log("step %lld: the effective rank is back at %.1f", (long long)step + 1, s->effective_rank);
    t->rank_is_low = low;
}

static void say(pretrainer *t, int64_t step, const vj_step_report *r, double *last_rank)
{
    const vj_config *c = t->config;
    char rank_text[16] = "-";
    if (isfinite(r->spread.effective_rank)) *last_rank = r->spread.effective_rank;
    if (isfinite(*last_rank)) snprintf(rank_text, sizeof rank_text, "%.1f", *last_rank);
    if (c->log.print_every <= 0 || ((step + 1) % c->log.print_every != 0 && step + 1 != t->steps)) return;
    const double each = (vj_now() - t->begin_s) / (double)(step + 1 - t->begin_step);
    const int64_t left = (int64_t)(each * (double)(t->steps - step - 1));
    vj_log("step %lld/%lld  loss %.4f  rank %s  lr %.2e  |g| %.3f %.3f  %.1f clips/s  wait %.1f %%  ETA "
           "%lld:%02lld:%02lld",
           (long long)step + 1, (long long)t->steps, r->loss, rank_text, r->lr, r->norm[VJ_ENCODER],
           r->norm[VJ_PREDICTOR], (double)c->train.batch / r->step_s, 100.0 * r->wait_s / r->step_s,
           (long long)left / 3600, (long long)left / 60 % 60, (long long)left % 60);
}

/* ------------------------------------------------------------------------------------------------ checkpoints */

/* The update after a healthy step can still spoil the weights; such a checkpoint would bury the good one. */
static vj_status check_weights(pretrainer *t)
{
    double sum;
    vj_sum_squares(t->step->be, t->step->optimizer->sum, t->step->model->weights, t->step->model->net.params.total);
    vj_download(t->step->be, &sum, t->step->optimizer->sum, (int64_t)sizeof sum);
    VJ_TRY(vj_sync(t->step->be));
    if (isfinite(sum)) return VJ_OK;
    return vj_raise(VJ_ERR_STATE, "the weights are not finite: no checkpoint is written, the last one in %s is good",
                    t->config->run.dir);
}

static vj_status save(pretrainer *t, int64_t steps_done)
{
    const double begin = vj_now();
    VJ_TRY(check_weights(t));
    t->state.step = steps_done;
    t->state.samples = steps_done * t->config->train.batch;
    VJ_TRY(vj_checkpoint_save(t->config->run.dir, t->step->optimizer, &t->state, t->comm));
    VJ_TRY(vj_ckpt_prune(t->config->run.dir, t->config->checkpoint.keep, t->comm));
    t->saved_s = vj_now();
    vj_log("checkpoint of step %lld written in %.1f s", (long long)steps_done, t->saved_s - begin);
    return VJ_OK;
}

/* The same decision on all ranks: only rank 0's clock counts. */
static int save_is_due(pretrainer *t, int64_t steps_done, const vj_step_report *r)
{
    const vj_config *c = t->config;
    int due = r->write || r->stop || (c->checkpoint.every > 0 && steps_done % c->checkpoint.every == 0);
    if (c->checkpoint.every_minutes > 0.0) {
        due |= vj_now() - t->saved_s > 60.0 * c->checkpoint.every_minutes;
        MPI_Bcast(&due, 1, MPI_INT, 0, t->comm);
    }
    return due;
}

/* What may not change inside a run, though the tensors would fit. Both were checked, so all that follows is derived. */
static const char *changed_setting(const vj_config *old, const vj_config *now)
{
    if (memcmp(&old->model, &now->model, sizeof now->model) != 0) return "model";
    if (memcmp(&old->predictor, &now->predictor, sizeof now->predictor) != 0) return "predictor";
    if (memcmp(&old->mask, &now->mask, sizeof now->mask) != 0) return "mask";
    if (memcmp(&old->objective, &now->objective, sizeof now->objective) != 0) return "objective";
    if (old->data.frames != now->data.frames || old->data.crop != now->data.crop || old->data.flip != now->data.flip ||
        memcmp(old->data.crop_scale, now->data.crop_scale, sizeof now->data.crop_scale) != 0 ||
        memcmp(old->data.crop_aspect, now->data.crop_aspect, sizeof now->data.crop_aspect) != 0 ||
        memcmp(old->data.mean, now->data.mean, sizeof now->data.mean) != 0 ||
        memcmp(old->data.std, now->data.std, sizeof now->data.std) != 0)
        return "data";
    return NULL;
}

/* The configuration that a checkpoint has, from its text. free(*config), also after a failure. */
static vj_status parse_settings(const char *text, const char *path, vj_config **config)
{
    vj_config *c = *config = vj_calloc(1, sizeof *c);
    if (!c) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    vj_config_defaults(c);
    VJ_TRY(vj_config_parse(c, path, text));
    return vj_config_check(c);
}

static vj_status check_settings(const pretrainer *t, const char *text, const char *path)
{
    vj_config *old;
    vj_status status = parse_settings(text, path, &old);
    const char *changed = status == VJ_OK ? changed_setting(old, t->config) : NULL;
    if (changed)
        status = vj_raise(VJ_ERR_FORMAT,
                          "%s was trained with other settings of section %s: compare config.yaml in %s with "
                          "--print-config, or choose another run.dir",
                          path, changed, t->config->run.dir);
    if (status == VJ_OK && strcmp(old->train.products, t->config->train.products) != 0)
        vj_log("products by %s: %s was trained with %s, so what follows differs in its last bits from a run that was "
               "not interrupted",
               t->config->train.products, path, old->train.products);
    free(old);
    return status;
}

/* A checkpoint of another run is refused: what would follow is neither that run nor this one. */
static vj_status check_same_run(const pretrainer *t, const vj_ckpt_state *s, const char *path)
{
    const vj_config *c = t->config;
    if (s->seed != c->run.seed)
        return vj_raise(VJ_ERR_FORMAT, "%s was trained with run.seed %lld, this run has %lld", path, (long long)s->seed,
                        (long long)c->run.seed);
    if (s->samples != s->step * c->train.batch)
        return vj_raise(VJ_ERR_FORMAT, "%s has %lld steps of %lld samples in all, train.batch is %lld", path,
                        (long long)s->step, (long long)s->samples, (long long)c->train.batch);
    if (s->store_fingerprint != vj_clips_fingerprint(t->clips))
        return vj_raise(VJ_ERR_FORMAT, "%s was trained on clips with fingerprint %016llx, data.train has %016llx", path,
                        (unsigned long long)s->store_fingerprint, (unsigned long long)vj_clips_fingerprint(t->clips));
    if (s->step > t->steps)
        return vj_raise(VJ_ERR_FORMAT, "%s has %lld steps, this run ends after %lld", path, (long long)s->step,
                        (long long)t->steps);
    return check_settings(t, s->config, path);
}

/* Resume from the newest checkpoint, or start. */
static vj_status resume(pretrainer *t)
{
    const vj_config *c = t->config;
    char path[VJ_PATH];
    VJ_TRY(vj_ckpt_latest(c->run.dir, path, t->comm));
    if (path[0] == '\0') {
        vj_model_start(t->step->model, (vj_init)c->model.init, c->predictor.zero_init_mask_tokens, c->run.seed);
        vj_log("starting from scratch: %s has no checkpoint", c->run.dir);
    } else {
        vj_ckpt_state old;
        VJ_TRY(vj_ckpt_read_state(path, &old));
        vj_status status = check_same_run(t, &old, path);
        if (status == VJ_OK) status = vj_checkpoint_load(path, t->step->optimizer);
        t->state.step = old.step;
        t->state.bad_steps = old.bad_steps;
        vj_ckpt_state_release(&old);
        VJ_TRY(vj_agree(t->comm, status));
        vj_log("resuming from %s: %lld of %lld steps are done", path, (long long)t->state.step, (long long)t->steps);
    }
    return vj_sync(t->step->be);
}

/* ------------------------------------------------------------------------------------------------ the run */

static vj_status make_folder(const pretrainer *t)
{
    vj_status status = VJ_OK;
    if (t->rank == 0 && mkdir(t->config->run.dir, 0777) != 0 && errno != EEXIST)
        status = vj_raise(VJ_ERR_IO, "make the run folder %s (run.dir)", t->config->run.dir);
    return vj_agree(t->comm, status);
}

/* The run goes on: its configuration is kept beside it, and it is not complete. Not before an old run was accepted. */
static vj_status claim_folder(const pretrainer *t)
{
    vj_status status = VJ_OK;
    if (t->rank == 0) {
        char path[VJ_PATH + 32];
        snprintf(path, sizeof path, "%s/complete", t->config->run.dir);
        if (t->state.step < t->steps) unlink(path);
        snprintf(path, sizeof path, "%s/config.yaml", t->config->run.dir);
        FILE *f = fopen(path, "w");
        if (f) vj_config_print(t->config, f);
        if (!f || fclose(f) != 0) status = vj_raise(VJ_ERR_IO, "write %s", path);
    }
    return vj_agree(t->comm, status);
}

/* A launcher's exit code cannot be trusted when a node is lost: job scripts look for this file. */
static vj_status mark_complete(const pretrainer *t)
{
    if (t->rank != 0) return VJ_OK;
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/complete", t->config->run.dir);
    FILE *f = fopen(path, "w");
    if (f) fprintf(f, "%lld steps\n", (long long)t->steps);
    return f && fclose(f) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "write %s", path);
}

/*
 * With train.products auto a run keeps to what it began with, if that is not given up: timed again, on another day or
 * node, another might win, and the run would not end in the bits of one that was never interrupted.
 */
static vj_status keep_products(pretrainer *t)
{
    vj_config *c = t->config, *old = NULL;
    vj_ckpt_state state;
    char path[VJ_PATH];
    if (strcmp(c->train.products, "auto") != 0 || getenv("VJ_PRODUCTS")) return VJ_OK;
    VJ_TRY(vj_ckpt_latest(c->run.dir, path, t->comm));
    if (path[0] == '\0') return VJ_OK;
    VJ_TRY(vj_ckpt_read_state(path, &state));
    vj_status status = parse_settings(state.config, path, &old);
    vj_ckpt_state_release(&state);
    const bool keep = status == VJ_OK && strcmp(old->train.precision, c->train.precision) == 0;
    if (keep) snprintf(c->train.products, sizeof c->train.products, "%s", old->train.products);
    free(old);
    if (!keep) return status;
    if (!vj_products_present(c->train.products))
        return vj_raise(VJ_ERR_USAGE,
                        "%s was trained with products by %s, which this build or processor lacks. --set "
                        "train.products=own goes on with the own kernels, at the price of other last bits",
                        path, c->train.products);
    vj_log("products: auto keeps to %s, with which %s was trained", c->train.products, path);
    return VJ_OK;
}

static vj_status open_everything(pretrainer *t)
{
    vj_config *c = t->config;
    VJ_TRY(vj_layout_check(c, t->rank, t->size));
    VJ_TRY(vj_clips_open(&t->clips, &c->data.train, t->comm));
    if (vj_clips_frames(t->clips) != c->data.frames)
        return vj_raise(VJ_ERR_USAGE, "%s holds %d frames a clip, data.frames is %lld", c->data.train.item[0],
                        vj_clips_frames(t->clips), (long long)c->data.frames);
    VJ_TRY(vj_agree(t->comm, keep_products(t)));
    VJ_TRY(vj_step_open(&t->step, c, t->comm));
    snprintf(c->train.products, sizeof c->train.products, "%s", vj_backend_products(t->step->be));
    t->step->asked = asked;
    t->state.seed = c->run.seed;
    t->state.store_fingerprint = vj_clips_fingerprint(t->clips);
    t->state.config = vj_config_text(c);
    return t->state.config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
}

static void introduce(const pretrainer *t)
{
    const vj_network *net = &t->step->model->net;
    const vj_config *c = t->config;
    vj_log("backend %s, %d rank%s, %lld microbatches of %lld clips a step%s", vj_backend_describe(t->step->be), t->size,
           t->size == 1 ? "" : "s", (long long)(c->train.batch / c->train.microbatch), (long long)c->train.microbatch,
           t->step->optimizer->zero ? ", optimizer state sharded" : "");
    if (t->step->tensor)
        vj_log("layout %d data x %d tensor, the stream %s, the predictor %s", t->step->layout.data_size,
               t->step->layout.tensor_size, t->step->tensor->sequence ? "divided by tokens" : "whole on every rank",
               net->predictor.tensor ? "divided like the encoder"
                                     : "whole on every rank: its heads or hidden width do not divide");
    vj_products_say(&t->step->products);
    vj_log("clips %lld, %d x %d x %d pixels -> %d tokens of %d values", (long long)vj_clips_count(t->clips),
           net->shape.frames, net->shape.height, net->shape.width_px, net->tokens, net->patch_values);
    vj_log("%s objective, encoder %d x %d, predictor %d x %d, %.1f million parameters, %d masks a clip",
           net->shape.objective == VJ_OBJECTIVE_PIXEL ? "pixel" : "feature", net->shape.width, net->shape.depth,
           net->shape.predictor_width, net->shape.predictor_depth, (double)net->params.elements / 1e6, c->mask.count);
    const double read_ahead = (double)(c->data.read_ahead + 1) * (double)(t->step->last - t->step->first) *
                              (double)net->tokens * (double)net->patch_values * sizeof(float);
    vj_log("memory a rank: %.0f MiB for weights, gradient, moments and target; %.0f MiB reserved for activations, of "
           "which the masks take what they need; %.0f MiB for %lld batches read ahead",
           (double)(vj_device_bytes(t->step->be) - t->step->model->arena_bytes) / 1048576.0,
           (double)t->step->model->arena_bytes / 1048576.0, read_ahead / 1048576.0, (long long)c->data.read_ahead);
}

static vj_status train(pretrainer *t, vj_pretrain_outcome *outcome)
{
    const vj_config *c = t->config;
    double last_rank = NAN;
    int64_t saved_step = t->state.step;
    int64_t activation_bytes;
    VJ_TRY(vj_step_touch(t->step, t->state.step, &activation_bytes));
    vj_log("activations of step %lld: %.0f MiB in one piece%s", (long long)t->state.step + 1,
           (double)activation_bytes / 1048576.0, vj_device_huge_pages(t->step->be) ? " on huge pages" : "");
    VJ_TRY(vj_loader_start(&t->loader, t->clips, c, t->state.step, t->steps, t->step->first, t->step->last));
    t->begin_s = t->saved_s = vj_now();
    t->begin_step = t->state.step;
    *outcome = VJ_PRETRAIN_DONE;
    for (int64_t step = t->begin_step; step < t->steps; step++) {
        vj_step_report report;
        VJ_TRY(pretrain_step(t, step, &report));
        VJ_TRY(judge_health(t, step, &report));
        VJ_TRY(record(t, step, &report));
        watch_rank(t, step, &report.spread);
        say(t, step, &report, &last_rank);
        const int last = step + 1 == t->steps;
        if ((last && c->checkpoint.at_end) || (!last && save_is_due(t, step + 1, &report))) {
            VJ_TRY(save(t, step + 1));
            saved_step = step + 1;
        }
        if (report.stop && !last) {
            vj_log("stopped by a signal after step %lld; the same command goes on from there", (long long)saved_step);
            *outcome = VJ_PRETRAIN_STOPPED;
            return VJ_OK;
        }
    }
    vj_log("done: %lld steps in %.1f s, peak memory of a rank %.0f MiB, at most %.0f MiB of it activations",
           (long long)(t->steps - t->begin_step), vj_now() - t->begin_s, (double)vj_peak_bytes() / 1048576.0,
           (double)t->step->model->used_bytes / 1048576.0);
    return mark_complete(t);
}

static vj_status run(pretrainer *t, int dry_run, vj_pretrain_outcome *outcome)
{
    vj_log("%s", vj_version());
    VJ_TRY(open_everything(t));
    introduce(t);
    if (dry_run) return VJ_OK;
    VJ_TRY(make_folder(t));
    VJ_TRY(resume(t));
    VJ_TRY(claim_folder(t));
    if (t->rank == 0) VJ_TRY(vj_metrics_open(&t->metrics, t->config->run.dir, t->state.step));
    listen_for_signals();
    return train(t, outcome);
}

vj_status vj_pretrain(const vj_config *config, MPI_Comm comm, int dry_run, vj_pretrain_outcome *outcome)
{
    pretrainer t = {.config = vj_calloc(1, sizeof *config), .comm = comm, .steps = vj_pretrain_steps(config)};
    if (!t.config) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *t.config = *config;
    MPI_Comm_rank(comm, &t.rank);
    MPI_Comm_size(comm, &t.size);
    *outcome = VJ_PRETRAIN_DONE;
    vj_status status = run(&t, dry_run, outcome);
    vj_loader_stop(t.loader);
    vj_status closed = vj_metrics_close(t.metrics);
    if (status == VJ_OK) vj_step_close(t.step); /* collective: a rank that failed alone would wait for ever */
    vj_clips_close(t.clips);
    free(t.state.config);
    free(t.config);
    return status != VJ_OK ? status : closed;
}
