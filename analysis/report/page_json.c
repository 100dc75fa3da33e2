/* Shows results written by bench/report.h: single values as a list, arrays of rows and objects of numbers as tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/files.h"
#include "report/inside.h"
#include "report/pages.h"

enum { KEY = 128, SIGNIFICANT = 4, MAX_DECIMALS = 12 };

/* Return whether a value is a time with its spread, {"min": s, "median": s, "max": s}. */
static bool is_timing(const json_t *value)
{
    return json_is_number(json_object_get(value, "median")) && json_is_number(json_object_get(value, "min")) &&
           json_is_number(json_object_get(value, "max"));
}

static double number_of(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Return the number of decimals with which the largest number of a column has four digits. */
static int decimals_for(double largest, bool whole)
{
    if (whole || largest <= 0.0 || !isfinite(largest)) return 0;
    const int decimals = SIGNIFICANT - 1 - (int)floor(log10(largest));
    return decimals < 0 ? 0 : decimals > MAX_DECIMALS ? MAX_DECIMALS : decimals;
}

/*
 * Write a name for readers to `heading` and return the unit that the name in the file ends with (bench/report.h):
 * "data_wait_s" is "data wait", in s.
 */
static const char *heading_of(const char *key, char *heading, size_t bytes)
{
    static const struct {
        const char *suffix, *unit, *alone; /* `alone`: the heading if the name is nothing but its unit */
    } units[] = {{"clips_per_s", "clips/s", "speed"}, {"clips_s", "clips/s", "speed"},  {"files_s", "files/s", "speed"},
                 {"frames_s", "frames/s", "speed"},   {"mb_s", "MB/s", "speed"},        {"gb_s", "GB/s", "memory"},
                 {"gflops", "GFLOP/s", "arithmetic"}, {"gflop", "GFLOP", "arithmetic"}, {"mib", "MiB", "memory"},
                 {"percent", "%", "share"},           {"seconds", "s", "time"},         {"s", "s", "time"}};
    const char *unit = "";
    size_t used = strlen(key);
    for (size_t u = 0; u < sizeof units / sizeof units[0] && !*unit; u++) {
        const size_t length = strlen(units[u].suffix);
        if (used < length || strcmp(key + used - length, units[u].suffix) != 0) continue;
        if (used > length && key[used - length - 1] != '_') continue;
        unit = units[u].unit;
        if (used == length) {
            key = units[u].alone;
            used = strlen(key);
        } else {
            used -= length + 1;
        }
    }
    snprintf(heading, bytes, "%.*s", (int)used, key);
    for (char *at = heading; *at; at++)
        if (*at == '_') *at = ' ';
    return unit;
}

static void take_value(const json_t *value, double *largest, bool *whole)
{
    const double number = fabs(number_of(is_timing(value) ? json_object_get(value, "max") : value));
    if (number > *largest) *largest = number;
    *whole &= !is_timing(value) && (isnan(number) || number == floor(number));
}

/* ------------------------------------------------------------------------------------------------ rows */

static void put_number(vj_table *t, const json_t *value, bool seconds, int decimals)
{
    if (seconds)
        vj_table_seconds(t, number_of(value));
    else
        vj_table_number(t, number_of(value), decimals);
}

/* Add the cells of a value. `seconds`: the unit of their columns is "s". */
static void put_cells(vj_table *t, const json_t *value, bool timing, bool text, bool seconds, int decimals)
{
    static const char *const parts[] = {"median", "min", "max"};
    for (int i = 0; timing && i < 3; i++) put_number(t, json_object_get(value, parts[i]), seconds, decimals);
    if (timing) return;
    if (text)
        vj_table_text(t, "%s", json_is_string(value) ? json_string_value(value) : "");
    else
        put_number(t, value, seconds, decimals);
}

/* Return whether a key is left out because KEY_spread has more information: "phases" if there is "phases_spread". */
static bool has_spread(const json_t *report, const char *key)
{
    char spread[KEY];
    snprintf(spread, sizeof spread, "%s_spread", key);
    return json_object_get(report, spread) != NULL;
}

/* Add a table of all rows with the keys of the first row. */
static void put_rows(vj_document *document, const json_t *rows, const char *key, const char *name)
{
    enum { COLUMNS = 64 };
    const char *column;
    json_t *value, *row;
    int decimals[COLUMNS], count = 0;
    bool seconds[COLUMNS];
    const bool phases = strncmp(key, "phases", strlen("phases")) == 0; /* whose columns do not name their unit, s */
    size_t i;
    char csv[KEY], heading[KEY], head[KEY + 16];
    const char *of_all = heading_of(key, heading, sizeof heading);
    snprintf(csv, sizeof csv, "%s-%s", name, key);
    snprintf(head, sizeof head, *of_all ? "%s, in %s" : "%s%s", heading, of_all);
    vj_table *t = vj_document_table(document, csv, head);
    json_object_foreach(json_array_get(rows, 0), column, value)
    {
        double largest = 0.0;
        bool whole = true;
        if (count == COLUMNS) break;
        json_array_foreach(rows, i, row) take_value(json_object_get(row, column), &largest, &whole);
        const char *unit = heading_of(column, heading, sizeof heading);
        if (phases && json_is_real(value)) unit = "s";
        seconds[count] = strcmp(unit, "s") == 0;
        decimals[count++] = decimals_for(largest, whole);
        vj_table_column(t, json_is_string(value) ? VJ_LEFT : VJ_RIGHT, heading, unit);
        for (const char *const *part = (const char *const[]){"min", "max", NULL}; is_timing(value) && *part; part++) {
            snprintf(head, sizeof head, "%s %s", heading, *part);
            vj_table_column(t, VJ_RIGHT, head, unit);
        }
    }
    json_array_foreach(rows, i, row)
    {
        int c = 0;
        json_object_foreach(json_array_get(rows, 0), column, value)
        {
            if (c == count) break;
            put_cells(t, json_object_get(row, column), is_timing(value), json_is_string(value), seconds[c],
                      decimals[c]);
            c++;
        }
    }
}

/* Add an object of numbers, or of times with their spread, as a table with a row for each. */
static void put_object(vj_document *document, const json_t *object, const char *key, const char *name)
{
    const char *part;
    json_t *value;
    double largest = 0.0;
    bool whole = true, timing = false;
    char csv[KEY], heading[KEY];
    json_object_foreach((json_t *)object, part, value)
    {
        timing |= is_timing(value);
        take_value(value, &largest, &whole);
    }
    snprintf(csv, sizeof csv, "%s-%s", name, key);
    vj_table *t = vj_document_table(document, csv, "");
    const char *in_name = heading_of(key, heading, sizeof heading), *unit = timing ? "s" : in_name;
    vj_table_column(t, VJ_LEFT, heading, "");
    vj_table_column(t, VJ_RIGHT, timing ? "median" : "value", unit);
    if (timing) vj_table_column(t, VJ_RIGHT, "min", unit);
    if (timing) vj_table_column(t, VJ_RIGHT, "max", unit);
    json_object_foreach((json_t *)object, part, value)
    {
        vj_table_text(t, "%s", part);
        put_cells(t, value, timing, false, strcmp(unit, "s") == 0, decimals_for(largest, whole));
    }
}

/* ------------------------------------------------------------------------------------------------ the whole */

void vj_page_report(vj_document *document, const json_t *report, const char *name)
{
    const char *key;
    json_t *value;
    vj_list *list = NULL;
    json_object_foreach((json_t *)report, key, value)
    {
        if (json_is_array(value) || (json_is_object(value) && !is_timing(value))) continue;
        if (!list) list = vj_document_list(document);
        char heading[KEY];
        const char *unit = heading_of(key, heading, sizeof heading);
        const bool seconds = strcmp(unit, "s") == 0;
        char text[3][32];
        if (json_is_string(value))
            vj_list_put(list, heading, "%s", json_string_value(value));
        else if (is_timing(value))
            vj_list_put(list, heading, "%s (%s to %s)",
                        vj_duration(number_of(json_object_get(value, "median")), text[0]),
                        vj_duration(number_of(json_object_get(value, "min")), text[1]),
                        vj_duration(number_of(json_object_get(value, "max")), text[2]));
        else if (json_is_number(value) && seconds)
            vj_list_put(list, heading, "%s", vj_duration(json_number_value(value), text[0]));
        else if (json_is_integer(value))
            vj_list_put(list, heading, "%lld %s", (long long)json_integer_value(value), unit);
        else if (json_is_number(value))
            vj_list_put(list, heading, "%.4g %s", json_number_value(value), unit);
        else
            vj_list_put(list, heading, "%s", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
    }
    json_object_foreach((json_t *)report, key, value)
    {
        if (json_is_array(value) && json_is_object(json_array_get(value, 0))) put_rows(document, value, key, name);
        if (json_is_object(value) && !is_timing(value) && json_object_size(value) > 0 && !has_spread(report, key))
            put_object(document, value, key, name);
    }
}

json_t *vj_page_json(const char *path, int64_t max_bytes, char *why, size_t bytes)
{
    vj_problems problems = {0};
    json_error_t error;
    int64_t read;
    json_t *value = NULL;
    char *text = vj_report_load(path, max_bytes, &read, &problems);
    if (text) {
        value = json_loadb(text, (size_t)read, 0, &error);
        if (!value) snprintf(why, bytes, "%s, line %d: %s", path, error.line, error.text);
    } else {
        /* This is a whole sentence, which becomes part of another one. */
        const char *problem = problems.count > 0 ? problems.text[0] : path;
        const size_t length = strlen(problem);
        snprintf(why, bytes, "%.*s", (int)(length > 0 && problem[length - 1] == '.' ? length - 1 : length), problem);
    }
    vj_problems_release(&problems);
    free(text);
    return value;
}

json_t *vj_page_json_object(const char *path, int64_t max_bytes, char *why, size_t bytes)
{
    json_t *value = vj_page_json(path, max_bytes, why, bytes);
    if (!value || json_is_object(value)) return value;
    snprintf(why, bytes, "%s holds no JSON object", path);
    json_decref(value);
    return NULL;
}
