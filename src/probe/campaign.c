/* Lists the probes of a campaign, divides them over the ranks, trains them, and makes the result table. */
#include "probe/campaign.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "probe/samples.h"
#include "train/alike.h"

/* One probe. */
typedef struct {
    int task, share, encoder;
    vj_pooling pooling;
    uint64_t seed;
    int64_t number; /* in the order of the table */
    double cost;    /* operations, roughly */
    int part;       /* of the campaign, from 1 */
    int rank;       /* who trains it; -1: no rank of this job, which has another part */
} vj_job;

typedef struct {
    const vj_config *config;
    const vj_probe_encoder *encoders;
    int encoder_count;
    vj_campaign_part *part; /* borrowed; NULL: all */
    vj_samples train[VJ_MAX_ENCODERS], validation[VJ_MAX_ENCODERS];
    vj_notes *notes; /* borrowed */
    vj_strings tasks;
    vj_job *jobs;
    int64_t job_count;
    double *top1; /* [job_count] */
    int rank, size;
    MPI_Comm comm;
} vj_campaign;

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
    snprintf(encoder->train, sizeof encoder->train, "%.*s", train, equals + 1);
    snprintf(encoder->validation, sizeof encoder->validation, "%s", comma + 1);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the plan */

static int wants(const vj_config *config, vj_pooling pooling)
{
    for (int i = 0; i < config->probe.pooling.count; i++)
        if (strcmp(config->probe.pooling.item[i], vj_pooling_name(pooling)) == 0) return 1;
    return 0;
}

/* Encoders are compared on the same clips, in the same order: shares of the labels are chosen by row. */
static vj_status check_same_clips(const char *path, const vj_samples *samples, const char *first_path,
                                  const vj_samples *first)
{
    uint64_t a = vj_features_describe(first->store)->store_fingerprint;
    uint64_t b = vj_features_describe(samples->store)->store_fingerprint;
    if (a != b || first->count != samples->count)
        return vj_raise(VJ_ERR_USAGE,
                        "%s holds %lld clips of store %016llx, %s %lld of %016llx: encoders must see the same clips",
                        first_path, (long long)first->count, (unsigned long long)a, path, (long long)samples->count,
                        (unsigned long long)b);
    enum { ROWS = 4096 };
    int64_t x[ROWS], y[ROWS];
    for (int64_t at = 0; at < first->count; at += ROWS) {
        const int64_t n = first->count - at < ROWS ? first->count - at : ROWS;
        VJ_TRY(vj_features_read_clips(first->store, at, n, x));
        VJ_TRY(vj_features_read_clips(samples->store, at, n, y));
        for (int64_t i = 0; i < n; i++)
            if (x[i] != y[i])
                return vj_raise(VJ_ERR_USAGE,
                                "row %lld of %s is clip %lld, of %s clip %lld: encoders must see the same clips",
                                (long long)(at + i), first_path, (long long)x[i], path, (long long)y[i]);
    }
    return VJ_OK;
}

static vj_status check_stores(vj_campaign *c, int e)
{
    const vj_probe_encoder *encoder = &c->encoders[e];
    vj_samples *train = &c->train[e], *validation = &c->validation[e];
    const vj_feature_side side[2] = {{train, encoder->train}, {validation, encoder->validation}};
    VJ_TRY(vj_belong_check_pair(c->notes, &side[0], &side[1]));
    VJ_TRY(check_same_clips(encoder->train, train, c->encoders[0].train, &c->train[0]));
    VJ_TRY(check_same_clips(encoder->validation, validation, c->encoders[0].validation, &c->validation[0]));
    if (wants(c->config, VJ_POOL_ATTENTIVE)) {
        if (train->D != c->config->model.width)
            return vj_raise(VJ_ERR_USAGE, "%s holds features of width %d, the configuration has model.width %lld",
                            encoder->train, train->D, (long long)c->config->model.width);
        if (train->tokens == 1)
            return vj_raise(VJ_ERR_USAGE, "%s holds one pooled vector a clip; an attentive probe needs all tokens",
                            encoder->train);
    }
    for (int t = 0; t < c->tasks.count; t++)
        VJ_TRY(vj_belong_check_task(c->notes, c->tasks.item[t], &side[0], &side[1]));
    return VJ_OK;
}

