/* Pages of JSON files of vjepa-bench: tables, shares of the peak as bars, and the roofline of a step's operations. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report/inside.h"
#include "report/pages.h"

enum { JSON_BYTES = 8 << 20, HEAD = 256, WHY = 1024, BARS = 40, NAMED_POINTS = 6, BAR_NAME = 96 };

static bool is_bench(const char *path)
{
    char head[HEAD + 1] = "";
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return false;
    FILE *f = fopen(path, "r");
    if (!f) return false;
    const size_t bytes = fread(head, 1, HEAD, f);
    fclose(f); /* only read */
    head[bytes] = '\0';
    return head[strspn(head, " \n")] == '{' && strstr(head, "\"bench\"") != NULL;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ------------------------------------------------------------------------------------------------ bars */

/* Return the texts of a row, joined, which distinguish it from other rows. */
static char *name_of_row(const json_t *row)
{
    const char *key;
    json_t *value;
    char name[BAR_NAME] = "";
    size_t used = 0;
    json_object_foreach((json_t *)row, key, value)
    {
        if (!json_is_string(value)) continue;
        const int length = snprintf(name + used, sizeof name - used, "%s%s", used ? " " : "", json_string_value(value));
        used += (size_t)length < sizeof name - used ? (size_t)length : sizeof name - used - 1;
    }
    return vj_report_copy(name);
}

/* Add the number `key`, in percent, of the first rows that have it, as a heat map of one column, where names are
 * readable. */
static void add_shares(vj_document *document, const json_t *rows, const char *key, const char *title,
                       const char *caption)
{
    static const char *const column[] = {"%"};
    double percent[BARS];
    char *names[BARS];
    int count = 0, left_out = 0;
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        const double share = number_of(row, key);
        left_out += !isnan(share) && count == BARS;
        if (isnan(share) || count == BARS) continue;
        percent[count] = 100.0 * share;
        names[count++] = name_of_row(row);
    }
    if (count > 0) {
        vj_plot *plot = vj_document_plot(document, key, title);
        vj_plot_heat_map(plot, count, 1, percent, (const char *const *)names, column, 0.0, 100.0);
        vj_plot_caption(plot, left_out > 0 ? "%s The first %d rows of %d." : "%s", caption, count, count + left_out);
    }
    for (int k = 0; k < count; k++) free(names[k]);
}

static void add_phases(vj_document *document, const json_t *phases)
{
    double x[BARS], y[BARS];
    const char *names[BARS], *key;
    json_t *value;
    int count = 0;
    json_object_foreach((json_t *)phases, key, value)
    {
        if (!json_is_number(value) || count == BARS) continue;
        x[count] = count;
        y[count] = 1e3 * json_number_value(value);
        names[count++] = key;
    }
    if (count == 0) return;
    vj_plot *plot = vj_document_plot(document, "phases", "Time of a step by phase");
    vj_plot_y(plot, "time", "ms", VJ_LINEAR);
    vj_plot_x_names(plot, names, count);
    vj_plot_series(plot, VJ_BARS, 0, "median", x, y, count);
}

/* ------------------------------------------------------------------------------------------------ roofline */

/* Add the roofline min(peak, bandwidth * intensity) over the range of intensities of the operations. */
static void add_roof(vj_plot *plot, double peak, double bandwidth, double from, double to)
{
    const double ridge = peak / bandwidth;
    const double first = fmin(from, ridge / 4.0), last = fmax(to, ridge * 4.0);
    const double x[] = {first, ridge, last}, y[] = {first * bandwidth, peak, peak};
    vj_plot_series(plot, VJ_LINES, NAMED_POINTS + 1, "the machine", x, y, 3);
}

/* Add the operations that take longest with their names, and the others together. */
static void add_roofline(vj_document *document, const json_t *report)
{
    const json_t *rows = json_object_get(report, "profile"), *row;
    const double peak = number_of(report, "peak_gflops"), bandwidth = number_of(report, "copy_gb_s");
    double others_x[256], others_y[256], from = INFINITY, to = 0.0;
    int64_t others = 0;
    size_t i;
    int named = 0;
    vj_plot *plot = NULL;
    if (!(peak > 0.0) || !(bandwidth > 0.0)) return;
    json_array_foreach(rows, i, row)
    {
        const double gflops = number_of(row, "gflops"), x = gflops / number_of(row, "gb_s");
        if (!(gflops > 0.0) || !(x > 0.0) || !isfinite(x)) continue;
        if (!plot) plot = vj_document_plot(document, "roofline", "Roofline of the operations of a step");
        from = fmin(from, x);
        to = fmax(to, x);
        if (named < NAMED_POINTS) {
            char *name = name_of_row(row);
            vj_plot_series(plot, VJ_POINTS, named++, name, &x, &gflops, 1);
            free(name);
        } else if (others < 256) {
            others_x[others] = x;
            others_y[others++] = gflops;
        }
    }
    if (!plot) return;
    vj_plot_x(plot, "intensity", "FLOP / byte", VJ_LOG);
    vj_plot_y(plot, "rate", "GFLOP/s", VJ_LOG);
    vj_plot_caption(plot,
                    "No operation can be above the line, except from the cache: memory gives %.3g GB/s, arithmetic "
                    "%.3g GFLOP/s.",
                    bandwidth, peak);
    if (others > 0) vj_plot_series(plot, VJ_POINTS, NAMED_POINTS, "others", others_x, others_y, others);
    add_roof(plot, peak, bandwidth, from, to);
}

/* ------------------------------------------------------------------------------------------------ the page */

static bool add_bench(vj_document *document, const char *path, const vj_inputs *all)
{
    char why[WHY], *name = vj_page_name(path, all);
    json_t *report = vj_page_json_object(path, JSON_BYTES, why, sizeof why);
    const char *bench = json_string_value(json_object_get(report, "bench")), *key;
    json_t *value;
    vj_document_section(document, "Bench: %s%s%s", bench ? bench : "", bench ? ", " : "", name);
    free(name);
    if (!report) {
        vj_document_note(document, "The bench is not shown: %s.", why);
        return false;
    }
    vj_page_report(document, report, bench ? bench : "bench");
    add_phases(document, json_object_get(report, "phases"));
    json_object_foreach(report, key, value)
    {
        add_shares(document, value, "fraction_of_peak", "Share of the peak",
                   "100 %: as fast as the processor can multiply and add.");
        add_shares(document, value, "of_floor", "Time at the roofline, share of the time taken",
                   "100 %: as fast as memory and arithmetic allow; more: operands were in the cache.");
    }
    add_roofline(document, report);
    json_decref(report);
    return true;
}

static int add_benches(vj_document *document, const char *const *paths, int count, const vj_inputs *all)
{
    int shown = 0;
    for (int i = 0; i < count; i++) shown += add_bench(document, paths[i], all);
    return shown;
}

const vj_input_kind vj_page_benches = {"bench", is_bench, add_benches};
