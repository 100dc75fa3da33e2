/* Counts confusions over the seeds of a result, and shows them. */
#include "report/confusion.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probe/predictions.h"
#include "report/inside.h"
#include "report/plot.h"

/* Limits: results and pairs shown; classes in a heat map; worst and best classes shown if there are more than both. */
enum { KEY = 256, SHOWN = 6, PAIRS = 5, MAX_CELLS = 64, WORST = 30, BEST = 10 };

/* ------------------------------------------------------------------------------------------------ counting */

static bool has_most_labels(const vj_campaign_results *c, const vj_result *row)
{
    for (int64_t r = 0; r < c->count; r++)
        if (vj_result_same_probe(&c->rows[r], row) && strcmp(c->rows[r].encoder, row->encoder) == 0 &&
            c->rows[r].labels > row->labels)
            return false;
    return true;
}

static bool is_head_of(const vj_head_facts *h, const vj_result *row)
{
    return strcmp(h->task, row->task) == 0 && strcmp(h->kind, row->probe) == 0 &&
           strcmp(h->encoder, row->encoder) == 0 && fabs(h->labels - row->labels) < 1e-6;
}

/* Sum the counts of the heads of all seeds, and get the names of the classes. */
static vj_status count_row(vj_result *row, const vj_predictions *p)
{
    vj_clips_classes names;
    int64_t *heads = vj_report_memory(p->count + 1, sizeof *heads), n = 0;
    for (int64_t h = 0; h < p->count; h++)
        if (is_head_of(&p->head[h], row)) heads[n++] = h;
    vj_status status = n > 0 ? vj_per_class_read(&row->by_class, p, heads, n) : VJ_OK;
    free(heads);
    if (status != VJ_OK) vj_per_class_release(&row->by_class);
    if (status != VJ_OK || n == 0) return status;
    VJ_TRY(vj_predictions_classes(p, row->task, &names));
    if (names.count > 0) {
        row->class_names = vj_report_memory(row->by_class.classes, sizeof *row->class_names);
        for (int k = 0; k < row->by_class.classes; k++)
            row->class_names[k] = vj_report_copy(vj_clips_classes_name(&names, k));
    }
    vj_clips_classes_release(&names);
    return VJ_OK;
}

static vj_status count_all(vj_campaign_results *c, const vj_predictions *p)
{
    int counted = 0;
    for (int64_t r = 0; r < c->count && counted < SHOWN; r++) {
        vj_result *row = &c->rows[r];
        if (row->by_class.classes > 0 || !has_most_labels(c, row)) continue;
        VJ_TRY(count_row(row, p));
        counted += row->by_class.classes > 0;
    }
    return VJ_OK;
}

vj_status vj_confusion_read(vj_campaign_results *c, const char *predictions)
{
    vj_predictions p;
    vj_status status = vj_predictions_open(&p, predictions);
    if (status == VJ_OK) status = count_all(c, &p);
    vj_predictions_release(&p);
    return status;
}

/* ------------------------------------------------------------------------------------------------ showing */

/* Add a heat map with shares of each true class, so that rare classes are visible. A class without clips has an empty
 * row. */
static void add_map(vj_document *document, const vj_result *r)
{
    char name[KEY], title[KEY];
    const vj_per_class *by = &r->by_class;
    const int n = by->classes;
    double *percent = vj_report_memory((int64_t)n * n, sizeof *percent);
    for (int i = 0; i < n * n; i++) percent[i] = NAN;
    for (int i = 0; i < by->count; i++) {
        double *row = percent + (int64_t)by->item[i].class * n;
        for (int k = 0; k < n; k++) row[k] = k == by->item[i].class ? by->item[i].top1 : 0.0;
    }
    for (int64_t i = 0; i < by->pairs; i++)
        percent[(int64_t)by->pair[i].from * n + by->pair[i].to] = by->pair[i].percent;
    snprintf(name, sizeof name, "confusion-%.100s-%.100s", r->task, r->encoder);
    snprintf(title, sizeof title, "Confusion: %.80s, %.40s, %.80s", r->task, r->probe, r->encoder);
    vj_plot *plot = vj_document_plot(document, name, title);
    vj_plot_heat_map(plot, n, n, percent, (const char *const *)r->class_names, (const char *const *)r->class_names, 0.0,
                     100.0);
    vj_plot_caption(plot, "Rows: true classes; columns: predicted ones; in %% of the row.");
    free(percent);
}