static vj_status open_stores(vj_campaign *c)
{
    for (int e = 0; e < c->encoder_count; e++) {
        for (int other = 0; other < e; other++)
            if (strcmp(c->encoders[e].name, c->encoders[other].name) == 0)
                return vj_raise(VJ_ERR_USAGE, "two encoders are called '%s'", c->encoders[e].name);
        VJ_TRY(vj_samples_open(&c->train[e], c->encoders[e].train));
        VJ_TRY(vj_samples_open(&c->validation[e], c->encoders[e].validation));
        if (e == 0) {
            c->tasks = c->config->probe.tasks;
            for (int l = 0; c->config->probe.tasks.count == 0 && l < c->train[0].label_count; l++)
                snprintf(c->tasks.item[c->tasks.count++], VJ_PATH, "%s",
                         vj_features_describe(c->train[0].store)->label_names[l]);
        }
        VJ_TRY(check_stores(c, e));
    }
    if (c->tasks.count == 0) return vj_raise(VJ_ERR_USAGE, "%s holds no labels", c->encoders[0].train);
    return VJ_OK;
}

/* Two columns of a table that are one encoder are a slip, or a test of the noise. */
static vj_status note_equal_encoders(const vj_campaign *c)
{
    for (int e = 1; e < c->encoder_count; e++)
        for (int other = 0; other < e; other++) {
            const vj_features_header *a = vj_features_describe(c->train[other].store),
                                     *b = vj_features_describe(c->train[e].store);
            if (a->encoder_digest != 0 && a->encoder_digest == b->encoder_digest &&
                strcmp(a->preprocessing, b->preprocessing) == 0)
                VJ_TRY(vj_notes_add(c->notes, "%s and %s are the same encoder", c->encoders[other].name,
                                    c->encoders[e].name));
        }
    return VJ_OK;
}

static int classes_of(const vj_campaign *c, int e, int task)
{
    const char *name = c->tasks.item[task];
    int a = vj_samples_classes(&c->train[e], vj_samples_label(&c->train[e], name));
    int b = vj_samples_classes(&c->validation[e], vj_samples_label(&c->validation[e], name));
    return a > b ? a : b;
}

/* Products of one epoch over the share, times epochs, plus the validation; only proportions matter. */
static double cost_of(const vj_campaign *c, const vj_job *job)
{
    const vj_samples *train = &c->train[job->encoder], *validation = &c->validation[job->encoder];
    double D = train->D, N = (double)train->tokens, clips = (double)train->count, attend = 0.0;
    if (c->config->probe.clips > 0) clips = fmin(clips, (double)c->config->probe.clips);
    if (job->pooling == VJ_POOL_ATTENTIVE)
        attend = c->config->probe.folded ? N * D * (double)c->config->model.heads + 12.0 * D * D : 2.0 * N * D * D;
    double once = attend + D * classes_of(c, job->encoder, job->task);
    clips *= c->config->probe.labels[job->share] / 100.0;
    double epochs = (double)vj_probe_epochs(c->config, c->config->probe.labels[job->share]);
    return once * (3.0 * clips * epochs + (double)validation->count);
}

