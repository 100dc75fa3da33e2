/* Plots the metrics of runs: the meaning of columns, and a plot for each column with all runs. */
#include <string.h>

#include "report/inside.h"
#include "report/runs.h"

enum {
    RUNS_WITH_MARKS = 4,
    OTHERS_MAX = 24,
    POINTS_MARKED = 40,
    RUNS_EACH_STEP = 8,
    ENVELOPE = 400,
    ENVELOPE_CLASS = 7
};

/* A column that training writes (docs/formats.md, "Run folder"). */
typedef struct {
    const char *column, *title, *axis, *unit;
    bool may_be_log;     /* use a logarithmic axis if its numbers span more than a factor of 20 */
    const char *meaning; /* of the numbers, for the caption; NULL: the title says it */
} known_column;

static const known_column model_columns[] = {
    {"spread_penalty", "Spread penalty", "penalty", "", false,
     "How far the predictions of a clip's tokens lack a spread of 1: 0 is enough spread, 1 is none. It is part of the "
     "loss only where objective.reg_coeff is above 0."},
    {"grad_norm_encoder", "Gradient norm of the encoder", "norm before clipping", "", true, NULL},
    {"grad_norm_predictor", "Gradient norm of the predictor", "norm before clipping", "", true, NULL},
    {"target_std", "Spread of the target features", "standard deviation", "", false,
     "Mean over features of their standard deviation over tokens. If it falls to 0, all tokens look alike: the "
     "representation has collapsed."},
    {"effective_rank", "Effective rank of the target features", "effective rank", "", false,
     "How many directions the features use, at most the width of the model. A fall to a few is a collapse."},
    {"watch_knn", "In-run watch: nearest neighbours on the target features", "top-1", "%", false,
     "Accuracy on the watch's validation clips by a vote of the nearest training clips."},
    {"watch_probe", "In-run watch: attentive probe on the target features", "top-1", "%", false,
     "Accuracy on the watch's validation clips of a small probe trained on the features."},
    {0},
};
static const known_column schedule_columns[] = {
    {"lr", "Learning rate", "learning rate", "", false, NULL},
    {"weight_decay", "Weight decay", "weight decay", "", false, NULL},
    {"ema", "EMA momentum of the target encoder", "momentum", "", false,
     "The share that the target encoder, a moving average of the encoder, keeps in each step."},
    {0},
};
static const known_column speed_columns[] = {
    {"clips_per_s", "Speed", "speed", "clips/s", false, NULL},
    {"step_s", "Time of a step", "time", "s", true, NULL},
    {"data_wait_s", "Waiting for clips, slowest rank", "time", "s", false, NULL},
    {"comm_s", "Communication, slowest rank", "time", "s", false, NULL},
    {"peak_memory_mib", "Memory of the largest rank", "memory", "MiB", false, "The most that it has held so far."},
    {0},
};
static const known_column counter_columns[] = {
    {"skipped_steps", "Bad steps so far", "steps", "", false, NULL},
    {"failed_checkpoints", "Failed checkpoints so far", "checkpoints", "", false, NULL},
    {0},
};

/* ------------------------------------------------------------------------------------------------ marks */

/* Return the text of the mark for a line of the history, given the previous line; NULL: no mark. */
static const char *name_of_mark(const vj_happening *h, const vj_happening *before)
{
    if (strcmp(h->event, "roll_back") == 0) return "roll-back";
    if (strcmp(h->event, "start") != 0) return NULL;
    if (strcmp(before->event, "stop") == 0) return "restart after a stop";
    if (strcmp(before->event, "failed") == 0) return "restart after an error";
    return strcmp(before->event, "done") == 0 ? "extended" : "restart, was killed";
}

/* Add marks for starts after the first, with the reason of the end before, for roll-backs and stops; short lines for
 * checkpoints. */
static void put_marks(vj_plot *plot, const vj_recorded *runs, int count, bool texts)
{
    if (count > RUNS_WITH_MARKS) return;
    for (int i = 0; i < count; i++) {
        const int number = count > 1 ? i : -1;
        for (int k = 1; k < runs[i].history_count; k++) {
            const vj_happening *h = &runs[i].history[k], *before = h - 1;
            const char *text = name_of_mark(h, before);
            if (text) vj_plot_mark(plot, (double)h->step, number, texts ? text : "");
        }
        for (int k = 0; k < runs[i].checkpoint_count; k++) vj_plot_tick(plot, (double)runs[i].checkpoints[k], number);
    }
}

