/* Trains the probes of a campaign: each rank trains its own, encoder by encoder. */
#include "probe/campaign.h"

#include <stdlib.h>
#include <string.h>

#include "base/markup.h"
#include "parallel/parallel.h"
#include "probe/campaign_parts.h"
#include "train/alike.h"

vj_status vj_probe_encoder_parse(vj_probe_encoder *encoder, const char *text)
{
    const char *equals = strchr(text, '='), *comma = equals ? strchr(equals, ',') : NULL;
    if (!equals || !comma || equals == text || comma == equals + 1 || !comma[1])
        return vj_raise(VJ_ERR_USAGE, "'%s' is not NAME=TRAIN.h5,VALIDATION.h5", text);
    int name = (int)(equals - text), train = (int)(comma - equals - 1), validation = (int)strlen(comma + 1);
    if (name >= VJ_ENCODER_NAME || train >= VJ_PATH || validation >= VJ_PATH)
        return vj_raise(VJ_ERR_USAGE, "'%s': a name has at most %d letters, a path %d", text, VJ_ENCODER_NAME - 1,
                        VJ_PATH - 1);
    snprintf(encoder->name, sizeof encoder->name, "%.*s", name, text);
    if (!vj_utf8_is_name(encoder->name))
        return vj_raise(VJ_ERR_USAGE, "'%s': the name of an encoder is text in UTF-8, without control characters",
                        text);
    snprintf(encoder->train, sizeof encoder->train, "%.*s", train, equals + 1);
    snprintf(encoder->validation, sizeof encoder->validation, "%s", comma + 1);
    return VJ_OK;
}

void vj_campaign_part_release(vj_campaign_part *part)
{
    free(part->number);
    free(part->campaign);
    part->number = NULL;
    part->campaign = NULL;
}

static void release(vj_campaign *c)
{
    for (int e = 0; e < VJ_MAX_ENCODERS; e++) {
        vj_samples_release(&c->train[e]);
        vj_samples_release(&c->validation[e]);
    }
    const int64_t splits =
        c->splits ? c->tasks.count * (int64_t)c->config->probe.labels_count * c->config->probe.seeds : 0;
    for (int64_t i = 0; i < splits; i++) free(c->splits[i].chosen);
    free(c->splits);
    free(c->jobs);
    free(c->results);
    free(c->heads);
    free(c->config);
    vj_predictions_abandon(c->predictions);
    free(c);
}

/* The progress of rank 0, in costs of jobs. It is also that of the other ranks, since the work is divided evenly. */
typedef struct {
    double done, all, job; /* done: before the present job, which costs `job` */
    double began_s, logged_s;
} progress;

/* For vj_probe_choice.progress. */
static void log_progress(void *listener, double share)
{
    progress *p = listener;
    const double now = vj_now(), done = p->done + share * p->job;
    if (now - p->logged_s < 5.0) return;
    char spent[32], left[32];
    p->logged_s = now;
    vj_log("probe: %3.0f %% in %s, %s left", 100.0 * done / p->all, vj_duration(now - p->began_s, spent),
           vj_duration((now - p->began_s) * (p->all - done) / done, left));
}

static vj_status train_one(vj_campaign *c, vj_backend *be, const vj_job *job, progress *p)
{
    vj_samples *train = &c->train[job->encoder], *validation = &c->validation[job->encoder];
    const char *task = c->tasks.item[job->task];
    int folded = c->config->probe.folded;
    VJ_TRY(vj_samples_prepare(train, be, job->pooling, folded));
    VJ_TRY(vj_samples_prepare(validation, be, job->pooling, folded));
    vj_probe_data data = vj_samples_data(train, vj_samples_label(train, task), job->pooling);
    vj_probe_data held = vj_samples_data(validation, vj_samples_label(validation, task), job->pooling);
    const vj_split_drawn *split = vj_campaign_split(c, job);
    vj_probe_choice choice = {.share = c->config->probe.labels[job->share],
                              .seed = job->seed,
                              .chosen = split->chosen,
                              .chosen_count = split->count,
                              .progress = log_progress,
                              .listener = p};
    choice.shape = (vj_probe_shape){.pooling = job->pooling,
                                    .D = data.D,
                                    .heads = (int)c->config->model.heads,
                                    .classes = vj_campaign_classes(c, job->encoder, job->task),
                                    .tokens = data.tokens,
                                    .batch = c->config->probe.batch,
                                    .folded = folded};
    vj_probe_result *result = &c->results[job->number];
    vj_prediction *rows = NULL;
    vj_status status = vj_probe_fit(result, c->predictions ? &rows : NULL, be, c->config, &choice, &data, &held);
    if (status == VJ_OK && c->predictions)
        status = vj_predictions_write(c->predictions, job->head, 0, result->counted, rows);
    free(rows);
    return status;
}

