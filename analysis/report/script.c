/* Writes commands for gnuplot. Read vj_script_plot() first. */
#include "report/script.h"

#include <stdlib.h>
#include <string.h>

#include "base/markup.h"
#include "base/sort.h"
#include "report/decimate.h"

enum { WIDTH = 480, HEIGHT = 280, LEGEND_ROW = 16, LEGEND_MAX = 8, NAME_CHARACTERS = 26, MARK_APART = 14 };
enum { LEGEND_CHARACTERS = 46 };         /* most characters of a name with its own row of the legend */
enum { CHARACTER = 7, KEY_SAMPLE = 50 }; /* pixels of a letter, and of the sample next to a name in the legend */
enum { CELLS_WITH_TEXT = 150 };

void vj_labels_release(vj_labels *labels)
{
    vj_report_free_names(labels->texts, labels->count);
    free(labels->elements);
    *labels = (vj_labels){0};
}

/* Add a text of at most `longest` characters, otherwise cut in the middle: names often differ at the end. */
static int add_label(vj_labels *labels, const char *text, int longest)
{
    const int length = vj_utf8_length(text), first = length > longest ? longest / 2 : length;
    const char *end = text, *rest;
    labels->texts = vj_report_room(labels->texts, labels->count, sizeof *labels->texts);
    for (int i = 0; i < first; i++) vj_utf8_next(&end);
    rest = end;
    for (int i = first; i < length - (longest - first - 1); i++) vj_utf8_next(&rest);
    VJ_ASSERT(asprintf(&labels->texts[labels->count], "%.*s%s%s", (int)(end - text), text, *rest || *end ? "…" : "",
                       rest) >= 0);
    return labels->count++;
}

/* Write 'placeholder'. */
static void put_label(FILE *out, vj_labels *labels, const char *text, int longest)
{
    const int number = add_label(labels, text, longest);
    const int written = fprintf(out, "'~%d~", number) - 1;
    for (int i = written; i < vj_utf8_length(labels->texts[number]); i++) putc('_', out);
    putc('\'', out);
}

/* Name the element that is drawn next. */
static void name_element(vj_labels *labels, const char *text)
{
    labels->elements = vj_report_room(labels->elements, labels->element_count, sizeof *labels->elements);
    labels->elements[labels->element_count++] = add_label(labels, text, 200);
}

/* ------------------------------------------------------------------------------------------------ ranges */

typedef struct {
    double low, high;
} range;

/* Return whether a number has a place on an axis. */
static bool is_drawn(double value, vj_axis_scale scale)
{
    return vj_is_drawn(value) && (scale == VJ_LINEAR || value >= 1e-150);
}

static void include(range *r, double value, vj_axis_scale scale)
{
    if (!is_drawn(value, scale)) return;
    if (!(value >= r->low)) r->low = value; /* also when it is NaN */
    if (!(value <= r->high)) r->high = value;
}

/* Return whether the limits differ by more than rounding, which an axis cannot show. */
static bool is_wide(range r)
{
    return r.high - r.low > 1e-9 * fmax(fabs(r.low), fabs(r.high));
}

/* Add room on both sides, on this scale; a single value gets some width. */
static range padded(range r, vj_axis_scale scale, double share)
{
    if (scale == VJ_LOG) {
        const double factor = is_wide(r) ? pow(r.high / r.low, share) : 2.0;
        return (range){r.low / factor, r.high * factor};
    }
    const double pad = is_wide(r) ? share * (r.high - r.low) : r.low != 0.0 ? 0.1 * fabs(r.low) : 1.0;
    return (range){r.low - pad, r.high + pad};
}

/* Replace the limits from the numbers by those of the axis, if they are set. */
static range limited(range r, const vj_axis *axis)
{
    if (!isnan(axis->low)) r.low = axis->low;
    if (!isnan(axis->high)) r.high = axis->high;
    return r;
}

static range x_range(const vj_plot *plot)
{
    range r = {NAN, NAN};
    for (int s = 0; s < plot->series_count; s++)
        for (int64_t i = 0; i < plot->series[s]->count; i++) include(&r, plot->series[s]->x[i], plot->x.scale);
    return r;
}

