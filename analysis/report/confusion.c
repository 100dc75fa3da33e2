/* Confusions: counted over the seeds of a result. */
#include "report/confusion.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probe/metrics.h"
#include "probe/predictions.h"
#include "report/inside.h"
#include "report/plot.h"

enum { KEY = 256, SHOWN = 6, MOST_CELLS = 64, MOST_CLASSES = 1024, PAIRS = 5 };

/* ------------------------------------------------------------------------------------------------ counting */

static bool same_result(const vj_result *a, const vj_result *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->probe, b->probe) == 0 && strcmp(a->encoder, b->encoder) == 0;
}

static bool has_most_labels(const vj_campaign *c, const vj_result *row)
{
    for (int64_t r = 0; r < c->count; r++)
        if (same_result(&c->rows[r], row) && c->rows[r].labels > row->labels) return false;
    return true;
}

static bool is_head_of(const vj_head_facts *h, const vj_result *row)
{
    return strcmp(h->task, row->task) == 0 && strcmp(h->kind, row->probe) == 0 &&
           strcmp(h->encoder, row->encoder) == 0 && fabs(h->labels - row->labels) < 1e-6;
}

static vj_status count_head(vj_result *row, const vj_predictions *p, int64_t head)
{
    const int classes = p->head[head].classes;
    const int64_t n = p->head[head].counted;
    vj_prediction *rows;
    if (classes > MOST_CLASSES) return VJ_OK;
    if (row->confusion && row->classes != classes)
        return vj_raise(VJ_ERR_FORMAT, "%s: the probes of %s have different numbers of classes", p->path, row->encoder);
    VJ_TRY(vj_predictions_read(p, head, &rows));
    int32_t *labels = vj_report_memory(2 * n + 1, sizeof *labels), *predicted = labels + n;
    int64_t *counts = vj_report_memory((int64_t)classes * classes, sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        labels[i] = rows[i].label;
        predicted[i] = rows[i].top[0];
    }
    vj_metrics_confusion(counts, labels, predicted, n, classes);
    if (!row->confusion) row->confusion = vj_report_memory((int64_t)classes * classes, sizeof *row->confusion);
    row->classes = classes;
    for (int64_t i = 0; i < (int64_t)classes * classes; i++) row->confusion[i] += (double)counts[i];
    free(counts);
    free(labels);
    free(rows);
    return VJ_OK;
}

static vj_status name_classes(vj_result *row, const vj_predictions *p)
{
    vj_clips_classes names;
    VJ_TRY(vj_predictions_classes(p, row->task, &names));
    if (names.count > 0) {
        row->class_names = vj_report_memory(row->classes, sizeof *row->class_names);
        for (int k = 0; k < row->classes; k++) row->class_names[k] = vj_report_copy(vj_clips_classes_name(&names, k));
    }
    vj_clips_classes_release(&names);
    return VJ_OK;
}

static vj_status count_all(vj_campaign *c, const vj_predictions *p)
{
    int counted = 0;
    for (int64_t r = 0; r < c->count && counted < SHOWN; r++) {
        vj_result *row = &c->rows[r];
        if (row->confusion || !has_most_labels(c, row)) continue;
        for (int64_t h = 0; h < p->count; h++)
            if (is_head_of(&p->head[h], row)) VJ_TRY(count_head(row, p, h));
        if (!row->confusion) continue;
        VJ_TRY(name_classes(row, p));
        counted++;
    }
    return VJ_OK;
}

vj_status vj_confusion_read(vj_campaign *c, const char *predictions)
{
    vj_predictions p;
    vj_status status = vj_predictions_open(&p, predictions);
    if (status == VJ_OK) status = count_all(c, &p);
    vj_predictions_release(&p);
    return status;
}

/* ------------------------------------------------------------------------------------------------ showing */

