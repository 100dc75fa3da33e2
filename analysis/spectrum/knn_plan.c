/* Reads the options of "knn", and counts labels and copies. All ranks do the same. */
#include "spectrum/knn_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "spectrum/parts.h"

static const int usual_k[] = {1, 5, 10, 20, 100, 200};

/* ------------------------------------------------------------------------------------------------ options */

static vj_status parse_k(vj_knn_plan *p, const char *text, int64_t limit)
{
    int64_t k[VJ_MAX_K];
    const int count = vj_parse_list(text, 1, INT32_MAX, k, VJ_MAX_K);
    bool ascending = count > 0;
    for (int i = 1; i < count; i++) ascending = ascending && k[i] > k[i - 1];
    if (!ascending)
        return vj_raise(VJ_ERR_USAGE,
                        "--neighbours %s: expected at most %d numbers from 1, ascending, with commas between them",
                        text, VJ_MAX_K);
    if (k[count - 1] > limit)
        return vj_raise(VJ_ERR_USAGE, "--neighbours %s: a query has only %lld possible neighbours", text,
                        (long long)limit);
    for (p->k_count = 0; p->k_count < count; p->k_count++) p->k[p->k_count] = (int)k[p->k_count];
    return VJ_OK;
}

static vj_status parse_options(vj_knn_plan *p, const vj_analysis_options *o)
{
    const int64_t limit = vj_source_clips(p->training) - (p->leave_one_out ? 1 : 0);
    if (limit < 1) return vj_raise(VJ_ERR_USAGE, "one clip alone has no neighbours");
    if (o->distance && strcmp(o->distance, "cosine") != 0 && strcmp(o->distance, "euclidean") != 0)
        return vj_raise(VJ_ERR_USAGE, "--distance %s: expected cosine or euclidean", o->distance);
    p->distance = o->distance && strcmp(o->distance, "euclidean") == 0 ? VJ_EUCLIDEAN : VJ_COSINE;
    p->temperature = 0.07;
    VJ_TRY(vj_option_positive("--temperature", o->temperature, &p->temperature));
    if (o->temperature && p->distance == VJ_EUCLIDEAN)
        return vj_raise(VJ_ERR_USAGE,
                        "--temperature weighs votes by cosine similarity; leave out --distance euclidean");
    VJ_TRY(vj_option_positive("--memory", o->memory, &p->memory_mib));
    if (o->neighbours) return parse_k(p, o->neighbours, limit);
    for (size_t i = 0; i < sizeof usual_k / sizeof usual_k[0]; i++)
        if (usual_k[i] <= limit) p->k[p->k_count++] = usual_k[i];
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ tasks */

static int64_t count_labelled(const vj_source *source, int label, int *classes)
{
    const int32_t *labels = vj_source_labels(source);
    const int stride = vj_source_label_count(source);
    int64_t labelled = 0;
    for (int64_t i = 0; i < vj_source_clips(source); i++) {
        const int32_t value = labels[i * stride + label];
        labelled += value >= 0;
        if (value >= *classes) *classes = value + 1;
    }
    return labelled;
}

/* Log how many queries have a class that no training clip has. */
static vj_status log_unknown_classes(const vj_knn_plan *p, const vj_knn_task *t)
{
    const int stride = vj_source_label_count(p->training);
    int64_t unknown = 0;
    bool *known = vj_calloc(t->classes, sizeof *known);
    if (!known) return vj_raise(VJ_ERR_MEMORY, "no memory for %d classes", t->classes);
    for (int64_t i = 0; i < vj_source_clips(p->training); i++) {
        const int32_t value = vj_source_labels(p->training)[i * stride + t->label];
        if (value >= 0) known[value] = true;
    }
    for (int64_t i = 0; i < vj_source_clips(p->queries); i++) {
        const int32_t value = vj_source_labels(p->queries)[i * stride + t->label];
        unknown += value >= 0 && !known[value];
    }
    free(known);
    if (unknown > 0)
        vj_log("note: label %s: %lld queries are of classes that no training clip has, so they can never be right",
               vj_source_label_name(p->training, t->label), (long long)unknown);
    return VJ_OK;
}

/* Return whether all training clips have the same class. */
static bool is_one_class(const vj_source *source, int label)
{
    const int32_t *labels = vj_source_labels(source);
    const int stride = vj_source_label_count(source);
    int32_t first = -1;
    for (int64_t i = 0; i < vj_source_clips(source); i++) {
        const int32_t value = labels[i * stride + label];
        if (value >= 0 && first >= 0 && value != first) return false;
        if (value >= 0) first = value;
    }
    return true;
}

static vj_status add_task(vj_knn_plan *p, int label)
{
    vj_knn_task *t = &p->task[p->tasks];
    const char *name = vj_source_label_name(p->training, label);
    const int64_t clips = vj_source_clips(p->training);
    *t = (vj_knn_task){.label = label};
    VJ_TRY(vj_source_check_classes(p->training, label));
    VJ_TRY(vj_source_check_classes(p->queries, label));
    const int64_t labelled = count_labelled(p->training, label, &t->classes),
                  asked = count_labelled(p->queries, label, &t->classes), limit = labelled - (p->leave_one_out ? 1 : 0);
    while (t->k_count < p->k_count && p->k[t->k_count] <= limit) t->k_count++;
    if (asked == 0 || t->k_count == 0) {
        vj_log("note: label %s is left out: %lld training clips and %lld queries have it", name, (long long)labelled,
               (long long)asked);
        return VJ_OK;
    }
    if (t->k_count < p->k_count)
        vj_log("note: label %s: %lld training clips have it, too few for more than %d neighbours", name,
               (long long)labelled, p->k[t->k_count - 1]);
    if (is_one_class(p->training, label))
        vj_log("note: label %s: all training clips are of one class, so all votes are for it", name);
    p->tasks++;
    if (!p->leave_one_out) VJ_TRY(log_unknown_classes(p, t));
    if (labelled == clips) return VJ_OK;
    t->list = p->lists++;
    p->allowed[t->list] = t->allowed = vj_calloc(clips, sizeof *t->allowed);
    if (!t->allowed) return vj_raise(VJ_ERR_MEMORY, "no memory for the labels of %lld clips", (long long)clips);
    for (int64_t i = 0; i < clips; i++)
        t->allowed[i] = vj_source_labels(p->training)[i * vj_source_label_count(p->training) + label] >= 0;
    return VJ_OK;
}

static vj_status find_tasks(vj_knn_plan *p, const vj_config *config, bool written)
{
    int labels[VJ_MAX_LABELS], count = 0;
    p->lists = 1;
    if (vj_source_label_count(p->training) > 0 || config->probe.tasks.count > 0)
        VJ_TRY(vj_choose_labels(labels, &count, p->training, config));
    for (int l = 0; l < count; l++) VJ_TRY(add_task(p, labels[l]));
    if (p->tasks == 0 && !written)
        return vj_raise(VJ_ERR_USAGE, "the clips have no labels to count right answers with; --out OUT.h5 writes their "
                                      "neighbours");
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ copies */

/* Count copies and log them: a query that is a copy has its original as nearest neighbour. */
static vj_status log_copies(vj_knn_plan *p)
{
    VJ_TRY(vj_count_copies(&p->copies, p->training, p->queries));
    if (p->copies > 0)
        vj_log("note: %lld of %lld queries are copies of training clips, by their checksums, and find these first",
               (long long)p->copies, (long long)vj_source_clips(p->queries));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the plan */

vj_status vj_knn_plan_make(vj_knn_plan *p, const vj_analysis *analysis)
{
    *p = (vj_knn_plan){.training = analysis->source, .queries = analysis->validation};
    p->leave_one_out = !p->queries;
    if (p->leave_one_out) p->queries = p->training;
    VJ_TRY(parse_options(p, analysis->options));
    p->max_k = p->k[p->k_count - 1];
    VJ_TRY(find_tasks(p, analysis->config, analysis->out != NULL));
    return log_copies(p);
}

void vj_knn_plan_release(vj_knn_plan *p)
{
    for (int t = 0; t < p->tasks; t++) free(p->task[t].allowed);
    p->tasks = 0;
}
