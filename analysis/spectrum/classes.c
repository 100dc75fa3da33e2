/*
 * The command "classes": variance within and between the classes of every task, and the measures of neural collapse
 * (docs/method.md, section 15.3), for all representations and tasks in the same two passes.
 */
#include "spectrum/classes.h"

#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "parallel/parallel.h"
#include "spectrum/output.h"

/* ------------------------------------------------------------------------------------------------ tasks */

static void count_clips(const vj_source *source, int label, int32_t largest, int64_t *counted)
{
    const int labels = vj_source_label_count(source);
    const int32_t *of = vj_source_labels(source);
    for (int64_t i = 0; i < vj_source_clips(source); i++) {
        const int32_t value = of[i * labels + label];
        if (value >= 0 && value <= largest) counted[value]++;
    }
}

static int32_t largest_value(const vj_source *source, int label)
{
    const int labels = vj_source_label_count(source);
    int32_t largest = -1;
    for (int64_t i = 0; i < vj_source_clips(source); i++) {
        const int32_t value = vj_source_labels(source)[i * labels + label];
        if (value > largest) largest = value;
    }
    return largest;
}

/* Count the classes of a label. VJ_ERR_FORMAT if fewer than two have two clips. Release in any case. */
static vj_status init_task(vj_task *task, const vj_source *source, int label)
{
    *task = (vj_task){.label = label};
    VJ_TRY(vj_source_check_classes(source, label));
    const int32_t largest = largest_value(source, label);
    *task = (vj_task){.name = vj_source_label_name(source, label), .label = label, .values = largest + 1};
    if (largest < 0) return vj_raise(VJ_ERR_FORMAT, "no clip has a label of task '%s'", task->name);
    task->counted = vj_calloc(task->values, sizeof *task->counted);
    task->place = vj_calloc(task->values, sizeof *task->place);
    task->number = vj_calloc(task->values, sizeof *task->number);
    task->clips = vj_calloc(task->values, sizeof *task->clips);
    if (!task->counted || !task->place || !task->number || !task->clips)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the classes of task '%s'", task->name);
    count_clips(source, label, largest, task->counted);
    for (int32_t value = 0; value <= largest; value++) {
        task->place[value] = -1;
        if (task->counted[value] < 2) continue;
        task->place[value] = task->count;
        task->number[task->count] = value;
        task->clips[task->count++] = task->counted[value];
        task->all += task->counted[value];
    }
    if (task->count < 2)
        return vj_raise(VJ_ERR_FORMAT, "task '%s' has %d classes of two clips or more; two such classes are needed",
                        task->name, task->count);
    return VJ_OK;
}

static void release_task(vj_task *task)
{
    free(task->counted);
    free(task->place);
    free(task->number);
    free(task->clips);
    *task = (vj_task){0};
}

/* ------------------------------------------------------------------------------------------------ the command */

typedef struct {
    const vj_analysis *analysis;
    vj_source *source;
    int representations, task_count;
    vj_task task[VJ_MAX_LABELS];
    vj_class_pass **pass; /* [representations, task_count], like the next array */
    vj_class_measures *measure;
} study;

static vj_status plan(study *s)
{
    int labels[VJ_MAX_LABELS], count;
    VJ_TRY(vj_choose_labels(labels, &count, s->source, s->analysis->config));
    for (int t = 0; t < count; t++) VJ_TRY(init_task(&s->task[s->task_count++], s->source, labels[t]));
    return VJ_OK;
}

static vj_status allocate(study *s)
{
    const int64_t all = (int64_t)s->representations * s->task_count;
    int64_t bytes = 0;
    for (int64_t i = 0; i < all; i++) {
        const int width = vj_source_representation(s->source, (int)(i / s->task_count))->width;
        bytes += vj_class_pass_bytes(&s->task[i % s->task_count], width);
    }
    VJ_TRY(vj_check_memory(s->analysis->comm, bytes, "the means of all classes",
                           "fewer tasks (--set probe.tasks=[NAME]), fewer representations or fewer ranks on a node"));
    if (s->analysis->dry_run) return VJ_OK;
    s->pass = vj_calloc(all, sizeof(vj_class_pass *));
    s->measure = vj_calloc(all, sizeof *s->measure);
    vj_status status =
        s->pass && s->measure ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld studies", (long long)all);
    for (int64_t i = 0; i < all && status == VJ_OK; i++) {
        const int width = vj_source_representation(s->source, (int)(i / s->task_count))->width;
        status = vj_class_pass_create(&s->pass[i], &s->task[i % s->task_count], width);
    }
    return vj_agree(s->analysis->comm, status);
}

