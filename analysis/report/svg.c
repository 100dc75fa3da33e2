/* Rewrites gnuplot's SVG, which is a stream of tags with attributes, with text only inside <text> and <title>. */
#include "report/svg.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/markup.h"

typedef struct {
    FILE *out;
    int number; /* number of the plot */
    const vj_labels *labels;
} rewriter;

typedef struct {
    const char *name, *value; /* inside the text, not ended by 0 */
    int name_length, value_length;
} attribute;

static bool is_named(const attribute *a, const char *name)
{
    return (int)strlen(name) == a->name_length && strncmp(a->name, name, strlen(name)) == 0;
}

static bool is_value(const attribute *a, const char *value)
{
    return (int)strlen(value) == a->value_length && strncmp(a->value, value, strlen(value)) == 0;
}

/* Read the next attribute of a tag that ends before `end`. Returns where to continue; NULL if there are no more. */
static const char *next_attribute(const char *at, const char *end, attribute *a)
{
    while (at < end && (isspace((unsigned char)*at) || *at == '/')) at++;
    a->name = at;
    while (at < end && *at != '=' && !isspace((unsigned char)*at)) at++;
    a->name_length = (int)(at - a->name);
    while (at < end && isspace((unsigned char)*at)) at++;
    if (at >= end || *at != '=') return NULL;
    for (at++; at < end && isspace((unsigned char)*at); at++) continue;
    if (at >= end || (*at != '"' && *at != '\'')) return NULL;
    const char *close = memchr(at + 1, *at, (size_t)(end - at - 1));
    if (!close) return NULL;
    a->value = at + 1;
    a->value_length = (int)(close - a->value);
    return close + 1;
}

/* ------------------------------------------------------------------------------------------------ coordinates */

static void put_tenths(FILE *out, long tenths)
{
    if (tenths < 0) putc('-', out);
    tenths = labs(tenths);
    fprintf(out, "%ld", tenths / 10);
    if (tenths % 10) fprintf(out, ".%ld", tenths % 10);
}

/* Write the path "M x,y L x,y ..." with every line relative to the previous point. Points equal to the previous one are
 * left out. */
static void put_path(FILE *out, const char *d, const char *end)
{
    long x = 0, y = 0;
    char before = 0; /* the command that the next numbers continue */
    while (d < end) {
        const char command = *d++;
        char *next;
        if (command == 'Z') putc('z', out);
        if (command != 'M' && command != 'L') continue;
        const long to_x = lround(strtod(d, &next) * 10.0), to_y = lround(strtod(next + 1, &next) * 10.0);
        d = next;
        if (command == 'M') {
            putc('M', out);
            put_tenths(out, to_x);
            putc(' ', out);
            put_tenths(out, to_y);
        } else if (to_x != x || to_y != y) {
            if (before != 'L' || to_x >= x) putc(before == 'L' ? ' ' : 'l', out); /* a minus separates too */
            put_tenths(out, to_x - x);
            if (to_y >= y) putc(' ', out);
            put_tenths(out, to_y - y);
        } else {
            continue;
        }
        before = command;
        x = to_x;
        y = to_y;
    }
}

static void put_polygon(FILE *out, const char *points, const char *end)
{
    const char *space = "";
    while (points < end) {
        char *next;
        const double x = strtod(points, &next);
        if (next == points) return;
        const double y = strtod(next + 1, &next);
        fputs(space, out);
        put_tenths(out, lround(x * 10.0));
        putc(' ', out);
        put_tenths(out, lround(y * 10.0));
        space = " ";
        points = next;
        while (points < end && isspace((unsigned char)*points)) points++;
    }
}

/* ------------------------------------------------------------------------------------------------ attributes */

/* Find the class for which a colour of script.h stands. False: another colour. */
static bool class_of(const attribute *a, char class[8])
{
    static const char *const names[] = {
        [VJ_COLOUR_CURVE] = "c", [VJ_COLOUR_MARK] = "mk",     [VJ_COLOUR_HEAT] = "h",
        [VJ_COLOUR_GRID] = "gd", [VJ_COLOUR_CELL_TEXT] = "t", [VJ_COLOUR_FAINT] = "f c"};
    int group, zero, number;
    if (is_value(a, "white")) {
        strcpy(class, "bg");
        return true;
    }
    if (sscanf(a->value, "rgb( %d, %d, %d)", &group, &zero, &number) != 3 || group < VJ_COLOUR_CURVE ||
        group > VJ_COLOUR_FAINT || zero != 0)
        return false;
    if (group == VJ_COLOUR_MARK || group == VJ_COLOUR_GRID)
        strcpy(class, names[group]);
    else
        snprintf(class, 8, "%s%d", names[group], number);
    return true;
}

