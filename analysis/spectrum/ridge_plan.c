/* Numbers classes and draws subsets. */
#include "spectrum/ridge_plan.h"

#include <stdlib.h>
#include <string.h>

#include "probe/splits.h"

static int32_t label_of(const vj_source *source, int64_t clip, int label)
{
    return vj_source_labels(source)[clip * vj_source_label_count(source) + label];
}

/* ------------------------------------------------------------------------------------------------ classes */

/* Return 1 + the largest value of a label. */
static int values_of(const vj_source *source, int label)
{
    int32_t largest = -1;
    for (int64_t i = 0; i < vj_source_clips(source); i++)
        if (label_of(source, i, label) > largest) largest = label_of(source, i, label);
    return largest + 1;
}

/* Count the clips of each label value, clips [values]. Returns how many clips have a label. */
static int64_t count_values(const vj_source *source, int label, int64_t *clips)
{
    int64_t labelled = 0;
    for (int64_t i = 0; i < vj_source_clips(source); i++) {
        const int32_t value = label_of(source, i, label);
        if (value >= 0) clips[value]++, labelled++;
    }
    return labelled;
}

static vj_status check_values(const vj_ridge_task *task, const vj_source *train, const vj_source *validation,
                              const int64_t *trained, const int64_t *asked, int values)
{
    const char *name = vj_source_label_name(train, task->label);
    const char *from = vj_source_representation(train, 0)->origin,
               *to = vj_source_representation(validation, 0)->origin;
    if (task->classes == 0) return vj_raise(VJ_ERR_FORMAT, "no clip of %s has a label of task '%s'", from, name);
    if (task->validation_clips == 0) return vj_raise(VJ_ERR_FORMAT, "no clip of %s has a label of task '%s'", to, name);
    if (task->classes == 1)
        return vj_raise(VJ_ERR_FORMAT,
                        "task '%s': all training clips of %s are of one class: there is nothing to learn", name, from);
    for (int v = 0; v < values; v++) {
        const char *class = vj_clips_classes_name(vj_source_classes(validation, task->label), v);
        if (asked[v] > 0 && trained[v] == 0)
            return vj_raise(VJ_ERR_FORMAT,
                            "task '%s': class %d%s%s%s has %lld validation clips in %s and no training clip in %s: a "
                            "ridge probe answers only with classes that it was trained on; leave these clips out",
                            name, v, *class ? " (" : "", class, *class ? ")" : "", (long long)asked[v], to, from);
    }
    return VJ_OK;
}

static void place_clips(int *place, const vj_source *source, int label, const int *of)
{
    for (int64_t i = 0; i < vj_source_clips(source); i++) {
        const int32_t value = label_of(source, i, label);
        place[i] = value < 0 ? -1 : of[value];
    }
}

static vj_status number_classes(vj_ridge_task *task, const vj_source *train, const vj_source *validation, int values,
                                int64_t *trained, int64_t *asked, int *of)
{
    count_values(train, task->label, trained);
    task->validation_clips = count_values(validation, task->label, asked);
    for (int v = 0; v < values; v++) {
        of[v] = trained[v] > 0 ? task->classes : -1;
        if (trained[v] > 0) task->number[task->classes++] = v;
    }
    VJ_TRY(check_values(task, train, validation, trained, asked, values));
    place_clips(task->train, train, task->label, of);
    place_clips(task->validation, validation, task->label, of);
    return VJ_OK;
}

vj_status vj_ridge_task_init(vj_ridge_task *task, const vj_source *train, const vj_source *validation, int label)
{
    *task = (vj_ridge_task){.label = label};
    VJ_TRY(vj_source_check_classes(train, label));
    VJ_TRY(vj_source_check_classes(validation, label));
    const int a = values_of(train, label), b = values_of(validation, label), values = a > b ? a : b;
    int64_t *clips = vj_calloc(2 * (int64_t)values + 1, sizeof *clips);
    int *of = vj_calloc(values + 1, sizeof *of);
    *task = (vj_ridge_task){.label = label,
                            .number = vj_calloc(values + 1, sizeof *task->number),
                            .train = vj_calloc(vj_source_clips(train), sizeof *task->train),
                            .validation = vj_calloc(vj_source_clips(validation), sizeof *task->validation)};
    vj_status status =
        clips && of && task->number && task->train && task->validation
            ? number_classes(task, train, validation, values, clips, clips + values, of)
            : vj_raise(VJ_ERR_MEMORY, "no memory for the classes of %s", vj_source_label_name(train, label));
    free(clips);
    free(of);
    return status;
}

void vj_ridge_task_release(vj_ridge_task *task)
{
    free(task->number);
    free(task->train);
    free(task->validation);
    *task = (vj_ridge_task){0};
}

