/* Runs an evaluation from clips. Read train() first; a round is in round.c, measuring in measure.c. */
#include "evaluate/evaluate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/markup.h"
#include "evaluate/exchange.h"
#include "evaluate/partial.h"
#include "evaluate/parts.h"
#include "evaluate/store.h"
#include "model/stack.h"
#include "parallel/parallel.h"
#include "probe/part.h"
#include "train/history.h"
#include "train/precision.h"
#include "train/run_folder.h"

/* ------------------------------------------------------------------------------------------------ opening */

static vj_status name_encoders(vj_evaluation *e)
{
    const vj_evaluate_request *r = e->request;
    if (r->encoder_count < 1 || r->encoder_count > VJ_MAX_LIST)
        return vj_raise(VJ_ERR_USAGE, "%d encoders given; 1 to %d can be evaluated at once", r->encoder_count,
                        VJ_MAX_LIST);
    for (int i = 0; i < r->encoder_count; i++) {
        const char *equals = strchr(r->encoders[i], '=');
        if (!equals || equals == r->encoders[i] || !equals[1])
            return vj_raise(VJ_ERR_USAGE, "'%s' is not NAME=CHECKPOINT, NAME=RUN or NAME=random:published",
                            r->encoders[i]);
        const int length = (int)(equals - r->encoders[i]);
        if (length >= VJ_ENCODER_NAME || strlen(equals + 1) >= VJ_PATH)
            return vj_raise(VJ_ERR_USAGE, "'%s': a name has at most %d letters, a path %d", r->encoders[i],
                            VJ_ENCODER_NAME - 1, VJ_PATH - 1);
        snprintf(e->encoders.name[i], VJ_ENCODER_NAME, "%.*s", length, r->encoders[i]);
        if (!vj_utf8_is_name(e->encoders.name[i]))
            return vj_raise(VJ_ERR_USAGE, "'%s': the name of an encoder is text in UTF-8, without control characters",
                            r->encoders[i]);
        snprintf(e->encoders.from[i], VJ_PATH, "%s", equals + 1);
        e->encoders.at[i] = i;
        for (int other = 0; other < i; other++)
            VJ_TRY(vj_encoder_names_check(e->encoders.name[i], e->encoders.name[other]));
    }
    e->encoders.count = r->encoder_count;
    return VJ_OK;
}

static vj_status open_side(vj_evaluation *e, vj_eval_side *side, const char *paths, bool training)
{
    vj_strings list;
    side->paths = paths;
    VJ_TRY(vj_frozen_split_paths(&list, paths));
    VJ_TRY(vj_clips_open(&side->clips, &list, e->comm));
    vj_status status = vj_eval_views_init(&side->views, e->config, side->clips, training);
    if (status == VJ_OK) status = vj_eval_set_open(&side->set, side->clips, e->config, training);
    if (status == VJ_OK) status = vj_eval_damage_open(side);
    return vj_agree(e->comm, status);
}

/* Add a note if some clips, compared by checksum, are in both the training and the validation stores. On rank 0. */
static vj_status note_overlap(vj_evaluation *e)
{
    const vj_clips *train = e->train.clips, *validation = e->validation.clips;
    const int64_t n = vj_clips_count(train), m = vj_clips_count(validation);
    uint64_t *sums = vj_calloc(n + m + 1, sizeof *sums);
    if (!sums) return vj_raise(VJ_ERR_MEMORY, "no memory to compare %lld clips", (long long)(n + m));
    for (int64_t i = 0; i < n; i++) sums[i] = vj_clips_checksum(train, i);
    for (int64_t i = 0; i < m; i++) sums[n + i] = vj_clips_checksum(validation, i);
    const vj_status status =
        vj_belong_note_overlap(&e->notes, sums, n, e->train.paths, sums + n, m, e->validation.paths);
    free(sums);
    return status;
}