/* Return how many of the first `count` series are curves with error bars. */
static int error_bars(const vj_plot *plot, int count)
{
    int found = 0;
    for (int s = 0; s < count; s++)
        found += plot->series[s]->interval == VJ_ERRORS && plot->series[s]->style != VJ_BARS;
    return found;
}

/* Write the x of series `number`. Curves with error bars are shifted a little against one another; bars form groups. */
static void put_x(FILE *out, const vj_plot *plot, int number, range x)
{
    enum { MAX_CURVES = 8 }; /* curves at full distance, 1.4 % of the axis */
    const vj_series *s = plot->series[number];
    const int all = error_bars(plot, plot->series_count);
    const double place = error_bars(plot, number) - 0.5 * (all - 1),
                 share = place * 0.014 * fmin(1.0, (double)MAX_CURVES / all);
    if (s->style == VJ_BARS)
        fprintf(out, "($1%+.4f)", (number - 0.5 * (plot->series_count - 1)) * 0.8 / plot->series_count);
    else if (s->interval != VJ_ERRORS || all < 2)
        fputs("1", out);
    else if (plot->x.scale == VJ_LOG)
        fprintf(out, "($1*%.6g)", pow(x.high / x.low, share));
    else
        fprintf(out, "($1%+.6g)", share * (x.high - x.low));
}

static range y_range(const vj_plot *plot)
{
    range r = {NAN, NAN};
    for (int s = 0; s < plot->series_count; s++) {
        const vj_series *series = plot->series[s];
        for (int64_t i = 0; i < series->count; i++) {
            include(&r, series->y[i], plot->y.scale);
            if (series->interval != VJ_NO_INTERVAL) include(&r, series->low[i], plot->y.scale);
            if (series->interval != VJ_NO_INTERVAL) include(&r, series->high[i], plot->y.scale);
        }
        if (series->style == VJ_BARS) include(&r, 0.0, plot->y.scale);
    }
    for (int i = 0; i < plot->level_count; i++) include(&r, plot->levels[i].at, plot->y.scale);
    return r;
}

static range cell_range(const vj_plot *plot)
{
    range r = {NAN, NAN};
    for (int64_t i = 0; i < (int64_t)plot->rows * plot->columns; i++) include(&r, plot->heat[i], VJ_LINEAR);
    return r;
}

/* Return whether all numbers along an axis are whole, as those of a counter. */
static bool is_counted(const vj_plot *plot, bool along_x)
{
    for (int s = 0; s < plot->series_count; s++)
        for (int64_t i = 0; i < plot->series[s]->count; i++) {
            const double value = along_x ? plot->series[s]->x[i] : plot->series[s]->y[i];
            if (isfinite(value) && value != floor(value)) return false;
        }
    return true;
}

void vj_heat_range(const vj_plot *plot, double *low, double *high)
{
    const range r = cell_range(plot);
    *low = isnan(plot->heat_low) ? r.low : plot->heat_low;
    *high = isnan(plot->heat_high) ? r.high : plot->heat_high;
}

bool vj_plot_has_numbers(const vj_plot *plot)
{
    if (plot->heat) return !isnan(cell_range(plot).low);
    return !isnan(x_range(plot).low) && !isnan(y_range(plot).low);
}

/* ------------------------------------------------------------------------------------------------ frame */

/* Put tics at 1, 2 and 5 times powers of ten on a short logarithmic axis, which has few powers of ten. */
static void put_log_tics(FILE *out, const char *which, range r)
{
    const char *comma = "";
    fprintf(out, "set %stics (", which);
    for (int power = (int)floor(log10(r.low)); power <= (int)ceil(log10(r.high)); power++)
        for (int digit = 1; digit <= 5; digit += digit == 1 ? 1 : 3) {
            fprintf(out, "%s%de%d", comma, digit, power);
            comma = ", ";
        }
    fputs(")\n", out);
}

/* Where a few numbers were measured along a logarithmic axis, such as 1, 4 and 16 ranks, put the tics there, as far as
 * they do not touch. */
