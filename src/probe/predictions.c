/* Makes predictions from scores, and writes them: rank 0 creates the file (h5/h5.h), ranks write their heads' rows. */
#include "probe/predictions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "h5/h5.h"
#include "parallel/parallel.h"
#include "probe/metrics.h"
#include "probe/predictions_table.h"

/* Find the VJ_TOP classes of highest score by insertion; equal ones are ordered by number, as in vj_metrics_rank(). */
static void find_top(vj_prediction *p, const double *order, int classes)
{
    int n = 0;
    for (int c = 0; c < classes; c++) {
        int at = n < VJ_TOP ? n : VJ_TOP;
        while (at > 0 && order[c] > order[p->top[at - 1]]) {
            if (at < VJ_TOP) p->top[at] = p->top[at - 1];
            at--;
        }
        if (at < VJ_TOP) p->top[at] = c;
        if (n < VJ_TOP) n++;
    }
    for (int k = n; k < VJ_TOP; k++) p->top[k] = -1;
}

vj_status vj_predict(vj_prediction *p, double *memory, const double *scores, int views, int classes)
{
    double *probability = memory + classes;
    for (int64_t i = 0; i < (int64_t)views * classes; i++)
        if (!isfinite(scores[i]))
            return vj_raise(VJ_ERR_STATE, "the score of class %d of clip %lld is not a finite number",
                            (int)(i % classes), (long long)p->clip);
    if (p->label < 0 || p->label >= classes)
        return vj_raise(VJ_ERR_FORMAT, "clip %lld has label %d; there are classes 0 to %d", (long long)p->clip,
                        p->label, classes - 1);
    vj_metrics_average_views(probability, memory, scores, views, classes);
    const double *order = views == 1 ? scores : probability;
    p->rank = vj_metrics_rank(order, classes, p->label);
    p->views = views;
    p->nothing = 0;
    find_top(p, order, classes);
    for (int k = 0; k < VJ_TOP; k++) p->chance[k] = p->top[k] >= 0 ? (float)probability[p->top[k]] : 0.0f;
    return VJ_OK;
}

void vj_head_name(vj_head_facts *h)
{
    snprintf(h->name, sizeof h->name, "%s.%s.%g.%.100s.%llu", h->task, h->kind, h->labels, h->encoder,
             (unsigned long long)h->seed);
    for (char *c = h->name; *c; c++)
        if (*c == '/') *c = '|';
}

uint64_t vj_probe_digest_add(uint64_t digest, const char *name, const float *weight, int64_t count)
{
    return digest + XXH3_64bits_withSeed(weight, (size_t)count * sizeof *weight, XXH3_64bits(name, strlen(name)));
}

vj_status vj_predictions_accuracies(vj_accuracies *to, const vj_config *config, const vj_prediction *rows, int64_t n,
                                    int classes)
{
    enum { GPUS = 64 }; /* in the published evaluations */
    int32_t *ranks = vj_calloc(2 * n + 1, sizeof *ranks), *labels = ranks + n;
    if (!ranks) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld ranks", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        ranks[i] = rows[i].rank;
        labels[i] = rows[i].label;
    }
    *to = (vj_accuracies){vj_metrics_top(ranks, n, 1), vj_metrics_top(ranks, n, VJ_TOP),
                          vj_metrics_mean_class(ranks, labels, n, classes), NAN};
    if (config->probe.as_published)
        to->as_published = vj_metrics_as_published(ranks, n, GPUS, config->probe.batch, (uint64_t)config->run.seed);
    free(ranks);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

struct vj_predictions_writer {
    vj_h5_writer out;
    const vj_head_facts *heads; /* [count] owned copy */
    int64_t count;
    int64_t *place;  /* [count] offsets of the tables in the file */
    int64_t written; /* rows, by this rank */
};

vj_status vj_predictions_may_replace(const char *path)
{
    return vj_h5_may_replace(path, VJ_PREDICTIONS_FORMAT, "file of predictions");
}

