/* A pretraining run: read train() first. One update is vj_step_run() in step.c. */
#include "train/pretrain.h"

#include <math.h>
#include <stdlib.h>

#include "base/program.h"
#include "clips/clips.h"
#include "feed/loader.h"
#include "parallel/parallel.h"
#include "parallel/room.h"
#include "train/checkpoint.h"
#include "train/digest.h"
#include "train/health.h"
#include "train/history.h"
#include "train/layout.h"
#include "train/memory.h"
#include "train/precision.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/saver.h"
#include "train/stop.h"
#include "train/watchdog.h"
#include "train/watcher.h"

typedef struct {
    int64_t substituted;     /* clips that this rank's loader replaced so far */
    const char *config_path; /* the file it was read from; borrowed */
    vj_config *config;       /* owned; train.products gets its final value when everything is open */
    MPI_Comm comm;
    int rank;
    int64_t steps; /* number of updates of the whole run */
    vj_clips *clips;
    vj_step *step;
    vj_loader *loader;
    vj_run_log record;
    vj_digest *digest;
    vj_saver *saver;
    vj_stop stop;
    vj_health health;
    vj_watchdog *watchdog;
    const vj_pretrain_watch *watcher; /* borrowed; NULL: none */
    void *watch;                      /* its state, owned */
    vj_lease *lease;                  /* of the run folder, on rank 0 */
    vj_ckpt_state state;              /* of the last checkpoint that was begun, or of the start */
    double saved_s;                   /* when that was */
    int save_is_due;
    bool training;       /* history.csv says that the run has started */
    vj_step_needs needs; /* of the first step */
} pretrainer;

int64_t vj_pretrain_steps(const vj_config *c)
{
    const int64_t all = c->train.epochs * c->train.steps_per_epoch;
    return c->train.stop_after > 0 && c->train.stop_after < all ? c->train.stop_after : all;
}

/* Rank 0's line in the run's history. */
static void add_history(const pretrainer *t, const char *event, int64_t steps_done, const char *why)
{
    if (t->rank == 0) vj_history_add(t->config, event, steps_done, t->step->layout.size, why);
}

/* Return the number of samples, of all ranks, that are consumed or skipped after `steps_done` updates. */
static int64_t samples_after(const pretrainer *t, int64_t steps_done)
{
    return steps_done * t->config->train.batch + t->state.skipped_samples;
}

/* ------------------------------------------------------------------------------------------------ one step */

/* Batches are numbered by their place in the data, which a roll-back moves ahead of the number of updates. */
static vj_status start_loader(pretrainer *t)
{
    const int64_t batch = t->config->train.batch;
    return vj_loader_start_training(&t->loader, t->clips, t->config, t->step->be,
                                    samples_after(t, t->state.step) / batch, samples_after(t, t->steps) / batch,
                                    t->step->first, t->step->last);
}

