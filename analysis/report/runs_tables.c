/* Tables of runs: starts and stops, settings, provenance. */
#include <stdlib.h>
#include <string.h>

#include "report/inside.h"
#include "report/runs.h"

enum { LINES_MAX = 400, RUNS_AS_COLUMNS = 6 };

/* ------------------------------------------------------------------------------------------------ history */

static void put_ticks(vj_list *list, const vj_recorded *run, const char *what, const vj_ticks *ticks)
{
    char text[400] = "";
    size_t end = 0;
    if (ticks->total == 0) return;
    for (int i = 0; i < ticks->count && end < sizeof text - 30; i++)
        end += (size_t)snprintf(text + end, sizeof text - end, "%s%lld", i ? ", " : "", (long long)ticks->at[i]);
    char *key;
    VJ_ASSERT(asprintf(&key, "%s: %s", run->name, what) >= 0);
    vj_list_put(list, key, "%lld, at steps %s%s", (long long)ticks->total, text,
                end >= sizeof text - 30 || ticks->count == VJ_TICKS_MAX ? ", ..." : "");
    free(key);
}

static const char *event_name(const char *event)
{
    return strcmp(event, "roll_back") == 0 ? "roll-back" : event;
}

void vj_runs_history(vj_document *document, const vj_recorded *runs, int count)
{
    int lines = 0;
    vj_document_heading(document, "Starts and stops");
    for (int i = 0; i < count; i++) lines += runs[i].history_count;
    if (lines == 0) {
        vj_document_paragraph(document, "No history.csv: the %s by an earlier version, which did not record them.",
                              count == 1 ? "run was made" : "runs were made");
    } else {
        vj_table *table = vj_document_table(document, "history", "");
        for (int i = 0, put = 0; i < count; i++)
            for (int k = 0; k < runs[i].history_count && put < LINES_MAX; k++, put++) {
                const vj_happening *h = &runs[i].history[k];
                const bool killed = strcmp(h->event, "start") == 0 && k > 0 &&
                                    (strcmp(h[-1].event, "start") == 0 || strcmp(h[-1].event, "roll_back") == 0);
                vj_row_text(table, "run", "%s", runs[i].name);
                vj_row_text(table, "time (UTC)", "%s", h->time);
                vj_row_text(table, "event", "%s", event_name(h->event));
                vj_row_number(table, "from step", "", (double)h->step, 0);
                vj_row_number(table, "ranks", "", h->ranks, 0);
                vj_row_text(table, "host of rank 0", "%s", h->host);
                vj_row_text(table, "why", "%s", killed ? "the start before was killed" : h->why);
            }
    }
    if (lines > LINES_MAX) vj_document_paragraph(document, "The first %d of %d lines.", LINES_MAX, lines);
    vj_list *list = vj_document_list(document);
    for (int i = 0; i < count; i++) {
        put_ticks(list, &runs[i], "bad steps", &runs[i].bad_steps);
        put_ticks(list, &runs[i], "failed checkpoints", &runs[i].failed_checkpoints);
        for (int k = 0; k < runs[i].lost_count; k++)
            vj_list_put(list, runs[i].name, "%s: %lld rows of a start that left no checkpoint", runs[i].lost[k].name,
                        (long long)runs[i].lost[k].rows);
    }
}

/* ------------------------------------------------------------------------------------------------ settings */

static const char *value_of(const vj_recorded *run, const char *key)
{
    const char *value = vj_flat_settings_find(&run->settings, key);
    return value ? value : "(not set)";
}

static bool is_before(const vj_recorded *runs, int run, const char *key)
{
    for (int i = 0; i < run; i++)
        if (vj_flat_settings_find(&runs[i].settings, key)) return true;
    return false;
}

/* Return whether the runs that have settings differ in this one. */
static bool differs(const vj_recorded *runs, int count, const char *key)
{
    const char *first = NULL;
    for (int i = 0; i < count; i++) {
        if (runs[i].settings.count == 0) continue;
        if (first && strcmp(first, value_of(&runs[i], key)) != 0) return true;
        first = value_of(&runs[i], key);
    }
    return false;
}

/* Return the keys in which the runs differ, in the order of the files. The keys are borrowed; free the list with
 * free().
 */
static const char **different_keys(const vj_recorded *runs, int count, int *keys)
{
    const char **found = NULL;
    *keys = 0;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < runs[i].settings.count; k++) {
            const char *key = runs[i].settings.keys[k];
            if (is_before(runs, i, key) || !differs(runs, count, key)) continue;
            found = vj_report_room(found, *keys, sizeof *found);
            found[(*keys)++] = key;
        }
    return found;
}