static void put_measured_tics(FILE *out, const vj_plot *plot, range x)
{
    enum { MAX_TICS = 64, FEW = 8, APART = 14 }; /* tics are at least 1/APART of the axis apart */
    double at[MAX_TICS], before = 0.0;
    int count = 0, different = 0, put = 0;
    for (int s = 0; s < plot->series_count; s++) {
        const vj_series *series = plot->series[s];
        for (int64_t i = 0; i < series->count && series->style == VJ_LINES_POINTS; i++) {
            if (count == MAX_TICS) return;
            if (is_drawn(series->x[i], VJ_LOG)) at[count++] = series->x[i];
        }
    }
    vj_sort_doubles(at, count);
    for (int i = 0; i < count; i++) different += i == 0 || at[i] > at[i - 1];
    if (different == 0 || different > FEW) return;
    fputs("set xtics (", out);
    for (int i = 0; i < count; i++) {
        if (put > 0 && log(at[i] / before) < log(x.high / x.low) / APART) continue;
        fprintf(out, "%s%.9g", put++ ? ", " : "", at[i]);
        before = at[i];
    }
    fputs(")\n", out);
}

static void put_axis(FILE *out, const char *which, const vj_axis *axis, range r, vj_labels *labels)
{
    char *label;
    VJ_ASSERT(asprintf(&label, *axis->unit ? "%s (%s)" : "%s%s", axis->name, axis->unit) >= 0);
    fprintf(out, "set %slabel ", which);
    put_label(out, labels, label, 60);
    fprintf(out, " offset 0,%s\n", *which == 'x' ? "0.4" : "0");
    free(label);
    if (axis->scale == VJ_LOG) fprintf(out, "set logscale %s\nset format %s '%%g'\n", which, which);
    fprintf(out, "set %srange [%.12g:%.12g]\n", which, r.low, r.high);
    /* Six digits, gnuplot's default, would make the tics of a narrow range equal. */
    const double narrow = (r.high - r.low) / fmax(fabs(r.low), fabs(r.high));
    if (axis->scale == VJ_LINEAR && fmax(fabs(r.low), fabs(r.high)) < 1e-4)
        fprintf(out, "set format %s '%%g'\n", which); /* 2e-06, not 0.0000020 */
    else if (axis->scale == VJ_LINEAR && narrow > 0.0 && narrow < 1e-4)
        fprintf(out, "set format %s '%%.%dg'\n", which, 2 + (int)ceil(-log10(narrow)));
    if (axis->scale == VJ_LOG && r.high / r.low < 1000.0) put_log_tics(out, which, r);
}

/* Return the number of characters of the longest name as it is drawn. */
static int longest_name(char *const *names, int count)
{
    int longest = 0;
    for (int i = 0; i < count && names; i++)
        if (vj_utf8_length(names[i]) > longest) longest = vj_utf8_length(names[i]);
    return longest < NAME_CHARACTERS ? longest : NAME_CHARACTERS;
}

/* Return whether names below an axis would overlap unless they are rotated. */
static bool are_turned(char *const *names, int count)
{
    enum { ROOM = WIDTH - 120 };
    const int longest = longest_name(names, count);
    return (count > 4 && longest > 3) || longest * CHARACTER * count > ROOM;
}

/* Write the names along an axis, which are `apart` pixels apart, and leave out those that would touch. */
static void put_names(FILE *out, const char *which, char *const *names, int count, int apart, vj_labels *labels)
{
    enum { LINE = 12, TURNED = 18 }; /* pixels that a line of text needs, and along the axis if it is turned */
    char number[16];
    const bool along = *which == 'x', turned = along && are_turned(names, count);
    const int longest = names ? longest_name(names, count) : snprintf(number, sizeof number, "%d", count - 1);
    const int room = turned ? TURNED : along ? longest * CHARACTER + 4 : LINE;
    const int every = apart >= room ? 1 : apart > 0 ? (room + apart - 1) / apart : count;
    fprintf(out, "set %stics (", which);
    for (int i = 0; i < count; i += every) {
        snprintf(number, sizeof number, "%d", i);
        fputs(i ? ", " : "", out);
        put_label(out, labels, names ? names[i] : number, NAME_CHARACTERS);
        fprintf(out, " %d", i);
    }
    fprintf(out, ")%s\n", turned ? " rotate by 35 right" : "");
}

