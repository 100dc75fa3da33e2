/*
 * The command "ridge": the ridge probe in closed form for all tasks, shares of the labels and seeds of a campaign of
 * vjepa-probe, on the mean token of every clip (docs/method.md, section 15.4).
 */
#include "spectrum/ridge.h"

#include <math.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/number.h"
#include "bench/report.h"
#include "parallel/parallel.h"
#include "probe/report.h"
#include "probe/splits.h"
#include "spectrum/output.h"

enum { MAX_LAMBDAS = 200 };

/* Numbers of the datasets for one representation and task. */
typedef struct {
    int number, clips, lambda, error, squared, top1, top5, class_mean, chosen, weights, intercept;
} datasets;

typedef struct {
    vj_analysis *analysis;
    vj_notes notes;
    double ratio[MAX_LAMBDAS];
    int lambdas, representations, task_count;
    double memory_mib; /* 0: not given */
    vj_ridge_task tasks[VJ_MAX_LABELS];
    int64_t per_task, subset_count;   /* shares x seeds; tasks x shares x seeds */
    vj_ridge_subset *subsets;         /* [tasks, shares, seeds] */
    double *top1, *top5, *class_mean; /* [representations, tasks, shares, seeds] percent; class_mean: of top-1 */
    datasets *to;                     /* [representations, tasks] */
    vj_analysis_file *output;
} campaign;

static const vj_representation *representation(const campaign *c, int r)
{
    return vj_source_representation(c->analysis->source, r);
}

static const char *task_name(const campaign *c, int t)
{
    return vj_source_label_name(c->analysis->source, c->tasks[t].label);
}

/* ------------------------------------------------------------------------------------------------ the plan */

static vj_status parse_path(campaign *c, const char *text)
{
    double low, high;
    char rest;
    if (sscanf(text, "%lf,%lf,%d%c", &low, &high, &c->lambdas, &rest) != 3 || !(low > 0.0) || !(high > low) ||
        !isfinite(high) || c->lambdas < 2 || c->lambdas > MAX_LAMBDAS)
        return vj_raise(VJ_ERR_USAGE, "--path %s is not LOW,HIGH,COUNT with 0 < LOW < HIGH and 2 to %d penalties", text,
                        MAX_LAMBDAS);
    for (int l = 0; l < c->lambdas; l++) c->ratio[l] = low * pow(high / low, (double)l / (c->lambdas - 1));
    return VJ_OK;
}

static vj_status note_copies(campaign *c)
{
    int64_t copies;
    VJ_TRY(vj_count_copies(&copies, c->analysis->source, c->analysis->validation));
    if (copies < 0) return vj_notes_add(&c->notes, "whether validation clips are training clips was not checked");
    if (copies == 0) return VJ_OK;
    return vj_notes_add(&c->notes, "%lld of the %lld validation clips are training clips", (long long)copies,
                        (long long)vj_source_clips(c->analysis->validation));
}

static vj_status note_single_clips(campaign *c)
{
    for (int64_t i = 0; i < c->subset_count; i++) {
        const vj_ridge_subset *subset = &c->subsets[i];
        if (subset->clips == c->tasks[subset->task].classes)
            VJ_TRY(vj_notes_add(&c->notes,
                                "task %s, %g %% of the labels: every class has a single clip, so leave-one-out cannot "
                                "say which penalty is best",
                                task_name(c, subset->task), c->analysis->config->probe.labels[subset->share]));
    }
    return VJ_OK;
}

/* Note missing classes: shares that are drawn regardless of classes, or read from files, may lack some. */
static vj_status note_missing_classes(campaign *c)
{
    for (int64_t i = 0; i < c->subset_count; i++) {
        const vj_ridge_subset *subset = &c->subsets[i];
        const vj_ridge_task *task = &c->tasks[subset->task];
        int missing = 0;
        for (int k = 0; k < task->classes; k++) missing += subset->class_clips[k] == 0;
        if (missing == 0) continue;
        VJ_TRY(vj_notes_add(&c->notes, "task %s, %g %% of the labels: %d of %d classes have no training clip",
                            task_name(c, subset->task), c->analysis->config->probe.labels[subset->share], missing,
                            task->classes));
    }
    return VJ_OK;
}