/* Add the table of differences: with few runs a column for each, with many a row for each. */
static void put_differences(vj_document *document, const vj_recorded *runs, int count)
{
    int keys;
    const char **key = different_keys(runs, count, &keys);
    if (keys == 0) {
        vj_document_paragraph(document, "The settings of all runs are the same.");
        return;
    }
    vj_table *table = vj_document_table(document, "settings", "Settings in which the runs differ.");
    const bool wide = count > RUNS_AS_COLUMNS;
    vj_table_column(table, VJ_LEFT, wide ? "run" : "setting", "");
    for (int i = 0; i < (wide ? keys : count); i++) vj_table_column(table, VJ_LEFT, wide ? key[i] : runs[i].name, "");
    for (int r = 0; r < (wide ? count : keys); r++) {
        vj_table_text(table, "%s", wide ? runs[r].name : key[r]);
        for (int c = 0; c < (wide ? keys : count); c++)
            vj_table_text(table, "%s", value_of(&runs[wide ? r : c], key[wide ? c : r]));
    }
    free(key);
}

/* Add the settings of one run that differ from their defaults. */
static void put_changed(vj_document *document, const vj_recorded *run)
{
    vj_config *defaults = vj_report_memory(1, sizeof *defaults);
    vj_config_defaults(defaults);
    char *text = vj_config_text(defaults);
    vj_flat_settings usual;
    vj_problems ignored = {0};
    VJ_ASSERT(text && vj_flat_settings_parse(&usual, text, "defaults", &ignored));
    vj_table *table = vj_document_table(document, "settings", "Settings that are not the defaults.");
    vj_table_column(table, VJ_LEFT, "setting", "");
    vj_table_column(table, VJ_LEFT, "value", "");
    vj_table_column(table, VJ_LEFT, "default", "");
    for (int k = 0; k < run->settings.count; k++) {
        const char *standard = vj_flat_settings_find(&usual, run->settings.keys[k]);
        if (standard && strcmp(standard, run->settings.values[k]) == 0) continue;
        vj_table_text(table, "%s", run->settings.keys[k]);
        vj_table_text(table, "%s", run->settings.values[k]);
        vj_table_text(table, "%s", standard ? standard : "(not known to this version)");
    }
    vj_flat_settings_release(&usual);
    vj_problems_release(&ignored);
    free(text);
    free(defaults);
}

void vj_runs_settings(vj_document *document, const vj_recorded *runs, int count)
{
    vj_document_heading(document, "Settings");
    if (count > 1)
        put_differences(document, runs, count);
    else if (runs[0].settings.count > 0)
        put_changed(document, &runs[0]);
    else
        vj_document_paragraph(document, "There are no settings.");
}

/* ------------------------------------------------------------------------------------------------ provenance */

static const char *code_of(const vj_recorded *run)
{
    for (int i = run->history_count - 1; i >= 0; i--)
        if (*run->history[i].code) return run->history[i].code;
    return run->code ? run->code : "";
}

static double count_or_nothing(int64_t value)
{
    return value > 0 ? (double)value : NAN;
}

void vj_runs_provenance(vj_document *document, const vj_recorded *runs, int count)
{
    vj_document_heading(document, "Where and by what");
    vj_table *table = vj_document_table(document, "provenance",
                                        "Of the newest checkpoint; code: of the last start. Two runs of the same "
                                        "fingerprint were trained on the same clips with the same labels.");
    for (int i = 0; i < count; i++) {
        const vj_recorded *run = &runs[i];
        const bool known = run->checkpoint_count > 0 && run->date;
        const char *stores = vj_flat_settings_find(&run->settings, "data.train");
        vj_row_text(table, "run", "%s", run->name);
        vj_row_text(table, "folder", "%s", run->path);
        vj_row_text(table, "newest checkpoint", known ? "step %lld, %s" : "",
                    known ? (long long)run->checkpoints[run->checkpoint_count - 1] : 0, known ? run->date : "");
        vj_row_number(table, "ranks", "", count_or_nothing(run->ranks), 0);
        vj_row_text(table, "hosts", "%.200s", run->hosts ? run->hosts : "");
        vj_row_number(table, "roll-backs", "", known ? (double)run->rollbacks : NAN, 0);
        vj_row_text(table, "clips", "%s", stores ? stores : "");
        vj_row_text(table, "fingerprint of the clips", run->fingerprint ? "%016llx" : "",
                    (unsigned long long)run->fingerprint);
        vj_row_text(table, "code", "%s", code_of(run));
    }
}