static vj_status pretrain_step(pretrainer *t, int64_t step, vj_step_report *r)
{
    const double begin = vj_now();
    vj_batch batch;
    MPI_Pcontrol(1); /* tell an MPI profiler, if there is one, that a step begins */
    vj_stop_record_checkpoint(&t->stop, vj_saver_longest_s(t->saver));
    if (t->rank == 0) vj_stop_poll(&t->stop);
    vj_watchdog_enter(t->watchdog, VJ_AT_CLIPS, step);
    vj_phase_enter(t->step->be, VJ_PHASE_DATA);
    VJ_TRY(vj_loader_next(t->loader, &batch, &r->wait_s));
    VJ_ASSERT(batch.step * t->config->train.batch == samples_after(t, step));
    t->substituted = batch.substituted;
    vj_watchdog_enter(t->watchdog, VJ_AT_STEP, step);
    VJ_TRY(vj_step_run(t->step, step, step + 1 - t->state.bad_steps, &batch, r));
    if (!r->healthy) t->state.bad_steps++;
    if (r->write) vj_stop_requests()[VJ_REQUEST_WRITE] = VJ_WHY_NONE;
    r->step_s = vj_now() - begin;
    vj_stop_record_step(&t->stop, r->step_s);
    vj_watchdog_record_step(t->watchdog, r->step_s);
    vj_watchdog_enter(t->watchdog, VJ_AT_RECORD, step + 1);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the watch */

/*
 * Measure the features by the in-run watch, every watch.every steps, after the last step and after the first one, which
 * hardly changes the weights: training has to beat that value. A failure, such as a clip that cannot be read, costs the
 * run one measurement.
 */
static void measure_features(pretrainer *t, int64_t steps_done, vj_step_report *r)
{
    const int64_t every = t->config->watch.every;
    if (!t->watch || (steps_done % every != 0 && steps_done != 1 && steps_done != t->steps)) return;
    const double begin = vj_now();
    vj_watchdog_enter(t->watchdog, VJ_AT_WATCH, steps_done);
    if (t->watcher->measure(t->watch, steps_done, r) != VJ_OK && t->rank == 0)
        vj_warn("the features of step %lld could not be measured (watch.every); training goes on",
                (long long)steps_done);
    vj_stop_record_step(&t->stop, r->step_s + vj_now() - begin);
    vj_watchdog_enter(t->watchdog, VJ_AT_RECORD, steps_done);
}

/* ------------------------------------------------------------------------------------------------ checkpoints */

/*
 * Check that the weights are finite before a checkpoint: the update after a healthy step may have made them infinite,
 * and such a checkpoint would replace the good one.
 */
static vj_status check_weights(pretrainer *t, bool *lost)
{
    double sum;
    vj_sum_squares(t->step->be, t->step->optimizer->sum, t->step->model->trained.weights,
                   t->step->model->net.params.total);
    vj_download(t->step->be, &sum, t->step->optimizer->sum, (int64_t)sizeof sum);
    vj_status status = vj_sync(t->step->be);
    int finite = isfinite(sum) != 0;
    MPI_Allreduce(MPI_IN_PLACE, &finite, 1, MPI_INT, MPI_MIN, t->comm); /* tensor ranks hold different ones */
    VJ_TRY(vj_agree(t->comm, status));
    *lost = !finite;
    if (*lost && t->rank == 0)
        vj_warn("the weights are not finite: no checkpoint is written, the last one in %s is good", t->config->run.dir);
    return VJ_OK;
}

/*
 * Compare replicas every parallel.check_every steps, and before a checkpoint, which would mix parts of differing
 * replicas.
 */
static vj_status check_replicas(pretrainer *t, int64_t steps_done, bool saving)
{
    const int64_t every = t->config->parallel.check_every;
    if (every == 0 || (!saving && steps_done % every != 0)) return VJ_OK;
    vj_watchdog_enter(t->watchdog, VJ_AT_DIGEST, steps_done);
    return vj_digest_compare(t->digest, steps_done);
}

static vj_status save(pretrainer *t, int64_t steps_done, bool *lost)
{
    VJ_TRY(check_weights(t, lost));
    if (*lost) return VJ_OK;
    t->state.step = steps_done;
    t->state.samples = samples_after(t, steps_done);
    t->state.usual_loss = t->health.usual_loss;
    t->saved_s = vj_now();
    t->save_is_due = 0;
    vj_run_log_sync(&t->record);
    return vj_saver_save(t->saver, &t->state);
}

/*
 * Rank 0's judgement of a step, which all ranks follow: clocks, and last bits of measured numbers, may differ between
 * ranks.
 */
typedef struct {
    double usual_loss;
    int verdict, clock_says_save;
} judgement;

static judgement judge(pretrainer *t, int64_t step, const vj_step_report *r)
{
    judgement j = {0};
    if (t->rank == 0) {
        const double minutes = t->config->checkpoint.every_minutes;
        j.verdict = vj_health_judge(&t->health, step, r);
        j.usual_loss = t->health.usual_loss;
        j.clock_says_save = minutes > 0.0 && vj_now() - t->saved_s > 60.0 * minutes;
    }
    MPI_Bcast(&j, (int)sizeof j, MPI_BYTE, 0, t->comm);
    t->health.usual_loss = j.usual_loss; /* part of a checkpoint's state */
    return j;
}

/* A checkpoint that falls due after a bad step waits for a good one, except at the last step. The same on all ranks. */
static int save_is_due(pretrainer *t, int64_t steps_done, const vj_step_report *r, const judgement *j)
{
    const vj_config *c = t->config;
    if (steps_done == t->steps) return c->checkpoint.at_end;
    t->save_is_due |= r->write || r->stop || vj_saver_wants_retry(t->saver) || j->clock_says_save ||
                      (c->checkpoint.every > 0 && steps_done % c->checkpoint.every == 0);
    return t->save_is_due && j->verdict == VJ_HEALTH_GOOD;
}

/*
 * Check that a checkpoint is of this run. The answer is the same on all ranks, so only rank 0 compares, and reports
 * what differs.
 */
static vj_status check_checkpoint(const pretrainer *t, const vj_ckpt_state *old, const char *path)
{
    if (t->rank != 0) return VJ_OK;
    VJ_TRY(vj_run_folder_check(t->config, old, &t->state, t->steps, path));
    return vj_checkpoint_check_encoder(path, old, &t->step->model->net.shape);
}

/* Read the state of a checkpoint and check that it is of this run. vj_ckpt_state_release(old), also after a failure. */
static vj_status read_state(const pretrainer *t, vj_ckpt_state *old, const char *path)
{
    VJ_TRY(vj_run_folder_advise(vj_ckpt_read_state(path, old, t->comm), path, t->comm));
    return vj_agree(t->comm, check_checkpoint(t, old, path));
}

/* Load weights, moments and place in the data from a checkpoint of this run. Collective, agreed. */
static vj_status load(pretrainer *t, const char *path)
{
    vj_ckpt_state old;
    vj_watchdog_enter(t->watchdog, VJ_AT_LOAD, t->state.step);
    vj_status status = read_state(t, &old, path);
    if (status != VJ_OK) {
        vj_ckpt_state_release(&old);
        return status;
    }
    status = vj_run_folder_advise(vj_checkpoint_load(path, t->step->optimizer, t->comm), path, t->comm);
    t->state.step = old.step;
    t->state.samples = old.samples;
    t->state.bad_steps = old.bad_steps;
    t->state.rollbacks = old.rollbacks;
    t->state.skipped_samples = old.skipped_samples;
    t->state.usual_loss = old.usual_loss;
    vj_ckpt_state_release(&old);
    t->health = (vj_health){.config = t->config, .usual_loss = t->state.usual_loss};
    return status;
}

/* Log how long the run will take, before the weights are drawn and memory is touched, which takes a while for a large
 * model. */
static vj_status forecast(pretrainer *t)
{
    if (t->state.step == t->steps) return VJ_OK;
    VJ_TRY(vj_step_count_needs(t->step, samples_after(t, t->state.step) / t->config->train.batch, &t->needs));
    vj_run_log_forecast(&t->record, &t->needs, t->state.step);
    return VJ_OK;
}

/* Resume from the newest checkpoint, or start. */
static vj_status resume(pretrainer *t)
{
    const vj_config *c = t->config;
    char path[VJ_PATH];
    VJ_TRY(vj_ckpt_latest(c->run.dir, path, t->comm));
    if (path[0] == '\0') {
        vj_log("starting from scratch: %s has no checkpoint", c->run.dir);
        VJ_TRY(forecast(t));
        vj_model_init_weights(t->step->model, (vj_init)c->model.init, c->predictor.zero_init_mask_tokens, c->run.seed);
    } else {
        VJ_TRY(load(t, path));
        vj_log("resuming from %s: %lld of %lld steps are done", path, (long long)t->state.step, (long long)t->steps);
        VJ_TRY(forecast(t));
    }
    return vj_sync(t->step->be);
}

/* In a dry run, check that the run can go on from its newest checkpoint, of which only the state is read. */
static vj_status look_ahead(const pretrainer *t)
{
    char path[VJ_PATH];
    vj_ckpt_state old;
    VJ_TRY(vj_ckpt_latest(t->config->run.dir, path, t->comm));
    if (path[0] == '\0') {
        vj_log("the run would start from scratch: %s has no checkpoint", t->config->run.dir);
        return VJ_OK;
    }
    vj_status status = read_state(t, &old, path);
    if (status == VJ_OK)
        vj_log("the run would go on from %s: %lld of %lld steps are done", path, (long long)old.step,
               (long long)t->steps);
    vj_ckpt_state_release(&old);
    return status;
}

/* ------------------------------------------------------------------------------------------------ roll-back */

static vj_status give_up(const pretrainer *t, int64_t steps_done)
{
    const vj_config *c = t->config;
    if (t->rank != 0) return VJ_ERR_STATE;
    return vj_raise(
        VJ_ERR_STATE,
        "the last %lld steps were bad (train.max_bad_steps), or the weights are not finite, at step %lld, after %lld "
        "returns to a checkpoint (train.rollback_limit %lld): stopped; the last checkpoint in %s, if there is one, is "
        "good. The log above says "
        "what was bad: lower optimizer.lr, look at the clips of these steps, or if they were well, loosen the bound "
        "(train.rollback_*)",
        (long long)c->train.max_bad_steps, (long long)steps_done, (long long)t->state.rollbacks,
        (long long)c->train.rollback_limit, c->run.dir);
}

/*
 * Return to the last checkpoint, which is healthy because no other is written; the data go on after the samples that
 * were consumed meanwhile. A run that is killed before its next checkpoint does all of this again, with the same bits.
 */
static vj_status roll_back(pretrainer *t, int64_t steps_done)
{
    const int64_t samples = samples_after(t, steps_done), rollbacks = t->state.rollbacks;
    char path[VJ_PATH];
    VJ_TRY(vj_saver_wait(t->saver));
    VJ_TRY(vj_ckpt_latest(t->config->run.dir, path, t->comm));
    if (rollbacks >= t->config->train.rollback_limit || path[0] == '\0') return give_up(t, steps_done);
    vj_loader_stop(t->loader);
    t->loader = NULL;
    t->save_is_due = 0;
    VJ_TRY(vj_run_log_close(&t->record));
    VJ_TRY(load(t, path));
    t->state.rollbacks = rollbacks + 1;
    t->state.skipped_samples = samples - t->state.step * t->config->train.batch;
    vj_log(
        "ROLL-BACK %lld of %lld: the run is lost at step %lld and returns to %s; the %lld samples of the steps since "
        "then are skipped",
        (long long)t->state.rollbacks, (long long)t->config->train.rollback_limit, (long long)steps_done, path,
        (long long)(samples - t->state.samples));
    add_history(t, "roll_back", t->state.step, "bad steps, or weights that are not finite");
    VJ_TRY(vj_run_log_open(&t->record, t->state.step));
    return start_loader(t);
}

/* ------------------------------------------------------------------------------------------------ the run */

static vj_status open_everything(pretrainer *t)
{
    vj_config *c = t->config;
    vj_memory memory;
    int size;
    MPI_Comm_size(t->comm, &size);
    VJ_TRY(vj_agree(t->comm, vj_layout_check(c, t->rank, size)));
    if (c->data.train.count == 0)
        return vj_raise(VJ_ERR_USAGE,
                        "data.train names no clip store: --set data.train='[NAME.clips]', or in the file");
    VJ_TRY(vj_clips_open_training(&t->clips, &c->data.train, (int)c->data.frames, t->comm));
    if (vj_clips_frames(t->clips) != c->data.frames)
        return vj_raise(VJ_ERR_USAGE, "%s holds %d frames a clip, data.frames is %lld", c->data.train.item[0],
                        vj_clips_frames(t->clips), (long long)c->data.frames);
    VJ_TRY(vj_agree(t->comm, t->rank == 0 ? vj_loader_check(t->clips, c) : VJ_OK));
    VJ_TRY(vj_run_folder_keep(c, t->comm));
    VJ_TRY(vj_precision_choose(c, t->comm));
    VJ_TRY(vj_memory_predict(&memory, c, size, vj_place_of(t->comm).local_size, vj_loader_bytes_of(t->clips, c),
                             vj_resident_bytes()));
    vj_memory_log(&memory, vj_rank_memory(t->comm));
    VJ_TRY(vj_step_open(&t->step, c, t->comm));
    VJ_TRY(vj_agree(t->comm, vj_model_reserve(t->step->model, memory.reserve)));
    VJ_TRY(vj_model_accept_frames(t->step->model, vj_clips_largest_bytes(t->clips)));
    if (t->watcher && c->watch.every > 0) VJ_TRY(t->watcher->open(&t->watch, c, t->step, t->comm));
    VJ_TRY(vj_digest_open(&t->digest, c, t->step->optimizer, &t->step->layout));
    snprintf(c->train.products, sizeof c->train.products, "%s", vj_backend_products(t->step->be));
    t->step->requests = vj_stop_requests();
    t->record = (vj_run_log){.config = c, .step = t->step, .steps = t->steps};
    if (t->rank == 0) t->step->progress.tell = vj_run_log_progress, t->step->progress.listener = &t->record;
    t->health = (vj_health){.config = c};
    t->state.seed = c->run.seed;
    t->state.store_fingerprint = vj_clips_fingerprint(t->clips);
    t->state.architecture = vj_checkpoint_architecture(&t->step->model->net.shape);
    t->state.config = vj_config_text(c);
    vj_watchdog_set_backend(t->watchdog, t->step->be);
    vj_stop_expect_checkpoint(&t->stop, 16.0 * (double)t->step->model->net.params.total);
    return t->state.config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
}

/* Everything that the first step needs. */
static vj_status begin(pretrainer *t)
{
    VJ_TRY(vj_step_touch(t->step, &t->needs));
    VJ_TRY(start_loader(t));
    t->saved_s = vj_now();
    vj_watchdog_enter(t->watchdog, VJ_AT_RECORD, t->state.step);
    return vj_run_log_open(&t->record, t->state.step);
}

static vj_status stop_early(const pretrainer *t, int64_t steps_done, int why)
{
    VJ_TRY(vj_saver_finish(t->saver));
    vj_log("stopped after step %lld by %s; the same command goes on from step %lld", (long long)steps_done,
           vj_stop_reason(why), (long long)vj_saver_step(t->saver));
    add_history(t, "stop", vj_saver_step(t->saver), vj_stop_reason(why));
    if (t->state.step < steps_done)
        vj_log("the last steps were bad, so no checkpoint was written: the next start does them again");
    return t->rank == 0 ? vj_stop_remove_file(&t->stop) : VJ_OK;
}

static vj_status check_lease(const pretrainer *t)
{
    const vj_lease_seal lease = vj_lease_seal_of(t->lease);
    return vj_agree(t->comm, vj_lease_check(&lease));
}

/*
 * A run may be too short for the limits in the loader; so the share of replaced clips over all ranks is checked at its
 * end.
 */
static vj_status judge_substituted(const pretrainer *t)
{
    int64_t replaced = t->substituted;
    const int64_t samples = t->steps * t->config->train.batch;
    MPI_Allreduce(MPI_IN_PLACE, &replaced, 1, MPI_INT64_T, MPI_SUM, t->step->layout.data);
    if (100 * replaced <= samples) return VJ_OK;
    if (t->rank != 0) return VJ_ERR_FORMAT;
    return vj_raise(VJ_ERR_FORMAT,
                    "%lld of %lld samples were replaced since their clips are damaged; more than 1 %% is too many, so "
                    "the run is not complete",
                    (long long)replaced, (long long)samples);
}

static vj_status train(pretrainer *t, vj_pretrain_outcome *outcome)
{
    vj_step_report report;
    int64_t step = t->state.step; /* updates done */
    if (step < t->steps) {        /* a finished run that is started again is left as it is */
        VJ_TRY(begin(t));
        t->training = true;
        add_history(t, "start", step, "");
    }
    while (step < t->steps) {
        VJ_TRY(pretrain_step(t, step++, &report));
        const judgement judged = judge(t, step - 1, &report);
        if (judged.verdict != VJ_HEALTH_LOST) measure_features(t, step, &report);
        VJ_TRY(vj_run_log_step(&t->record, step - 1, samples_after(t, step), t->state.bad_steps, &report));
        vj_watchdog_enter(t->watchdog, VJ_AT_WRITE, step);
        VJ_TRY(vj_saver_poll(t->saver));
        bool lost = judged.verdict == VJ_HEALTH_LOST;
        const bool saving = !lost && save_is_due(t, step, &report, &judged);
        VJ_TRY(check_replicas(t, step, saving));
        vj_watchdog_enter(t->watchdog, VJ_AT_WRITE, step);
        if (saving) VJ_TRY(save(t, step, &lost));
        if (lost) {
            VJ_TRY(roll_back(t, step));
            step = t->state.step;
        }
        if (report.stop && step < t->steps) {
            *outcome = VJ_PRETRAIN_STOPPED;
            return stop_early(t, step, report.stop);
        }
    }
    VJ_TRY(vj_saver_finish(t->saver));
    vj_run_log_done(&t->record, t->training);
    if (t->rank == 0) VJ_TRY(vj_stop_remove_file(&t->stop));
    VJ_TRY(check_lease(t));
    VJ_TRY(judge_substituted(t));
    VJ_TRY(vj_run_folder_complete(t->config, t->steps, t->comm));
    if (t->training) add_history(t, "done", t->steps, "");
    return VJ_OK;
}

static vj_status run(pretrainer *t, int dry_run, vj_pretrain_outcome *outcome)
{
    vj_log("%s", vj_version());
    vj_stop_listen(&t->stop, t->config);
    VJ_TRY(vj_agree(t->comm, t->rank == 0 ? vj_stop_limit(&t->stop, t->config) : VJ_OK));
    if (!dry_run) VJ_TRY(vj_run_folder_lock(&t->lease, t->config, false, t->comm));
    if (!dry_run) VJ_TRY(vj_watchdog_start(&t->watchdog, t->config, t->comm));
    VJ_TRY(vj_run_folder_accept(t->config, t->config_path, t->comm));
    VJ_TRY(open_everything(t));
    vj_run_log_header(&t->record, t->clips);
    if (dry_run) return look_ahead(t);
    VJ_TRY(vj_run_folder_lock(&t->lease, t->config, true, t->comm));
    VJ_TRY(resume(t));
    if (t->state.step < t->steps) VJ_TRY(vj_run_folder_claim(t->config, t->config_path, t->comm));
    VJ_TRY(vj_saver_open(&t->saver, t->config, t->step->optimizer, t->state.step, t->comm));
    const vj_lease_seal lease = vj_lease_seal_of(t->lease);
    vj_saver_set_lease(t->saver, &lease);
    t->record.saver = t->saver;
    return train(t, outcome);
}

vj_status vj_pretrain(const vj_config *config, const char *config_path, MPI_Comm comm, int dry_run,
                      const vj_pretrain_watch *watch, vj_pretrain_outcome *outcome)
{
    pretrainer t = {
        .config = vj_calloc(1, sizeof *config), .comm = comm, .steps = vj_pretrain_steps(config), .watcher = watch};
    if (!t.config) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *t.config = *config;
    t.config_path = config_path;
    MPI_Comm_rank(comm, &t.rank);
    *outcome = VJ_PRETRAIN_DONE;
    vj_status status = run(&t, dry_run, outcome);
    if (t.training && status != VJ_OK) add_history(&t, "failed", t.state.step, "an error: the log says which");
    vj_loader_stop(t.loader);
    vj_saver_close(t.saver);
    vj_digest_close(t.digest);
    vj_status closed = vj_run_log_close(&t.record);
    vj_watchdog_set_backend(t.watchdog, NULL);
    /*
     * Closing a step is collective, and after a failure of this rank alone the others do not take part; the program
     * ends instead.
     */
    if (status == VJ_OK && t.watch) watch->close(t.watch);
    if (status == VJ_OK) vj_step_close(t.step);
    vj_clips_close(t.clips);
    vj_watchdog_stop(t.watchdog);
    vj_lease_release(t.lease);
    free(t.state.config);
    free(t.config);
    return status != VJ_OK ? status : closed;
}
