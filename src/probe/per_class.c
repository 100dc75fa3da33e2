/* Counts predictions by class. */
#include "probe/per_class.h"

#include <stdlib.h>

#include "probe/metrics.h"

vj_status vj_per_class_begin(vj_per_class *p, int classes)
{
    *p = (vj_per_class){.classes = classes, .item = vj_calloc(classes, sizeof *p->item)};
    if (!p->item) return vj_raise(VJ_ERR_MEMORY, "no memory for %d classes", classes);
    for (int k = 0; k < classes; k++) p->item[k] = (vj_class_result){.class = k, .taken_for = -1};
    return VJ_OK;
}

void vj_per_class_release(vj_per_class *p)
{
    free(p->item);
    free(p->pair);
    *p = (vj_per_class){0};
}

/* ------------------------------------------------------------------------------------------------ counting */

static int by_classes(const void *a, const void *b)
{
    const vj_class_pair *x = a, *y = b;
    return x->from != y->from ? (x->from > y->from) - (x->from < y->from) : (x->to > y->to) - (x->to < y->to);
}

/* Merge entries of the same pair of classes. */
static void join_pairs(vj_per_class *p)
{
    int64_t kept = 0;
    qsort(p->pair, (size_t)p->pairs, sizeof *p->pair, by_classes);
    for (int64_t i = 0; i < p->pairs; i++) {
        if (kept > 0 && by_classes(&p->pair[kept - 1], &p->pair[i]) == 0)
            p->pair[kept - 1].clips += p->pair[i].clips;
        else
            p->pair[kept++] = p->pair[i];
    }
    p->pairs = kept;
}

/* Make room for one more pair: by merging equal ones or, if more than half remain, by more memory. */
static vj_status make_room(vj_per_class *p)
{
    if (p->pairs < p->room) return VJ_OK;
    if (p->pairs > 0) join_pairs(p);
    if (p->room > 0 && p->pairs <= p->room / 2) return VJ_OK;
    const int64_t room = p->room > 0 ? 2 * p->room : 1024;
    vj_class_pair *more = realloc(p->pair, (size_t)room * sizeof *more);
    if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld pairs of classes", (long long)room);
    p->pair = more;
    p->room = room;
    return VJ_OK;
}

vj_status vj_per_class_add(vj_per_class *p, int from, int to, double clips)
{
    VJ_ASSERT(from >= 0 && from < p->classes && to >= 0 && to < p->classes);
    if (!(clips > 0.0)) return VJ_OK;
    p->item[from].clips += clips;
    if (from == to) {
        p->item[from].right += clips;
        return VJ_OK;
    }
    VJ_TRY(make_room(p));
    p->pair[p->pairs++] = (vj_class_pair){.from = from, .to = to, .clips = clips};
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ what it says */

static int by_accuracy(const void *a, const void *b)
{
    const vj_class_result *x = a, *y = b;
    return x->top1 != y->top1 ? (x->top1 > y->top1) - (x->top1 < y->top1) : x->class - y->class;
}

static int by_clips(const void *a, const void *b)
{
    const vj_class_pair *x = a, *y = b;
    return x->clips != y->clips ? (x->clips < y->clips) - (x->clips > y->clips) : by_classes(a, b);
}

vj_status vj_per_class_finish(vj_per_class *p, int64_t runs)
{
    p->runs = runs;
    if (p->pairs > 0) join_pairs(p);
    for (int64_t i = 0; i < p->pairs; i++) {
        vj_class_pair *pair = &p->pair[i];
        vj_class_result *from = &p->item[pair->from];
        pair->percent = 100.0 * pair->clips / from->clips;
        if (pair->clips <= from->taken) continue;
        from->taken = pair->clips;
        from->taken_for = pair->to;
    }
    for (int k = 0; k < p->classes; k++) {
        vj_class_result *r = &p->item[k];
        if (r->clips == 0.0) continue;
        vj_wilson_interval(r->right / r->clips, r->clips / (double)runs, &r->low, &r->high);
        r->top1 = 100.0 * r->right / r->clips;
        r->low *= 100.0;
        r->high *= 100.0;
        p->item[p->count++] = *r;
    }
    qsort(p->item, (size_t)p->count, sizeof *p->item, by_accuracy);
    if (p->pairs > 0) qsort(p->pair, (size_t)p->pairs, sizeof *p->pair, by_clips);
    return VJ_OK;
}

static vj_status add_head(vj_per_class *p, const vj_predictions *file, int64_t head)
{
    vj_prediction *rows;
    if (file->head[head].classes != p->classes)
        return vj_raise(VJ_ERR_FORMAT, "%s: %s has %d classes, not %d as the probes of other seeds", file->path,
                        file->head[head].name, file->head[head].classes, p->classes);
    VJ_TRY(vj_predictions_read(file, head, &rows));
    vj_status status = VJ_OK;
    for (int64_t i = 0; status == VJ_OK && i < file->head[head].counted; i++)
        status = vj_per_class_add(p, rows[i].label, rows[i].top[0], 1.0);
    free(rows);
    return status;
}

vj_status vj_per_class_read(vj_per_class *p, const vj_predictions *file, const int64_t *heads, int64_t count)
{
    VJ_TRY(vj_per_class_begin(p, file->head[heads[0]].classes));
    for (int64_t i = 0; i < count; i++) VJ_TRY(add_head(p, file, heads[i]));
    return vj_per_class_finish(p, count);
}
