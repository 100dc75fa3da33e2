/* Prints, verifies and joins files of predictions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "h5/h5.h"
#include "parallel/parallel.h"
#include "probe/metrics.h"
#include "probe/predictions_table.h"

static double top_of(const vj_prediction *rows, int64_t n, int k)
{
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) right += rows[i].rank < k;
    return n > 0 ? 100.0 * (double)right / (double)n : NAN;
}

static vj_status print_heads(const vj_predictions *p, FILE *out)
{
    fprintf(out, "%s: predictions of %lld probes\n", p->path, (long long)p->count);
    for (int64_t i = 0; i < p->count; i++) {
        const vj_head_facts *h = &p->head[i];
        vj_prediction *rows;
        double low, high;
        VJ_TRY(vj_predictions_read(p, i, &rows));
        const double top1 = top_of(rows, h->counted, 1);
        vj_wilson_interval(top1 / 100.0, (double)h->counted, &low, &high);
        fprintf(out, "  %s: %lld clips (%lld failed), top-1 %.2f [%.2f, %.2f], top-5 %.2f; %s, encoder %016llx\n",
                h->name, (long long)h->counted, (long long)h->failed, top1, 100.0 * low, 100.0 * high,
                top_of(rows, h->counted, VJ_TOP), h->features, (unsigned long long)h->encoder_digest);
        free(rows);
    }
    return VJ_OK;
}

static vj_status print_provenance(const char *path, FILE *out)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, path, VJ_PREDICTIONS_FORMAT, VJ_PREDICTIONS_VERSION));
    const vj_status status = vj_h5_print_provenance(file, path, out);
    H5Fclose(file); /* only read */
    return status;
}

vj_status vj_predictions_print(const char *path, FILE *out)
{
    vj_predictions p;
    vj_status status = vj_predictions_open(&p, path);
    if (status == VJ_OK) status = print_heads(&p, out);
    vj_predictions_release(&p);
    VJ_TRY(status);
    H5E_BEGIN_TRY
    {
        status = print_provenance(path, out);
    }
    H5E_END_TRY
    return status;
}

vj_status vj_predictions_verify(const char *path, int64_t *heads, int64_t *damaged)
{
    vj_predictions p;
    vj_status status = vj_predictions_open(&p, path);
    *heads = p.count;
    *damaged = 0;
    for (int64_t i = 0; status == VJ_OK && i < p.count; i++) {
        vj_prediction *rows;
        *damaged += vj_predictions_read(&p, i, &rows) != VJ_OK;
        free(rows);
    }
    vj_predictions_release(&p);
    return status;
}

/* ------------------------------------------------------------------------------------------------ joining */

/* A head of one of the files. */
typedef struct {
    const vj_predictions *file;
    int64_t number;       /* in its file */
    int64_t place, order; /* sort key in the joined file; order in the input */
} origin;

/* The contents of all files together. */
typedef struct {
    vj_predictions *file; /* [files] */
    int files;
    origin *from;        /* [count] */
    vj_head_facts *head; /* [count] */
    uint64_t *digest;    /* [count] */
    int64_t count;
    vj_task_classes *task; /* [tasks] */
    vj_clips_classes *classes;
    int tasks;
} joined;

static vj_status add_task(joined *j, const vj_predictions *from, const char *task)
{
    for (int t = 0; t < j->tasks; t++)
        if (strcmp(j->task[t].task, task) == 0) return VJ_OK;
    VJ_TRY(vj_predictions_classes(from, task, &j->classes[j->tasks]));
    j->task[j->tasks] = (vj_task_classes){task, &j->classes[j->tasks]};
    j->tasks++;
    return VJ_OK;
}

static int compare_places(const void *a, const void *b)
{
    const origin *x = a, *y = b;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* List the heads of all files in the order of the joined one. */
static vj_status list_heads(joined *j, vj_head_place *place, const void *table)
{
    int64_t all = 0;
    for (int f = 0; f < j->files; f++) all += j->file[f].count;
    j->from = vj_calloc(all + 1, sizeof *j->from);
    j->head = vj_calloc(all + 1, sizeof *j->head);
    j->digest = vj_calloc(all + 1, sizeof *j->digest);
    j->task = vj_calloc(all + 1, sizeof *j->task);
    j->classes = vj_calloc(all + 1, sizeof *j->classes);
    if (!j->from || !j->head || !j->digest || !j->task || !j->classes)
        return vj_raise(VJ_ERR_MEMORY, "no memory for %lld probes", (long long)all);
    for (int f = 0; f < j->files; f++)
        for (int64_t i = 0; i < j->file[f].count; i++, j->count++)
            j->from[j->count] = (origin){.file = &j->file[f],
                                         .number = i,
                                         .place = place ? place(table, &j->file[f].head[i]) : 0,
                                         .order = j->count};
    qsort(j->from, (size_t)j->count, sizeof *j->from, compare_places);
    return VJ_OK;
}

static vj_status gather(joined *j, vj_head_place *place, const void *table)
{
    VJ_TRY(list_heads(j, place, table));
    for (int64_t i = 0; i < j->count; i++) {
        const vj_predictions *file = j->from[i].file;
        const vj_head_facts *h = &file->head[j->from[i].number];
        for (int64_t k = 0; k < i; k++)
            if (strcmp(j->head[k].name, h->name) == 0)
                return vj_raise(VJ_ERR_FORMAT, "%s: another file has predictions of %s too", file->path, h->name);
        j->digest[i] = h->probe_digest;
        j->head[i] = *h;
        VJ_TRY(add_task(j, file, h->task));
    }
    return VJ_OK;
}

static vj_status copy_rows(vj_predictions_writer *to, const joined *j)
{
    for (int64_t i = 0; i < j->count; i++) {
        vj_prediction *rows;
        VJ_TRY(vj_predictions_read(j->from[i].file, j->from[i].number, &rows));
        const vj_status status = vj_predictions_write(to, i, 0, j->head[i].counted, rows);
        free(rows);
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status join(joined *j, const char *path, const char *const *paths, vj_head_place *place, const void *table)
{
    vj_predictions_writer *writer;
    j->file = vj_calloc(j->files, sizeof *j->file);
    if (!j->file) return vj_raise(VJ_ERR_MEMORY, "no memory for %d files", j->files);
    for (int f = 0; f < j->files; f++) VJ_TRY(vj_predictions_open(&j->file[f], paths[f]));
    VJ_TRY(gather(j, place, table));
    VJ_TRY(vj_predictions_create(&writer, path, j->head, j->count, j->task, j->tasks, j->file[0].config, VJ_ALONE));
    return vj_predictions_commit(writer, copy_rows(writer, j), j->digest);
}

vj_status vj_predictions_join(const char *path, const char *const *paths, int count, vj_head_place *place,
                              const void *table)
{
    joined j = {.files = count};
    const vj_status status = join(&j, path, paths, place, table);
    for (int f = 0; j.file && f < count; f++) vj_predictions_release(&j.file[f]);
    for (int t = 0; t < j.tasks; t++) vj_clips_classes_release(&j.classes[t]);
    free(j.file);
    free(j.from);
    free(j.head);
    free(j.digest);
    free(j.task);
    free(j.classes);
    return status;
}
