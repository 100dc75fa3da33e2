/* The results of a campaign: the rows of its table, its splits, and the facts of its heads. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "parallel/parallel.h"
#include "probe/campaign_parts.h"

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

/* Return everything that the results depend on as text, to be freed with free(); NULL: out of memory. */
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

/* ------------------------------------------------------------------------------------------------ the heads */

/* Return the names of a task's classes from the training features, whose class numbers the probe uses. */
static const vj_clips_classes *classes_of(const vj_campaign *c, int e, const char *task)
{
    return &vj_features_describe(c->train[e].store)->classes[vj_samples_label(&c->train[e], task)];
}

/* Return the precision, the last word of the preprocessing (vj_frozen_describe_preprocessing()); "": not known. */
static const char *precision_of(const vj_features_header *features)
{
    const char *last = strrchr(features->preprocessing, ' ');
    return last && (strcmp(last + 1, "fp32") == 0 || strcmp(last + 1, "bf16") == 0) ? last + 1 : "";
}

static void describe_head(vj_head_facts *h, const vj_campaign *c, const vj_job *job)
{
    const vj_samples *train = &c->train[job->encoder], *validation = &c->validation[job->encoder];
    const char *task = c->tasks.item[job->task];
    const vj_features_header *features = vj_features_describe(train->store);
    const vj_split_drawn *split = vj_campaign_split(c, job);
    *h = (vj_head_facts){.features = "stored",
                         .preset = "code",
                         .labels = c->config->probe.labels[job->share],
                         .seed = job->seed,
                         .encoder_digest = features->encoder_digest,
                         .train_digest = features->store_fingerprint,
                         .store_digest = vj_features_describe(validation->store)->store_fingerprint,
                         .split_digest = split->digest,
                         .class_digest = vj_clips_classes_digest(classes_of(c, job->encoder, task)),
                         .training_samples = split->count,
                         .counted = vj_samples_labelled(validation, vj_samples_label(validation, task)),
                         .classes = vj_campaign_classes(c, job->encoder, job->task)};
    snprintf(h->precision, sizeof h->precision, "%s", precision_of(features));
    h->failed = (int64_t)vj_features_describe(validation->store)->failed[vj_samples_label(validation, task)];
    snprintf(h->task, sizeof h->task, "%s", task);
    snprintf(h->encoder, sizeof h->encoder, "%s", c->encoders[job->encoder].name);
    snprintf(h->kind, sizeof h->kind, "%s", vj_pooling_name(job->pooling));
    snprintf(h->split, sizeof h->split, "%s",
             c->config->probe.split_files[0]              ? "files"
             : c->config->probe.split == VJ_SPLIT_UNIFORM ? "uniform"
                                                          : "class");
    snprintf(h->description, sizeof h->description,
             "%lld epochs of batches of %lld, lr %g to %g, weight decay %g to %g, one view (%.80s)",
             (long long)vj_probe_epochs(c->config, h->labels), (long long)c->config->probe.batch, c->config->probe.lr,
             c->config->probe.final_lr, c->config->probe.weight_decay, c->config->probe.final_weight_decay,
             features->preprocessing);
    vj_head_name(h);
}

void vj_campaign_predictions_path(char path[VJ_FILE_PATH], const char *dir, const vj_campaign_part *part)
{
    if (part)
        snprintf(path, VJ_FILE_PATH, "%.*s/predictions_%d_of_%d.h5", VJ_PATH - 1, dir, part->index, part->count);
    else
        snprintf(path, VJ_FILE_PATH, "%.*s/predictions.h5", VJ_PATH - 1, dir);
}