vj_status vj_fact_put(hid_t object, const vj_fact *fact, const vj_head_facts *head)
{
    const char *at = (const char *)head + fact->offset;
    switch (fact->kind) {
    case VJ_FACT_TEXT:
        return vj_h5_put_text(object, fact->name, at);
    case VJ_FACT_I64:
        return vj_h5_put_i64(object, fact->name, *(const int64_t *)at);
    case VJ_FACT_U64:
        return vj_h5_put_u64(object, fact->name, *(const uint64_t *)at);
    case VJ_FACT_F64:
        return vj_h5_put_f64(object, fact->name, *(const double *)at);
    case VJ_FACT_INT:
        return vj_h5_put_i64(object, fact->name, *(const int *)at);
    }
    return VJ_OK;
}

/* On rank 0: write the attributes of a table that are known before its head is trained. */
static vj_status put_facts(hid_t table, const vj_head_facts *h, int64_t number)
{
    vj_status status = vj_h5_put_i64(table, "number", number);
    for (const vj_fact *f = vj_facts; f->name && status == VJ_OK; f++) status = vj_fact_put(table, f, h);
    return status;
}

static void table_name(char name[VJ_HEAD_NAME + 8], const char *head)
{
    snprintf(name, VJ_HEAD_NAME + 8, "heads/%s", head);
}