static vj_status plan(campaign *c)
{
    const vj_analysis *analysis = c->analysis;
    const vj_config *config = analysis->config;
    int labels[VJ_MAX_LABELS], count;
    VJ_TRY(parse_path(c, analysis->options->path ? analysis->options->path : "1e-4,1e4,17"));
    VJ_TRY(vj_option_positive("--memory", analysis->options->memory, &c->memory_mib));
    if (analysis->options->table) VJ_TRY(vj_report_check("--table", analysis->options->table));
    if (!analysis->validation) return vj_raise(VJ_ERR_USAGE, "ridge: which validation clips? --validation FILE.h5,...");
    VJ_TRY(vj_choose_labels(labels, &count, analysis->source, config));
    for (int t = 0; t < count; t++)
        VJ_TRY(vj_ridge_task_init(&c->tasks[c->task_count++], analysis->source, analysis->validation, labels[t]));
    c->representations = vj_source_representations(analysis->source);
    c->per_task = config->probe.labels_count * config->probe.seeds;
    c->subset_count = c->task_count * c->per_task;
    c->subsets = vj_calloc(c->subset_count, sizeof *c->subsets);
    c->top1 = vj_calloc(3 * c->representations * c->subset_count, sizeof *c->top1);
    c->to = vj_calloc((int64_t)c->representations * c->task_count, sizeof *c->to);
    if (!c->subsets || !c->top1 || !c->to)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the plan of %lld subsets", (long long)c->subset_count);
    c->top5 = c->top1 + c->representations * c->subset_count;
    c->class_mean = c->top5 + c->representations * c->subset_count;
    VJ_TRY(vj_ridge_subsets_draw(c->subsets, c->tasks, c->task_count, analysis->source, config));
    VJ_TRY(note_copies(c));
    VJ_TRY(note_missing_classes(c));
    return note_single_clips(c);
}

static void release(campaign *c)
{
    for (int64_t i = 0; c->subsets && i < c->subset_count; i++) vj_ridge_subset_release(&c->subsets[i]);
    for (int t = 0; t < c->task_count; t++) vj_ridge_task_release(&c->tasks[t]);
    vj_notes_release(&c->notes);
    free(c->subsets);
    free(c->top1);
    free(c->to);
    free(c);
}

/* ------------------------------------------------------------------------------------------------ the file */

static void declare(campaign *c, int r, int t)
{
    const vj_config *config = c->analysis->config;
    const char *name = representation(c, r)->name, *task = task_name(c, t);
    const int64_t C = c->tasks[t].classes, S = config->probe.labels_count, K = config->probe.seeds,
                  D = representation(c, r)->width;
    const int64_t path[3] = {S, K, c->lambdas}, weights[4] = {S, K, D, C}, intercept[3] = {S, K, C};
    datasets *to = &c->to[r * c->task_count + t];
    vj_analysis_file *o = c->output;
    to->number = vj_analysis_file_dataset(o, H5T_STD_I32LE, 1, &C, "ridge/%s/%s/class", name, task);
    to->clips = vj_analysis_file_dataset(o, H5T_STD_I64LE, 2, path, "ridge/%s/%s/clips", name, task);
    to->chosen = vj_analysis_file_dataset(o, H5T_STD_I32LE, 2, path, "ridge/%s/%s/chosen", name, task);
    to->lambda = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, path, "ridge/%s/%s/lambda", name, task);
    to->error = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, path, "ridge/%s/%s/loo_error", name, task);
    to->squared = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, path, "ridge/%s/%s/loo_squared", name, task);
    to->top1 = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, path, "ridge/%s/%s/top1", name, task);
    to->top5 = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, path, "ridge/%s/%s/top5", name, task);
    to->class_mean = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, path, "ridge/%s/%s/class_mean", name, task);
    to->weights = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 4, weights, "ridge/%s/%s/weights", name, task);
    to->intercept = vj_analysis_file_dataset(o, H5T_IEEE_F64LE, 3, intercept, "ridge/%s/%s/intercept", name, task);
}

