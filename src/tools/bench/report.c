/* Converts a report from JSON to text. Times are recognised by their keys, and shown in a suitable unit. */
#include "bench/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/markup.h"

enum { COLUMNS = 24 };

/* ------------------------------------------------------------------------------------------------ putting */

static void put(json_t *object, const char *key, json_t *value)
{
    const int failed = json_object_set_new(object, key, value);
    VJ_ASSERT(value && !failed); /* out of memory */
}

void vj_put_text(json_t *object, const char *key, const char *text)
{
    char *copy = vj_utf8_copy(text); /* a path may not be UTF-8 */
    put(object, key, copy ? json_string(copy) : NULL);
    free(copy);
}

void vj_put_number(json_t *object, const char *key, double value)
{
    put(object, key, isfinite(value) ? json_real(value) : json_null());
}

void vj_put_count(json_t *object, const char *key, int64_t value)
{
    put(object, key, json_integer(value));
}

void vj_put_timing(json_t *object, const char *key, vj_timing seconds)
{
    json_t *timing = vj_put_object(object, key);
    vj_put_number(timing, "min", seconds.min);
    vj_put_number(timing, "median", seconds.median);
    vj_put_number(timing, "max", seconds.max);
}

json_t *vj_put_object(json_t *object, const char *key)
{
    put(object, key, json_object());
    return json_object_get(object, key);
}

json_t *vj_put_row(json_t *object, const char *key)
{
    json_t *rows = json_object_get(object, key);
    if (!rows) {
        put(object, key, json_array());
        rows = json_object_get(object, key);
    }
    const int failed = json_array_append_new(rows, json_object());
    VJ_ASSERT(!failed);
    return json_array_get(rows, json_array_size(rows) - 1);
}

/* ------------------------------------------------------------------------------------------------ text */

static bool is_timing(const json_t *value)
{
    return json_is_number(json_object_get(value, "min")) && json_is_number(json_object_get(value, "median")) &&
           json_is_number(json_object_get(value, "max"));
}

static void show_timing(const json_t *value, char cell[VJ_CELL])
{
    const double min = json_number_value(json_object_get(value, "min")),
                 median = json_number_value(json_object_get(value, "median")),
                 max = json_number_value(json_object_get(value, "max"));
    const double scale = median < 1e-3 ? 1e6 : median < 1.0 ? 1e3 : 1.0;
    const char *unit = median < 1e-3 ? "us" : median < 1.0 ? "ms" : "s";
    snprintf(cell, VJ_CELL, "%.4g / %.4g / %.4g %s", min * scale, median * scale, max * scale, unit);
}

static bool ends_with(const char *text, size_t length, const char *end)
{
    const size_t used = strlen(end);
    return length >= used && strncmp(text + length - used, end, used) == 0;
}

double vj_key_seconds(const char *key)
{
    static const char *const rates[] = {"gb", "mb", "clips", "files", "frames", "samples", "per"};
    const size_t length = strlen(key);
    if (strcmp(key, "seconds") == 0) return 1.0;
    if (ends_with(key, length, "_h")) return 3600.0;
    if (!ends_with(key, length, "_s")) return 0.0;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (ends_with(key, length - 2, rates[i])) return 0.0;
    return 1.0;
}

/* Return whether all numbers of an object or of rows are seconds, without a unit in their keys. */
static bool holds_seconds(const char *key)
{
    return strncmp(key, "phases", strlen("phases")) == 0;
}

