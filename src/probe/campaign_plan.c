/* Lists the probes of a campaign, checks that its features match, and divides the probes over parts and ranks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "probe/campaign_parts.h"
#include "probe/frozen.h"
#include "probe/token_probe.h"

static vj_status check_poolings(const vj_config *config)
{
    for (int i = 0; i < config->probe.pooling.count; i++)
        if (vj_token_probe_depth(config->probe.pooling.item[i]) > 0)
            return vj_raise(VJ_ERR_USAGE,
                            "probe.pooling %s has blocks on the tokens: only vjepa-evaluate trains such probes",
                            config->probe.pooling.item[i]);
    return VJ_OK;
}

static int wants(const vj_config *config, vj_pooling pooling)
{
    for (int i = 0; i < config->probe.pooling.count; i++)
        if (strcmp(config->probe.pooling.item[i], vj_pooling_name(pooling)) == 0) return 1;
    return 0;
}

/* Encoders must have the same clips in the same order, because shares of the labels are chosen by row. */
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
    const int64_t *x = vj_features_clips(first->store), *y = vj_features_clips(samples->store);
    for (int64_t i = 0; i < first->count; i++)
        if (x[i] != y[i])
            return vj_raise(VJ_ERR_USAGE,
                            "row %lld of %s is clip %lld, of %s clip %lld: encoders must see the same clips",
                            (long long)i, first_path, (long long)x[i], path, (long long)y[i]);
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
    VJ_TRY(check_poolings(c->config));
    for (int e = 0; e < c->encoder_count; e++) {
        for (int other = 0; other < e; other++)
            VJ_TRY(vj_encoder_names_check(c->encoders[e].name, c->encoders[other].name));
        VJ_TRY(vj_samples_open(&c->train[e], c->encoders[e].train, c->comm));
        VJ_TRY(vj_samples_open(&c->validation[e], c->encoders[e].validation, c->comm));
        if (e == 0) {
            c->tasks = c->config->probe.tasks;
            for (int l = 0; c->config->probe.tasks.count == 0 && l < c->train[0].label_count; l++)
                snprintf(c->tasks.item[c->tasks.count++], VJ_PATH, "%s",
                         vj_features_describe(c->train[0].store)->label_names[l]);
        }
        /* Rank 0 first, so that an error is reported once. */
        VJ_TRY(vj_agree(c->comm, c->rank == 0 ? check_stores(c, e) : VJ_OK));
        VJ_TRY(vj_agree(c->comm, c->rank != 0 ? check_stores(c, e) : VJ_OK));
    }
    if (c->tasks.count == 0) return vj_raise(VJ_ERR_USAGE, "%s holds no labels", c->encoders[0].train);
    return VJ_OK;
}

/* Two equal encoders in a table are a mistake, or a test of the noise. */
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

/* Decide the weight decay, for images as vjepa-evaluate does. This program has none of the paper's other choices. */
static vj_status settle_decay(vj_campaign *c)
{
    const bool images = vj_frozen_showed_images(vj_features_describe(c->train[0].store)->preprocessing);
    c->config->probe.weight_decay = vj_config_probe_decay(c->config, images);
    if (c->config->evaluate.preset != VJ_PRESET_PAPER) return VJ_OK;
    return vj_notes_add(c->notes, "evaluate.preset paper: here it settles the automatic weight decay alone; the "
                                  "paper's heads and norm are in vjepa-evaluate");
}

int vj_campaign_classes(const vj_campaign *c, int e, int task)
{
    const char *name = c->tasks.item[task];
    int a = vj_samples_classes(&c->train[e], vj_samples_label(&c->train[e], name));
    int b = vj_samples_classes(&c->validation[e], vj_samples_label(&c->validation[e], name));
    return a > b ? a : b;
}

/* Estimate the cost of a job: products of one epoch over the share, times epochs, plus the validation. Only ratios
 * matter. */
