/* Pages of scaling studies: CSV files with a row for each number of ranks (docs/formats.md, "Scaling studies"). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/inside.h"
#include "report/pages.h"

enum { WHY = 1024, SERIES = 64 };

static bool is_scaling(const char *path)
{
    return vj_page_begins(path, "ranks,") || vj_page_begins(path, "phase,");
}

/* Indices of the columns in the file; -1: no such column. */
typedef struct {
    int ranks, nodes, rate, step_s, low_s, high_s, efficiency, study, source, cost;
} columns;

/* The rows of one study, ordered by ranks. */
typedef struct {
    const char *name;
    int64_t count, *row;                            /* [count] rows of the file, owned */
    double *ranks, *rate, *efficiency, *low, *high; /* [count] in one allocation, owned by `ranks` */
} study;

static columns find_columns(const vj_csv_table *csv)
{
    columns c = {
        .ranks = vj_csv_table_column(csv, "ranks"),
        .nodes = vj_csv_table_column(csv, "nodes"),
        .rate = vj_csv_table_column(csv, "clips_per_s"),
        .step_s = vj_csv_table_column(csv, "step_s"),
        .low_s = vj_csv_table_column(csv, "step_s_min"),
        .high_s = vj_csv_table_column(csv, "step_s_max"),
        .efficiency = vj_csv_table_column(csv, "efficiency"),
        .study = vj_csv_table_column(csv, "study"),
        .source = vj_csv_table_column(csv, "source"),
        .cost = vj_csv_table_column(csv, "node_hours_per_1000_steps"),
    };
    if (c.step_s < 0) c.step_s = vj_csv_table_column(csv, "step_s_median");
    return c;
}

/* Compute the efficiency: clips a second and rank, relative to the row with the fewest ranks. This is right for strong
 * and for weak scaling. */
static void fill_efficiency(study *s)
{
    int64_t least = 0;
    for (int64_t i = 1; i < s->count; i++)
        if (s->ranks[i] < s->ranks[least]) least = i;
    for (int64_t i = 0; i < s->count; i++)
        if (isnan(s->efficiency[i])) s->efficiency[i] = s->rate[i] / s->ranks[i] / (s->rate[least] / s->ranks[least]);
}

/* List the rows of a study. Rows without a number of ranks are left out. */
static int64_t *find_rows(const vj_csv_table *csv, const columns *c, const char *name, int64_t *count)
{
    int64_t *row = vj_report_memory(csv->rows, sizeof *row);
    *count = 0;
    for (int64_t r = 0; r < csv->rows; r++) {
        const double ranks = vj_csv_table_number(csv, r, c->ranks);
        if (strcmp(vj_csv_table_text(csv, r, c->study), name) != 0 || !(ranks >= 1.0)) continue;
        int64_t at = (*count)++;
        for (; at > 0 && vj_csv_table_number(csv, row[at - 1], c->ranks) > ranks; at--) row[at] = row[at - 1];
        row[at] = r;
    }
    return row;
}

static study read_study(const vj_csv_table *csv, const columns *c, const char *name)
{
    study s = {.name = name};
    s.row = find_rows(csv, c, name, &s.count);
    s.ranks = vj_report_memory(5 * s.count, sizeof *s.ranks);
    s.rate = s.ranks + s.count;
    s.efficiency = s.ranks + 2 * s.count;
    s.low = s.ranks + 3 * s.count;
    s.high = s.ranks + 4 * s.count;
    for (int64_t i = 0; i < s.count; i++) {
        const int64_t r = s.row[i];
        const double step_s = vj_csv_table_number(csv, r, c->step_s);
        s.ranks[i] = vj_csv_table_number(csv, r, c->ranks);
        s.rate[i] = vj_csv_table_number(csv, r, c->rate);
        s.efficiency[i] = vj_csv_table_number(csv, r, c->efficiency);
        s.low[i] = s.rate[i] * step_s / vj_csv_table_number(csv, r, c->high_s);
        s.high[i] = s.rate[i] * step_s / vj_csv_table_number(csv, r, c->low_s);
    }
    fill_efficiency(&s);
    return s;
}