static void put_attribute(const rewriter *w, const attribute *a, char class[8])
{
    const char *const end = a->value + a->value_length;
    const bool paint = is_named(a, "fill") || is_named(a, "stroke") || is_named(a, "color");
    if (is_named(a, "font-family") || is_named(a, "stroke-linecap") || is_named(a, "stroke-linejoin") ||
        is_named(a, "class"))
        return;
    if (paint && (is_value(a, "black") || class_of(a, class))) {
        if (!is_named(a, "color")) fprintf(w->out, " %.*s=\"currentColor\"", a->name_length, a->name);
    } else if (is_named(a, "id")) {
        fprintf(w->out, " id=\"p%d-%.*s\"", w->number, a->value_length, a->value);
    } else if (is_named(a, "xlink:href") && a->value[0] == '#') {
        fprintf(w->out, " href=\"#p%d-%.*s\"", w->number, a->value_length - 1, a->value + 1);
    } else if (is_named(a, "d")) {
        fputs(" d=\"", w->out);
        put_path(w->out, a->value, end);
        putc('"', w->out);
    } else if (is_named(a, "points")) {
        fputs(" points=\"", w->out);
        put_polygon(w->out, a->value, end);
        putc('"', w->out);
    } else {
        fprintf(w->out, " %.*s=\"%.*s\"", a->name_length, a->name, a->value_length, a->value);
    }
}

static void put_tag(const rewriter *w, const char *tag, const char *end)
{
    attribute a;
    char class[8] = "";
    const char *at = tag;
    while (at < end && !isspace((unsigned char)*at)) at++;
    fprintf(w->out, "<%.*s", (int)(at - tag), tag);
    while ((at = next_attribute(at, end, &a))) put_attribute(w, &a, class);
    if (*class) fprintf(w->out, " class=\"%s\"", class);
    if (end[-1] == '/') putc('/', w->out);
    putc('>', w->out);
}

/* ------------------------------------------------------------------------------------------------ texts */

/* Write the text between two tags, with placeholders replaced. */
static void put_text(const rewriter *w, const char *text, const char *end)
{
    int number, used;
    while (text < end && isspace((unsigned char)*text)) text++;
    if (text >= end) return;
    if (sscanf(text, "~%d~%n", &number, &used) == 1 && number >= 0 && number < w->labels->count) {
        vj_put_html(w->out, w->labels->texts[number]);
    } else if (sscanf(text, "gnuplot_plot_%d", &number) == 1 && number > 0 && number <= w->labels->element_count) {
        vj_put_html(w->out, w->labels->texts[w->labels->elements[number - 1]]);
    } else {
        fprintf(w->out, "%.*s", (int)(end - text), text); /* numbers beside an axis, escaped by gnuplot */
    }
}

/* If there is the end of a group at `text`, after blanks, return the position after it; else NULL. */
static const char *end_of_group(const char *text, const char *end)
{
    while (text < end && isspace((unsigned char)*text)) text++;
    return end - text >= 4 && strncmp(text, "</g>", 4) == 0 ? text + 4 : NULL;
}

/* Write all tags and texts except empty groups. */
static void rewrite(const rewriter *w, const char *text, const char *end)
{
    while (text < end) {
        const char *tag = memchr(text, '<', (size_t)(end - text));
        if (!tag) break;
        put_text(w, text, tag);
        const char *close = memchr(tag, '>', (size_t)(end - tag));
        if (!close) break;
        text = close + 1;
        const char *after = strncmp(tag, "<g ", 3) == 0 ? end_of_group(text, end) : NULL;
        if (after)
            text = after;
        else
            put_tag(w, tag + 1, close);
    }
}

/* Write the shapes of point marks, without the filters after them, if there are such marks. */
static void put_shapes(const rewriter *w, const char *shapes, const char *end)
{
    const char *filters = strstr(shapes, "<filter");
    if (!strstr(end, "#gp")) return;
    rewrite(w, shapes, filters && filters < end ? filters : end);
    fputs("</defs>", w->out);
}

char *vj_svg_themed(const char *text, int number, const char *title, const vj_labels *labels)
{
    char *svg = NULL;
    size_t bytes;
    double width, height;
    const char *box = strstr(text, "viewBox=\""), *begin = strstr(text, "<g id=\"gnuplot_canvas\">");
    const char *end = begin ? strstr(begin, "</svg>") : NULL, *shapes = begin ? strstr(begin, "<defs>") : NULL;
    const char *drawn = shapes ? strstr(shapes, "</defs>") : NULL;
    if (!box || !end || !drawn || drawn > end || sscanf(box, "viewBox=\"0 0 %lf %lf\"", &width, &height) != 2)
        return NULL;
    const rewriter w = {.out = open_memstream(&svg, &bytes), .number = number, .labels = labels};
    VJ_ASSERT(w.out);
    fprintf(w.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"",
            width, height);
    vj_put_html(w.out, title);
    fputs("\">\n", w.out);
    rewrite(&w, begin, shapes);
    put_shapes(&w, shapes, drawn);
    rewrite(&w, drawn + strlen("</defs>"), end);
    fputs("</svg>", w.out);
    VJ_ASSERT(fclose(w.out) == 0);
    return svg;
}
