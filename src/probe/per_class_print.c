/* Prints results of predictions by class. */
#include <stdlib.h>
#include <string.h>

#include "probe/compare.h"
#include "probe/per_class.h"

/* Return "3 run", or "3" for classes without names. */
static const char *class_text(char text[VJ_HEAD_TEXT], const vj_clips_classes *names, int class)
{
    if (class < names->count)
        snprintf(text, VJ_HEAD_TEXT, "%d %s", class, vj_clips_classes_name(names, class));
    else
        snprintf(text, VJ_HEAD_TEXT, "%d", class);
    return text;
}

static void print_classes(const vj_per_class *p, const vj_clips_classes *names, int64_t limit, FILE *out)
{
    char class[VJ_HEAD_TEXT], other[VJ_HEAD_TEXT];
    fprintf(out, "  %6s %6s %17s  class, and what it is taken for\n", "clips", "top-1", "95 %");
    for (int64_t i = 0; i < p->count && i < limit; i++) {
        const vj_class_result *r = &p->item[i];
        fprintf(out, "  %6.0f %6.1f [%6.1f, %6.1f]  %s", r->clips / (double)p->runs, r->top1, r->low, r->high,
                class_text(class, names, r->class));
        if (r->taken_for >= 0)
            fprintf(out, "; %.0f %% for %s", 100.0 * r->taken / r->clips, class_text(other, names, r->taken_for));
        fputc('\n', out);
    }
    if (p->count > limit) fprintf(out, "  and %lld more of higher accuracy\n", (long long)(p->count - limit));
    for (int64_t i = 0; i < p->pairs && i < limit; i++) {
        const vj_class_pair *pair = &p->pair[i];
        fprintf(out, "  %6.0f clips of %s (%.0f %%) are taken for %s\n", pair->clips,
                class_text(class, names, pair->from), pair->percent, class_text(other, names, pair->to));
    }
}

/* Print the results of heads [n], which differ only in the seed. */
static vj_status print_alike(const vj_predictions *file, const int64_t *heads, int64_t n, int64_t limit, FILE *out)
{
    const vj_head_facts *h = &file->head[heads[0]];
    vj_per_class p = {0};
    vj_clips_classes names = {0};
    vj_status status = vj_per_class_read(&p, file, heads, n);
    if (status == VJ_OK) status = vj_predictions_classes(file, h->task, &names);
    if (status == VJ_OK) {
        fprintf(out, "%s, %s, %g %%, %s: %d of %d classes have clips", h->task, h->kind, h->labels, h->encoder, p.count,
                p.classes);
        if (n > 1) fprintf(out, "; accuracies are means over %lld seeds, mistakes are of all", (long long)n);
        fputc('\n', out);
        print_classes(&p, &names, limit, out);
    }
    vj_clips_classes_release(&names);
    vj_per_class_release(&p);
    return status;
}

static bool is_meant(const vj_head_facts *h, const char *which)
{
    return !*which || strcmp(h->name, which) == 0 || strcmp(h->encoder, which) == 0;
}

static vj_status print_all(const vj_predictions *file, const char *which, int64_t limit, FILE *out)
{
    int64_t *heads = vj_calloc(file->count + 1, sizeof *heads), groups = 0;
    bool *done = vj_calloc(file->count + 1, sizeof *done);
    vj_status status = heads && done ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of probes");
    for (int64_t i = 0; status == VJ_OK && i < file->count; i++) {
        int64_t n = 0;
        for (int64_t k = i; k < file->count; k++) {
            const vj_head_facts *a = &file->head[i], *b = &file->head[k];
            if (done[k] || !is_meant(b, which) || !vj_heads_alike(a, b) || strcmp(a->encoder, b->encoder) != 0)
                continue;
            heads[n++] = k;
            done[k] = true;
        }
        if (n > 0) status = print_alike(file, heads, n, limit, out);
        groups += n > 0;
    }
    free(heads);
    free(done);
    if (status == VJ_OK && groups == 0)
        return vj_raise(VJ_ERR_USAGE, "%s has no head and no encoder '%s'; its first head is %s", file->path, which,
                        file->count ? file->head[0].name : "none");
    return status;
}

vj_status vj_predictions_print_classes(const char *path, const char *which, int64_t limit, FILE *out)
{
    vj_predictions file;
    vj_status status = vj_predictions_open(&file, path);
    if (status == VJ_OK) status = print_all(&file, which, limit, out);
    vj_predictions_release(&file);
    return status;
}