static double cost_of(const vj_campaign *c, const vj_job *job)
{
    const vj_samples *train = &c->train[job->encoder], *validation = &c->validation[job->encoder];
    double D = train->D, N = (double)train->tokens, clips = (double)train->count, attend = 0.0;
    if (c->config->probe.clips > 0) clips = fmin(clips, (double)c->config->probe.clips);
    if (job->pooling == VJ_POOL_ATTENTIVE)
        attend = c->config->probe.folded ? N * D * (double)c->config->model.heads + 12.0 * D * D : 2.0 * N * D * D;
    double once = attend + D * vj_campaign_classes(c, job->encoder, job->task);
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

/* Divide n jobs over `bins` bins: largest first, each goes to the bin with the least work so far, bin[number of the
 * job]. */
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

/* Divide the rows of the table over the parts (the seeds of a row are consecutive jobs of equal cost), then this part's
 * jobs over the ranks. */
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
    c->results = vj_calloc(c->job_count, sizeof *c->results);
    if (!c->jobs || !c->results) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld probes", (long long)c->job_count);
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

/* ------------------------------------------------------------------------------------------------ splits */

const vj_split_drawn *vj_campaign_split(const vj_campaign *c, const vj_job *job)
{
    const int64_t seeds = c->config->probe.seeds;
    return &c->splits[((int64_t)job->task * c->config->probe.labels_count + job->share) * seeds + job->number % seeds];
}

/* Read a split from probe.split_files, or draw it. */
static vj_status choose_split(vj_split_drawn *split, const vj_campaign *c, const vj_job *job)
{
    const vj_samples *train = &c->train[0];
    const char *task = c->tasks.item[job->task], *files = c->config->probe.split_files;
    const double share = c->config->probe.labels[job->share];
    const vj_split_rule rule = c->config->probe.split;
    const vj_split_samples samples = vj_samples_for_split(train, vj_samples_label(train, task), c->encoders[0].train);
    char path[VJ_SPLIT_PATH];
    split->chosen = vj_calloc(train->count + 1, sizeof *split->chosen);
    if (!split->chosen) return vj_raise(VJ_ERR_MEMORY, "no memory to choose among %lld clips", (long long)train->count);
    vj_split_path(path, files, task, rule, share, job->seed);
    if (files[0])
        VJ_TRY(vj_split_read(split->chosen, &split->count, path, &samples, share, job->seed));
    else
        VJ_TRY(vj_split_choose(split->chosen, &split->count, rule, samples.labels, train->count,
                               vj_campaign_classes(c, 0, job->task), c->config->probe.clips, share, job->seed));
    split->digest = vj_split_digest(&samples, split->chosen, split->count);
    return VJ_OK;
}

static vj_status choose_splits(vj_campaign *c)
{
    const int64_t all = c->tasks.count * (int64_t)c->config->probe.labels_count * c->config->probe.seeds;
    c->splits = vj_calloc(all, sizeof *c->splits);
    if (!c->splits) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld splits", (long long)all);
    for (int64_t i = 0; i < c->job_count; i++) {
        vj_split_drawn *split = &c->splits[vj_campaign_split(c, &c->jobs[i]) - c->splits];
        if (!split->chosen) VJ_TRY(choose_split(split, c, &c->jobs[i]));
    }
    return VJ_OK;
}

vj_status vj_campaign_prepare(vj_campaign *c)
{
    const vj_config *config = c->config;
    const int encoder_count = c->encoder_count;
    if (encoder_count < 1 || encoder_count > VJ_MAX_ENCODERS)
        return vj_raise(VJ_ERR_USAGE, "%d encoders given; 1 to %d can be compared", encoder_count, VJ_MAX_ENCODERS);
    VJ_TRY(open_stores(c));
    VJ_TRY(note_equal_encoders(c));
    VJ_TRY(settle_decay(c));
    for (int i = 0; c->rank == 0 && i < c->notes->count; i++) vj_warn("%s", c->notes->text[i]);
    VJ_TRY(make_jobs(c));
    VJ_TRY(choose_splits(c));
    vj_log("probe: %lld probes (tasks %d x poolings %d x shares %d x encoders %d x seeds %lld) on %d rank%s",
           (long long)c->job_count, c->tasks.count, config->probe.pooling.count, config->probe.labels_count,
           encoder_count, (long long)config->probe.seeds, c->size, c->size == 1 ? "" : "s");
    if (c->part) {
        int64_t mine = 0;
        for (int64_t i = 0; i < c->job_count; i++) mine += c->jobs[i].rank >= 0;
        vj_log("probe: part %d of %d trains %lld of them", c->part->index, c->part->count, (long long)mine);
    }
    return VJ_OK;
}