/* Return whether the text of mark `number` would touch that of an earlier mark. */
static bool is_crowded(const vj_plot *plot, int number, range x)
{
    for (int i = 0; i < number; i++)
        if (*plot->marks[i].text &&
            fabs(plot->marks[number].at - plot->marks[i].at) / (x.high - x.low) * WIDTH < MARK_APART)
            return true;
    return false;
}

/* Write the marks of a plot: a dashed line, with its text if no earlier one is near; without a text a short line. */
static void put_marks(FILE *out, const vj_plot *plot, range x, vj_labels *labels)
{
    for (int i = 0; i < plot->mark_count; i++) {
        const vj_mark *mark = &plot->marks[i];
        const double at = (mark->at - x.low) / (x.high - x.low) * WIDTH;
        const int colour =
            mark->number < 0 ? VJ_COLOUR_MARK << 16 : VJ_COLOUR_CURVE << 16 | mark->number % VJ_CURVE_CLASSES;
        if (!isfinite(at) || at < 0.0 || at > WIDTH) continue;
        fprintf(out, "set arrow from %.12g, graph 0 to %.12g, graph %s nohead %s lc rgb 0x%06x\n", mark->at, mark->at,
                mark->short_line ? "0.05" : "1", mark->short_line ? "dt 1 lw 2" : "dt (8,8) lw 0.8", colour);
        if (!*mark->text || is_crowded(plot, i, x)) continue;
        fputs("set label ", out);
        put_label(out, labels, mark->text, 40);
        fprintf(out, " at %.12g, graph 0.98 right rotate by 90 offset -0.7,0 font ',11' tc rgb 0x%06x\n", mark->at,
                colour);
    }
    for (int i = 0; i < plot->level_count; i++) {
        const vj_mark *level = &plot->levels[i];
        fprintf(out,
                "set arrow from graph 0, first %.12g to graph 1, first %.12g nohead dt (14,7) lw 0.8 lc rgb 0x%06x\n",
                level->at, level->at, VJ_COLOUR_MARK << 16);
        fputs("set label ", out);
        put_label(out, labels, level->text, 40);
        fprintf(out, " at graph 0.99, first %.12g right offset 0,0.4 font ',11' tc rgb 0x%06x\n", level->at,
                VJ_COLOUR_MARK << 16);
    }
}

/* ------------------------------------------------------------------------------------------------ curves */

static double shown(double value, vj_axis_scale scale)
{
    return is_drawn(value, scale) ? value : NAN;
}

/* Choose which points are drawn, to be freed with free(); NULL: all. */
static bool *choose(const vj_plot *plot, const vj_series *s, range x, int bins)
{
    const bool curve = s->style == VJ_LINES || s->style == VJ_FAINT || s->style == VJ_POINTS;
    if (!curve || s->count <= 2 * (int64_t)bins + 2) return NULL;
    bool *keep = vj_report_memory(s->count, sizeof *keep);
    const double *const lines[] = {s->y, s->low, s->high};
    for (int i = 0; i < (s->interval == VJ_NO_INTERVAL ? 1 : 3); i++)
        vj_decimate(keep, s->x, lines[i], s->count, x.low, x.high, plot->x.scale, bins);
    return keep;
}

/* Write the numbers of a curve as the data block $s<number>, and isolated points, which a line cannot show, as
 * $p<number>. */
