/* Compares every two encoders of a file of predictions. */
#include "probe/differences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probe/compare.h"

/* The encoders of a file: all heads of each, as a selection that borrows the file. */
typedef struct {
    const vj_predictions *file;
    vj_selection *encoder; /* [count] */
    int64_t count;
} encoders;

static const char *name_of(const vj_selection *s)
{
    return s->file.head[s->head[0]].encoder;
}

static vj_status list_encoders(encoders *e, const vj_predictions *file)
{
    e->file = file;
    e->encoder = vj_calloc(file->count + 1, sizeof *e->encoder);
    if (!e->encoder) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of encoders");
    for (int64_t i = 0; i < file->count; i++) {
        int64_t k = 0;
        while (k < e->count && strcmp(name_of(&e->encoder[k]), file->head[i].encoder) != 0) k++;
        vj_selection *s = &e->encoder[k];
        if (k == e->count) {
            *s = (vj_selection){.file = *file, .head = vj_calloc(file->count, sizeof *s->head)};
            if (!s->head) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of probes");
            e->count++;
        }
        s->head[s->count++] = i;
    }
    return VJ_OK;
}

static void release_encoders(encoders *e)
{
    for (int64_t k = 0; k < e->count; k++) free(e->encoder[k].head);
    free(e->encoder);
}

/* Return the number of the first head of the same task, kind and share. */
static int64_t line_of(const vj_predictions *file, const vj_head_facts *head)
{
    int64_t i = 0;
    while (!vj_heads_alike(&file->head[i], head)) i++;
    return i;
}

static vj_status add_groups(vj_differences *d, const encoders *e, const vj_comparisons *found)
{
    vj_difference *more = realloc(d->item, (size_t)(d->count + found->group_count) * sizeof *more);
    if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory for differences");
    d->item = more;
    for (int64_t i = 0; i < found->group_count; i++) {
        const vj_comparison_group *g = &found->group[i];
        const vj_comparison *first = &found->pair[g->first];
        vj_difference *to = &d->item[d->count++];
        *to = (vj_difference){.labels = first->a->labels,
                              .clips = first->samples,
                              .seeds = g->count,
                              .over = g->over,
                              .low = g->low,
                              .high = g->high,
                              .p_least = g->p_least,
                              .p_most = g->p_most,
                              .line = line_of(e->file, first->a)};
        snprintf(to->task, sizeof to->task, "%s", first->a->task);
        snprintf(to->kind, sizeof to->kind, "%s", first->a->kind);
        snprintf(to->a, sizeof to->a, "%s", first->a->encoder);
        snprintf(to->b, sizeof to->b, "%s", first->b->encoder);
    }
    return VJ_OK;
}

static bool have_partners(const vj_selection *a, const vj_selection *b)
{
    for (int64_t i = 0; i < a->count; i++)
        if (vj_selection_partner(b, &a->file.head[a->head[i]]) >= 0) return true;
    return false;
}

static vj_status compare_two(vj_differences *d, const encoders *e, const vj_selection *a, const vj_selection *b,
                             vj_notes *notes)
{
    vj_comparisons found = {0};
    char why[1024];
    if (!have_partners(a, b)) return VJ_OK;
    vj_status_divert(why, sizeof why);
    vj_status status = vj_compare(&found, a, b, VJ_DIFFERENCE_RESAMPLES, 0);
    vj_status_divert(NULL, 0);
    if (status == VJ_OK)
        status = add_groups(d, e, &found);
    else
        status = vj_notes_add(notes, "%s and %s are not compared: %s", name_of(a), name_of(b), why);
    vj_comparisons_release(&found);
    return status;
}

static vj_status compare_all(vj_differences *d, const encoders *e, vj_notes *notes)
{
    const int64_t pairs = e->count * (e->count - 1) / 2;
    const double began_s = vj_now();
    double logged_s = began_s;
    int64_t done = 0;
    for (int64_t a = 0; a < e->count; a++)
        for (int64_t b = a + 1; b < e->count; b++, done++) {
            VJ_TRY(compare_two(d, e, &e->encoder[a], &e->encoder[b], notes));
            if (vj_now() - logged_s < 10.0) continue;
            logged_s = vj_now();
            char left[32];
            vj_log("results: %lld of %lld pairs of encoders compared, about %s left", (long long)done + 1,
                   (long long)pairs,
                   vj_duration((logged_s - began_s) / (double)(done + 1) * (double)(pairs - done - 1), left));
        }
    return VJ_OK;
}

/* Sort by line, in the order of the file; within a line pairs keep the order in which they were added. */
static void sort_lines(vj_differences *d)
{
    for (int64_t i = 1; i < d->count; i++) {
        const vj_difference one = d->item[i];
        int64_t k = i;
        for (; k > 0 && d->item[k - 1].line > one.line; k--) d->item[k] = d->item[k - 1];
        d->item[k] = one;
    }
}

vj_status vj_differences_read(vj_differences *d, const char *predictions, vj_notes *notes)
{
    vj_predictions file;
    encoders e = {0};
    *d = (vj_differences){0};
    vj_status status = vj_predictions_open(&file, predictions);
    if (status == VJ_OK) status = list_encoders(&e, &file);
    if (status == VJ_OK) status = compare_all(d, &e, notes);
    if (status == VJ_OK) sort_lines(d);
    release_encoders(&e);
    vj_predictions_release(&file);
    return status;
}

void vj_differences_release(vj_differences *d)
{
    free(d->item);
    *d = (vj_differences){0};
}

void vj_difference_verdict(char *text, size_t bytes, const vj_difference *d)
{
    const double half = isnan(d->over.half) ? 0.0 : d->over.half;
    const bool seeds = fabs(d->over.mean) > half, clips = isnan(d->low) || d->low > 0.0 || d->high < 0.0;
    if (seeds && clips)
        snprintf(text, bytes, "%s is better", d->over.mean > 0.0 ? d->a : d->b);
    else
        snprintf(text, bytes, "not told apart");
}