static void add_table(vj_document *document, const vj_csv_table *csv, const columns *c, const study *s, int studies)
{
    vj_table *t = vj_document_table(document, "scaling",
                                    "Efficiency: clips/s for each rank, relative to the row with the fewest ranks.");
    for (int k = 0; k < studies; k++)
        for (int64_t i = 0; i < s[k].count; i++) {
            const int64_t r = s[k].row[i];
            if (c->study >= 0) vj_row_text(t, "study", "%s", s[k].name);
            vj_row_number(t, "ranks", "", s[k].ranks[i], 0);
            if (c->nodes >= 0) vj_row_number(t, "nodes", "", vj_csv_table_number(csv, r, c->nodes), 0);
            vj_row_number(t, "clips/s", "", s[k].rate[i], 1);
            vj_row_seconds(t, "step", vj_csv_table_number(csv, r, c->step_s));
            vj_row_number(t, "efficiency", "%", 100.0 * s[k].efficiency[i], 1);
            if (c->cost >= 0)
                vj_row_number(t, "cost of 1000 steps", "node hours", vj_csv_table_number(csv, r, c->cost), 3);
        }
}

/* Note rows that are not in the table, or have no rate and are not in the plots. */
static void note_gaps(vj_document *document, const vj_csv_table *csv, const char *path, const study *s, int studies,
                      int64_t of_others)
{
    int64_t rows = of_others, rates = 0;
    for (int k = 0; k < studies; k++) {
        rows += s[k].count;
        for (int64_t i = 0; i < s[k].count; i++) rates += !(s[k].rate[i] > 0.0);
    }
    if (rows < csv->rows)
        vj_document_note(document, "%s: rows without a number of ranks, which are left out: %lld.", path,
                         (long long)(csv->rows - rows));
    if (rates > 0)
        vj_document_note(document, "%s: rows without a rate, which are not in the plots: %lld.", path,
                         (long long)rates);
    if (of_others > 0)
        vj_document_note(document, "%s: rows of further studies than the first %d, which are left out: %lld.", path,
                         SERIES, (long long)of_others);
}

static void add_plots(vj_document *document, const study *s, int studies, bool model)
{
    vj_plot *rate = vj_document_plot(document, "scaling-rate", "Clips a second");
    vj_plot_x(rate, "ranks", "", VJ_LOG);
    vj_plot_y(rate, model ? "clips/s of the model" : "clips/s", "", VJ_LOG);
    vj_plot_caption(rate, "Ideal: the rate of the fewest ranks, times the ranks.");
    for (int k = 0; k < studies; k++) {
        if (s[k].count == 0) continue;
        const char *name = *s[k].name ? s[k].name : "measured";
        vj_series *series = vj_plot_series(rate, VJ_LINES_POINTS, k, name, s[k].ranks, s[k].rate, s[k].count);
        if (!isnan(s[k].low[0])) vj_series_errors(series, s[k].low, s[k].high);
    }
    if (studies > 0 && s[0].count > 1) {
        const double first = s[0].ranks[0], last = s[0].ranks[s[0].count - 1], x[] = {first, last};
        vj_plot_series(rate, VJ_LINES, studies, "ideal", x, (const double[]){s[0].rate[0], s[0].rate[0] * last / first},
                       2);
    }
    vj_plot *share = vj_document_plot(document, "scaling-efficiency", "Efficiency");
    vj_plot_x(share, "ranks", "", VJ_LOG);
    vj_plot_y(share, model ? "efficiency of the model" : "efficiency", "%", VJ_LINEAR);
    vj_plot_y_limits(share, 0.0, NAN);
    vj_plot_level(share, 100.0, "ideal");
    for (int k = 0; k < studies; k++) {
        double *percent = vj_report_memory(s[k].count + 1, sizeof *percent);
        for (int64_t i = 0; i < s[k].count; i++) percent[i] = 100.0 * s[k].efficiency[i];
        vj_plot_series(share, VJ_LINES_POINTS, k, *s[k].name ? s[k].name : "measured", s[k].ranks, percent, s[k].count);
        free(percent);
    }
}