static void release(study *s)
{
    for (int i = 0; i < s->representations * s->task_count; i++) {
        if (s->pass) vj_class_pass_destroy(s->pass[i]);
        if (s->measure) vj_class_measures_release(&s->measure[i]);
    }
    for (int t = 0; t < s->task_count; t++) release_task(&s->task[t]);
    free(s->pass);
    free(s->measure);
}

/* Make one pass over all clips, and call add() with their rows. */
static vj_status read_all(study *s, vj_progress *progress,
                          void (*add)(vj_class_pass *, const float *, const int32_t *, int64_t, int64_t))
{
    const int64_t stride = vj_source_label_count(s->source);
    vj_slab slab;
    bool more;
    VJ_TRY(vj_source_begin(s->source));
    for (;;) {
        VJ_TRY(vj_source_next(s->source, &slab, &more));
        if (!more) return VJ_OK;
        const int32_t *labels = vj_source_labels(s->source) + slab.first * stride;
        for (int r = 0; r < s->representations; r++)
            for (int t = 0; t < s->task_count; t++)
                add(s->pass[r * s->task_count + t], slab.x[r], labels + s->task[t].label, stride, slab.count);
        vj_progress_add(progress, slab.count);
    }
}

static vj_status compute(study *s)
{
    const int all = s->representations * s->task_count;
    vj_progress progress = vj_progress_begin("classes");
    vj_progress_expect(&progress, s->source, 2);
    VJ_TRY(read_all(s, &progress, vj_class_pass_add));
    for (int i = 0; i < all; i++) VJ_TRY(vj_class_pass_means(s->pass[i], s->analysis->comm, s->analysis->ranks));
    VJ_TRY(read_all(s, &progress, vj_class_pass_scatter));
    vj_progress_end(&progress);
    for (int i = 0; i < all; i++) VJ_TRY(vj_class_pass_finish(s->pass[i], s->analysis->comm, &s->measure[i]));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ results */

/* Every measure by its name, for the table, the JSON and the HDF5 file. */
static const struct {
    const char *name;
    size_t at;
} measures[] = {
    {"within", offsetof(vj_class_measures, within)},
    {"between", offsetof(vj_class_measures, between)},
    {"total", offsetof(vj_class_measures, total)},
    {"ratio", offsetof(vj_class_measures, ratio)},
    {"signal_to_noise", offsetof(vj_class_measures, signal_to_noise)},
    {"nc1", offsetof(vj_class_measures, nc1)},
    {"nc2_norms", offsetof(vj_class_measures, nc2_norms)},
    {"nc2_cosine", offsetof(vj_class_measures, nc2_cosine)},
    {"nc2_deviation", offsetof(vj_class_measures, nc2_deviation)},
    {"nc4", offsetof(vj_class_measures, nc4)},
};
enum { MEASURES = sizeof measures / sizeof measures[0] };

static double measured(const vj_class_measures *m, int which)
{
    double value;
    memcpy(&value, (const char *)m + measures[which].at, sizeof value);
    return value;
}

static void report(const study *s)
{
    json_t *out = s->analysis->report;
    for (int r = 0; r < s->representations; r++)
        for (int t = 0; t < s->task_count; t++) {
            json_t *row = vj_put_row(out, "tasks");
            vj_put_text(row, "representation", vj_source_representation(s->source, r)->name);
            vj_put_text(row, "task", s->task[t].name);
            vj_put_count(row, "classes", s->task[t].count);
            vj_put_count(row, "clips", s->task[t].all);
            for (int i = 0; i < MEASURES; i++)
                vj_put_number(row, measures[i].name, measured(&s->measure[r * s->task_count + t], i));
            vj_put_number(row, "nc2_cosine_collapsed", -1.0 / (s->task[t].count - 1.0));
        }
    for (int t = 0; t < s->task_count; t++)
        for (int32_t value = 0; value < s->task[t].values; value++) {
            if (s->task[t].counted[value] != 1) continue;
            json_t *row = vj_put_row(out, "left_out");
            vj_put_text(row, "task", s->task[t].name);
            vj_put_count(row, "class", value);
            vj_put_text(row, "name", vj_clips_classes_name(vj_source_classes(s->source, s->task[t].label), value));
            vj_put_count(row, "clips", 1);
        }
}

/* Numbers of the datasets in the output file. */
typedef struct {
    int names, tasks, measure[MEASURES];
    struct {
        int number, clips, within, nearest, distance;
    } task[VJ_MAX_LABELS];
} datasets;

static void declare(const study *s, vj_analysis_file *output, datasets *to)
{
    const int64_t both[2] = {s->representations, s->task_count};
    to->names = vj_analysis_file_texts(output, s->representations, VJ_REPRESENTATION_NAME, "measures/names");
    to->tasks = vj_analysis_file_texts(output, s->task_count, VJ_LABEL_NAME, "measures/tasks");
    for (int i = 0; i < MEASURES; i++)
        to->measure[i] = vj_analysis_file_dataset(output, H5T_IEEE_F64LE, 2, both, "measures/%s", measures[i].name);
    for (int t = 0; t < s->task_count; t++) {
        const char *name = s->task[t].name;
        const int64_t C = s->task[t].count, dim[2] = {s->representations, C};
        to->task[t].number = vj_analysis_file_dataset(output, H5T_STD_I32LE, 1, &C, "measures/task/%s/class", name);
        to->task[t].clips = vj_analysis_file_dataset(output, H5T_STD_I64LE, 1, &C, "measures/task/%s/clips", name);
        to->task[t].within = vj_analysis_file_dataset(output, H5T_IEEE_F64LE, 2, dim, "measures/task/%s/within", name);
        to->task[t].nearest = vj_analysis_file_dataset(output, H5T_STD_I32LE, 2, dim, "measures/task/%s/nearest", name);
        to->task[t].distance =
            vj_analysis_file_dataset(output, H5T_IEEE_F64LE, 2, dim, "measures/task/%s/nearest_distance", name);
    }
}

/* Write the classes of one task. Only rank 0 calls this. */
static vj_status write_task(const study *s, vj_analysis_file *output, const datasets *to, int t)
{
    const vj_task *task = &s->task[t];
    const int64_t C = task->count;
    VJ_TRY(vj_analysis_file_write(output, to->task[t].number, 0, C, task->number));
    VJ_TRY(vj_analysis_file_write(output, to->task[t].clips, 0, C, task->clips));
    for (int r = 0; r < s->representations; r++) {
        const vj_class_measures *m = &s->measure[r * s->task_count + t];
        VJ_TRY(vj_analysis_file_write(output, to->task[t].within, r * C, C, m->class_within));
        VJ_TRY(vj_analysis_file_write(output, to->task[t].distance, r * C, C, m->nearest_distance));
        for (int64_t c = 0; c < C; c++)
            VJ_TRY(vj_analysis_file_write(output, to->task[t].nearest, r * C + c, 1, &task->number[m->nearest[c]]));
    }
    return VJ_OK;
}

/* Only rank 0 calls this. */
static vj_status write(const study *s, vj_analysis_file *output, const datasets *to)
{
    for (int r = 0; r < s->representations; r++)
        VJ_TRY(vj_analysis_file_write(output, to->names, r, 1, vj_source_representation(s->source, r)->name));
    for (int t = 0; t < s->task_count; t++)
        VJ_TRY(vj_analysis_file_write(output, to->tasks, t, 1, vj_source_label_name(s->source, s->task[t].label)));
    for (int i = 0; i < MEASURES; i++)
        for (int k = 0; k < s->representations * s->task_count; k++) {
            const double value = measured(&s->measure[k], i);
            VJ_TRY(vj_analysis_file_write(output, to->measure[i], k, 1, &value));
        }
    for (int t = 0; t < s->task_count; t++) VJ_TRY(write_task(s, output, to, t));
    return VJ_OK;
}

static vj_status run(study *s)
{
    const vj_analysis *analysis = s->analysis;
    vj_analysis_file *output;
    datasets to;
    VJ_TRY(vj_agree(analysis->comm, analysis->rank == 0 ? plan(s) : VJ_OK));
    if (analysis->rank != 0) VJ_TRY(plan(s)); /* all ranks have the same labels, and so the same plan */
    VJ_TRY(allocate(s));
    if (analysis->dry_run) return VJ_OK;
    VJ_TRY(vj_analysis_file_open(&output, analysis, "classes"));
    declare(s, output, &to);
    vj_status status = vj_analysis_file_begin(output);
    if (status == VJ_OK) status = compute(s);
    if (status == VJ_OK) report(s);
    if (status == VJ_OK && analysis->rank == 0) status = write(s, output, &to);
    return vj_analysis_file_commit(output, status);
}

vj_status vj_classes_run(vj_analysis *analysis)
{
    study *s = vj_calloc(1, sizeof *s);
    VJ_TRY(vj_agree(analysis->comm, s ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the command")));
    s->analysis = analysis;
    s->source = analysis->source;
    s->representations = vj_source_representations(analysis->source);
    const vj_status status = run(s);
    release(s);
    free(s);
    return status;
}
