/* Reads the files of a run folder. Read vj_recorded_read() first. */
#include "report/recorded.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/ckpt.h"
#include "h5/h5.h"
#include "parallel/parallel.h"
#include "report/inside.h"
#include "train/history.h"

enum { SMALL_FILE = 4 << 20, PATH_BYTES = VJ_PATH + 300 };

static void path_in(const vj_recorded *run, const char *name, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s", run->path, name);
}

static bool is_there(const vj_recorded *run, const char *name)
{
    char path[PATH_BYTES];
    path_in(run, name, path);
    return access(path, F_OK) == 0;
}

/* ------------------------------------------------------------------------------------------------ metrics */

static void count_ticks(vj_ticks *ticks, const vj_numbers *n, const char *column)
{
    const double *step = n->columns[0].value, *counter = vj_numbers_find(n, column);
    double before = 0.0;
    for (int64_t i = 0; counter && i < n->rows; i++) {
        if (!isfinite(counter[i])) continue;
        if (counter[i] > before) {
            ticks->total += (int64_t)fmin(counter[i] - before, 1e15);
            if (ticks->count < VJ_TICKS_MAX && fabs(step[i]) < 1e15) ticks->at[ticks->count++] = (int64_t)step[i];
        }
        before = counter[i];
    }
}

static void note_order(vj_recorded *run, const vj_numbers *n, const char *path)
{
    const double *step = n->columns[0].value;
    int64_t back = 0, first = 0, none = 0;
    for (int64_t i = 0; i < n->rows; i++) {
        none += !isfinite(step[i]);
        if (i == 0 || !(step[i] <= step[i - 1])) continue;
        if (back++ == 0) first = i + 1;
    }
    if (back > 0)
        vj_problems_add(&run->problems,
                        "%s: rows with a step that is not above that of the row before: %lld, the first is row %lld.",
                        path, (long long)back, (long long)first);
    if (none > 0) vj_problems_add(&run->problems, "%s: rows without a step: %lld.", path, (long long)none);
}

static void take_curves(vj_recorded *run, const vj_numbers *n)
{
    const double *step = n->columns[0].value;
    run->rows = n->rows;
    run->curves = vj_report_memory(n->count, sizeof *run->curves);
    for (int c = 1; c < n->count; c++)
        run->curves[run->curve_count++] = vj_curve_from(n->columns[c].name, step, n->columns[c].value, n->rows);
    for (int64_t i = 0; i < n->rows; i++) {
        if (!(fabs(step[i]) < 1e15)) continue;
        if (run->first_step == 0) run->first_step = (int64_t)step[i];
        if (step[i] > (double)run->last_step) run->last_step = (int64_t)step[i];
    }
    count_ticks(&run->bad_steps, n, "skipped_steps");
    count_ticks(&run->failed_checkpoints, n, "failed_checkpoints");
}

static void read_metrics(vj_recorded *run)
{
    char path[PATH_BYTES];
    vj_numbers numbers = {0};
    const bool csv = is_there(run, "metrics.csv");
    path_in(run, csv ? "metrics.csv" : "metrics.jsonl", path);
    if (!csv && !is_there(run, "metrics.jsonl")) {
        vj_problems_add(&run->problems, "%s holds no metrics.csv: no curves.", run->path);
        return;
    }
    if (!csv) vj_problems_add(&run->problems, "%s holds no metrics.csv; metrics.jsonl is shown.", run->path);
    bool good = vj_numbers_read(&numbers, path, "step", &run->problems);
    if (!good && csv && is_there(run, "metrics.jsonl")) {
        vj_numbers_release(&numbers);
        path_in(run, "metrics.jsonl", path);
        good = vj_numbers_read(&numbers, path, "step", &run->problems);
        if (good) vj_problems_add(&run->problems, "%s is shown instead of metrics.csv.", path);
    }
    if (good) note_order(run, &numbers, path);
    if (good) take_curves(run, &numbers);
    if (good && numbers.rows == 0) vj_problems_add(&run->problems, "%s has no rows yet.", path);
    vj_numbers_release(&numbers);
}

/* Read metrics.csv.1, ...: rows of starts that left no checkpoint. */
static void read_lost_starts(vj_recorded *run)
{
    for (int n = 1;; n++) {
        char path[PATH_BYTES];
        vj_lost_start lost = {0};
        vj_numbers numbers;
        snprintf(lost.name, sizeof lost.name, "metrics.csv.%d", n);
        if (!is_there(run, lost.name)) return;
        path_in(run, lost.name, path);
        if (vj_numbers_read(&numbers, path, "step", &run->problems)) {
            const double *loss = vj_numbers_find(&numbers, "loss");
            lost.rows = numbers.rows;
            if (loss) lost.loss = vj_curve_from("loss", numbers.columns[0].value, loss, numbers.rows);
            run->lost = vj_report_room(run->lost, run->lost_count, sizeof *run->lost);
            run->lost[run->lost_count++] = lost;
        }
        vj_numbers_release(&numbers);
    }
}