/* Begin the output file with what all regressions share, and the classes. Results are written as they are computed. */
static vj_status begin_output(campaign *c)
{
    const vj_config *config = c->analysis->config;
    const int64_t S = config->probe.labels_count, K = config->probe.seeds, L = c->lambdas;
    VJ_TRY(vj_analysis_file_open(&c->output, c->analysis, "ridge"));
    const int labels = vj_analysis_file_dataset(c->output, H5T_IEEE_F64LE, 1, &S, "labels");
    const int seeds = vj_analysis_file_dataset(c->output, H5T_STD_I64LE, 1, &K, "seeds");
    const int ratio = vj_analysis_file_dataset(c->output, H5T_IEEE_F64LE, 1, &L, "ratio");
    for (int i = 0; i < c->representations * c->task_count; i++) declare(c, i / c->task_count, i % c->task_count);
    vj_analysis_file_count(c->output, "/", "balanced", c->analysis->options->balanced != NULL);
    VJ_TRY(vj_analysis_file_begin(c->output));
    if (c->analysis->rank != 0) return VJ_OK;
    VJ_TRY(vj_analysis_file_write(c->output, labels, 0, S, config->probe.labels));
    VJ_TRY(vj_analysis_file_write(c->output, ratio, 0, L, c->ratio));
    for (int64_t k = 0; k < K; k++)
        VJ_TRY(vj_analysis_file_write(c->output, seeds, k, 1, &(int64_t){config->run.seed + k}));
    for (int i = 0; i < c->representations * c->task_count; i++) {
        const vj_ridge_task *task = &c->tasks[i % c->task_count];
        VJ_TRY(vj_analysis_file_write(c->output, c->to[i].number, 0, task->classes, task->number));
    }
    return VJ_OK;
}

/* Write the path of subset `at` in [shares, seeds], with shares of clips as percent. Only rank 0 calls this. */
static vj_status write_path(const campaign *c, const datasets *to, int64_t at, const vj_ridge_path *path)
{
    const int64_t L = c->lambdas;
    double percent[MAX_LAMBDAS];
    const struct {
        int dataset;
        const double *values;
    } shares[] = {
        {to->error, path->error}, {to->top1, path->top1}, {to->top5, path->top5}, {to->class_mean, path->class_mean}};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        for (int64_t l = 0; l < L; l++) percent[l] = 100.0 * shares[i].values[l];
        VJ_TRY(vj_analysis_file_write(c->output, shares[i].dataset, at * L, L, percent));
    }
    VJ_TRY(vj_analysis_file_write(c->output, to->lambda, at * L, L, path->lambda));
    VJ_TRY(vj_analysis_file_write(c->output, to->squared, at * L, L, path->squared));
    VJ_TRY(vj_analysis_file_write(c->output, to->clips, at, 1, &path->clips));
    return vj_analysis_file_write(c->output, to->chosen, at, 1, &(int32_t){path->chosen});
}