static void put_points(FILE *out, vj_plot *plot, int number, range x, int bins, bool *has_singles)
{
    const vj_series *s = plot->series[number];
    char *singles = NULL;
    size_t bytes;
    FILE *single = open_memstream(&singles, &bytes);
    VJ_ASSERT(single);
    bool *keep = choose(plot, s, x, bins);
    double before = NAN, now = NAN, now_x = NAN; /* the current point, and the previous one */
    int64_t drawn = 0;
    fprintf(out, "$s%d << E\n", number);
    for (int64_t i = 0; i < s->count; i++) {
        const double at = shown(s->x[i], plot->x.scale), y = shown(s->y[i], plot->y.scale);
        if ((keep && !keep[i]) || !isfinite(at)) continue;
        fprintf(out, "%.9g %.9g", at, y);
        if (s->interval != VJ_NO_INTERVAL)
            fprintf(out, " %.9g %.9g", shown(s->low[i], plot->y.scale), shown(s->high[i], plot->y.scale));
        putc('\n', out);
        drawn++;
        if (isfinite(now) && !isfinite(before) && !isfinite(y)) fprintf(single, "%.9g %.9g\n", now_x, now);
        before = now;
        now = y;
        now_x = at;
    }
    if (isfinite(now) && !isfinite(before)) fprintf(single, "%.9g %.9g\n", now_x, now);
    VJ_ASSERT(fclose(single) == 0);
    *has_singles = *singles && (s->style == VJ_LINES || s->style == VJ_FAINT);
    fputs(drawn ? "E\n" : "NaN NaN NaN NaN\nE\n", out);
    if (*has_singles) fprintf(out, "$p%d << E\n%sE\n", number, singles);
    if (s->count > plot->rows_given) {
        plot->rows_given = s->count;
        plot->points_drawn = drawn;
    }
    free(singles);
    free(keep);
}

/* Curves that have dashes and marks, so that they can be told apart without colour. The second VJ_CURVE_CLASSES of them
 * have the colours of the first with the next dashes and marks. */
enum { CURVES_WITH_DASHES = 2 * VJ_CURVE_CLASSES };

static const char *dashes(int number)
{
    static const char *const patterns[VJ_CURVE_CLASSES] = {"1",      "(12,6)",    "(3,4)",          "(14,5,3,5)",
                                                           "(24,6)", "(7,4,3,4)", "(16,4,5,4,5,4)", "(8,8)"};
    return patterns[(number + number / VJ_CURVE_CLASSES) % VJ_CURVE_CLASSES];
}

static int mark_of(int number)
{
    static const int marks[VJ_CURVE_CLASSES] = {7, 5, 9, 11, 13, 6, 4, 8};
    return marks[(number + number / VJ_CURVE_CLASSES) % VJ_CURVE_CLASSES];
}

/* Return the number of curves before curve `end` that have a place in the legend, if there is room. */
static int curves_before(const vj_plot *plot, int end)
{
    int curves = 0;
    for (int s = 0; s < end; s++) curves += plot->series[s]->style != VJ_FAINT;
    return curves;
}

static void put_series(FILE *out, const vj_plot *plot, int number, range x, vj_labels *labels)
{
    const vj_series *s = plot->series[number];
    const int curves = curves_before(plot, plot->series_count);
    const bool few = curves <= CURVES_WITH_DASHES;
    const int colour = VJ_COLOUR_CURVE << 16 | s->number % VJ_CURVE_CLASSES, mark = mark_of(s->number);
    const int64_t points = s->count < 400 ? s->count : 400;
    name_element(labels, s->name);
    fprintf(out, "$s%d using ", number);
    put_x(out, plot, number, x);
    switch (s->style) {
    case VJ_LINES:
        fprintf(out, ":2 with %s dt %s lw %s lc rgb 0x%06x", few && curves > 1 ? "linespoints" : "lines",
                few ? dashes(s->number) : "1", few ? "1.5" : "0.8", colour);
        if (few && curves > 1) fprintf(out, " pt %d ps 0.5 pi %d", mark, (int)(points / 6 > 1 ? points / 6 : 1));
        break;
    case VJ_FAINT:
        fprintf(out, ":2 with lines lw 0.7 lc rgb 0x%06x", VJ_COLOUR_FAINT << 16 | s->number % VJ_CURVE_CLASSES);
        break;
    case VJ_LINES_POINTS:
        fprintf(out, ":2 with linespoints dt %s lw 1.5 lc rgb 0x%06x pt %d ps 0.6", dashes(s->number), colour, mark);
        break;
    case VJ_POINTS:
        fprintf(out, ":2 with points lc rgb 0x%06x pt %d ps 0.5", colour, mark);
        break;
    case VJ_BARS:
        fprintf(out, ":2:(%.4f) with boxes fs solid 0.7 lc rgb 0x%06x", 0.9 * 0.8 / plot->series_count, colour);
        break;
    }
    if (curves > 1 && s->style != VJ_FAINT && curves_before(plot, number) < LEGEND_MAX) {
        fputs(" title ", out);
        put_label(out, labels, s->name, LEGEND_CHARACTERS);
    } else {
        fputs(" notitle", out);
    }
}