/* ------------------------------------------------------------------------------------------------ history */

/* Return the next cell of a CSV line without its quotes, and move *at after its comma. NULL: there is none. */
static char *next_cell(const char **at)
{
    char *cell = NULL;
    size_t bytes;
    const char *c = *at;
    if (!c) return NULL;
    FILE *out = open_memstream(&cell, &bytes);
    VJ_ASSERT(out);
    const bool quoted = *c == '"';
    if (quoted) c++;
    for (; *c && (quoted ? *c != '"' || c[1] == '"' : *c != ','); c++) {
        if (quoted && *c == '"') c++;
        putc(*c, out);
    }
    if (quoted && *c == '"') c++;
    VJ_ASSERT(fclose(out) == 0);
    *at = *c == ',' ? c + 1 : NULL;
    return cell;
}

static void read_happening(vj_recorded *run, const char *path, int line_number, const char *line)
{
    char *cell[7];
    int cells = 0;
    for (const char *at = line; cells < 7 && (cell[cells] = next_cell(&at)); cells++) continue;
    if (cells < 7) {
        vj_problems_add(&run->problems, "%s:%d: 7 cells are expected, not %d; the line is left out.", path, line_number,
                        cells);
        while (cells > 0) free(cell[--cells]);
        return;
    }
    run->history = vj_report_room(run->history, run->history_count, sizeof *run->history);
    vj_happening *h = &run->history[run->history_count++];
    *h = (vj_happening){.step = atoll(cell[2]), .ranks = atoi(cell[3]), .code = cell[5], .why = cell[6]};
    snprintf(h->time, sizeof h->time, "%s", cell[0]);
    snprintf(h->event, sizeof h->event, "%s", cell[1]);
    snprintf(h->host, sizeof h->host, "%s", cell[4]);
    for (int i = 0; i < 5; i++) free(cell[i]);
}

static void read_history(vj_recorded *run)
{
    char path[PATH_BYTES], *rest;
    int64_t bytes;
    int number = 0;
    if (!is_there(run, VJ_HISTORY_FILE)) return; /* a run of an earlier version */
    path_in(run, VJ_HISTORY_FILE, path);
    char *text = vj_report_load(path, SMALL_FILE, &bytes, &run->problems);
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        if (++number > 1 || strncmp(line, VJ_HISTORY_BEGIN, strlen(VJ_HISTORY_BEGIN) - 1) != 0)
            read_happening(run, path, number, line);
    free(text);
}

/* ------------------------------------------------------------------------------------------------ where it is */

static void list_checkpoints(vj_recorded *run)
{
    DIR *dir = opendir(run->path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        long long step;
        int end = 0;
        if (sscanf(entry->d_name, "step_%lld.h5%n", &step, &end) != 1 || end == 0 || entry->d_name[end]) continue;
        run->checkpoints = vj_report_room(run->checkpoints, run->checkpoint_count, sizeof *run->checkpoints);
        int at = run->checkpoint_count++;
        for (; at > 0 && run->checkpoints[at - 1] > step; at--) run->checkpoints[at] = run->checkpoints[at - 1];
        run->checkpoints[at] = step;
    }
    if (dir)
        closedir(dir);
    else
        vj_problems_add(&run->problems, "%s cannot be listed: %s.", run->path, strerror(errno));
}

static void find_state(vj_recorded *run)
{
    char path[PATH_BYTES];
    int64_t bytes;
    vj_run_view *view = vj_report_memory(1, sizeof *view);
    const vj_happening *last = run->history_count > 0 ? &run->history[run->history_count - 1] : NULL;
    vj_run_view_begin(view, run->path, false);
    vj_run_view_refresh(view);
    run->state = view->state;
    const bool at_work = view->lease.state == VJ_LEASE_HELD;
    snprintf(run->state_text, sizeof run->state_text, "%s", vj_run_state_name(run->state));
    if (at_work)
        snprintf(run->state_text, sizeof run->state_text, "%s: %.180s", vj_run_state_name(run->state),
                 view->lease.holder);
    else if (run->state == VJ_RUN_FAILED && last)
        snprintf(run->state_text, sizeof run->state_text, "FAILED: %.180s", last->why);
    else if (run->state == VJ_RUN_STOPPED && last && strcmp(last->event, "stop") == 0)
        snprintf(run->state_text, sizeof run->state_text, "stopped by %.180s", last->why);
    free(view);
    path_in(run, "watchdog.txt", path);
    if (run->state != VJ_RUN_COMPLETE && !at_work && is_there(run, "watchdog.txt"))
        run->watchdog = vj_report_load(path, SMALL_FILE, &bytes, &run->problems);
}

