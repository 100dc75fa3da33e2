/* Pages of probe campaigns: tables with intervals, plots of accuracy against labels, comparison with published numbers.
 */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "probe/paper.h"
#include "report/attention.h"
#include "report/campaign.h"
#include "report/confusion.h"
#include "report/inside.h"
#include "report/pages.h"

enum { KEY = 256, WHY = 1024 };

static bool is_campaign(const char *path)
{
    return vj_page_has(path, "results.json") || vj_page_has(path, "evaluation.h5") ||
           vj_page_has(path, "results.csv") || vj_page_begins(path, "task,encoder,pooling,labels_percent,") ||
           vj_page_begins(path, "[\n  {\n    \"task\"");
}

/* ------------------------------------------------------------------------------------------------ rows */

/* A function that returns whether two results belong together. */
typedef bool same(const vj_result *a, const vj_result *b);

static bool same_line(const vj_result *a, const vj_result *b)
{
    return vj_result_same_probe(a, b) && a->labels == b->labels;
}

static bool same_encoder(const vj_result *a, const vj_result *b)
{
    return strcmp(a->encoder, b->encoder) == 0;
}

/* Return whether row r is the first of the rows that belong together with it. */
static bool is_first(const vj_campaign_results *c, int64_t r, same *belongs)
{
    for (int64_t before = 0; before < r; before++)
        if (belongs(&c->rows[before], &c->rows[r])) return false;
    return true;
}

/* ------------------------------------------------------------------------------------------------ the tables */

/* A column of numbers, which are doubles in the struct of a row. */
typedef struct {
    const char *heading, *unit;
    size_t at;
    int decimals;
} column;

static void put_numbers(vj_table *t, const void *of, const column *columns)
{
    for (; columns->heading; columns++) {
        double value;
        memcpy(&value, (const char *)of + columns->at, sizeof value);
        vj_row_number(t, columns->heading, columns->unit, value, columns->decimals);
    }
}

#define OF_RESULT(member)     offsetof(vj_result, member)
#define OF_DIFFERENCE(member) offsetof(vj_result_difference, member)
static const column share[] = {{"labels", "%", OF_RESULT(labels), 1}, {NULL, NULL, 0, 0}};
static const column measured[] = {{"training clips", "", OF_RESULT(training_clips), 0},
                                  {"validation clips", "", OF_RESULT(validation_clips), 0},
                                  {"seeds", "", OF_RESULT(seeds), 0},
                                  {"top-1", "%", OF_RESULT(top1), 2},
                                  {NULL, NULL, 0, 0}};
static const column around[] = {{"sd", "points", OF_RESULT(sd), 2},
                                {"t low", "%", OF_RESULT(low), 2},
                                {"t high", "%", OF_RESULT(high), 2},
                                {"Wilson low", "%", OF_RESULT(wilson_low), 2},
                                {"Wilson high", "%", OF_RESULT(wilson_high), 2},
                                {"top-5", "%", OF_RESULT(top5), 2},
                                {"class mean", "%", OF_RESULT(mean_class), 2},
                                {"effective rank", "", OF_RESULT(effective_rank), 1},
                                {NULL, NULL, 0, 0}};
static const column difference[] = {{"difference", "points", OF_DIFFERENCE(difference), 2}, {NULL, NULL, 0, 0}};
static const column intervals[] = {{"seeds low", "points", OF_DIFFERENCE(low), 2},
                                   {"seeds high", "points", OF_DIFFERENCE(high), 2},
                                   {"clips low", "points", OF_DIFFERENCE(clips_low), 2},
                                   {"clips high", "points", OF_DIFFERENCE(clips_high), 2},
                                   {NULL, NULL, 0, 0}};

static bool is_best(const vj_campaign_results *c, const vj_result *row)
{
    bool others = false;
    for (int64_t r = 0; r < c->count; r++) {
        if (&c->rows[r] == row || !same_line(&c->rows[r], row)) continue;
        others = true;
        if (c->rows[r].top1 > row->top1) return false;
    }
    return others;
}

static void add_table(vj_document *document, const vj_campaign_results *c)
{
    vj_table *t = vj_document_table(
        document, "results",
        "Top-1: mean over seeds, with their standard deviation. t: the 95 % interval of the mean over seeds. Wilson: "
        "the 95 % interval that the number of validation clips allows. Class mean: the mean of the classes' top-1. "
        "Bold: the best encoder of a task, probe and share of labels.");
    for (int64_t i = 0; i < c->count; i++) {
        const vj_result *r = &c->rows[i];
        vj_campaign_put(t, r);
        put_numbers(t, r, share);
        put_numbers(t, r, measured);
        if (is_best(c, r)) vj_table_highlight(t);
        put_numbers(t, r, around);
    }
}

static vj_table *begin_differences(vj_document *document)
{
    return vj_document_table(
        document, "differences",
        "Differences of encoders in top-1, with 95 % intervals: seeds: of the mean over the seeds of the probe, which "
        "also draw the split (Student); clips: by a paired bootstrap of the validation clips. p: McNemar's exact test, "
        "of the seed with the least and the one with the most: how often equal probes would differ as much on these "
        "clips.");
}