static void put_interval(FILE *out, const vj_plot *plot, int number, range x, vj_labels *labels)
{
    const vj_series *s = plot->series[number];
    const int colour = VJ_COLOUR_CURVE << 16 | s->number % VJ_CURVE_CLASSES;
    name_element(labels, s->name);
    fprintf(out, "$s%d using ", number);
    put_x(out, plot, number, x);
    if (s->interval == VJ_BAND)
        fprintf(out, ":3:4 with filledcurves fs transparent solid 0.18 noborder fc rgb 0x%06x notitle", colour);
    else
        /* Not as yerrorbars, which blank out a circle in their middle. */
        fprintf(out, ":3:(0):($4-$3) with vectors heads size screen 0.007,90 lw 1.2 lc rgb 0x%06x notitle",
                s->style == VJ_BARS ? VJ_COLOUR_MARK << 16 : colour);
}

/* Return whether the interval is drawn first: it is behind curves and their marks, but over bars. */
static bool interval_first(const vj_series *s)
{
    return s->interval != VJ_NO_INTERVAL && s->style != VJ_BARS;
}

/* Draw a curve with its single points and error bars. */
static void put_curve(FILE *out, const vj_plot *plot, int number, range x, bool has_singles, vj_labels *labels)
{
    const vj_series *s = plot->series[number];
    put_series(out, plot, number, x, labels);
    if (has_singles) {
        name_element(labels, s->name);
        fprintf(out, ", $p%d using 1:2 with points pt 7 ps 0.5 lc rgb 0x%06x notitle", number,
                VJ_COLOUR_CURVE << 16 | s->number % VJ_CURVE_CLASSES);
    }
    if (s->interval == VJ_NO_INTERVAL || interval_first(s)) return;
    fputs(", ", out);
    put_interval(out, plot, number, x, labels);
}

/* Return the number of characters of the longest name in the legend as it is drawn. */
static int longest_curve(const vj_plot *plot)
{
    int longest = 0;
    for (int s = 0; s < plot->series_count && curves_before(plot, s) < LEGEND_MAX; s++) {
        const int length = plot->series[s]->style == VJ_FAINT ? 0 : vj_utf8_length(plot->series[s]->name);
        if (length > longest) longest = length;
    }
    return longest < LEGEND_CHARACTERS ? longest : LEGEND_CHARACTERS;
}

/* Limit the room around shares, so that the axis hardly extends beyond 0 to 100 %. */
static range within_percent(range numbers, range padded)
{
    const double room = 0.02 * (padded.high - padded.low);
    if (numbers.low >= 0.0 && padded.low < 0.0) padded.low = 0.0;
    if (numbers.high <= 100.0 && padded.high > 100.0 + room) padded.high = 100.0 + room;
    return padded;
}

