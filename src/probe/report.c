/* Writes rows of results as JSON, CSV and Markdown. */
#include "probe/report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/output.h"
#include "probe/columns.h"
#include "probe/metrics.h"

double vj_probe_row_error(const vj_probe_row *row)
{
    double p = row->top1_mean / 100.0, clips = (double)row->validation_clips;
    double seeds = row->top1_std * row->top1_std / (double)row->seeds;
    return sqrt(seeds + 1e4 * p * (1.0 - p) / clips);
}

void vj_probe_row_interval(const vj_probe_row *row, double *low, double *high)
{
    const double half = vj_mean_half_width(row->top1_std, (double)row->seeds);
    vj_wilson_interval(row->top1_mean / 100.0, (double)row->validation_clips, low, high);
    *low = isnan(half) ? 100.0 * *low : row->top1_mean - half;
    *high = isnan(half) ? 100.0 * *high : row->top1_mean + half;
}

/* ------------------------------------------------------------------------------------------------ JSON and CSV */

static json_t *notes_array(const vj_notes *notes)
{
    json_t *list = json_array();
    for (int i = 0; list && i < notes->count; i++)
        if (json_array_append_new(list, json_string(notes->text[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *row_object(const vj_probe_row *r, const vj_notes *notes)
{
    json_t *object = vj_columns_to_json(r, true);
    if (object && json_object_set_new(object, "notes", notes_array(notes)) == 0) return object;
    json_decref(object);
    return NULL;
}

static vj_status write_json(FILE *out, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    json_t *list = json_array();
    int bad = list == NULL;
    for (int64_t i = 0; i < count && !bad; i++) bad = json_array_append_new(list, row_object(&rows[i], notes)) != 0;
    if (!bad) bad = json_dumpf(list, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0 || fputc('\n', out) == EOF;
    json_decref(list);
    return bad ? vj_raise(VJ_ERR_LIBRARY, "the results could not be written as JSON") : VJ_OK;
}

#define CSV_BEGIN "task,encoder,pooling,labels_percent,"

static vj_status write_csv(FILE *out, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    (void)notes; /* a table of numbers alone */
    vj_columns_csv_head(out);
    for (int64_t i = 0; i < count; i++) vj_columns_csv_row(out, &rows[i]);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ Markdown */

#define MARKDOWN_BEGIN "Top-1 accuracy in percent on the validation clips"

/* Names of the encoders, in the order in which they occur. */
static int encoders_of(const vj_probe_row *rows, int64_t count, const vj_probe_row *first[VJ_MAX_ENCODERS])
{
    int n = 0;
    for (int64_t i = 0; i < count; i++) {
        int e = 0;
        while (e < n && strcmp(first[e]->encoder, rows[i].encoder) != 0) e++;
        if (e == n && n < VJ_MAX_ENCODERS) first[n++] = &rows[i];
    }
    return n;
}

static int is_baseline(const char *encoder)
{
    return strncmp(encoder, "random", 6) == 0;
}

static int same_line(const vj_probe_row *a, const vj_probe_row *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->kind, b->kind) == 0 && a->labels == b->labels;
}

static const vj_probe_row *find(const vj_probe_row *rows, int64_t count, const vj_probe_row *line, const char *encoder)
{
    for (int64_t i = 0; i < count; i++)
        if (same_line(&rows[i], line) && strcmp(rows[i].encoder, encoder) == 0) return &rows[i];
    return NULL;
}

static const vj_probe_row *best_baseline(const vj_probe_row *rows, int64_t count, const vj_probe_row *line)
{
    const vj_probe_row *best = NULL;
    for (int64_t i = 0; i < count; i++)
        if (same_line(&rows[i], line) && is_baseline(rows[i].encoder) && (!best || rows[i].top1_mean > best->top1_mean))
            best = &rows[i];
    return best;
}

static void print_gain(FILE *out, const vj_probe_row *row, const vj_probe_row *baseline)
{
    double gain = row->top1_mean - baseline->top1_mean;
    double error = hypot(vj_probe_row_error(row), vj_probe_row_error(baseline));
    fprintf(out, " %+.1f +- %.1f | %s |", gain, error,
            gain > 2.0 * error    ? "helps"
            : gain < -2.0 * error ? "worse than random"
                                  : "no gain");
}

/* "80.4 (0.4) [79.4, 81.4] 99.1": mean, deviation over seeds, interval, top-5 where there are more than five classes.
 */
static void print_cell(FILE *out, const vj_probe_row *row)
{
    double low, high;
    vj_probe_row_interval(row, &low, &high);
    fprintf(out, " %.1f", row->top1_mean);
    if (row->seeds > 1) fprintf(out, " (%.1f)", row->top1_std);
    /* An interval of few seeds may reach beyond what an accuracy can be. */
    fprintf(out, " [%.1f, %.1f]", fmax(0.0, low), fmin(100.0, high));
    if (row->classes > VJ_TOP && !isnan(row->top5)) fprintf(out, " %.1f", row->top5);
    fprintf(out, " |");
}

/* What the cells hold. */
static void print_legend(FILE *out, const vj_probe_row *rows, int64_t count)
{
    bool top5 = false;
    for (int64_t i = 0; i < count; i++) top5 |= rows[i].classes > VJ_TOP && !isnan(rows[i].top5);
    fprintf(out, MARKDOWN_BEGIN ": ");
    if (rows[0].seeds > 1)
        fprintf(out, "mean (standard deviation) [95 %% interval of the mean] over %lld probe seeds",
                (long long)rows[0].seeds);
    else
        fprintf(out, "[95 %% interval by the number of clips] of one probe seed");
    fprintf(out, "%s.\n", top5 ? ", then top-5" : "");
}

/* How the probes were trained, if that is known and the same in all rows. */
static void print_protocol(FILE *out, const vj_probe_row *rows, int64_t count)
{
    const vj_probe_row *first = &rows[0];
    int64_t failed = 0, least = first->epochs, most = first->epochs;
    if (!*first->features) return;
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(rows[i].features, first->features) != 0 || strcmp(rows[i].preset, first->preset) != 0 ||
            strcmp(rows[i].split, first->split) != 0)
            return;
        failed += rows[i].failed;
        if (rows[i].epochs < least) least = rows[i].epochs;
        if (rows[i].epochs > most) most = rows[i].epochs;
    }
    fprintf(out, "\nFeatures: %s. Preset: %s. Labels drawn by: %s. ", first->features, first->preset, first->split);
    if (least == most)
        fprintf(out, "Epochs: %lld for every share.", (long long)least);
    else
        fprintf(out, "Epochs: %lld to %lld, so that every share has as many updates.", (long long)least,
                (long long)most);
    if (failed > 0) fprintf(out, " Validation clips that could not be used: %lld.", (long long)failed);
    fputc('\n', out);
}

static void print_paper(FILE *out, const vj_probe_row *rows, int64_t count)
{
    bool head = false;
    for (int64_t i = 0; i < count; i++) {
        const vj_probe_row *r = &rows[i];
        if (isnan(r->paper)) continue;
        if (!head)
            fprintf(out, "\n| task | pooling | labels | encoder | published in | paper | ours | difference |\n"
                         "|---|---|---|---|---|---|---|---|\n");
        head = true;
        fprintf(out, "| %s | %s | %g %% | %s | %s | %g | %.1f | %+.1f |\n", r->task, r->kind, r->labels, r->encoder,
                r->paper_cell, r->paper, r->top1_mean, r->top1_mean - r->paper);
    }
}

static void print_head(FILE *out, const vj_probe_row **encoder, int n, int baselines)
{
    fprintf(out, "| task | pooling | labels | clips, training / validation |");
    for (int e = 0; e < n; e++) fprintf(out, " %s |", encoder[e]->encoder);
    for (int e = 0; e < n; e++)
        if (baselines && !is_baseline(encoder[e]->encoder))
            fprintf(out, " gain of %s | verdict |", encoder[e]->encoder);
    fprintf(out, "\n|---|---|---|---|");
    for (int e = 0; e < n; e++)
        fprintf(out, "---|%s", baselines && !is_baseline(encoder[e]->encoder) ? "---|---|" : "");
    fputc('\n', out);
}

void vj_report_print(FILE *out, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    const vj_probe_row *encoder[VJ_MAX_ENCODERS];
    int n = encoders_of(rows, count, encoder), baselines = 0;
    for (int e = 0; e < n; e++) baselines += is_baseline(encoder[e]->encoder);
    if (n == 0) return;
    print_legend(out, rows, count);
    if (baselines)
        fprintf(out, "Gain: over the better random encoder, with its standard error; \"helps\" above two of them.\n");
    fputc('\n', out);
    print_head(out, encoder, n, baselines);
    for (int64_t i = 0; i < count; i++) {
        const vj_probe_row *line = &rows[i];
        if (strcmp(line->encoder, encoder[0]->encoder) != 0) continue;
        fprintf(out, "| %s | %s | %g %% | %lld / %lld |", line->task, line->kind, line->labels,
                (long long)line->training_clips, (long long)line->validation_clips);
        for (int e = 0; e < n; e++) {
            const vj_probe_row *row = find(rows, count, line, encoder[e]->encoder);
            if (row)
                print_cell(out, row);
            else
                fprintf(out, " |");
        }
        const vj_probe_row *baseline = best_baseline(rows, count, line);
        for (int e = 0; e < n; e++) {
            const vj_probe_row *row = find(rows, count, line, encoder[e]->encoder);
            if (baselines && row && baseline && !is_baseline(row->encoder)) print_gain(out, row, baseline);
        }
        fputc('\n', out);
    }
    print_paper(out, rows, count);
    print_protocol(out, rows, count);
    fprintf(out, "\nEffective rank of the token features (of width):");
    for (int e = 0; e < n; e++) {
        fprintf(out, "%s %s ", e ? "," : "", encoder[e]->encoder);
        if (isnan(encoder[e]->effective_rank))
            fprintf(out, "unknown");
        else
            fprintf(out, "%.1f (%d)", encoder[e]->effective_rank, encoder[e]->width);
    }
    fprintf(out, ".\n");
    if (notes->count > 0) fprintf(out, "\nTo know about these numbers:\n");
    for (int i = 0; i < notes->count; i++) fprintf(out, "- %s\n", notes->text[i]);
}

static vj_status write_markdown(FILE *out, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    vj_report_print(out, rows, count, notes);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ files */

/* A file appears under its name only when it is whole. */
static vj_status write_file(const char *dir, const char *name,
                            vj_status (*write)(FILE *, const vj_probe_row *, int64_t, const vj_notes *),
                            const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    char path[VJ_PATH + 32];
    vj_file file;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    VJ_TRY(vj_file_begin_text(&file, path));
    vj_status status = write(file.stream, rows, count, notes);
    if (status == VJ_OK) return vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}

static const struct {
    const char *name, *begin; /* what every such file begins with */
    vj_status (*write)(FILE *, const vj_probe_row *, int64_t, const vj_notes *);
} files[] = {{"results.json", "[\n  {\n    \"task\"", write_json},
             {"results.csv", CSV_BEGIN, write_csv},
             {"results.md", MARKDOWN_BEGIN, write_markdown}};
enum { FILES = sizeof files / sizeof files[0] };

vj_status vj_report_check(const char *option, const char *dir)
{
    VJ_TRY(vj_output_check_folder(option, dir));
    for (int i = 0; i < FILES; i++) {
        char path[VJ_PATH + 32];
        snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
        VJ_TRY(vj_output_check_text(path, files[i].begin));
    }
    return VJ_OK;
}

vj_status vj_report_write(const char *dir, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", dir);
    for (int i = 0; i < FILES; i++) VJ_TRY(write_file(dir, files[i].name, files[i].write, rows, count, notes));
    return VJ_OK;
}