/* Compute W [D, C] followed by b [C], for rows as they are stored. Free them with free(). */
static vj_status make_weights(double **weights, const vj_ridge *ridge, const double *shift, int64_t D, int64_t C)
{
    *weights = vj_calloc((D + 1) * C, sizeof **weights);
    if (!*weights) return vj_raise(VJ_ERR_MEMORY, "no memory for weights [%lld, %lld]", (long long)D, (long long)C);
    double *intercept = *weights + D * C;
    VJ_TRY(vj_ridge_weights(ridge, *weights, intercept));
    for (int64_t k = 0; k < D; k++)
        for (int64_t i = 0; i < C; i++) intercept[i] -= shift[k] * (*weights)[k * C + i];
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ results */

static void report_subset(const campaign *c, int r, const vj_ridge_subset *subset, const vj_ridge_path *path)
{
    const vj_config *config = c->analysis->config;
    const int best = path->chosen;
    json_t *row = vj_put_row(c->analysis->report, "probes");
    vj_put_text(row, "representation", representation(c, r)->name);
    vj_put_text(row, "task", task_name(c, subset->task));
    vj_put_number(row, "labels", config->probe.labels[subset->share]);
    vj_put_count(row, "seed", config->run.seed + subset->seed);
    vj_put_count(row, "clips", path->clips);
    vj_put_number(row, "lambda", path->lambda[best]);
    vj_put_number(row, "ratio", c->ratio[best]);
    vj_put_number(row, "loo_error", 100.0 * path->error[best]);
    vj_put_number(row, "top1", 100.0 * path->top1[best]);
    vj_put_number(row, "top5", 100.0 * path->top5[best]);
    vj_put_number(row, "class_mean", 100.0 * path->class_mean[best]);
}

static vj_status note_end_of_path(campaign *c, int r, const vj_ridge_subset *subset, const vj_ridge_path *path)
{
    if (path->chosen > 0 && path->chosen < c->lambdas - 1) return VJ_OK;
    return vj_notes_add(&c->notes,
                        "%s, task %s, %g %% of the labels: the best penalty is the %s of the path, which --path widens",
                        representation(c, r)->name, task_name(c, subset->task),
                        c->analysis->config->probe.labels[subset->share], path->chosen == 0 ? "smallest" : "largest");
}

/* Store a fitted regression for its subset, and for each subset with the same clips. */
static vj_status keep(void *user, int r, int64_t number, const vj_ridge *ridge, const vj_ridge_path *path,
                      const double *shift)
{
    campaign *c = user;
    const int task = c->subsets[number].task;
    const datasets *to = &c->to[r * c->task_count + task];
    const int64_t C = c->tasks[task].classes, D = representation(c, r)->width;
    const bool writes = c->analysis->rank == 0 && c->analysis->out;
    double *weights = NULL;
    vj_status status = writes ? make_weights(&weights, ridge, shift, D, C) : VJ_OK;
    for (int64_t i = number; i < c->subset_count && status == VJ_OK; i++) {
        if (i != number && c->subsets[i].same != number) continue;
        const int64_t at = i - task * c->per_task, result = r * c->subset_count + i;
        c->top1[result] = 100.0 * path->top1[path->chosen];
        c->top5[result] = 100.0 * path->top5[path->chosen];
        c->class_mean[result] = 100.0 * path->class_mean[path->chosen];
        report_subset(c, r, &c->subsets[i], path);
        status = note_end_of_path(c, r, &c->subsets[i], path);
        if (!writes) continue;
        if (status == VJ_OK) status = write_path(c, to, at, path);
        if (status == VJ_OK) status = vj_analysis_file_write(c->output, to->weights, at * D * C, D * C, weights);
        if (status == VJ_OK) status = vj_analysis_file_write(c->output, to->intercept, at * C, C, weights + D * C);
    }
    free(weights);
    return status;
}

static const char *split_name(const vj_config *config)
{
    if (config->probe.split_files[0]) return "files";
    return config->probe.split == VJ_SPLIT_UNIFORM ? "uniform" : "class";
}

/* Return one digest for the clips of all seeds (for one seed its own) as in rows of vjepa-probe (docs/formats.md). */
static uint64_t split_digest(const vj_ridge_subset *subsets, int64_t seeds)
{
    uint64_t digest = subsets[0].digest;
    for (int64_t i = 1; i < seeds; i++)
        digest = XXH3_64bits_withSeed(&subsets[i].digest, sizeof subsets[i].digest, digest);
    return digest;
}

static vj_probe_row make_row(const campaign *c, int r, int t, int share)
{
    const vj_config *config = c->analysis->config;
    const int64_t seeds = config->probe.seeds, first = t * c->per_task + share * seeds,
                  at = r * c->subset_count + first;
    vj_probe_row row = {VJ_PROBE_ROW_UNKNOWN, /* the rank of tokens too: these are means */
                        .kind = "ridge",
                        .labels = config->probe.labels[share],
                        .training_clips = c->subsets[first].clips,
                        .validation_clips = c->tasks[t].validation_clips,
                        .failed = vj_source_failed(c->analysis->validation, c->tasks[t].label),
                        .seeds = seeds,
                        .classes = c->tasks[t].classes,
                        .encoder_digest = representation(c, r)->digest,
                        .train_digest = vj_source_fingerprint(c->analysis->source),
                        .validation_digest = vj_source_fingerprint(c->analysis->validation),
                        .split_digest = split_digest(&c->subsets[first], seeds),
                        .width = representation(c, r)->width};
    double squares = 0.0;
    snprintf(row.task, sizeof row.task, "%s", task_name(c, t));
    snprintf(row.split, sizeof row.split, "%s", split_name(config));
    snprintf(row.encoder, sizeof row.encoder, "%s", representation(c, r)->name);
    row.top5 = row.mean_class = 0.0;
    for (int64_t i = at; i < at + seeds; i++) {
        row.top1_mean += c->top1[i] / (double)seeds;
        row.top5 += c->top5[i] / (double)seeds;
        row.mean_class += c->class_mean[i] / (double)seeds;
    }
    for (int64_t i = at; i < at + seeds; i++) squares += pow(c->top1[i] - row.top1_mean, 2.0);
    row.top1_std = seeds > 1 ? sqrt(squares / (double)(seeds - 1)) : 0.0;
    return row;
}

/* Write the table of vjepa-probe, in its order: task, share, encoder. */
static vj_status tabulate(const campaign *c)
{
    const int R = c->representations, S = c->analysis->config->probe.labels_count;
    const char *table = c->analysis->options->table;
    vj_probe_row *rows = vj_calloc((int64_t)R * c->task_count * S, sizeof *rows), *row = rows;
    if (!rows) return vj_raise(VJ_ERR_MEMORY, "no memory for the table of results");
    for (int t = 0; t < c->task_count; t++)
        for (int s = 0; s < S; s++)
            for (int r = 0; r < R; r++) *row++ = make_row(c, r, t, s);
    const vj_report report = {rows, row - rows, &(vj_differences){0}, &c->notes};
    vj_report_print(stdout, &report);
    fputc('\n', stdout);
    const vj_status status = table ? vj_ridge_table_write(table, rows, row - rows, &c->notes) : VJ_OK;
    free(rows);
    return status;
}

static vj_status run(campaign *c)
{
    const vj_analysis *analysis = c->analysis;
    VJ_TRY(vj_agree(analysis->comm, analysis->rank == 0 ? plan(c) : VJ_OK)); /* errors are reported once */
    VJ_TRY(vj_agree(analysis->comm, analysis->rank != 0 ? plan(c) : VJ_OK));
    for (int i = 0; analysis->rank == 0 && i < c->notes.count; i++) vj_warn("%s", c->notes.text[i]);
    vj_log("ridge: %lld probes (%d tasks, %d shares, %d representations, %lld seeds), %d penalties",
           (long long)(c->representations * c->subset_count), c->task_count, analysis->config->probe.labels_count,
           c->representations, (long long)analysis->config->probe.seeds, c->lambdas);
    if (analysis->dry_run) return VJ_OK;
    vj_status status = vj_agree(analysis->comm, begin_output(c));
    const vj_ridge_work work = {.analysis = analysis,
                                .tasks = c->tasks,
                                .task_count = c->task_count,
                                .subsets = c->subsets,
                                .subset_count = c->subset_count,
                                .lambdas = c->lambdas,
                                .ratio = c->ratio,
                                .balanced = analysis->options->balanced != NULL,
                                .memory_bytes = c->memory_mib * 1048576.0};
    if (status == VJ_OK) status = vj_ridge_work_do(&work, keep, c);
    if (status == VJ_OK && analysis->rank == 0) status = tabulate(c);
    return c->output ? vj_analysis_file_commit(c->output, status) : status;
}

vj_status vj_ridge_run(vj_analysis *analysis)
{
    campaign *c = vj_calloc(1, sizeof *c);
    VJ_TRY(vj_agree(analysis->comm, c ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the command")));
    c->analysis = analysis;
    const vj_status status = run(c);
    release(c);
    return status;
}