/* ------------------------------------------------------------------------------------------------ plots */

/* Return whether a logarithmic axis is better, because one peak would flatten the rest of the curve. */
static bool spans_decades(const vj_recorded *runs, int count, const char *column)
{
    double min = INFINITY, max = 0.0;
    for (int i = 0; i < count; i++) {
        const vj_curve *curve = vj_recorded_curve(&runs[i], column);
        if (!curve || curve->numbers == 0) continue;
        if (!(curve->min > 0.0)) return false;
        min = fmin(min, curve->min);
        max = fmax(max, curve->max);
    }
    return max > 20.0 * min;
}

/* Add a short curve as it is. For a long one add the medians, and with `each_step` all its numbers, faint, behind them.
 */
static void add_curve(vj_plot *plot, int number, const char *name, const vj_curve *curve, bool each_step)
{
    const bool few = curve->sparse && curve->count <= POINTS_MARKED;
    char each[300];
    if (curve->median_count == 0) {
        vj_plot_series(plot, few ? VJ_LINES_POINTS : VJ_LINES, number, name, curve->step, curve->value, curve->count);
        return;
    }
    snprintf(each, sizeof each, "%.250s, each step", name);
    if (each_step) vj_plot_series(plot, VJ_FAINT, number, each, curve->step, curve->value, curve->count);
    vj_plot_series(plot, VJ_LINES, number, name, curve->median_step, curve->median, curve->median_count);
}

/* For many runs add a band from the smallest to the largest number of all runs, instead of the steps of each. */
static void add_envelope(vj_plot *plot, const vj_recorded *runs, int count, const char *column)
{
    double x[ENVELOPE], low[ENVELOPE], high[ENVELOPE], first = INFINITY, last = -INFINITY;
    for (int i = 0; i < count; i++) {
        const vj_curve *curve = vj_recorded_curve(&runs[i], column);
        if (!curve || curve->count == 0) continue;
        first = fmin(first, curve->step[0]);
        last = fmax(last, curve->step[curve->count - 1]);
    }
    const double width = (last - first) / ENVELOPE;
    if (!(width > 0.0)) return;
    for (int k = 0; k < ENVELOPE; k++) {
        x[k] = first + (k + 0.5) * width;
        low[k] = high[k] = NAN;
    }
    for (int i = 0; i < count; i++) {
        const vj_curve *curve = vj_recorded_curve(&runs[i], column);
        for (int64_t n = 0; curve && n < curve->count; n++) {
            const double at = (curve->step[n] - first) / width, value = curve->value[n];
            const int k = at > 0.0 ? at < ENVELOPE ? (int)at : ENVELOPE - 1 : 0;
            low[k] = fmin(low[k], value); /* if one is NaN, the other one */
            high[k] = fmax(high[k], value);
        }
    }
    vj_series_band(vj_plot_series(plot, VJ_FAINT, ENVELOPE_CLASS, "all runs, each step", x, high, ENVELOPE), low, high);
}

/* Plot one column, with a curve for each run that has it. NULL: no run has a number in it. */
static vj_plot *plot_column(vj_document *document, const vj_recorded *runs, int count, const known_column *what)
{
    vj_plot *plot = NULL;
    bool is_long = false;
    for (int i = 0; i < count; i++) {
        const vj_curve *curve = vj_recorded_curve(&runs[i], what->column);
        if (!curve || curve->numbers == 0) continue;
        if (!plot) {
            plot = vj_document_plot(document, what->column, what->title);
            vj_plot_x(plot, "step", "", VJ_LINEAR);
            vj_plot_y(plot, what->axis, what->unit,
                      what->may_be_log && spans_decades(runs, count, what->column) ? VJ_LOG : VJ_LINEAR);
            if (what->meaning) vj_plot_caption(plot, "%s", what->meaning);
        }
        add_curve(plot, i, runs[i].name, curve, count <= RUNS_EACH_STEP);
        is_long |= curve->median_count > 0;
    }
    if (is_long && count > RUNS_EACH_STEP) add_envelope(plot, runs, count, what->column);
    return plot;
}