/* Add a probability with two significant digits, however small it is. */
static void put_probability(vj_table *t, const char *heading, double p)
{
    if (isnan(p))
        vj_row_text(t, heading, "%s", "");
    else
        vj_row_text(t, heading, "%.2g", p);
}

static void add_difference(vj_table *t, const vj_result *r, const vj_result_difference *d)
{
    vj_campaign_put(t, r);
    vj_row_text(t, "minus", "%s", d->minus);
    put_numbers(t, r, share);
    put_numbers(t, d, difference);
    vj_row_text(t, "verdict", "%s", d->verdict); /* comes early, because a narrow window hides the last columns */
    put_numbers(t, d, intervals);
    put_probability(t, "p least", d->p_least);
    put_probability(t, "p most", d->p_most);
}

static void add_differences(vj_document *document, const vj_campaign_results *c)
{
    enum { SHOWN = 200 };
    vj_table *t = NULL;
    int64_t all = 0;
    for (int64_t r = 0; r < c->count; r++)
        for (int64_t i = 0; i < c->rows[r].difference_count; i++) {
            if (!t) t = begin_differences(document);
            if (all++ < SHOWN) add_difference(t, &c->rows[r], &c->rows[r].differences[i]);
        }
    if (all > SHOWN)
        vj_document_paragraph(document, "The first %d of %lld differences; differences.csv of the campaign has all.",
                              SHOWN, (long long)all);
}

/* ------------------------------------------------------------------------------------------------ curves */

/* Return the number of an encoder, which chooses its colour, in the order in which encoders first occur. */
static int encoder_number(const vj_campaign_results *c, const vj_result *like)
{
    int number = 0;
    for (int64_t r = 0; !same_encoder(&c->rows[r], like); r++) number += is_first(c, r, same_encoder);
    return number;
}

static int by_labels(const void *a, const void *b)
{
    const vj_result *const *x = a, *const *y = b;
    return ((*x)->labels > (*y)->labels) - ((*x)->labels < (*y)->labels);
}

/* Select the rows with the task and probe of `like`, and the encoder of `encoder` (NULL: any). Return their number. */
static int64_t select_rows(const vj_campaign_results *c, const vj_result *like, const vj_result *encoder,
                           const vj_result **rows)
{
    int64_t n = 0;
    for (int64_t r = 0; r < c->count; r++) {
        const vj_result *row = &c->rows[r];
        if (vj_result_same_probe(row, like) && (!encoder || same_encoder(row, encoder))) rows[n++] = row;
    }
    qsort(rows, (size_t)n, sizeof *rows, by_labels);
    return n;
}

static void add_series(vj_plot *plot, vj_style style, int number, const char *name, const vj_result *const *rows,
                       int64_t n)
{
    double *all = vj_report_memory(4 * n, sizeof *all), *x = all, *y = all + n, *low = all + 2 * n, *high = all + 3 * n;
    for (int64_t i = 0; i < n; i++) {
        const bool seeds = !isnan(rows[i]->low);
        x[i] = style == VJ_BARS ? (double)i : rows[i]->labels;
        y[i] = rows[i]->top1;
        /* An interval of few seeds may reach beyond what an accuracy can be; the table has its numbers. */
        low[i] = seeds ? rows[i]->low : rows[i]->wilson_low;
        high[i] = seeds ? rows[i]->high : rows[i]->wilson_high;
        if (low[i] < 0.0) low[i] = 0.0; /* not fmax(), which would make an interval of NaN */
        if (high[i] > 100.0) high[i] = 100.0;
    }
    vj_series_errors(vj_plot_series(plot, style, number, name, x, y, n), low, high);
    free(all);
}

/* Add a plot of accuracy against labels with a curve for each encoder; for a single share, with a bar for each. */
static void add_plot(vj_document *document, const vj_campaign_results *c, const vj_result *like)
{
    const vj_result **rows = vj_report_memory(c->count, sizeof *rows);
    char name[KEY], title[KEY];
    const int64_t n = select_rows(c, like, NULL, rows);
    const bool shares = n > 0 && rows[0]->labels < rows[n - 1]->labels;
    snprintf(name, sizeof name, "accuracy-%s-%s", like->task, like->probe);
    snprintf(title, sizeof title, "Top-1: %s, %s probe", like->task, like->probe);
    vj_plot *plot = vj_document_plot(document, name, title);
    vj_plot_y(plot, "top-1", "%", VJ_LINEAR);
    vj_plot_caption(plot, "Error bars: the 95 %% interval over seeds, or with one seed Wilson's.%s",
                    shares ? " Encoders with the same share of labels are drawn a little apart." : "");
    if (shares) {
        vj_plot_x(plot, "labels", "%", VJ_LOG);
        for (int64_t r = 0; r < c->count; r++) {
            const vj_result *row = &c->rows[r];
            const int64_t own = is_first(c, r, same_encoder) ? select_rows(c, like, row, rows) : 0;
            if (own > 0) add_series(plot, VJ_LINES_POINTS, encoder_number(c, row), row->encoder, rows, own);
        }
    } else {
        const char **names = vj_report_memory(n, sizeof *names);
        for (int64_t i = 0; i < n; i++) names[i] = rows[i]->encoder;
        vj_plot_x(plot, "encoder", "", VJ_LINEAR);
        vj_plot_x_names(plot, names, (int)n);
        add_series(plot, VJ_BARS, 0, "top-1", rows, n);
        free(names);
    }
    free(rows);
}