/* ------------------------------------------------------------------------------------------------ subsets */

/* Buffers of draw(), each [training clips]. */
typedef struct {
    int32_t *labels; /* of one task */
    int64_t *chosen;
} columns;

/* Choose the clips of a share and a seed like vjepa-probe, with seeds run.seed, run.seed + 1, ... */
static vj_status choose(vj_ridge_subset *subset, const vj_ridge_task *task, const vj_source *train,
                        const vj_config *config, const columns *c)
{
    const double share = config->probe.labels[subset->share];
    const uint64_t seed = (uint64_t)(config->run.seed + subset->seed);
    const vj_split_rule rule = (vj_split_rule)config->probe.split;
    const char *name = vj_source_label_name(train, task->label);
    const vj_split_samples samples = {.id = vj_source_clip_numbers(train),
                                      .labels = c->labels,
                                      .count = vj_source_clips(train),
                                      .fingerprint = vj_source_fingerprint(train),
                                      .name = vj_source_representation(train, 0)->origin};
    char path[VJ_SPLIT_PATH];
    vj_split_path(path, config->probe.split_files, name, rule, share, seed);
    if (config->probe.split_files[0])
        VJ_TRY(vj_split_read(c->chosen, &subset->clips, path, &samples, share, seed));
    else
        VJ_TRY(vj_split_choose(c->chosen, &subset->clips, rule, c->labels, samples.count,
                               task->number[task->classes - 1] + 1, config->probe.clips, share, seed));
    subset->digest = vj_split_digest(&samples, c->chosen, subset->clips);
    if (subset->clips >= task->classes) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT,
                    "task '%s', %g %% of the labels, seed %llu: %lld training clips for %d classes are too few for a "
                    "ridge probe: take a larger share, or probe.split class, which keeps a clip of each class",
                    name, share, (unsigned long long)seed, (long long)subset->clips, task->classes);
}

static vj_status draw(vj_ridge_subset *subset, const vj_ridge_task *task, const vj_source *train,
                      const vj_config *config, const columns *c)
{
    const int64_t clips = vj_source_clips(train);
    subset->member = vj_calloc(clips, sizeof *subset->member);
    subset->class_clips = vj_calloc(task->classes, sizeof *subset->class_clips);
    if (!subset->member || !subset->class_clips)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a subset of %lld clips", (long long)clips);
    VJ_TRY(choose(subset, task, train, config, c));
    for (int64_t i = 0; i < subset->clips; i++) {
        subset->member[c->chosen[i]] = 1;
        subset->class_clips[task->train[c->chosen[i]]]++;
    }
    return VJ_OK;
}

/* Find an earlier subset with the same clips. With all labels every seed draws the same clips. */
static int find_same(const vj_ridge_subset *subsets, int64_t number, int64_t clips)
{
    for (int64_t i = number - 1; i >= 0 && subsets[i].task == subsets[number].task; i--)
        if (subsets[i].same < 0 && subsets[i].clips == subsets[number].clips &&
            memcmp(subsets[i].member, subsets[number].member, (size_t)clips) == 0)
            return (int)i;
    return -1;
}

static vj_status draw_all(vj_ridge_subset *subsets, const vj_ridge_task *tasks, int task_count, const vj_source *train,
                          const vj_config *config, const columns *c)
{
    const int64_t clips = vj_source_clips(train);
    int64_t number = 0;
    for (int t = 0; t < task_count; t++) {
        for (int64_t i = 0; i < clips; i++) c->labels[i] = label_of(train, i, tasks[t].label);
        for (int s = 0; s < config->probe.labels_count; s++)
            for (int64_t seed = 0; seed < config->probe.seeds; seed++, number++) {
                subsets[number] = (vj_ridge_subset){.task = t, .share = s, .seed = seed};
                VJ_TRY(draw(&subsets[number], &tasks[t], train, config, c));
                subsets[number].same = find_same(subsets, number, clips);
            }
    }
    return VJ_OK;
}

vj_status vj_ridge_subsets_draw(vj_ridge_subset *subsets, const vj_ridge_task *tasks, int task_count,
                                const vj_source *train, const vj_config *config)
{
    const int64_t clips = vj_source_clips(train);
    const columns c = {vj_calloc(clips, sizeof *c.labels), vj_calloc(clips + 1, sizeof *c.chosen)};
    vj_status status = c.labels && c.chosen
                           ? draw_all(subsets, tasks, task_count, train, config, &c)
                           : vj_raise(VJ_ERR_MEMORY, "no memory to choose among %lld clips", (long long)clips);
    free(c.labels);
    free(c.chosen);
    return status;
}

void vj_ridge_subset_release(vj_ridge_subset *subset)
{
    free(subset->member);
    free(subset->class_clips);
    *subset = (vj_ridge_subset){0};
}