static vj_status lay_out_head(vj_predictions_writer *w, int64_t number)
{
    char name[VJ_HEAD_NAME + 8];
    const vj_head_facts *h = &w->heads[number];
    const hsize_t rows = (hsize_t)h->counted;
    const hid_t type = vj_prediction_type();
    table_name(name, h->name);
    vj_status status = vj_h5_dataset(&w->out, name, type, 1, &rows, &w->place[number]);
    H5Tclose(type); /* the file has its copy */
    VJ_TRY(status);
    const hid_t table = H5Dopen2(w->out.file, name, H5P_DEFAULT);
    if (table < 0) return vj_raise_h5("open %s", name);
    status = put_facts(table, h, number);
    if (H5Dclose(table) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", name);
    return status;
}

static vj_status lay_out(vj_predictions_writer *w, const vj_task_classes *tasks, int task_count, int64_t *classes,
                         const char *config)
{
    for (int64_t i = 0; i < w->count; i++) VJ_TRY(lay_out_head(w, i));
    for (int t = 0; t < task_count; t++)
        VJ_TRY(vj_clips_lay_out_classes(&w->out, tasks[t].task, tasks[t].classes, &classes[t]));
    return vj_h5_put_text(w->out.file, "config", config);
}

/* Return an upper bound of the bytes of HDF5's structures: an object, its type and attributes; 1024 bytes for those of
 * fixed size. */
static int64_t structure_bytes(const vj_predictions_writer *w, int task_count, const char *config)
{
    int64_t bytes = (int64_t)strlen(config) + (int64_t)task_count * (VJ_H5_OBJECT_BYTES + VJ_LABEL_NAME);
    return bytes + w->count * (4 * VJ_H5_OBJECT_BYTES + (int64_t)sizeof(vj_head_facts));
}

static vj_status begin(vj_predictions_writer *w, const char *path, const vj_task_classes *tasks, int task_count,
                       const char *config, MPI_Comm comm)
{
    int64_t *classes = vj_calloc(task_count + 1, sizeof *classes);
    vj_status status = vj_agree(comm, classes ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write %s", path));
    if (status == VJ_OK)
        status = vj_h5_create(&w->out, path, VJ_PREDICTIONS_FORMAT, VJ_PREDICTIONS_VERSION,
                              structure_bytes(w, task_count, config), comm);
    if (status == VJ_OK)
        status = vj_h5_share(&w->out, w->out.rank == 0 ? lay_out(w, tasks, task_count, classes, config) : VJ_OK);
    if (status == VJ_OK) {
        vj_broadcast(w->place, w->count * (int64_t)sizeof *w->place, comm);
        vj_status named = VJ_OK;
        for (int t = 0; w->out.rank == 0 && named == VJ_OK && t < task_count; t++)
            named = vj_clips_write_classes(&w->out, tasks[t].classes, classes[t]);
        status = vj_agree(comm, named);
    }
    free(classes);
    return status;
}

static void release(vj_predictions_writer *w)
{
    free((void *)w->heads);
    free(w->place);
    free(w);
}

vj_status vj_predictions_create(vj_predictions_writer **writer, const char *path, const vj_head_facts *heads,
                                int64_t count, const vj_task_classes *tasks, int task_count, const char *config,
                                MPI_Comm comm)
{
    vj_predictions_writer *w = vj_calloc(1, sizeof *w);
    vj_head_facts *copy = vj_calloc(count + 1, sizeof *copy);
    int64_t *place = vj_calloc(count + 1, sizeof *place);
    vj_status status =
        vj_agree(comm, w && copy && place ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write %s", path));
    *writer = NULL;
    if (status != VJ_OK) {
        free(w);
        free(copy);
        free(place);
        return status;
    }
    memcpy(copy, heads, sizeof *copy * (size_t)count);
    w->heads = copy;
    w->count = count;
    w->place = place;
    H5E_BEGIN_TRY
    {
        status = begin(w, path, tasks, task_count, config, comm);
    }
    H5E_END_TRY
    if (status == VJ_OK)
        *writer = w;
    else
        release(w);
    return status;
}

vj_status vj_predictions_write(vj_predictions_writer *w, int64_t head, int64_t first, int64_t count,
                               const vj_prediction *rows)
{
    VJ_ASSERT(head >= 0 && head < w->count && first >= 0 && first + count <= w->heads[head].counted);
    const int64_t each = (int64_t)sizeof *rows;
    VJ_TRY(vj_h5_write(&w->out, w->place[head] + first * each, rows, count * each));
    w->written += count;
    return VJ_OK;
}

/* On rank 0: write the attributes that were not known at first. */
static vj_status put_digests(vj_predictions_writer *w, const uint64_t *probe_digest)
{
    char name[VJ_HEAD_NAME + 8];
    for (int64_t i = 0; i < w->count; i++) {
        table_name(name, w->heads[i].name);
        const hid_t table = H5Dopen2(w->out.file, name, H5P_DEFAULT);
        if (table < 0) return vj_raise_h5("open %s", name);
        vj_status status = vj_h5_put_u64(table, "probe_digest", probe_digest[i]);
        if (H5Dclose(table) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", name);
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status check_rows(const vj_predictions_writer *w)
{
    int64_t written = w->written, expected = 0;
    for (int64_t i = 0; i < w->count; i++) expected += w->heads[i].counted;
    if (w->out.comm != VJ_ALONE) MPI_Allreduce(MPI_IN_PLACE, &written, 1, MPI_INT64_T, MPI_SUM, w->out.comm);
    if (written == expected) return VJ_OK;
    return vj_raise(VJ_ERR_STATE, "%lld predictions were written to %s, not %lld", (long long)written, w->out.path,
                    (long long)expected);
}

static vj_status commit(vj_predictions_writer *w, vj_status status, const uint64_t *probe_digest)
{
    if (status == VJ_OK) status = vj_h5_flush(&w->out);
    VJ_TRY(vj_h5_gather(&w->out, status));
    VJ_TRY(vj_h5_gather(&w->out, vj_h5_verify(&w->out)));
    VJ_TRY(vj_h5_gather(&w->out, check_rows(w)));
    if (w->out.rank == 0) {
        status = put_digests(w, probe_digest);
        if (status == VJ_OK) status = vj_h5_publish(&w->out);
    }
    return vj_h5_commit(&w->out, status);
}

vj_status vj_predictions_commit(vj_predictions_writer *w, vj_status status, const uint64_t *probe_digest)
{
    H5E_BEGIN_TRY
    {
        status = commit(w, status, probe_digest);
    }
    H5E_END_TRY
    release(w);
    return status;
}

void vj_predictions_abandon(vj_predictions_writer *w)
{
    if (!w) return;
    vj_h5_abandon(&w->out);
    release(w);
}