/* Train this rank's probes encoder by encoder, so that only one encoder's statistics are in memory. */
static vj_status train_mine(vj_campaign *c, vj_backend *be)
{
    const double now = vj_now();
    char spent[32];
    progress p = {.began_s = now, .logged_s = now};
    for (int64_t i = 0; i < c->job_count; i++)
        if (c->jobs[i].rank == c->rank) p.all += c->jobs[i].cost;
    for (int e = 0; e < c->encoder_count; e++) {
        for (int64_t i = 0; i < c->job_count; i++) {
            const vj_job *job = &c->jobs[i];
            if (job->rank != c->rank || job->encoder != e) continue;
            p.job = job->cost;
            VJ_TRY(train_one(c, be, job, &p));
            p.done += job->cost;
        }
        vj_samples_forget(&c->train[e]);
        vj_samples_forget(&c->validation[e]);
    }
    vj_log("probe: trained in %s", vj_duration(vj_now() - now, spent));
    return VJ_OK;
}

/* For each probe one rank has its results and the others zeros, so the sums are exact. */
static vj_status share_results(vj_campaign *c)
{
    enum { NUMBERS = sizeof(vj_accuracies) / sizeof(double) };
    vj_accuracies *accuracies = vj_calloc(c->job_count, sizeof *accuracies);
    uint64_t *digests = vj_calloc(c->job_count, sizeof *digests);
    const bool there = accuracies && digests;
    for (int64_t i = 0; there && i < c->job_count; i++) {
        accuracies[i] = c->results[i].accuracies;
        digests[i] = c->results[i].digest;
    }
    vj_status status = there ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld results", (long long)c->job_count);
    if (c->size > 1) status = vj_agree(c->comm, status);
    if (status == VJ_OK) {
        MPI_Allreduce(MPI_IN_PLACE, accuracies, (int)(NUMBERS * c->job_count), MPI_DOUBLE, MPI_SUM, c->comm);
        MPI_Allreduce(MPI_IN_PLACE, digests, (int)c->job_count, MPI_UINT64_T, MPI_SUM, c->comm);
    }
    for (int64_t i = 0; status == VJ_OK && i < c->job_count; i++) {
        c->results[i].accuracies = accuracies[i];
        c->results[i].digest = digests[i];
    }
    free(accuracies);
    free(digests);
    return status;
}

static vj_status end_predictions(vj_campaign *c)
{
    uint64_t *digests = vj_calloc(c->head_count + 1, sizeof *digests);
    vj_status status = digests ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the digests of probes");
    for (int64_t i = 0; digests && i < c->job_count; i++)
        if (c->jobs[i].rank >= 0) digests[c->jobs[i].head] = c->results[i].digest;
    status = vj_predictions_commit(c->predictions, status, digests);
    c->predictions = NULL;
    free(digests);
    return status;
}

/* Write the splits, and create the file of predictions with all the space that it needs; or leave nothing behind. */
static vj_status begin_output(vj_campaign *c)
{
    vj_status status = vj_agree(c->comm, c->rank == 0 ? vj_campaign_write_splits(c) : VJ_OK);
    if (status == VJ_OK) status = vj_campaign_begin_predictions(c);
    if (status != VJ_OK && c->rank == 0) vj_campaign_remove_splits(c);
    return status;
}

static vj_status run(vj_campaign *c, vj_probe_row **rows, int64_t *row_count)
{
    vj_backend *be;
    const vj_place place = vj_place_of(c->comm);
    vj_place_log(&place, c->comm, "");
    if (c->dir) VJ_TRY(begin_output(c));
    VJ_TRY(vj_backend_open_alike(&be, "cpu", VJ_FP32, &place, c->comm));
    vj_status status = train_mine(c, be);
    vj_backend_close(be);
    VJ_TRY(status);
    VJ_TRY(share_results(c));
    if (c->predictions) VJ_TRY(end_predictions(c));
    return vj_campaign_make_rows(c, rows, row_count);
}

static vj_status create(vj_campaign **campaign, vj_notes *notes, const vj_config *config,
                        const vj_probe_encoder *encoders, int encoder_count, MPI_Comm comm)
{
    vj_campaign *c = vj_calloc(1, sizeof *c);
    vj_config *copy = vj_calloc(1, sizeof *copy);
    if (!c || !copy) {
        free(c);
        free(copy);
        return vj_raise(VJ_ERR_MEMORY, "no memory for the campaign");
    }
    *copy = *config;
    c->config = copy;
    c->notes = notes;
    c->encoders = encoders;
    c->encoder_count = encoder_count;
    c->comm = comm;
    MPI_Comm_rank(comm, &c->rank);
    MPI_Comm_size(comm, &c->size);
    *campaign = c;
    return VJ_OK;
}

vj_status vj_campaign_run(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const vj_config *config,
                          const vj_probe_encoder *encoders, int encoder_count, vj_campaign_part *part, const char *dir,
                          MPI_Comm comm)
{
    vj_campaign *c = NULL;
    *rows = NULL;
    *row_count = 0;
    VJ_TRY(create(&c, notes, config, encoders, encoder_count, comm));
    c->part = part;
    c->dir = dir;
    vj_status status = vj_campaign_prepare(c);
    if (status == VJ_OK) status = run(c, rows, row_count);
    release(c);
    return status;
}

vj_status vj_campaign_plan(const vj_config *config, const vj_probe_encoder *encoders, int encoder_count, MPI_Comm comm)
{
    vj_notes notes = {0};
    vj_campaign *c = NULL;
    VJ_TRY(create(&c, &notes, config, encoders, encoder_count, comm));
    vj_status status = vj_campaign_prepare(c);
    vj_notes_release(&notes);
    release(c);
    return status;
}