static vj_status open_stores(vj_evaluation *e)
{
    VJ_TRY(open_side(e, &e->train, e->request->train, true));
    VJ_TRY(open_side(e, &e->validation, e->request->validation, false));
    if (e->train.views.image != e->validation.views.image)
        return vj_raise(VJ_ERR_USAGE, "%s holds %s, %s %s: both must be videos, or images", e->train.paths,
                        e->train.views.image ? "images" : "videos", e->validation.paths,
                        e->validation.views.image ? "images" : "videos");
    e->config->probe.weight_decay = vj_config_probe_decay(e->config, e->train.views.image);
    if (e->request->probes) return VJ_OK;
    return vj_agree(e->comm, e->rank == 0 ? note_overlap(e) : VJ_OK);
}

static vj_status open_all(vj_evaluation *e)
{
    VJ_TRY(vj_agree(e->comm, name_encoders(e)));
    for (int i = 0; i < e->encoders.count; i++) VJ_TRY(vj_frozen_find_encoder(e->encoders.from[i], e->comm));
    VJ_TRY(vj_precision_choose(e->config, e->comm));
    VJ_TRY(vj_agree(e->comm, e->rank == 0 ? vj_eval_report_check(e) : VJ_OK));
    if (e->request->probes) VJ_TRY(vj_agree(e->comm, vj_eval_find_probes(e)));
    VJ_TRY(open_stores(e));
    VJ_TRY(vj_agree(e->comm, vj_eval_plan(e)));
    if (e->rank == 0) {
        vj_eval_set_log(&e->train.set, "training");
        vj_eval_set_log(&e->validation.set, "validation");
        for (int i = 0; i < e->notes.count; i++) vj_warn("%s", e->notes.text[i]);
    }
    e->max_clips = vj_eval_max_clips(e);
    return vj_eval_keep_products(e);
}

/* ------------------------------------------------------------------------------------------------ groups */

static vj_status open_groups(vj_evaluation *e, MPI_Comm comm)
{
    const vj_config *c = e->config;
    const vj_shape shape = vj_shape_from(c);
    const int tensor = (int)c->parallel.tensor;
    if (!vj_stack_divides(shape.heads, shape.hidden, tensor))
        return vj_raise(
            VJ_ERR_USAGE,
            "model.heads %d and the hidden width %d do not both divide by parallel.tensor %d; groups of one "
            "rank always do: --set parallel.tensor=1",
            shape.heads, shape.hidden, tensor);
    VJ_TRY(vj_layout_open(&e->layout, comm, tensor));
    e->comm = e->layout.data;
    e->rank = e->layout.data_rank;
    e->size = e->layout.data_size;
    return vj_tensor_open(&e->tensor, &e->layout, c->parallel.tensor_sequence);
}

/* Send the settings that the leader has determined to the other ranks of its tensor group. */
static void tell_group(vj_evaluation *e)
{
    vj_broadcast(e->config, (int64_t)sizeof *e->config, e->layout.tensor);
    vj_broadcast(&e->max_clips, (int64_t)sizeof e->max_clips, e->layout.tensor);
    vj_broadcast(&e->encoders.count, (int64_t)sizeof e->encoders.count, e->layout.tensor);
    vj_broadcast(e->encoders.at, (int64_t)sizeof e->encoders.at, e->layout.tensor);
    vj_broadcast(e->encoders.from, (int64_t)sizeof e->encoders.from, e->layout.tensor);
}

/* ------------------------------------------------------------------------------------------------ training */