static void put_curves(FILE *out, vj_plot *plot, int bins, vj_labels *labels)
{
    range x = x_range(plot), y = y_range(plot);
    const int curves = curves_before(plot, plot->series_count);
    const int listed = curves > LEGEND_MAX ? LEGEND_MAX + 1 : curves;
    if (plot->series_count > 0 && plot->series[0]->style == VJ_BARS) x = (range){x.low - 0.6, x.high + 0.6};
    const int bars = error_bars(plot, plot->series_count);
    const double room = bars > 0 ? 0.02 + 0.007 * fmin(bars, 8.0) : 0.0; /* beside the outermost (put_x) */
    if (!is_wide(x) || bars > 0) x = padded(x, plot->x.scale, room);
    const bool from_zero = y.low == 0.0 && plot->y.scale == VJ_LINEAR;
    y = padded(y, plot->y.scale, 0.06);
    if (from_zero) y.low = 0.0;
    if (strcmp(plot->y.unit, "%") == 0) y = within_percent(y_range(plot), y);
    x = limited(x, &plot->x);
    y = limited(y, &plot->y);
    const int per_row = longest_curve(plot) * CHARACTER + KEY_SAMPLE > (WIDTH - 60) / 2 ? 1 : 2;
    const int legend = curves > 1 ? LEGEND_ROW * ((listed + per_row - 1) / per_row) + 6 : 0;
    fprintf(out, "set terminal svg size %d,%d noenhanced dynamic font 'sans-serif,12'\n", WIDTH, HEIGHT + legend);
    put_axis(out, "x", &plot->x, x, labels);
    put_axis(out, "y", &plot->y, y, labels);
    if (plot->x.scale == VJ_LOG) put_measured_tics(out, plot, x);
    if (plot->x.scale == VJ_LINEAR && x.high - x.low < 5.0 && is_counted(plot, true)) fputs("set xtics 1\n", out);
    if (plot->y.scale == VJ_LINEAR && y.high - y.low < 5.0 && is_counted(plot, false)) fputs("set ytics 1\n", out);
    if (plot->x.names && plot->x.name_count > 0)
        put_names(out, "x", plot->x.names, plot->x.name_count, (WIDTH - 80) / plot->x.name_count, labels);
    put_marks(out, plot, x, labels);
    bool *singles = vj_report_memory(plot->series_count, sizeof *singles);
    for (int s = 0; s < plot->series_count; s++) put_points(out, plot, s, x, bins, &singles[s]);
    fputs("plot ", out);
    const char *comma = "";
    for (int s = 0; s < plot->series_count; s++) {
        if (!interval_first(plot->series[s])) continue;
        fputs(comma, out);
        put_interval(out, plot, s, x, labels);
        comma = ", \\\n ";
    }
    for (int pass = 0; pass < 2; pass++) /* faint lines first, behind the others */
        for (int s = 0; s < plot->series_count; s++) {
            if ((plot->series[s]->style == VJ_FAINT) != (pass == 0)) continue;
            fputs(comma, out);
            comma = ", \\\n ";
            put_curve(out, plot, s, x, singles[s], labels);
        }
    if (listed > LEGEND_MAX) {
        char more[40];
        snprintf(more, sizeof more, "and %d more", curves - LEGEND_MAX);
        fprintf(out, ", keyentry with points pt -1 lc rgb 0x%06x title ", VJ_COLOUR_MARK << 16);
        put_label(out, labels, more, LEGEND_CHARACTERS);
        name_element(labels, more);
    }
    putc('\n', out);
    free(singles);
}

/* ------------------------------------------------------------------------------------------------ heat map */

/* Return whether rows and columns have the same names, too long to stand below the columns. */
static bool has_long_names(const vj_plot *plot)
{
    enum { LONG = 14 };
    if (!plot->row_names || !plot->column_names || plot->rows != plot->columns) return false;
    if (!are_turned(plot->column_names, plot->columns) || longest_name(plot->column_names, plot->columns) <= LONG)
        return false;
    for (int i = 0; i < plot->rows; i++)
        if (strcmp(plot->row_names[i], plot->column_names[i]) != 0) return false;
    return true;
}

/* Return a copy of names with numbers before them, or the numbers alone. Free it with vj_report_free_names(). */
static char **number_names(char *const *names, int count, bool with_names)
{
    char **numbered = vj_report_memory(count, sizeof *numbered);
    for (int i = 0; i < count; i++)
        VJ_ASSERT(asprintf(&numbered[i], with_names ? "%d: %s" : "%d", i + 1, names[i]) >= 0);
    return numbered;
}