/* Return whether any row has the source "model": it was not measured, and every reader must see that. */
static bool has_model(const vj_csv_table *csv, const columns *c)
{
    for (int64_t r = 0; r < csv->rows; r++)
        if (strcmp(vj_csv_table_text(csv, r, c->source), "model") == 0) return true;
    return false;
}

static void add_studies(vj_document *document, const vj_csv_table *csv, const columns *c, const char *path)
{
    study s[SERIES];
    int studies = 0;
    int64_t of_others = 0;
    const bool model = has_model(csv, c);
    if (model)
        vj_document_paragraph(document,
                              "MODEL, not a measurement: exchanges of the training's own code on a machine that "
                              "SimGrid simulates, computing as vjepa-plan forecasts it (docs/scaling.md).");
    for (int64_t r = 0; r < csv->rows; r++) {
        const char *name = vj_csv_table_text(csv, r, c->study);
        int k = 0;
        while (k < studies && strcmp(s[k].name, name) != 0) k++;
        of_others += k == SERIES;
        if (k == studies && k < SERIES) s[studies++] = read_study(csv, c, name);
    }
    note_gaps(document, csv, path, s, studies, of_others);
    add_table(document, csv, c, s, studies);
    add_plots(document, s, studies, model);
    for (int k = 0; k < studies; k++) {
        free(s[k].row);
        free(s[k].ranks);
    }
}

/* Show the phases of a step over the ranks, from the file of vjepa-scale points. */
static void add_phases(vj_document *document, const vj_csv_table *csv)
{
    static const struct {
        const char *column, *heading;
        enum { TEXT, WHOLE, SECONDS } kind;
    } shown[] = {{"study", "study", TEXT},          {"ranks", "ranks", WHOLE},
                 {"tensor", "tensor group", WHOLE}, {"phase", "phase", TEXT},
                 {"min_s", "least", SECONDS},       {"mean_s", "mean", SECONDS},
                 {"max_s", "most", SECONDS},        {"slowest_rank", "slowest rank", WHOLE},
                 {"slowest_node", "its node", TEXT}};
    enum { SHOWN = sizeof shown / sizeof shown[0] };
    vj_table *t = vj_document_table(document, "scaling-phases", "Time of a phase over the ranks: each rank's median.");
    for (int64_t r = 0; r < csv->rows; r++)
        for (int k = 0; k < SHOWN; k++) {
            const int column = vj_csv_table_column(csv, shown[k].column);
            if (shown[k].kind == TEXT)
                vj_row_text(t, shown[k].heading, "%s", vj_csv_table_text(csv, r, column));
            else if (shown[k].kind == SECONDS)
                vj_row_seconds(t, shown[k].heading, vj_csv_table_number(csv, r, column));
            else
                vj_row_number(t, shown[k].heading, "", vj_csv_table_number(csv, r, column), 0);
        }
}

static bool add_file(vj_document *document, const char *path, const vj_inputs *all)
{
    vj_csv_table csv;
    char why[WHY], *name = vj_page_name(path, all);
    vj_document_section(document, "Scaling: %s", name);
    free(name);
    vj_status_divert(why, sizeof why);
    vj_status status = vj_csv_table_read(&csv, path);
    const columns c = find_columns(&csv);
    const bool phases = status == VJ_OK && vj_csv_table_column(&csv, "slowest_rank") >= 0 && csv.rows > 0;
    if (status == VJ_OK && !phases && (c.rate < 0 || csv.rows == 0))
        status = vj_raise(VJ_ERR_FORMAT, "%s has no column clips_per_s, or no rows", path);
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) vj_document_note(document, "The study is not shown: %s.", why);
    if (csv.odd > 0)
        vj_document_note(document, "%s: lines with another number of cells than the first, which are left out: %lld.",
                         path, (long long)csv.odd);
    if (phases)
        add_phases(document, &csv);
    else if (status == VJ_OK)
        add_studies(document, &csv, &c, path);
    vj_csv_table_release(&csv);
    return status == VJ_OK;
}

static int add_files(vj_document *document, const char *const *paths, int count, const vj_inputs *all)
{
    int shown = 0;
    for (int i = 0; i < count; i++) shown += add_file(document, paths[i], all);
    return shown;
}

const vj_input_kind vj_page_scaling = {"scaling study", is_scaling, add_files};