void vj_show_value(const json_t *value, double seconds, char cell[VJ_CELL])
{
    if (json_is_real(value) && seconds > 0.0) {
        char text[32];
        snprintf(cell, VJ_CELL, "%s", vj_duration(seconds * json_real_value(value), text));
    } else if (json_is_string(value))
        snprintf(cell, VJ_CELL, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(cell, VJ_CELL, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(cell, VJ_CELL, "%.4g", json_real_value(value));
    else if (is_timing(value))
        show_timing(value, cell);
    else
        snprintf(cell, VJ_CELL, "-");
}

static void print_fact(const char *key, const json_t *value, FILE *out)
{
    char cell[VJ_CELL];
    if (json_is_string(value)) { /* of any length */
        fprintf(out, "%-20s %s\n", key, json_string_value(value));
        return;
    }
    if (!json_is_object(value) || is_timing(value)) {
        vj_show_value(value, vj_key_seconds(key), cell);
        fprintf(out, "%-20s %s\n", key, cell);
        return;
    }
    const char *inner;
    json_t *item;
    fprintf(out, "%s\n", key);
    json_object_foreach((json_t *)value, inner, item)
    {
        vj_show_value(item, holds_seconds(key) ? 1.0 : vj_key_seconds(inner), cell);
        fprintf(out, "  %-18s %s\n", inner, cell);
    }
}

/* Print a cell with blanks before or after it. width: in characters. */
static void print_cell(const char *cell, int width, bool left, FILE *out)
{
    const int blanks = width - vj_utf8_length(cell);
    fprintf(out, "%*s%s%*s", left || blanks < 0 ? 0 : blanks, "", cell, left && blanks > 0 ? blanks : 0, "");
}

/* Make the text of a cell. Row 0 is the heading. */
static void show_cell(const json_t *rows, size_t r, const char *key, vj_show *show, char cell[VJ_CELL])
{
    const json_t *value = r > 0 ? json_object_get(json_array_get(rows, r - 1), key) : NULL;
    show(key, r > 0 && !value ? json_null() : value, cell);
}

void vj_report_table(const json_t *rows, const char *indent, vj_show *show, FILE *out)
{
    int width[COLUMNS], columns = 0;
    char cell[VJ_CELL];
    const char *key;
    json_t *value, *first = json_array_get(rows, 0);
    json_object_foreach(first, key, value)
    {
        VJ_ASSERT(columns < COLUMNS);
        width[columns] = 0;
        for (size_t r = 0; r <= json_array_size(rows); r++) {
            show_cell(rows, r, key, show, cell);
            if (vj_utf8_length(cell) > width[columns]) width[columns] = vj_utf8_length(cell);
        }
        columns++;
    }
    for (size_t r = 0; r <= json_array_size(rows); r++) {
        int column = 0;
        json_object_foreach(first, key, value)
        {
            const bool left = json_is_string(value);
            show_cell(rows, r, key, show, cell);
            fputs(column ? "  " : indent, out);
            print_cell(cell, left && column == columns - 1 ? 0 : width[column], left, out);
            column++;
        }
        fputc('\n', out);
    }
}

static void show_result(const char *key, const json_t *value, char cell[VJ_CELL])
{
    if (value)
        vj_show_value(value, vj_key_seconds(key), cell);
    else
        snprintf(cell, VJ_CELL, "%s", key);
}

/* The same where all numbers are times, without a unit in their keys. */
static void show_seconds(const char *key, const json_t *value, char cell[VJ_CELL])
{
    if (value)
        vj_show_value(value, 1.0, cell);
    else
        snprintf(cell, VJ_CELL, "%s", key);
}

static bool has_timings(const json_t *rows)
{
    const char *key;
    json_t *value, *first = json_array_get(rows, 0);
    json_object_foreach(first, key, value)
    {
        if (is_timing(value)) return true;
    }
    return false;
}

static vj_status finish(FILE *out)
{
    return fflush(out) == 0 && !ferror(out) ? VJ_OK : vj_raise(VJ_ERR_IO, "print the result");
}

vj_status vj_report_json(const json_t *report, FILE *out)
{
    if (json_dumpf(report, out, JSON_INDENT(1) | JSON_PRESERVE_ORDER) != 0)
        return vj_raise(VJ_ERR_IO, "print the result");
    fputc('\n', out);
    return finish(out);
}

vj_status vj_report_text(const json_t *report, FILE *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)report, key, value)
    {
        if (!json_is_array(value)) print_fact(key, value, out);
    }
    json_object_foreach((json_t *)report, key, value)
    {
        if (!json_is_array(value)) continue;
        fprintf(out, "\n%s%s\n", key, has_timings(value) ? " (times: min / median / max)" : "");
        vj_report_table(value, "", holds_seconds(key) ? show_seconds : show_result, out);
    }
    return finish(out);
}