static void put_heat_map(FILE *out, const vj_plot *plot, vj_labels *labels)
{
    double low, high;
    const bool is_numbered = has_long_names(plot);
    char **numbers = is_numbered ? number_names(plot->column_names, plot->columns, false) : NULL,
         **numbered = is_numbered ? number_names(plot->row_names, plot->rows, true) : NULL,
         *const *row_names = is_numbered ? numbered : plot->row_names,
         *const *column_names = is_numbered ? numbers : plot->column_names;
    vj_heat_range(plot, &low, &high);
    const bool large = fmax(fabs(low), fabs(high)) >= 10.0;
    const int decimals = !large ? 2 : plot->columns > 6 ? 0 : 1; /* so that they fit */
    const int digits = large ? 3 : 4,
              cell = (WIDTH - 40 - longest_name(row_names, plot->rows) * (CHARACTER + 2)) / plot->columns;
    const bool texts =
        plot->rows * plot->columns <= CELLS_WITH_TEXT && plot->columns <= 12 && cell >= (CHARACTER - 1) * digits;
    const int row = plot->rows <= 12   ? 26
                    : plot->rows <= 40 ? 16
                                       : 8,
              turned = are_turned(column_names, plot->columns),
              height = 90 + row * plot->rows + (turned ? 4 * longest_name(column_names, plot->columns) : 0);
    fprintf(out, "set terminal svg size %d,%d noenhanced dynamic font 'sans-serif,12'\n", WIDTH,
            height < 160    ? 160
            : height > 1200 ? 1200
                            : height);
    put_axis(out, "x", &plot->x, (range){-0.5, plot->columns - 0.5}, labels);
    put_axis(out, "y", &plot->y, (range){plot->rows - 0.5, -0.5}, labels); /* from top to bottom */
    put_names(out, "x", column_names, plot->columns, cell, labels);
    put_names(out, "y", row_names, plot->rows, height > 1200 ? 1100 / plot->rows : row, labels);
    if (is_numbered) vj_report_free_names(numbers, plot->columns);
    if (is_numbered) vj_report_free_names(numbered, plot->rows);
    fputs("unset grid\n$h << E\n", out);
    for (int r = 0; r < plot->rows; r++)
        for (int c = 0; c < plot->columns; c++) {
            const double value = plot->heat[(int64_t)r * plot->columns + c];
            const double share = high > low ? (value - low) / (high - low) : 0.5;
            if (!isfinite(value)) continue;
            const double text = fabs(value) < 0.005 ? 0.0 : value; /* no "-0.00" */
            const int shade = share <= 0.0 ? 0 : share >= 1.0 ? VJ_HEAT_CLASSES - 1 : (int)(share * VJ_HEAT_CLASSES);
            fprintf(out, "%d %d %.1f %.1f %.1f %.1f %d %.*f %d\n", c, r, c - 0.5, c + 0.5, r - 0.5, r + 0.5,
                    VJ_COLOUR_HEAT << 16 | shade, decimals, text,
                    VJ_COLOUR_CELL_TEXT << 16 | (shade >= VJ_HEAT_CLASSES / 2));
        }
    fputs("E\nplot $h using 1:2:3:4:5:6:7 with boxxyerror fs solid 1 noborder lc rgb variable notitle", out);
    name_element(labels, plot->title);
    if (texts) {
        fprintf(out, ", $h using 1:2:8:9 with labels font ',%d' tc rgb variable notitle",
                cell >= CHARACTER * digits ? 10 : 9);
        name_element(labels, plot->title);
    }
    putc('\n', out);
}

void vj_script_plot(FILE *out, vj_plot *plot, const char *svg, int bins, vj_labels *labels)
{
    plot->rows_given = plot->points_drawn = 0;
    fprintf(out,
            "reset\nundefine $*\nset border 3 lw 0.8\nset tics nomirror scale 0.5 font ',11'\nset encoding utf8\n"
            "set grid lt 1 lw 0.6 lc rgb 0x%06x\nset key above left horizontal Left reverse samplen 2.6 width 1 font "
            "',11'\n"
            "set pointintervalbox 0\n",
            VJ_COLOUR_GRID << 16);
    fprintf(out, "set output '%s'\n", svg);
    if (plot->heat)
        put_heat_map(out, plot, labels);
    else
        put_curves(out, plot, bins, labels);
}