/* Return whether any run has a number above zero in this column. */
static bool is_counted(const vj_recorded *runs, int count, const char *column)
{
    for (int i = 0; i < count; i++) {
        const vj_curve *curve = vj_recorded_curve(&runs[i], column);
        if (curve && curve->max > 0.0) return true;
    }
    return false;
}

/* The parts of a step's time, as far as they are recorded. */
static const struct {
    const char *column, *name;
} phases[] = {{"data_wait_s", "waiting for clips"}, {"comm_s", "communication"}};
enum { PHASES = sizeof phases / sizeof phases[0] };

static bool is_phase(const char *column)
{
    for (int p = 0; p < PHASES; p++)
        if (strcmp(phases[p].column, column) == 0) return true;
    return false;
}

/* If there is only one run, add the phases of a step to the plot of its time. */
static void add_phases(vj_plot *plot, const vj_recorded *run)
{
    for (int p = 0; p < PHASES; p++) {
        const vj_curve *curve = vj_recorded_curve(run, phases[p].column);
        if (is_counted(run, 1, phases[p].column)) add_curve(plot, p + 1, phases[p].name, curve, false);
    }
    vj_plot_y(plot, "time", "s", VJ_LINEAR);
    vj_plot_caption(plot,
                    "%s: the whole step; below it, parts of it, of the slowest rank. What is neither waiting nor "
                    "communication is computing.",
                    run->name);
}

static void plot_columns(vj_document *document, const vj_recorded *runs, int count, const known_column *columns)
{
    for (const known_column *what = columns; what->column; what++) {
        if (is_phase(what->column) && (count == 1 || !is_counted(runs, count, what->column))) continue;
        vj_plot *plot = plot_column(document, runs, count, what);
        if (!plot) continue;
        put_marks(plot, runs, count, false);
        if (strcmp(what->column, "step_s") == 0 && count == 1) add_phases(plot, &runs[0]);
        const double alarm = count == 1 ? vj_flat_settings_number(&runs[0].settings, "log.rank_alarm", 0.0) : 0.0;
        if (strcmp(what->column, "effective_rank") == 0 && alarm > 0.0) {
            vj_plot_level(plot, alarm, "log.rank_alarm");
            vj_plot_y_limits(plot, 0.0, NAN);
        }
    }
}

/* Add a curve for the rows of each start that left no checkpoint, in addition to that of the run. */
static void add_lost_starts(vj_plot *plot, const vj_recorded *run, int *number)
{
    for (int k = 0; k < run->lost_count && *number < 8; k++) {
        const vj_lost_start *lost = &run->lost[k];
        char name[300];
        snprintf(name, sizeof name, "%.200s/%s", run->name, lost->name);
        if (lost->loss.numbers > 0) add_curve(plot, (*number)++, name, &lost->loss, true);
    }
}

static void plot_loss(vj_document *document, const vj_recorded *runs, int count)
{
    static const known_column loss = {"loss", "Loss", "loss", "", true, NULL};
    vj_plot *plot = plot_column(document, runs, count, &loss);
    if (!plot) return;
    put_marks(plot, runs, count, true);
    int number = count;
    for (int i = 0; i < count && count <= RUNS_WITH_MARKS; i++) add_lost_starts(plot, &runs[i], &number);
    bool checkpoints = false;
    for (int i = 0; i < count; i++) checkpoints |= runs[i].checkpoint_count > 0;
    if (count <= RUNS_WITH_MARKS && checkpoints)
        vj_plot_caption(plot, "Short lines at the bottom: steps of which there is a checkpoint.");
}

static bool is_mask_loss(const char *column)
{
    return strncmp(column, "loss_mask", 9) == 0;
}

/* Plot the losses of all masks of one run, which has at min two masks, in one plot. */
static void plot_masks_of(vj_document *document, const vj_recorded *run)
{
    vj_plot *plot = vj_document_plot(document, "loss_by_mask", "Loss by mask");
    vj_plot_caption(plot, "Masks in the order of mask.generators, from 0.");
    vj_plot_x(plot, "step", "", VJ_LINEAR);
    vj_plot_y(plot, "loss", "", spans_decades(run, 1, "loss") ? VJ_LOG : VJ_LINEAR);
    for (int c = 0, number = 0; c < run->curve_count; c++) {
        const vj_curve *curve = &run->curves[c];
        char name[80];
        if (!is_mask_loss(curve->name) || curve->numbers == 0) continue;
        snprintf(name, sizeof name, "mask %.40s", curve->name + strlen("loss_mask"));
        add_curve(plot, number++, name, curve, true);
    }
}