/* Return the settings as text, to be freed with free(); NULL: out of memory. */
static char *settings_text(const vj_config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fprintf(out, "run.seed: %lld\n", (long long)config->run.seed);
    vj_config_each(config, "probe", describe_setting, out);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

vj_status vj_campaign_begin_predictions(vj_campaign *c)
{
    char path[VJ_FILE_PATH];
    vj_task_classes *tasks = vj_calloc(c->tasks.count, sizeof *tasks);
    c->heads = vj_calloc(c->job_count + 1, sizeof *c->heads);
    char *config = settings_text(c->config);
    vj_status status = tasks && c->heads && config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for predictions");
    for (int64_t i = 0; status == VJ_OK && i < c->job_count; i++) {
        if (c->jobs[i].rank < 0) continue;
        c->jobs[i].head = c->head_count;
        describe_head(&c->heads[c->head_count++], c, &c->jobs[i]);
    }
    for (int t = 0; status == VJ_OK && t < c->tasks.count; t++)
        tasks[t] = (vj_task_classes){c->tasks.item[t], classes_of(c, 0, c->tasks.item[t])};
    status = vj_agree(c->comm, status);
    vj_campaign_predictions_path(path, c->dir, c->part);
    if (status == VJ_OK && c->head_count > 0)
        status = vj_predictions_create(&c->predictions, path, c->heads, c->head_count, tasks, c->tasks.count, config,
                                       c->comm);
    free(tasks);
    free(config);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the splits */

static vj_status make_folder(const char *path, bool *made)
{
    *made = mkdir(path, 0777) == 0;
    return *made || errno == EEXIST ? VJ_OK : vj_raise(VJ_ERR_IO, "make the folder %s", path);
}

static vj_status splits_folder(const vj_campaign *c, char dir[VJ_PATH])
{
    if (snprintf(dir, VJ_PATH, "%s/splits", c->dir) < VJ_PATH) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "path too long: %s", c->dir);
}

/* Make the path of the split of job i. False: another job has the same split, since encoders and poolings share them.
 */
static bool split_path(const vj_campaign *c, int64_t i, const char *dir, char path[VJ_SPLIT_PATH])
{
    const vj_job *job = &c->jobs[i];
    vj_split_path(path, dir, c->tasks.item[job->task], c->config->probe.split, c->config->probe.labels[job->share],
                  job->seed);
    return job->encoder == 0 && job->pooling == c->jobs[0].pooling;
}

vj_status vj_campaign_write_splits(vj_campaign *c)
{
    char dir[VJ_PATH], path[VJ_SPLIT_PATH];
    VJ_TRY(splits_folder(c, dir));
    VJ_TRY(make_folder(c->dir, &c->made_dir));
    VJ_TRY(make_folder(dir, &c->made_splits));
    for (int64_t i = 0; i < c->job_count; i++) {
        const vj_job *job = &c->jobs[i];
        const vj_split_drawn *split = vj_campaign_split(c, job);
        if (!split_path(c, i, dir, path)) continue;
        const vj_split_samples samples = vj_samples_for_split(
            &c->train[0], vj_samples_label(&c->train[0], c->tasks.item[job->task]), c->encoders[0].train);
        VJ_TRY(vj_split_write(path, &samples, split->chosen, split->count, c->config->probe.labels[job->share],
                              job->seed));
    }
    return VJ_OK;
}

void vj_campaign_remove_splits(const vj_campaign *c)
{
    char dir[VJ_PATH], path[VJ_SPLIT_PATH];
    /* Splits of an earlier campaign stay, and those of a part, which other parts have too. */
    if (!c->made_splits || c->part || splits_folder(c, dir) != VJ_OK) return;
    for (int64_t i = 0; i < c->job_count; i++)
        if (split_path(c, i, dir, path)) (void)unlink(path); /* it may not have been written */
    (void)rmdir(dir);                                        /* what cannot be removed does no harm */
    if (c->made_dir) (void)rmdir(c->dir);
}

/* ------------------------------------------------------------------------------------------------ the rows */

/* Summarise the results of all seeds, which are consecutive jobs from job `first` on. */
static void summarise(vj_probe_row *row, const vj_campaign *c, int64_t first)
{
    const vj_probe_result *result = &c->results[first];
    vj_probe_seed seed[VJ_MAX_SEEDS];
    for (int64_t s = 0; s < c->config->probe.seeds; s++)
        seed[s] = (vj_probe_seed){.accuracies = result[s].accuracies,
                                  .probe_digest = result[s].digest,
                                  .split_digest = vj_campaign_split(c, &c->jobs[first + s])->digest};
    vj_probe_row_summarise(row, seed, c->config->probe.seeds);
}

static void make_row(vj_probe_row *row, const vj_campaign *c, int64_t first)
{
    const vj_job *job = &c->jobs[first];
    vj_head_facts facts;
    int frames;
    describe_head(&facts, c, job);
    *row = vj_probe_row_of(&facts);
    snprintf(row->encoder, sizeof row->encoder, "%s", c->encoders[job->encoder].name);
    row->width = c->train[job->encoder].D;
    row->effective_rank = vj_features_effective_rank(c->train[job->encoder].store);
    row->validation_clips = facts.counted;
    row->failed = facts.failed;
    row->training_failed = (int64_t)vj_features_describe(c->train[job->encoder].store)
                               ->failed[vj_samples_label(&c->train[job->encoder], facts.task)];
    row->epochs = vj_probe_epochs(c->config, row->labels);
    /* The preprocessing begins with the number of frames; vjepa-embed uses the centre of one clip. */
    if (sscanf(vj_features_describe(c->train[job->encoder].store)->preprocessing, "%d", &frames) == 1)
        vj_probe_row_views(row, frames, 1, 1);
    summarise(row, c, first);
}

vj_status vj_campaign_report(const char *dir, const vj_probe_row *rows, int64_t count, vj_notes *notes)
{
    char predictions[VJ_FILE_PATH];
    vj_differences differences = {0};
    vj_campaign_predictions_path(predictions, dir, NULL);
    vj_status status = access(predictions, F_OK) == 0 ? vj_differences_read(&differences, predictions, notes) : VJ_OK;
    const vj_report report = {rows, count, &differences, notes};
    if (status == VJ_OK) status = vj_report_write(dir, &report);
    fputc('\n', stdout);
    vj_report_print(stdout, &report);
    if (status == VJ_OK)
        vj_log("\nresults: %s/results.json, results.csv, results.md%s", dir,
               differences.count > 0 ? ", differences.csv" : "");
    vj_differences_release(&differences);
    return status;
}

/* Make the rows of this part, or of the whole table. */
vj_status vj_campaign_make_rows(const vj_campaign *c, vj_probe_row **rows, int64_t *row_count)
{
    const int64_t seeds = c->config->probe.seeds, total = c->job_count / seeds;
    int64_t *number = vj_calloc(total, sizeof *number), n = 0;
    *rows = vj_calloc(total, sizeof **rows);
    vj_status status =
        *rows && number ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld results", (long long)total);
    for (int64_t r = 0; status == VJ_OK && r < total; r++) {
        if (c->part && c->jobs[r * seeds].part != c->part->index) continue;
        number[n] = r;
        make_row(&(*rows)[n++], c, r * seeds);
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