static void put_class(vj_table *t, const char *heading, const vj_result *r, int class)
{
    if (class < 0)
        vj_row_text(t, heading, "%s", "");
    else if (r->class_names && *r->class_names[class])
        vj_row_text(t, heading, "%s", r->class_names[class]);
    else
        vj_row_text(t, heading, "%d", class);
}

static void add_class(vj_table *t, const vj_result *r, const vj_class_result *of)
{
    vj_campaign_put(t, r);
    put_class(t, "class", r, of->class);
    vj_row_number(t, "clips", "", of->clips / (double)r->by_class.runs, 0);
    vj_row_number(t, "top-1", "%", of->top1, 1);
    vj_row_number(t, "low", "%", of->low, 1);
    vj_row_number(t, "high", "%", of->high, 1);
    put_class(t, "taken for", r, of->taken_for);
    vj_row_number(t, "of the class", "%", of->taken_for < 0 ? NAN : 100.0 * of->taken / of->clips, 1);
}

/* Add a table of all classes, or, if there are many, of the worst and the best. */
static void add_classes(vj_document *document, const vj_result *const *rows, int count)
{
    bool left_out = false;
    vj_table *t =
        vj_document_table(document, "classes",
                          "Accuracy class by class, the lowest first, at the largest share of the labels: mean over "
                          "seeds, with Wilson's 95 % interval for the clips of the class; and what its clips are most "
                          "often taken for.");
    for (int i = 0; i < count; i++) {
        const vj_per_class *by = &rows[i]->by_class;
        const bool many = by->count > WORST + BEST;
        for (int k = 0; k < by->count; k++)
            if (!many || k < WORST || k >= by->count - BEST) add_class(t, rows[i], &by->item[k]);
        left_out |= many;
    }
    if (left_out)
        vj_document_paragraph(document,
                              "Of more than %d classes the %d worst and the %d best are listed; vjepa-inspect "
                              "--classes prints any number of them.",
                              WORST + BEST, WORST, BEST);
}

static void add_pairs(vj_document *document, const vj_result *const *rows, int count)
{
    vj_table *t = vj_document_table(document, "confused",
                                    "What is confused most, at the largest share of the labels; clips of all seeds.");
    for (int i = 0; i < count; i++)
        for (int64_t k = 0; k < rows[i]->by_class.pairs && k < PAIRS; k++) {
            const vj_class_pair *pair = &rows[i]->by_class.pair[k];
            vj_campaign_put(t, rows[i]);
            put_class(t, "class", rows[i], pair->from);
            put_class(t, "taken for", rows[i], pair->to);
            vj_row_number(t, "clips", "", pair->clips, 0);
            vj_row_number(t, "of the class", "%", pair->percent, 1);
        }
}

void vj_confusion_show(vj_document *document, const vj_campaign_results *c)
{
    const vj_result *rows[SHOWN];
    int shown = 0, all = 0;
    for (int64_t r = 0; r < c->count; r++) {
        if (c->rows[r].by_class.count == 0) continue;
        if (all++ < SHOWN) rows[shown++] = &c->rows[r];
    }
    if (shown == 0) return;
    bool too_many = false;
    for (int i = 0; i < shown; i++) {
        if (rows[i]->by_class.classes <= MAX_CELLS) add_map(document, rows[i]);
        too_many |= rows[i]->by_class.classes > MAX_CELLS;
    }
    if (too_many)
        vj_document_paragraph(document, "Confusions of more than %d classes are listed, but not drawn.", MAX_CELLS);
    add_classes(document, rows, shown);
    add_pairs(document, rows, shown);
    if (shown < all)
        vj_document_paragraph(document, "Classes are shown of the first %d results, of %d that have them.", shown, all);
}
