/* Shows run folders: reads them with all threads, and adds the table of their states; the rest is in runs_*.c. */
#include "report/runs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/inside.h"
#include "report/pages.h"

static bool holds(const char *folder, const char *name)
{
    char path[VJ_PATH + 300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

/* Any of these files makes a folder a run, even if others are missing. An evaluation has a history too. */
static bool is_run(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return false;
    const bool evaluation = holds(path, "evaluation.h5") || holds(path, "results.json");
    return holds(path, "metrics.csv") || holds(path, "metrics.jsonl") || (holds(path, "history.csv") && !evaluation) ||
           (holds(path, "latest") && holds(path, "config.yaml"));
}

/* ------------------------------------------------------------------------------------------------ the first table */

static double trained_s(const vj_recorded *run)
{
    const vj_curve *step_s = vj_recorded_curve(run, "step_s");
    return step_s && step_s->numbers > 0 ? step_s->sum : NAN;
}

static double recent_of(const vj_recorded *run, const char *column)
{
    const vj_curve *curve = vj_recorded_curve(run, column);
    return curve ? curve->recent : NAN;
}

/* Return the remaining seconds at the rate of the last steps. */
static double left_s(const vj_recorded *run)
{
    if (run->state == VJ_RUN_COMPLETE || run->planned <= run->last_step || run->rows == 0) return NAN;
    return (double)(run->planned - run->last_step) * recent_of(run, "step_s");
}

static int restarts_of(const vj_recorded *run)
{
    int starts = 0;
    for (int i = 0; i < run->history_count; i++) starts += strcmp(run->history[i].event, "start") == 0;
    return starts > 0 ? starts - 1 : 0;
}

static void put_where(vj_table *table, const vj_recorded *run)
{
    const vj_curve *rank = vj_recorded_curve(run, "effective_rank");
    const bool rows = run->rows > 0;
    vj_row_text(table, "run", "%s", run->name);
    vj_row_text(table, "state", "%s", run->state_text);
    if (run->state == VJ_RUN_COMPLETE) vj_table_highlight(table);
    vj_row_number(table, "steps done", "", rows ? (double)run->last_step : NAN, 0);
    vj_row_number(table, "planned", "", run->planned > 0 ? (double)run->planned : NAN, 0);
    vj_row_number(table, "loss", "", recent_of(run, "loss"), 4);
    vj_row_number(table, "effective rank", "", rank ? rank->last : NAN, 1);
    vj_row_number(table, "clips/s", "", recent_of(run, "clips_per_s"), 1);
    vj_row_seconds(table, "trained", trained_s(run));
    vj_row_seconds(table, "to go", left_s(run));
    vj_row_number(table, "restarts", "", run->history_count > 0 ? restarts_of(run) : NAN, 0);
    vj_row_number(table, "bad steps", "", rows ? (double)run->bad_steps.total : NAN, 0);
    vj_row_number(table, "failed checkpoints", "", rows ? (double)run->failed_checkpoints.total : NAN, 0);
}

static void put_overview(vj_document *document, const vj_recorded *runs, int count)
{
    vj_table *table = vj_document_table(
        document, "runs",
        "How far each run is. Loss and clips/s: median of the last 100 steps; effective rank: the last.");
    for (int i = 0; i < count; i++) put_where(table, &runs[i]);
}

/* Return a column of seconds as percent of the time of all steps; NaN: not recorded. */
static double share_of(const vj_recorded *run, const char *column)
{
    const vj_curve *phase = vj_recorded_curve(run, column), *whole = vj_recorded_curve(run, "step_s");
    return phase && whole && phase->numbers > 0 && whole->sum > 0.0 ? 100.0 * phase->sum / whole->sum : NAN;
}

static void put_times(vj_document *document, const vj_recorded *runs, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++) any |= !isnan(share_of(&runs[i], "data_wait_s"));
    if (!any) return;
    vj_table *table = vj_document_table(document, "times",
                                        "Time by phase, of all steps; waiting and communication are "
                                        "the slowest rank's of each step, computing is the rest.");
    for (int i = 0; i < count; i++) {
        const double waiting = share_of(&runs[i], "data_wait_s"), communication = share_of(&runs[i], "comm_s");
        vj_row_text(table, "run", "%s", runs[i].name);
        vj_row_number(table, "computing", "%", 100.0 - waiting - (isnan(communication) ? 0.0 : communication), 1);
        vj_row_number(table, "waiting for clips", "%", waiting, 1);
        vj_row_number(table, "communication", "%", communication, 1);
    }
}

/* Note the beginning of the watchdog's text; that of a job with many ranks is long. */
static void note_hang(vj_document *document, const vj_recorded *run)
{
    enum { SHOWN = 1500 };
    if (!run->watchdog) return;
    vj_document_note(document, "A job of %s hung. watchdog.txt says: %.*s%s", run->name, SHOWN, run->watchdog,
                     strlen(run->watchdog) > SHOWN ? " ..." : "");
}

/* Note columns with missing numbers that should have one in every row. */
static void note_gaps(vj_document *document, const vj_recorded *run)
{
    for (int c = 0; c < run->curve_count; c++) {
        const vj_curve *curve = &run->curves[c];
        const int64_t gaps = run->rows - curve->numbers;
        if (curve->sparse || gaps == 0) continue;
        vj_document_note(document,
                         "%s: %lld of %lld rows without a number for %s, the first at step %lld: gaps in its curve.",
                         run->name, (long long)gaps, (long long)run->rows, curve->name, (long long)curve->first_empty);
    }
}

static int add_runs(vj_document *document, const char *const *paths, int count, const vj_inputs *all)
{
    int shown = 0;
    vj_recorded *runs = vj_report_memory(count, sizeof *runs);
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < count; i++) vj_recorded_read(&runs[i], paths[i]);
    for (int i = 0; i < count; i++) vj_recorded_read_state(&runs[i]);
    for (int i = 0; i < count; i++) runs[i].name = vj_page_name(paths[i], all);
    vj_document_section(document, count == 1 ? "Run" : "Runs");
    put_overview(document, runs, count);
    put_times(document, runs, count);
    for (int i = 0; i < count; i++) {
        shown += runs[i].rows > 0 || runs[i].checkpoint_count > 0;
        for (int k = 0; k < runs[i].problems.count; k++) vj_document_note(document, "%s", runs[i].problems.text[k]);
        note_hang(document, &runs[i]);
        note_gaps(document, &runs[i]);
    }
    vj_runs_plot(document, runs, count);
    vj_runs_history(document, runs, count);
    vj_runs_settings(document, runs, count);
    vj_runs_provenance(document, runs, count);
    for (int i = 0; i < count; i++) vj_recorded_release(&runs[i]);
    free(runs);
    return shown;
}

const vj_input_kind vj_runs = {.name = "run folder", .is = is_run, .add = add_runs};
