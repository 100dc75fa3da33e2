/* Makes the screen of vjepa-report --watch. */
#include "report/watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/markup.h"
#include "report/sparkline.h"

enum { LABEL = 9, TEXT = 32 };

/* ------------------------------------------------------------------------------------------------ pieces */

/* Format a number like "12,345". */
static const char *grouped(int64_t number, char text[TEXT])
{
    char digits[TEXT];
    const int length = snprintf(digits, sizeof digits, "%lld", (long long)number);
    int used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-') text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

/* Format a time of whole seconds; NaN is "-". */
static const char *duration(double seconds, char text[TEXT])
{
    if (isnan(seconds)) return strcpy(text, "-");
    return vj_duration(floor(seconds), text);
}

/* Format a local time like "Mon 30 Nov 21:10". */
static const char *date_of(double seconds, char text[TEXT])
{
    const time_t at = (time_t)seconds;
    struct tm local;
    if (!localtime_r(&at, &local) || strftime(text, TEXT, "%a %d %b %H:%M", &local) == 0) snprintf(text, TEXT, "-");
    return text;
}

static const char *number(double value, char text[TEXT])
{
    if (isnan(value))
        snprintf(text, TEXT, "-");
    else
        snprintf(text, TEXT, fabs(value) >= 1e5 || (value != 0.0 && fabs(value) < 1e-3) ? "%.2e" : "%.4g", value);
    return text;
}

static const char *colour_of(vj_run_state state)
{
    switch (state) {
    case VJ_RUN_RUNNING:
    case VJ_RUN_COMPLETE:
        return VJ_GREEN;
    case VJ_RUN_HUNG:
    case VJ_RUN_FAILED:
    case VJ_RUN_KILLED:
        return VJ_RED;
    default:
        return VJ_YELLOW;
    }
}

/* ------------------------------------------------------------------------------------------------ one run */

static void put_state(const vj_run_view *v, FILE *out)
{
    char text[TEXT];
    fputs(VJ_BOLD, out);
    vj_put_terminal(out, v->folder);
    fprintf(out, VJ_PLAIN "  %s%s" VJ_PLAIN, colour_of(v->state), vj_run_state_name(v->state));
    if (v->state == VJ_RUN_MISSING)
        fputs(access(v->folder, F_OK) == 0 ? ": nothing in it yet" : ": no such folder yet", out);
    if (v->lease.state == VJ_LEASE_HELD) {
        fputs(": ", out);
        vj_put_terminal(out, v->lease.holder);
    } else if (v->metrics.rows > 0) {
        fprintf(out, ", last step %s ago", duration(v->row_age_s, text));
    }
    if (v->state == VJ_RUN_STOPPED && v->stopped[0]) {
        fputs("; ", out);
        vj_put_terminal(out, v->stopped);
    }
    fputc('\n', out);
}

static void put_progress(const vj_terminal *t, const vj_run_view *v, FILE *out)
{
    char step[TEXT], steps[TEXT], bar[3 * VJ_SPARK_COLUMNS + 1];
    if (v->steps <= 0) {
        fprintf(out, "step %s of an unknown number\n", grouped(v->metrics.step, step));
        return;
    }
    const double share = (double)v->metrics.step / (double)v->steps;
    const int used = fprintf(out, "step %s of %s  %5.1f %%  ", grouped(v->metrics.step, step), grouped(v->steps, steps),
                             100 * share);
    vj_bar_draw(bar, share, t->columns - used - 1, t->unicode);
    fprintf(out, "%s\n", bar);
}

static void put_rate(const vj_run_view *v, FILE *out)
{
    char left[TEXT], date[TEXT], step[TEXT], clips[TEXT];
    const double step_s = vj_run_view_step_s(v), left_s = vj_run_view_left_s(v);
    fprintf(out, "%s s a step, %s clips/s", number(step_s, step),
            number(vj_follow_mean(&v->metrics, VJ_METRIC_CLIPS_PER_S, VJ_RECENT), clips));
    if (v->state == VJ_RUN_RUNNING && !isnan(left_s))
        fprintf(out, "; done in %s, on %s", duration(left_s, left), date_of(v->now_s + left_s, date));
    fputc('\n', out);
    fprintf(out, "waiting for clips %s %%, communication %s %%, memory of a rank %s MiB\n",
            number(100 * vj_follow_mean(&v->metrics, VJ_METRIC_WAIT_S, VJ_RECENT) / step_s, step),
            number(100 * vj_follow_mean(&v->metrics, VJ_METRIC_COMM_S, VJ_RECENT) / step_s, clips),
            number(v->metrics.known[VJ_METRIC_MEMORY], date));
}

static void put_counts(const vj_run_view *v, FILE *out)
{
    char step[TEXT], age[TEXT];
    if (v->checkpoint_step > 0)
        fprintf(out, "checkpoint of step %s, %s ago", grouped(v->checkpoint_step, step),
                duration(v->checkpoint_age_s, age));
    else
        fputs("no checkpoint yet", out);
    fprintf(out, "; failed %.0f; bad steps %.0f; roll-backs %lld\n", fmax(0.0, v->metrics.known[VJ_METRIC_FAILED]),
            fmax(0.0, v->metrics.known[VJ_METRIC_SKIPPED]), (long long)v->rollbacks);
}

/* Write the last results of the in-run watch. Returns the number of lines written. */
static int put_features(const vj_run_view *v, FILE *out)
{
    char probe[TEXT];
    const double knn = v->metrics.known[VJ_METRIC_WATCH_KNN], fitted = v->metrics.known[VJ_METRIC_WATCH_PROBE];
    if (isnan(knn)) return 0;
    fprintf(out, "features: nearest neighbours %.1f %%", knn);
    if (!isnan(fitted)) fprintf(out, ", attentive probe %s %%", number(fitted, probe));
    fputs(" of the watch's clips right\n", out);
    return 1;
}

/* ------------------------------------------------------------------------------------------------ curves */

static const struct {
    vj_metric column;
    const char *name;
} curves[] = {{VJ_METRIC_LOSS, "loss"},
              {VJ_METRIC_RANK, "effective rank"},
              {VJ_METRIC_LR, "learning rate"},
              {VJ_METRIC_GRAD_ENCODER, "gradient norm, encoder"}};
enum { CURVES = sizeof curves / sizeof curves[0] };

static void put_padded(FILE *out, const char *text, int columns, bool right)
{
    fprintf(out, right ? "%*s" : "%-*s", columns, text);
}

/* Write curves [first, first + count) side by side, each `columns` wide including its labels. */
static void put_curves(const vj_terminal *t, const vj_run_view *v, int first, int count, int columns, int rows,
                       FILE *out)
{
    static vj_sparkline spark[CURVES];
    char text[TEXT], title[2 * TEXT];
    for (int i = 0; i < count; i++) {
        const int c = first + i;
        vj_sparkline_draw(&spark[i], &v->metrics.course[c], columns - LABEL - 3, rows, t->unicode);
        snprintf(title, sizeof title, "%s %s%s", curves[c].name, number(v->metrics.known[curves[c].column], text),
                 spark[i].logarithmic ? " (log scale)" : "");
        fputs(VJ_BOLD, out);
        put_padded(out, title, columns, false);
        fputs(VJ_PLAIN, out);
    }
    for (int r = 0; r < rows; r++) {
        fputc('\n', out);
        for (int i = 0; i < count; i++) {
            const bool top = r == 0, bottom = r == rows - 1 && rows > 1;
            const double value = top ? spark[i].high : spark[i].low;
            fputs(VJ_DIM, out);
            put_padded(out, spark[i].any && (top || bottom) ? number(value, text) : "", LABEL, true);
            fprintf(out, " " VJ_PLAIN "%s  ", spark[i].row[r]);
        }
    }
    fputc('\n', out);
}

static void put_run(const vj_terminal *t, const vj_run_view *v, FILE *out)
{
    put_state(v, out);
    int lines = 1;
    if (v->metrics.rows > 0) {
        put_progress(t, v, out);
        put_rate(v, out);
        lines += 3;
    }
    if (v->metrics.rows > 0 || v->checkpoint_step > 0) {
        put_counts(v, out);
        lines += 1 + put_features(v, out);
    }
    for (int a = 0; a < v->alarms; a++, lines++) {
        fputs(VJ_RED "ALARM: ", out);
        vj_put_terminal(out, v->alarm[a]);
        fputs(VJ_PLAIN "\n", out);
    }
    if (v->metrics.rows == 0) return;
    const int side = t->columns >= 72 ? 2 : 1, columns = t->columns / side;
    int rows = (t->lines - lines - 1) / (CURVES / side) - 1;
    rows = rows < 1 ? 1 : rows > VJ_SPARK_ROWS ? VJ_SPARK_ROWS : rows;
    for (int c = 0; c < CURVES; c += side) put_curves(t, v, c, side, columns, rows, out);
}

/* ------------------------------------------------------------------------------------------------ several runs */

static void put_line(const vj_terminal *t, const vj_run_view *v, int name_columns, FILE *out)
{
    char bar[3 * VJ_SPARK_COLUMNS + 1], step[TEXT], loss[TEXT], rank[TEXT], left[TEXT], each[TEXT];
    const double share = v->steps > 0 ? (double)v->metrics.step / (double)v->steps : 0.0;
    const int length = vj_utf8_length(v->folder);
    const char *name = v->folder;
    vj_bar_draw(bar, share, 10, t->unicode);
    fprintf(out, "%s", length > name_columns ? ".." : "");
    for (int i = name_columns - 2; i < length && length > name_columns; i++) vj_utf8_next(&name);
    vj_put_terminal(out, name);
    fprintf(out, "%*s  %s%-9s" VJ_PLAIN " %s %9s  %8s s  %8s  %8s  %s",
            length < name_columns ? name_columns - length : 0, "", colour_of(v->state), vj_run_state_name(v->state),
            bar, grouped(v->metrics.step, step), number(vj_run_view_step_s(v), each),
            number(v->metrics.known[VJ_METRIC_LOSS], loss), number(v->metrics.known[VJ_METRIC_RANK], rank),
            v->state == VJ_RUN_RUNNING ? duration(vj_run_view_left_s(v), left) : "");
    fputc('\n', out);
    if (v->alarms == 0) return;
    fputs(VJ_RED "  ALARM: ", out);
    vj_put_terminal(out, v->alarm[0]);
    if (v->alarms > 1) fprintf(out, " (and %d more)", v->alarms - 1);
    fputs(VJ_PLAIN "\n", out);
}

static void put_table(const vj_terminal *t, const vj_run_view *runs, int count, FILE *out)
{
    int name_columns = 4;
    for (int i = 0; i < count; i++) {
        const int length = vj_utf8_length(runs[i].folder);
        if (length > name_columns) name_columns = length;
    }
    const int limit = t->columns > 100 ? t->columns - 76 : 24;
    if (name_columns > limit) name_columns = limit;
    fprintf(out, VJ_BOLD "%-*s  %-9s %-10s %9s  %10s  %8s  %8s  %s" VJ_PLAIN "\n", name_columns, "run", "state",
            "progress", "step", "time", "loss", "rank", "left");
    for (int i = 0; i < count; i++) put_line(t, &runs[i], name_columns, out);
}

void vj_watch_page(const vj_terminal *t, const vj_run_view *runs, int count, FILE *out)
{
    if (count == 1)
        put_run(t, runs, out);
    else
        put_table(t, runs, count, out);
}

/* ------------------------------------------------------------------------------------------------ the loop */

static vj_status paint(const vj_terminal *t, vj_run_view *runs, int count)
{
    char *text = NULL;
    size_t bytes;
    FILE *page = open_memstream(&text, &bytes);
    if (!page) return vj_raise(VJ_ERR_MEMORY, "no memory for the screen");
    for (int i = 0; i < count; i++) vj_run_view_refresh(&runs[i]);
    vj_watch_page(t, runs, count, page);
    vj_status status = fclose(page) == 0 ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the screen");
    if (status == VJ_OK) status = vj_terminal_paint(t, text);
    free(text);
    return status;
}

/* Refuse what can never become the folder of a run. */
static vj_status check_folder(const char *folder)
{
    char index[VJ_PATH + 16];
    struct stat info;
    if (stat(folder, &info) == 0 && !S_ISDIR(info.st_mode))
        return vj_raise(VJ_ERR_USAGE, "--watch %s: this is a file; name the folder of a run", folder);
    snprintf(index, sizeof index, "%s/index.h5", folder);
    if (access(index, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "--watch %s: this is a clip store; name the folder of a run", folder);
    return VJ_OK;
}

vj_status vj_watch(const char *const *folders, int count, double every_s, bool once)
{
    vj_terminal terminal;
    for (int i = 0; i < count; i++) VJ_TRY(check_folder(folders[i]));
    vj_run_view *runs = vj_calloc(count, sizeof *runs);
    if (!runs) return vj_raise(VJ_ERR_MEMORY, "no memory for %d runs", count);
    for (int i = 0; i < count; i++) vj_run_view_begin(&runs[i], folders[i], count == 1);
    vj_terminal_examine(&terminal);
    if (once) terminal.screen = false; /* printed where the cursor is, and it stays */
    if (!once) vj_terminal_open(&terminal);
    vj_status status = paint(&terminal, runs, count);
    while (!once && status == VJ_OK && vj_terminal_wait(&terminal, every_s)) status = paint(&terminal, runs, count);
    if (!once) vj_terminal_close(&terminal);
    free(runs);
    return status;
}