static void add_plots(vj_document *document, const vj_campaign_results *c)
{
    for (int64_t r = 0; r < c->count; r++)
        if (is_first(c, r, vj_result_same_probe)) add_plot(document, c, &c->rows[r]);
}

/* ------------------------------------------------------------------------------------------------ published numbers */

static void add_published_row(vj_table *t, const vj_result *r, const vj_paper *paper, int64_t at)
{
    char place[VJ_PAPER_CELL];
    const double value = vj_paper_value(paper, at);
    vj_paper_place(paper, at, place, sizeof place);
    vj_campaign_put(t, r);
    put_numbers(t, r, share);
    vj_row_text(t, "published in", "%s", place);
    vj_row_text(t, "its protocol; views", "%s; %s", vj_csv_table_text(&paper->cells, at, paper->protocol),
                vj_csv_table_text(&paper->cells, at, paper->views));
    vj_row_number(t, "paper", "%", value, 2);
    vj_row_number(t, "ours", "%", r->top1, 2);
    vj_row_number(t, "difference", "points", r->top1 - value, 2);
}

/* Add the cells of published tables that correspond to our results. */
static void add_published(vj_document *document, const vj_campaign_results *c, const vj_paper *paper)
{
    vj_table *t = NULL;
    for (int64_t i = 0; i < c->count; i++)
        for (int64_t at = 0; at < paper->cells.rows; at++) {
            const vj_result *r = &c->rows[i];
            if (isnan(vj_paper_value(paper, at)) ||
                !vj_paper_matches(paper, at, r->encoder, r->task, r->probe, r->labels))
                continue;
            if (!t) t = vj_document_table(document, "published", "Published numbers beside ours.");
            add_published_row(t, r, paper, at);
        }
    if (!t)
        vj_document_paragraph(document, "No published number has the name of an encoder (its row) and of a task "
                                        "(its column) of this campaign.");
}

/* ------------------------------------------------------------------------------------------------ the page */

static void add_confusions(vj_document *document, vj_campaign_results *c, const char *path)
{
    char file[VJ_PATH + 32], why[WHY];
    if (vj_page_has(path, "predictions.h5") &&
        snprintf(file, sizeof file, "%s/predictions.h5", path) < (int)sizeof file) {
        vj_status_divert(why, sizeof why);
        const vj_status status = vj_confusion_read(c, file);
        vj_status_divert(NULL, 0);
        if (status != VJ_OK) vj_document_note(document, "The predictions cannot be shown: %s.", why);
    }
    vj_confusion_show(document, c);
}

static bool add_campaign(vj_document *document, const char *path, const vj_inputs *all, const vj_paper *paper)
{
    vj_campaign_results campaign;
    char why[WHY], *name = vj_page_name(path, all);
    vj_document_section(document, "Probes: %s", name);
    free(name);
    vj_status_divert(why, sizeof why);
    const vj_status status = vj_campaign_read(&campaign, path);
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) vj_document_note(document, "The results cannot be shown: %s.", why);
    if (campaign.odd > 0)
        vj_document_note(document,
                         "%s: entries without a task, an encoder or a top-1, or with another number of cells, which "
                         "are left out: %lld.",
                         path, (long long)campaign.odd);
    if (status == VJ_OK) {
        add_table(document, &campaign);
        for (int i = 0; i < campaign.note_count; i++) vj_document_note(document, "%s", campaign.notes[i]);
        add_differences(document, &campaign);
        add_plots(document, &campaign);
        add_confusions(document, &campaign, path);
        vj_attention_show(document, path);
        if (paper) add_published(document, &campaign, paper);
    }
    vj_campaign_release(&campaign);
    return status == VJ_OK;
}

static int add_campaigns(vj_document *document, const char *const *paths, int count, const vj_inputs *all)
{
    vj_paper paper = {.row = -1};
    char why[WHY];
    int shown = 0;
    vj_status_divert(why, sizeof why);
    const vj_status status = all->paper ? vj_paper_read(&paper, all->paper, "") : VJ_OK;
    vj_status_divert(NULL, 0);
    for (int i = 0; i < count; i++)
        shown += add_campaign(document, paths[i], all, all->paper && status == VJ_OK ? &paper : NULL);
    if (status != VJ_OK) vj_document_note(document, "Published numbers are not shown: %s.", why);
    vj_paper_release(&paper);
    return shown;
}

const vj_input_kind vj_page_campaigns = {"results of probes", is_campaign, add_campaigns};