/* Shares of each true class, so that rare classes are seen. */
static void add_map(vj_document *document, const vj_result *r)
{
    char name[KEY], title[KEY];
    const int n = r->classes;
    double *percent = vj_report_memory((int64_t)n * n, sizeof *percent);
    for (int row = 0; row < n; row++) {
        double sum = 0.0;
        for (int k = 0; k < n; k++) sum += r->confusion[row * n + k];
        for (int k = 0; k < n; k++) percent[row * n + k] = sum > 0.0 ? 100.0 * r->confusion[row * n + k] / sum : NAN;
    }
    snprintf(name, sizeof name, "confusion-%.100s-%.100s", r->task, r->encoder);
    snprintf(title, sizeof title, "Confusion: %.80s, %.40s, %.80s", r->task, r->probe, r->encoder);
    vj_plot *plot = vj_document_plot(document, name, title);
    vj_plot_heat_map(plot, n, n, percent, (const char *const *)r->class_names, (const char *const *)r->class_names, 0.0,
                     100.0);
    vj_plot_caption(plot, "Rows: true classes; columns: predicted ones; in %% of the row.");
    free(percent);
}

/* Two classes, and how many clips of the first are taken for the second. */
typedef struct {
    int from, to;
    double count, percent;
} pair;

static int by_count(const void *a, const void *b)
{
    const pair *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    if (x->from != y->from) return x->from - y->from;
    return x->to - y->to;
}

static void put_class(vj_table *t, const vj_result *r, int class)
{
    if (r->class_names && *r->class_names[class])
        vj_table_text(t, "%s", r->class_names[class]);
    else
        vj_table_text(t, "%d", class);
}

static void add_pairs(vj_table *t, const vj_result *r)
{
    const int n = r->classes;
    pair *pairs = vj_report_memory((int64_t)n * n, sizeof *pairs);
    int64_t found = 0;
    for (int i = 0; i < n; i++) {
        double sum = 0.0;
        for (int k = 0; k < n; k++) sum += r->confusion[(int64_t)i * n + k];
        for (int k = 0; k < n; k++) {
            const double count = r->confusion[(int64_t)i * n + k];
            if (k != i && count > 0.0) pairs[found++] = (pair){i, k, count, 100.0 * count / sum};
        }
    }
    qsort(pairs, (size_t)found, sizeof *pairs, by_count);
    for (int64_t i = 0; i < found && i < PAIRS; i++) {
        vj_table_text(t, "%s", r->task);
        vj_table_text(t, "%s", r->probe);
        vj_table_text(t, "%s", r->encoder);
        put_class(t, r, pairs[i].from);
        put_class(t, r, pairs[i].to);
        vj_table_number(t, pairs[i].count, 0);
        vj_table_number(t, pairs[i].percent, 1);
    }
    free(pairs);
}

static vj_table *begin_pairs(vj_document *document)
{
    static const char *const texts[] = {"task", "probe", "encoder", "class", "taken for"};
    vj_table *t = vj_document_table(document, "confused",
                                    "What is confused most, at the largest share of the labels; clips of all seeds.");
    for (int k = 0; k < 5; k++) vj_table_column(t, VJ_LEFT, texts[k], "");
    vj_table_column(t, VJ_RIGHT, "clips", "");
    vj_table_column(t, VJ_RIGHT, "of the class", "%");
    return t;
}

void vj_confusion_show(vj_document *document, const vj_campaign *c)
{
    int shown = 0, all = 0;
    vj_table *t = NULL;
    for (int64_t r = 0; r < c->count; r++) {
        const vj_result *row = &c->rows[r];
        if (!row->confusion || all++ >= SHOWN) continue;
        if (row->classes <= MOST_CELLS) add_map(document, row);
        shown++;
    }
    for (int64_t r = 0, n = 0; r < c->count; r++) {
        if (!c->rows[r].confusion || n++ >= SHOWN) continue;
        if (!t) t = begin_pairs(document);
        add_pairs(t, &c->rows[r]);
    }
    if (shown < all)
        vj_document_paragraph(document, "Confusion is shown of the first %d results, of %d that have it.", shown, all);
}