static int costlier_first(const void *a, const void *b)
{
    const vj_job *x = *(vj_job *const *)a, *y = *(vj_job *const *)b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* Largest first, each of the n jobs goes to the one of `bins` that has the least to do so far: bin[number of the job].
 */
static vj_status spread(vj_job **jobs, int64_t n, int bins, int *bin)
{
    double *load = vj_calloc(bins, sizeof *load);
    if (!load) return vj_raise(VJ_ERR_MEMORY, "no memory to divide the probes");
    qsort(jobs, (size_t)n, sizeof(vj_job *), costlier_first);
    for (int64_t i = 0; i < n; i++) {
        int least = 0;
        for (int b = 1; b < bins; b++)
            if (load[b] < load[least]) least = b;
        bin[jobs[i]->number] = least;
        load[least] += jobs[i]->cost;
    }
    free(load);
    return VJ_OK;
}

/* Rows of the table, whose seeds lie side by side and cost the same, over the parts; then this part's jobs over the
 * ranks. */
static vj_status divide(vj_campaign *c)
{
    const int64_t seeds = c->config->probe.seeds;
    vj_job **chosen = vj_calloc(c->job_count, sizeof(vj_job *));
    int *bin = vj_calloc(c->job_count, sizeof *bin);
    int64_t n = 0;
    vj_status status = chosen && bin ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to divide the probes");
    for (int64_t i = 0; status == VJ_OK && i < c->job_count; i += seeds) chosen[n++] = &c->jobs[i];
    if (status == VJ_OK) status = spread(chosen, n, c->part ? c->part->count : 1, bin);
    n = 0;
    for (int64_t i = 0; status == VJ_OK && i < c->job_count; i++) {
        vj_job *job = &c->jobs[i];
        job->part = bin[i - i % seeds] + 1;
        job->rank = -1;
        if (!c->part || job->part == c->part->index) chosen[n++] = job;
    }
    if (status == VJ_OK) status = spread(chosen, n, c->size, bin);
    for (int64_t i = 0; status == VJ_OK && i < n; i++) chosen[i]->rank = bin[chosen[i]->number];
    free(chosen);
    free(bin);
    return status;
}

static vj_status make_jobs(vj_campaign *c)
{
    const vj_config *config = c->config;
    int64_t n = 0, per = config->probe.labels_count * (int64_t)c->encoder_count * config->probe.seeds;
    c->job_count = c->tasks.count * (int64_t)config->probe.pooling.count * per;
    c->jobs = vj_calloc(c->job_count, sizeof *c->jobs);
    c->top1 = vj_calloc(c->job_count, sizeof *c->top1);
    if (!c->jobs || !c->top1) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld probes", (long long)c->job_count);
    for (int t = 0; t < c->tasks.count; t++)
        for (int p = 0; p < config->probe.pooling.count; p++)
            for (int s = 0; s < config->probe.labels_count; s++)
                for (int e = 0; e < c->encoder_count; e++)
                    for (int64_t seed = 0; seed < config->probe.seeds; seed++) {
                        vj_job *job = &c->jobs[n];
                        *job = (vj_job){.task = t, .share = s, .encoder = e, .number = n++};
                        job->seed = (uint64_t)(config->run.seed + seed);
                        VJ_TRY(vj_pooling_parse(&job->pooling, config->probe.pooling.item[p]));
                        job->cost = cost_of(c, job);
                    }
    return divide(c);
}

static vj_status plan(vj_campaign *c, vj_notes *notes, const vj_config *config, const vj_probe_encoder *encoders,
                      int encoder_count, MPI_Comm comm)
{
    if (encoder_count < 1 || encoder_count > VJ_MAX_ENCODERS)
        return vj_raise(VJ_ERR_USAGE, "%d encoders given; 1 to %d can be compared", encoder_count, VJ_MAX_ENCODERS);
    c->config = config;
    c->notes = notes;
    c->encoders = encoders;
    c->encoder_count = encoder_count;
    c->comm = comm;
    MPI_Comm_rank(comm, &c->rank);
    MPI_Comm_size(comm, &c->size);
    VJ_TRY(open_stores(c));
    VJ_TRY(note_equal_encoders(c));
    for (int i = 0; c->rank == 0 && i < notes->count; i++) vj_warn("%s", notes->text[i]);
    VJ_TRY(make_jobs(c));
    vj_log("probe: %lld probes (%d tasks, %d poolings, %d shares, %d encoders, %lld seeds) on %d ranks",
           (long long)c->job_count, c->tasks.count, config->probe.pooling.count, config->probe.labels_count,
           encoder_count, (long long)config->probe.seeds, c->size);
    if (c->part) {
        int64_t mine = 0;
        for (int64_t i = 0; i < c->job_count; i++) mine += c->jobs[i].rank >= 0;
        vj_log("probe: part %d of %d trains %lld of them", c->part->index, c->part->count, (long long)mine);
    }
    return VJ_OK;
}

static void release(vj_campaign *c)
{
    for (int e = 0; e < VJ_MAX_ENCODERS; e++) {
        vj_samples_release(&c->train[e]);
        vj_samples_release(&c->validation[e]);
    }
    free(c->jobs);
    free(c->top1);
    free(c);
}

static void describe_setting(void *out, const char *key, const char *value, const char *help)
{
    (void)help;
    fprintf(out, "%s: %s\n", key, value);
}

static void describe_features(FILE *out, const vj_samples *samples)
{
    const vj_features_header *h = vj_features_describe(samples->store);
    fprintf(out, " %lld clips of %016llx by %016llx, %s;", (long long)samples->count,
            (unsigned long long)h->store_fingerprint, (unsigned long long)h->encoder_digest, h->preprocessing);
}

/* All that the results depend on, to be freed with free(); NULL: no memory. */
static char *describe(const vj_campaign *c)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fprintf(out, "seed: %lld\n", (long long)c->config->run.seed);
    vj_config_each(c->config, "model", describe_setting, out);
    vj_config_each(c->config, "probe", describe_setting, out);
    for (int e = 0; e < c->encoder_count; e++) {
        fprintf(out, "encoder %s:", c->encoders[e].name);
        describe_features(out, &c->train[e]);
        describe_features(out, &c->validation[e]);
        fputc('\n', out);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

void vj_campaign_part_release(vj_campaign_part *part)
{
    free(part->number);
    free(part->campaign);
    part->number = NULL;
    part->campaign = NULL;
}

/* ------------------------------------------------------------------------------------------------ the work */

static vj_status train_one(vj_campaign *c, vj_backend *be, const vj_job *job)
{
    vj_samples *train = &c->train[job->encoder], *validation = &c->validation[job->encoder];
    const char *task = c->tasks.item[job->task];
    int folded = c->config->probe.folded;
    VJ_TRY(vj_samples_prepare(train, be, job->pooling, folded));
    VJ_TRY(vj_samples_prepare(validation, be, job->pooling, folded));
    vj_probe_data data = vj_samples_data(train, vj_samples_label(train, task), job->pooling);
    vj_probe_data held = vj_samples_data(validation, vj_samples_label(validation, task), job->pooling);
    vj_probe_choice choice = {.share = c->config->probe.labels[job->share], .seed = job->seed};
    choice.shape = (vj_probe_shape){.pooling = job->pooling,
                                    .D = data.D,
                                    .heads = (int)c->config->model.heads,
                                    .classes = classes_of(c, job->encoder, job->task),
                                    .tokens = data.tokens,
                                    .batch = c->config->probe.batch,
                                    .folded = folded};
    return vj_probe_fit(&c->top1[job->number], be, c->config, &choice, &data, &held);
}

/* Rank 0's own part stands for all: the division is even. */
static void report_progress(const vj_campaign *c, double done, double all, double start, double *last)
{
    double now = vj_now();
    if (c->rank != 0 || (now - *last < 2.0 && done < all)) return;
    *last = now;
    vj_log("probe: %3.0f %% in %.0f s, %.0f s left", 100.0 * done / all, now - start,
           (now - start) * (all - done) / done);
}

/* Encoder by encoder, so that only one encoder's statistics are in memory. */
static vj_status train_mine(vj_campaign *c, vj_backend *be)
{
    double done = 0.0, all = 0.0, start = vj_now(), last = start;
    for (int64_t i = 0; i < c->job_count; i++)
        if (c->jobs[i].rank == c->rank) all += c->jobs[i].cost;
    for (int e = 0; e < c->encoder_count; e++) {
        for (int64_t i = 0; i < c->job_count; i++) {
            const vj_job *job = &c->jobs[i];
            if (job->rank != c->rank || job->encoder != e) continue;
            VJ_TRY(train_one(c, be, job));
            report_progress(c, done += job->cost, all, start, &last);
        }
        vj_samples_forget(&c->train[e]);
        vj_samples_forget(&c->validation[e]);
    }
    return VJ_OK;
}

/* Mean and sample standard deviation of the seeds, which lie side by side from job `first` on. */
static vj_status make_row(vj_probe_row *row, const vj_campaign *c, int64_t first)
{
    const vj_job *job = &c->jobs[first];
    const vj_samples *train = &c->train[job->encoder], *validation = &c->validation[job->encoder];
    const char *task = c->tasks.item[job->task];
    int64_t seeds = c->config->probe.seeds, *chosen = vj_calloc(train->count + 1, sizeof *chosen);
    int label = vj_samples_label(train, task);
    if (!chosen) return vj_raise(VJ_ERR_MEMORY, "no memory to count %lld clips", (long long)train->count);
    snprintf(row->task, sizeof row->task, "%s", vj_features_describe(train->store)->label_names[label]);
    snprintf(row->encoder, sizeof row->encoder, "%s", c->encoders[job->encoder].name);
    snprintf(row->kind, sizeof row->kind, "%s", vj_pooling_name(job->pooling));
    row->labels = c->config->probe.labels[job->share];
    row->seeds = seeds;
    row->width = train->D;
    row->effective_rank = vj_features_effective_rank(train->store);
    row->validation_clips = vj_samples_labelled(validation, vj_samples_label(validation, task));
    double squares = 0.0;
    for (int64_t s = 0; s < seeds; s++) row->top1_mean += c->top1[first + s] / (double)seeds;
    for (int64_t s = 0; s < seeds; s++) squares += pow(c->top1[first + s] - row->top1_mean, 2.0);
    row->top1_std = seeds > 1 ? sqrt(squares / (double)(seeds - 1)) : 0.0;
    vj_status status =
        vj_probe_subset(chosen, &row->training_clips, vj_samples_data(train, label, job->pooling).labels, train->count,
                        classes_of(c, job->encoder, job->task), c->config->probe.clips, row->labels, job->seed);
    free(chosen);
    return status;
}

/* The rows of this part, or all. */
static vj_status make_rows(const vj_campaign *c, vj_probe_row **rows, int64_t *row_count)
{
    const int64_t seeds = c->config->probe.seeds, total = c->job_count / seeds;
    int64_t *number = vj_calloc(total, sizeof *number), n = 0;
    *rows = vj_calloc(total, sizeof **rows);
    vj_status status =
        *rows && number ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld results", (long long)total);
    for (int64_t r = 0; status == VJ_OK && r < total; r++) {
        if (c->part && c->jobs[r * seeds].part != c->part->index) continue;
        number[n] = r;
        status = make_row(&(*rows)[n++], c, r * seeds);
    }
    *row_count = status == VJ_OK ? n : 0;
    if (!c->part) {
        free(number);
        return status;
    }
    c->part->total = total;
    c->part->number = number;
    c->part->campaign = describe(c);
    return status != VJ_OK || c->part->campaign ? status : vj_raise(VJ_ERR_MEMORY, "no memory for a text");
}

static vj_status run(vj_campaign *c, vj_probe_row **rows, int64_t *row_count)
{
    vj_backend *be;
    const vj_place place = vj_place_of(c->comm);
    vj_place_say(&place, c->comm, "");
    VJ_TRY(vj_backend_open_alike(&be, "cpu", VJ_FP32, &place, c->comm));
    vj_status status = train_mine(c, be);
    vj_backend_close(be);
    VJ_TRY(status);
    /* Each probe has one rank's number and zeros: the sum is exact. */
    MPI_Allreduce(MPI_IN_PLACE, c->top1, (int)c->job_count, MPI_DOUBLE, MPI_SUM, c->comm);
    return make_rows(c, rows, row_count);
}

vj_status vj_campaign_run(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const vj_config *config,
                          const vj_probe_encoder *encoders, int encoder_count, vj_campaign_part *part, MPI_Comm comm)
{
    *rows = NULL;
    *row_count = 0;
    vj_campaign *c = vj_calloc(1, sizeof *c);
    if (!c) return vj_raise(VJ_ERR_MEMORY, "no memory for the campaign");
    c->part = part;
    vj_status status = plan(c, notes, config, encoders, encoder_count, comm);
    if (status == VJ_OK) status = run(c, rows, row_count);
    release(c);
    return status;
}

vj_status vj_campaign_plan(const vj_config *config, const vj_probe_encoder *encoders, int encoder_count, MPI_Comm comm)
{
    vj_notes notes = {0};
    vj_campaign *c = vj_calloc(1, sizeof *c);
    if (!c) return vj_raise(VJ_ERR_MEMORY, "no memory for the campaign");
    vj_status status = plan(c, &notes, config, encoders, encoder_count, comm);
    vj_notes_release(&notes);
    release(c);
    return status;
}