/* Plot the loss by mask: for one run all masks in one plot, for several runs one plot for each mask. With a single mask
 * nothing is plotted, because its loss is the loss. */
static void plot_mask_losses(vj_document *document, const vj_recorded *runs, int count)
{
    bool several = false;
    for (int i = 0; i < count; i++) several |= vj_recorded_curve(&runs[i], "loss_mask1") != NULL;
    if (several && count == 1) plot_masks_of(document, &runs[0]);
    for (int mask = 0; several && count > 1 && mask < VJ_MAX_MASKS; mask++) {
        char column[32], title[64];
        snprintf(column, sizeof column, "loss_mask%d", mask);
        snprintf(title, sizeof title, "Loss of mask %d", mask);
        plot_column(document, runs, count, &(known_column){column, title, "loss", "", true, NULL});
    }
}

/* ------------------------------------------------------------------------------------------------ other columns */

static bool is_known(const char *column)
{
    static const known_column *const lists[] = {model_columns, schedule_columns, speed_columns, counter_columns};
    for (int l = 0; l < 4; l++)
        for (const known_column *what = lists[l]; what->column; what++)
            if (strcmp(what->column, column) == 0) return true;
    return strcmp(column, "loss") == 0 || strcmp(column, "samples") == 0 || is_mask_loss(column);
}

static bool had_before(const vj_recorded *runs, int run, const char *column)
{
    for (int i = 0; i < run; i++)
        if (vj_recorded_curve(&runs[i], column)) return true;
    return false;
}

/* Plot columns that are not known here, of other versions or added by users, as they are. */
static void plot_others(vj_document *document, const vj_recorded *runs, int count)
{
    int shown = 0, more = 0;
    for (int i = 0; i < count; i++)
        for (int c = 0; c < runs[i].curve_count; c++) {
            const char *column = runs[i].curves[c].name;
            if (is_known(column) || had_before(runs, i, column)) continue;
            if (shown == 0) vj_document_heading(document, "Other columns");
            if (shown++ < OTHERS_MAX)
                plot_column(document, runs, count, &(known_column){column, column, column, "", true, NULL});
            else
                more++;
        }
    if (more > 0) vj_document_note(document, "%d more columns that are not known are not shown.", more);
}

/* Plot counters, only those that are not always zero. */
static void plot_counters(vj_document *document, const vj_recorded *runs, int count)
{
    bool heading = false;
    for (const known_column *what = counter_columns; what->column; what++) {
        if (!is_counted(runs, count, what->column)) continue;
        if (!heading) vj_document_heading(document, "Bad steps and failed checkpoints");
        heading = true;
        plot_column(document, runs, count, what);
    }
}

void vj_runs_plot(vj_document *document, const vj_recorded *runs, int count)
{
    int64_t longest = 0;
    for (int i = 0; i < count; i++)
        if (runs[i].rows > longest) longest = runs[i].rows;
    if (longest == 0) return;
    vj_document_heading(document, "Loss and representation");
    if (longest > 300)
        vj_document_paragraph(
            document,
            count > RUNS_EACH_STEP
                ? "Of more than 300 steps a line shows medians, of up to %lld steps each. The band behind them reaches "
                  "from the smallest to the largest number of all runs, so that peaks stay. Point at a line for its "
                  "name."
                : "Of more than 300 steps a line shows medians, of up to %lld steps each. What is faint behind it are "
                  "the steps themselves; where there are more of them than pixels, the smallest and the largest of "
                  "each column of pixels, so that peaks stay.",
            (long long)(longest + 119) / 120);
    plot_loss(document, runs, count);
    plot_mask_losses(document, runs, count);
    plot_columns(document, runs, count, model_columns);
    vj_document_heading(document, "Speed and memory");
    plot_columns(document, runs, count, speed_columns);
    vj_document_heading(document, "Schedules");
    plot_columns(document, runs, count, schedule_columns);
    plot_counters(document, runs, count);
    plot_others(document, runs, count);
}