/* Start to load the samples that this rank encodes in the rounds from e->stream.place on. */
static vj_status load_epoch(vj_evaluation *e)
{
    const int64_t batch = e->config->evaluate.batch, left = e->stream.count - e->stream.place;
    int64_t *mine = vj_calloc(left + 1, sizeof *mine), n = 0;
    VJ_TRY(vj_agree(e->comm, mine ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld samples", (long long)left)));
    for (int64_t i = 0; i < left; i++)
        if (i / batch % e->size == e->rank) mine[n++] = e->stream.sample[e->stream.place + i];
    vj_status status = vj_eval_start(e, mine, n);
    free(mine);
    return status;
}

/* Return what training reads, for messages. */
static const char *what(const vj_evaluation *e)
{
    return e->stored.copies > 0 ? "features" : "clips";
}

void vj_eval_log_progress(void *evaluation, double share, double now_s)
{
    vj_evaluation *e = evaluation;
    const double present = share * (double)e->progress.round, spent_s = now_s - e->progress.line.began_s;
    const double rate = ((double)e->progress.encoded + present) / spent_s;
    if (e->rank != 0 || rate <= 0.0 || !vj_progress_line_is_due_in_batch(&e->progress.line, share, now_s)) return;
    const double of_epoch = ((double)e->stream.place + present) / (double)e->stream.count;
    const double epochs = (double)(e->epochs - e->stream.epoch) - of_epoch;
    char left[32];
    vj_log("evaluate: epoch %lld of %lld, %3.0f %% of it, %.5g samples/s, %.1f %% of the time waiting for %s, at "
           "most %s left to train",
           (long long)e->stream.epoch + 1, (long long)e->epochs, 100.0 * of_epoch, rate,
           100.0 * e->progress.waited_s / spent_s, what(e), vj_duration(epochs * (double)e->stream.count / rate, left));
}

void vj_eval_poll(vj_evaluation *e, int64_t rounds, int *stop, bool *write)
{
    const vj_config *c = e->config;
    const double minutes = c->checkpoint.every_minutes > 0.0 ? c->checkpoint.every_minutes : 10.0;
    volatile sig_atomic_t *asked = vj_stop_requests();
    if (e->rank == 0) vj_stop_poll(&e->stop);
    int flags[] = {asked[VJ_REQUEST_STOP],
                   asked[VJ_REQUEST_WRITE] || (e->rank == 0 && vj_now() - e->progress.saved_s > 60.0 * minutes)};
    MPI_Allreduce(MPI_IN_PLACE, flags, 2, MPI_INT, MPI_MAX, e->comm);
    *stop = flags[0];
    *write = flags[0] || flags[1] || (c->checkpoint.every > 0 && rounds % c->checkpoint.every == 0);
    if (*write) asked[VJ_REQUEST_WRITE] = VJ_WHY_NONE;
}

void vj_eval_log_wait(double waited_s, double spent_s)
{
    if (waited_s > 1.0 && waited_s > 0.02 * spent_s)
        vj_log("evaluate: clips were waited for during %.0f %% of the time, more than 2 %%: they are not read, decoded "
               "and augmented as fast as they are encoded. More data.threads if there are processors left, or "
               "probe.features stored:K, which makes K views of each clip once",
               100.0 * waited_s / spent_s);
}

vj_status vj_eval_tolerate(const vj_evaluation *e, vj_status status, int stop)
{
    if (status != VJ_ERR_IO || stop) return status;
    if (e->rank == 0) vj_warn("this checkpoint could not be written; the evaluation goes on without it");
    return VJ_OK;
}

static vj_status train_epoch(vj_evaluation *e, int64_t *rounds, int *stop)
{
    VJ_TRY(vj_agree(e->comm, vj_eval_stream_begin(e)));
    VJ_TRY(load_epoch(e));
    while (e->stream.place < e->stream.count && !*stop) {
        const double begin = vj_now();
        bool write;
        VJ_TRY(vj_eval_round(e));
        vj_stop_record_step(&e->stop, vj_now() - begin);
        vj_eval_log_progress(e, 0.0, vj_now());
        vj_eval_poll(e, ++*rounds, stop, &write);
        if (write) VJ_TRY(vj_eval_tolerate(e, vj_eval_save(e), *stop));
    }
    return VJ_OK;
}

static vj_status start_keys(vj_evaluation *e)
{
    int64_t *heads = vj_calloc(e->head_count, sizeof *heads);
    vj_status status = vj_agree(e->comm, heads ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of probes"));
    for (int i = 0; status == VJ_OK && i < e->frozen.count; i++) {
        int64_t n = 0;
        for (int64_t h = 0; h < e->head_count; h++)
            if (e->head[h].encoder == i && e->head[h].key_at >= 0) heads[n++] = h;
        status = vj_exchange_keys(e, i, heads, n);
    }
    free(heads);
    return status;
}

/* Measure all heads after every measure_every-th epoch and print the result. The result table is made only after the
 * last epoch. */
static vj_status measure_between(vj_evaluation *e, int *stop)
{
    const int64_t every = e->config->evaluate.measure_every;
    char name[VJ_HEAD_NAME];
    if (every == 0 || e->stream.epoch % every != 0 || e->stream.epoch == e->epochs) return VJ_OK;
    vj_eval_score *scores = vj_calloc(e->head_count, sizeof *scores);
    VJ_TRY(vj_agree(e->comm, scores ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for scores")));
    vj_status status = vj_eval_measure(e, scores, false, stop);
    if (status == VJ_OK && *stop) status = vj_eval_save(e);
    for (int64_t h = 0; status == VJ_OK && !*stop && h < e->head_count; h++) {
        vj_eval_head_name(e, &e->head[h], name);
        vj_log("evaluate: after epoch %lld %s: top-1 %.2f, top-5 %.2f", (long long)e->stream.epoch, name,
               scores[h].on_validation.top1, scores[h].on_validation.top5);
    }
    free(scores);
    return status;
}

static vj_status train(vj_evaluation *e, int *stop)
{
    int64_t rounds = 0;
    e->progress.line = vj_progress_line_begin();
    while (e->stream.epoch < e->epochs) {
        VJ_TRY(train_epoch(e, &rounds, stop));
        if (*stop) return VJ_OK;
        vj_eval_stream_end(e);
        e->stream.epoch++;
        VJ_TRY(measure_between(e, stop));
        if (*stop) return VJ_OK;
    }
    if (e->progress.encoded > 0) {
        const double spent_s = vj_now() - e->progress.line.began_s;
        vj_log("evaluate: %lld samples %s in %.1f s, %.1f samples/s, %.1f %% of the time waiting for %s",
               (long long)e->progress.encoded, e->stored.copies > 0 ? "read" : "encoded", spent_s,
               (double)e->progress.encoded / spent_s, 100.0 * e->progress.waited_s / spent_s, what(e));
        if (e->stored.copies == 0) vj_eval_log_wait(e->progress.waited_s, spent_s);
        VJ_TRY(vj_eval_save(e));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the whole */

static void add_history(const vj_evaluation *e, const char *event, const char *why)
{
    if (e->rank == 0) vj_history_add(e->config, event, e->stream.epoch, e->size, why);
}

/* Print the largest growth of a rank's memory since the start. Collective. */
static void log_memory(const vj_evaluation *e)
{
    const double mib = 1048576.0;
    int64_t grown = vj_peak_bytes() - e->memory.began_bytes;
    MPI_Allreduce(MPI_IN_PLACE, &grown, 1, MPI_INT64_T, MPI_MAX, e->comm);
    vj_log("evaluate: the memory of a rank has grown by %.0f MiB; at most %.0f were forecast", (double)grown / mib,
           (double)e->memory.forecast_bytes / mib);
}

static vj_status measure(vj_evaluation *e, int *stop)
{
    vj_eval_score *scores = vj_calloc(e->head_count, sizeof *scores);
    VJ_TRY(vj_agree(e->comm, scores ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for scores")));
    vj_status status = vj_eval_measure(e, scores, true, stop);
    if (status != VJ_OK || *stop) {
        free(scores);
        return status;
    }
    if (e->request->keep_probes) status = vj_agree(e->comm, vj_eval_keep_probes(e, scores));
    if (status == VJ_OK) status = vj_agree(e->comm, e->rank == 0 ? vj_eval_write_attention(e, scores) : VJ_OK);
    if (status == VJ_OK) status = vj_agree(e->comm, e->rank == 0 ? vj_eval_report(e, scores) : VJ_OK);
    free(scores);
    VJ_TRY(status);
    VJ_TRY(vj_agree(e->comm, e->rank == 0 ? vj_stop_remove_file(&e->stop) : VJ_OK));
    VJ_TRY(vj_run_folder_complete(e->config, e->epochs, e->comm));
    if (e->rank == 0) vj_eval_remove_restart_files(e);
    VJ_TRY(vj_agree(e->comm, e->rank == 0 ? vj_eval_store_remove(e) : VJ_OK));
    add_history(e, "done", "");
    log_memory(e);
    vj_log("\nresults: %s/results.json, results.csv, results.md, heads.csv%s", e->dir,
           e->request->part ? "; --merge makes the table of all parts" : ", predictions.h5, splits/");
    return VJ_OK;
}

/* Return whether DIR/complete exists. Rank 0 looks and tells all ranks. Collective. */
static bool is_complete(const vj_evaluation *e)
{
    char path[VJ_PATH + 32];
    int there = 0;
    snprintf(path, sizeof path, "%s/complete", e->dir);
    if (e->rank == 0) there = access(path, F_OK) == 0;
    vj_broadcast(&there, (int64_t)sizeof there, e->comm);
    return there;
}

/* Measure the probes of request->probes, without training. */
static vj_status work_on_files(vj_evaluation *e, int *stop)
{
    VJ_TRY(vj_agree(e->comm, vj_eval_read_probes(e)));
    VJ_TRY(start_keys(e));
    add_history(e, "start", "");
    return measure(e, stop);
}

/* Load the checkpoint if there is one, and log how far it is. Collective. */
static vj_status resume(vj_evaluation *e, bool *complete)
{
    bool found;
    VJ_TRY(vj_eval_restore(e, &found));
    *complete = found && is_complete(e);
    if (*complete)
        vj_log("evaluate: %s is complete; to measure again%s, remove the file complete", e->dir,
               e->request->keep_probes ? ", which also writes the probes" : "");
    else if (found && e->stream.epoch < e->epochs)
        vj_log("evaluate: going on from %s in epoch %lld of %lld", e->dir, (long long)e->stream.epoch + 1,
               (long long)e->epochs);
    else if (found)
        vj_log("evaluate: going on from %s, whose probes are trained", e->dir);
    return VJ_OK;
}

static vj_status work_on_heads(vj_evaluation *e, int *stop)
{
    bool complete;
    VJ_TRY(resume(e, &complete));
    if (complete) return vj_agree(e->comm, e->rank == 0 ? vj_eval_store_remove(e) : VJ_OK);
    VJ_TRY(start_keys(e));
    add_history(e, "start", "");
    VJ_TRY(vj_eval_store(e, stop));
    if (!*stop) VJ_TRY(train(e, stop));
    return *stop ? VJ_OK : measure(e, stop);
}

static vj_status work(vj_evaluation *e, vj_evaluate_outcome *outcome)
{
    int stop = 0;
    e->progress.saved_s = vj_now();
    VJ_TRY(e->request->probes ? work_on_files(e, &stop) : work_on_heads(e, &stop));
    if (!stop) return VJ_OK;
    add_history(e, "stop", vj_stop_reason(stop));
    *outcome = VJ_EVALUATE_STOPPED;
    if (e->stream.epoch < e->epochs)
        vj_log("stopped in epoch %lld of %lld by %s; the same command goes on", (long long)e->stream.epoch + 1,
               (long long)e->epochs, vj_stop_reason(stop));
    else
        vj_log("stopped while measuring by %s; the same command goes on", vj_stop_reason(stop));
    return vj_agree(e->comm, e->rank == 0 ? vj_stop_remove_file(&e->stop) : VJ_OK);
}

/* On leaders, check the request and open the stores, before all ranks open the encoders. */
static vj_status prepare(vj_evaluation *e)
{
    VJ_TRY(vj_agree(e->comm, e->rank == 0 ? vj_stop_limit(&e->stop, e->config) : VJ_OK));
    if (!e->request->dry_run) VJ_TRY(vj_run_folder_lock(&e->lease, e->config, false, e->comm));
    return open_all(e);
}

static vj_status make_folder(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? VJ_OK : vj_raise(VJ_ERR_IO, "make the folder %s (--out)", path);
}

/* Lock the folder of results for this job, and create it if it does not exist. */
static vj_status take_folder(vj_evaluation *e)
{
    VJ_TRY(vj_agree(e->comm, e->rank == 0 && e->request->part ? make_folder(e->request->dir) : VJ_OK));
    return vj_run_folder_lock(&e->lease, e->config, true, e->comm);
}

/* Finish a part for which no row of the table was left. */
static vj_status do_nothing(vj_evaluation *e)
{
    const vj_campaign_part *part = e->request->part;
    vj_log("evaluate: part %d of %d has none of the %lld rows of the table: the others are done as fast without it",
           part->index, part->count, (long long)e->row_total);
    if (e->request->dry_run) return VJ_OK;
    VJ_TRY(take_folder(e));
    VJ_TRY(vj_agree(e->comm, e->rank == 0 ? vj_eval_report_nothing(e) : VJ_OK));
    return vj_run_folder_complete(e->config, 0, e->comm);
}

/* In a dry run, on leaders, check that the campaign can go on from its checkpoint. */
static vj_status look_ahead(vj_evaluation *e)
{
    bool complete;
    return e->request->probes ? VJ_OK : resume(e, &complete);
}

/* On leaders, run the campaign once everything is open, then dismiss the other ranks of the group. */
static vj_status lead(vj_evaluation *e, vj_evaluate_outcome *outcome)
{
    vj_status status = take_folder(e);
    if (status == VJ_OK) status = work(e, outcome);
    vj_frozen_dismiss(&e->frozen);
    return status;
}

static vj_status run(vj_evaluation *e, MPI_Comm comm, vj_evaluate_outcome *outcome)
{
    vj_stop_listen(&e->stop, e->config);
    VJ_TRY(vj_agree(comm, open_groups(e, comm)));
    const bool leads = e->layout.tensor_rank == 0;
    VJ_TRY(vj_agree(comm, leads ? prepare(e) : VJ_OK));
    tell_group(e);
    if (e->encoders.count == 0) return vj_agree(comm, leads ? do_nothing(e) : VJ_OK);
    VJ_TRY(vj_eval_open(e));
    if (e->request->dry_run) return vj_agree(comm, leads ? look_ahead(e) : VJ_OK);
    VJ_TRY(vj_agree(comm, leads ? lead(e, outcome) : vj_frozen_follow(&e->frozen)));
    vj_broadcast(outcome, (int64_t)sizeof *outcome, e->layout.tensor);
    return VJ_OK;
}

static void release(vj_evaluation *e)
{
    vj_tensor_close(e->tensor); /* before the backend */
    vj_eval_close(e);
    vj_eval_plan_release(e);
    vj_eval_set_release(&e->train.set);
    vj_eval_set_release(&e->validation.set);
    vj_clips_close(e->train.clips);
    vj_clips_close(e->validation.clips);
    free(e->began_as);
    free(e->train.damaged);
    free(e->validation.damaged);
    vj_lease_release(e->lease);
    vj_notes_release(&e->notes);
    vj_layout_close(&e->layout);
    free(e->config);
    free(e);
}

/* Set the folder that this evaluation writes to; a part has its own. */
static vj_status name_folder(vj_evaluation *e)
{
    const vj_evaluate_request *r = e->request;
    char path[VJ_FILE_PATH];
    if (r->part && r->probes) return vj_raise(VJ_ERR_USAGE, "--part divides probes to train; --probe trains none");
    snprintf(path, sizeof path, "%s", r->dir);
    if (r->part) vj_part_path(path, r->dir, r->part, "");
    if (strlen(r->dir) >= VJ_PATH || strlen(path) >= sizeof e->dir)
        return vj_raise(VJ_ERR_USAGE, "--out: path too long: %s", r->dir);
    snprintf(e->dir, sizeof e->dir, "%.*s", VJ_PATH - 1, path);
    snprintf(e->config->run.dir, sizeof e->config->run.dir, "%s", e->dir);
    return VJ_OK;
}

vj_status vj_evaluate(const vj_config *config, const vj_evaluate_request *request, MPI_Comm comm,
                      vj_evaluate_outcome *outcome)
{
    vj_evaluation *e = vj_calloc(1, sizeof *e);
    vj_config *copy = vj_calloc(1, sizeof *copy);
    *outcome = VJ_EVALUATE_DONE;
    if (!e || !copy) {
        free(e);
        free(copy);
        return vj_raise(VJ_ERR_MEMORY, "no memory for an evaluation");
    }
    *copy = *config;
    copy->data.read_ahead = 1;
    copy->data.verify = 1.0;
    copy->data.cache[0] = '\0';
    *e = (vj_evaluation){.config = copy, .request = request, .memory.began_bytes = vj_resident_bytes()};
    vj_status status = name_folder(e);
    if (status == VJ_OK) status = run(e, comm, outcome);
    release(e);
    return status;
}