static void find_planned(vj_recorded *run)
{
    char path[PATH_BYTES];
    int64_t bytes;
    const double all = vj_flat_settings_number(&run->settings, "train.epochs", 0.0) *
                       vj_flat_settings_number(&run->settings, "train.steps_per_epoch", 0.0);
    const double stop = vj_flat_settings_number(&run->settings, "train.stop_after", 0.0);
    const double planned = stop > 0.0 && stop < all ? stop : all;
    run->planned = planned > 0.0 && planned < 1e15 ? (int64_t)planned : 0;
    if (run->state != VJ_RUN_COMPLETE) return;
    path_in(run, "complete", path);
    char *text = vj_report_load(path, SMALL_FILE, &bytes, &run->problems);
    const long long steps = text ? atoll(text) : 0;
    if (text && steps <= 0) vj_problems_add(&run->problems, "%s does not say how many steps it had.", path);
    if (steps > 0) run->planned = steps;
    if (steps > 0 && run->rows > 0 && run->last_step != steps)
        vj_problems_add(&run->problems, "%s says %lld steps, the metrics end with step %lld.", path, steps,
                        (long long)run->last_step);
    free(text);
}

/* ------------------------------------------------------------------------------------------------ all of it */

void vj_recorded_read(vj_recorded *run, const char *path)
{
    char file[PATH_BYTES];
    *run = (vj_recorded){.path = vj_report_copy(path)};
    for (size_t n = strlen(path); n > 1 && run->path[n - 1] == '/'; n--) run->path[n - 1] = '\0';
    read_metrics(run);
    read_lost_starts(run);
    read_history(run);
    list_checkpoints(run);
    path_in(run, "config.yaml", file);
    vj_flat_settings_read(&run->settings, file, &run->problems);
}

static void read_checkpoint(vj_recorded *run)
{
    char path[PATH_BYTES], why[PATH_BYTES];
    vj_ckpt_state state;
    if (run->checkpoint_count == 0) return;
    snprintf(path, sizeof path, "%s/step_%08lld.h5", run->path, (long long)run->checkpoints[run->checkpoint_count - 1]);
    vj_status_divert(why, sizeof why);
    const vj_status status = vj_ckpt_read_state(path, &state, VJ_ALONE);
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) {
        vj_problems_add(&run->problems, "%s cannot be read as a checkpoint: %s.", path, why);
        return;
    }
    run->fingerprint = state.store_fingerprint;
    run->rollbacks = state.rollbacks;
    const hid_t file = vj_h5_open_file(path);
    bool good = file >= 0 && vj_h5_get_i64(file, path, "ranks", &run->ranks) == VJ_OK;
    good = good && vj_h5_get_text(file, path, "code", &run->code) == VJ_OK;
    good = good && vj_h5_get_text(file, path, "date", &run->date) == VJ_OK;
    good = good && vj_h5_get_text(file, path, "hosts", &run->hosts) == VJ_OK;
    if (!good) vj_problems_add(&run->problems, "%s does not say where and by what it was written.", path);
    if (run->settings.count == 0 && state.config) {
        vj_problems_add(&run->problems, "The settings shown are those that %s holds.", path);
        vj_flat_settings_release(&run->settings);
        vj_flat_settings_parse(&run->settings, state.config, path, &run->problems);
    }
    if (file >= 0) H5Fclose(file); /* only read */
    vj_ckpt_state_release(&state);
}

void vj_recorded_read_state(vj_recorded *run)
{
    find_state(run);
    read_checkpoint(run);
    find_planned(run);
}

void vj_recorded_release(vj_recorded *run)
{
    for (int i = 0; i < run->curve_count; i++) vj_curve_release(&run->curves[i]);
    for (int i = 0; i < run->lost_count; i++) vj_curve_release(&run->lost[i].loss);
    for (int i = 0; i < run->history_count; i++) {
        free(run->history[i].code);
        free(run->history[i].why);
    }
    free(run->curves);
    free(run->lost);
    free(run->history);
    free(run->checkpoints);
    free(run->path);
    free(run->name);
    free(run->code);
    free(run->date);
    free(run->hosts);
    free(run->watchdog);
    vj_flat_settings_release(&run->settings);
    vj_problems_release(&run->problems);
    *run = (vj_recorded){0};
}

const vj_curve *vj_recorded_curve(const vj_recorded *run, const char *column)
{
    for (int i = 0; i < run->curve_count; i++)
        if (strcmp(run->curves[i].name, column) == 0) return &run->curves[i];
    return NULL;
}
