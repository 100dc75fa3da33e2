/* Writes rows of results as JSON, CSV and Markdown. */
#include "probe/report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/markup.h"
#include "base/output.h"
#include "clips/clips.h"
#include "probe/columns.h"
#include "probe/metrics.h"

vj_status vj_encoder_names_check(const char *name, const char *other)
{
    if (strcmp(name, other) == 0)
        return vj_raise(VJ_ERR_USAGE, "two encoders are called '%s': give one of them another name", name);
    size_t i = 0; /* up to the first letter that differs in files */
    while (name[i] && (name[i] == '/' ? '|' : name[i]) == (other[i] == '/' ? '|' : other[i])) i++;
    if (name[i] || other[i]) return VJ_OK;
    return vj_raise(
        VJ_ERR_USAGE,
        "the encoders '%s' and '%s' have the same name in files, where \"/\" becomes \"|\": give one of them "
        "another name",
        other, name);
}

vj_probe_row vj_probe_row_of(const vj_head_facts *first)
{
    vj_probe_row row = {VJ_PROBE_ROW_UNKNOWN,
                        .labels = first->labels,
                        .training_clips = first->training_samples,
                        .classes = first->classes,
                        .encoder_digest = first->encoder_digest,
                        .train_digest = first->train_digest,
                        .validation_digest = first->store_digest,
                        .class_digest = first->class_digest};
    snprintf(row.task, sizeof row.task, "%s", first->task);
    snprintf(row.kind, sizeof row.kind, "%s", first->kind);
    snprintf(row.features, sizeof row.features, "%s", first->features);
    snprintf(row.preset, sizeof row.preset, "%s", first->preset);
    snprintf(row.split, sizeof row.split, "%s", first->split);
    snprintf(row.precision, sizeof row.precision, "%s", first->precision);
    return row;
}

void vj_probe_row_views(vj_probe_row *row, int64_t frames, int64_t clips, int64_t crops)
{
    snprintf(row->views, sizeof row->views, "%lldx%lldx%lld", (long long)frames, (long long)clips, (long long)crops);
}

/* Combine the digests of all seeds into one number; for one seed it is the digest itself. */
static uint64_t chain(uint64_t so_far, uint64_t digest, int64_t number)
{
    return number == 0 ? digest : XXH3_64bits_withSeed(&digest, sizeof digest, so_far);
}

void vj_probe_row_summarise(vj_probe_row *row, const vj_probe_seed *seed, int64_t count)
{
    double squares = 0.0;
    row->seeds = count;
    row->top1_mean = row->top5 = row->mean_class = row->as_published = 0.0;
    for (int64_t s = 0; s < count; s++) {
        row->top1_mean += seed[s].accuracies.top1 / (double)count;
        row->top5 += seed[s].accuracies.top5 / (double)count;
        row->mean_class += seed[s].accuracies.mean_class / (double)count;
        row->as_published += seed[s].accuracies.as_published / (double)count;
        row->probe_digest = chain(row->probe_digest, seed[s].probe_digest, s);
        row->split_digest = chain(row->split_digest, seed[s].split_digest, s);
    }
    for (int64_t s = 0; s < count; s++) squares += pow(seed[s].accuracies.top1 - row->top1_mean, 2.0);
    row->top1_std = count > 1 ? sqrt(squares / (double)(count - 1)) : 0.0;
}

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
        if (json_array_append_new(list, vj_json_text(notes->text[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *row_object(const vj_probe_row *r, const vj_report *report)
{
    json_t *object = vj_columns_to_json(r, true);
    json_t *differences = vj_differences_json(report->differences, r->task, r->kind, r->labels, r->encoder);
    if (object && json_object_set_new(object, "differences", differences) == 0 &&
        json_object_set_new(object, "notes", notes_array(report->notes)) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static vj_status write_json(FILE *out, const vj_report *r)
{
    json_t *list = json_array();
    int bad = list == NULL;
    for (int64_t i = 0; i < r->count && !bad; i++) bad = json_array_append_new(list, row_object(&r->rows[i], r)) != 0;
    if (!bad) bad = json_dumpf(list, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0 || fputc('\n', out) == EOF;
    json_decref(list);
    return bad ? vj_raise(VJ_ERR_LIBRARY, "the results could not be written as JSON") : VJ_OK;
}

#define CSV_BEGIN "task,encoder,pooling,labels_percent,"

static vj_status write_csv(FILE *out, const vj_report *r)
{
    vj_columns_csv_head(out);
    for (int64_t i = 0; i < r->count; i++) vj_columns_csv_row(out, &r->rows[i]);
    return VJ_OK;
}

static vj_status write_differences(FILE *out, const vj_report *r)
{
    vj_differences_csv(out, r->differences);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ Markdown */

#define MARKDOWN_BEGIN "Top-1 accuracy in percent on the validation clips"

/* Print the first cells of a line. */
static void begin_line(FILE *out, const vj_probe_row *row)
{
    fputc('|', out);
    vj_put_markdown_cell(out, row->task);
    vj_put_markdown_cell(out, row->kind);
    fprintf(out, " %g %% |", row->labels);
}

/* Find the first row of each encoder, in the order in which they occur; returns their number. */
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

/* Return the row of a line and an encoder; with NULL, of any encoder. NULL if there is none. */
static const vj_probe_row *find(const vj_probe_row *rows, int64_t count, const vj_probe_row *line, const char *encoder)
{
    for (int64_t i = 0; i < count; i++)
        if (same_line(&rows[i], line) && (!encoder || strcmp(rows[i].encoder, encoder) == 0)) return &rows[i];
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

/* Print "80.4 (0.4) [79.4, 81.4] 99.1": mean, standard deviation over seeds, interval, and top-5 with more than five
 * classes.
 */
static void print_cell(FILE *out, const vj_probe_row *row)
{
    double low, high;
    vj_probe_row_interval(row, &low, &high);
    fprintf(out, " %.1f", row->top1_mean);
    if (row->seeds > 1) fprintf(out, " (%.1f)", row->top1_std);
    /* The interval of a few seeds may go below 0 or above 100 %. */
    fprintf(out, " [%.1f, %.1f]", fmax(0.0, low), fmin(100.0, high));
    if (row->classes > VJ_TOP && !isnan(row->top5)) fprintf(out, " %.1f", row->top5);
    fprintf(out, " |");
}

/* Explain the cells. */
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

/* Print how the probes were trained, if that is known and the same in all rows; ridge probes have no epochs. */
static void print_protocol(FILE *out, const vj_probe_row *rows, int64_t count)
{
    const vj_probe_row *first = &rows[0];
    int64_t failed = 0, low = first->epochs, high = first->epochs;
    if (!*first->features) return;
    for (int64_t i = 0; i < count; i++) {
        if (!*rows[i].features && rows[i].epochs == 0) continue;
        if (strcmp(rows[i].features, first->features) != 0 || strcmp(rows[i].preset, first->preset) != 0 ||
            strcmp(rows[i].split, first->split) != 0 || strcmp(rows[i].views, first->views) != 0 ||
            strcmp(rows[i].precision, first->precision) != 0)
            return;
        failed += rows[i].failed;
        if (rows[i].epochs < low) low = rows[i].epochs;
        if (rows[i].epochs > high) high = rows[i].epochs;
    }
    fprintf(out, "\nFeatures: %s. Preset: %s. Labels drawn by: %s. ", first->features, first->preset, first->split);
    if (*first->views) fprintf(out, "Views: %s (frames x clips x crops). ", first->views);
    if (*first->precision) fprintf(out, "Precision: %s. ", first->precision);
    if (low == high)
        fprintf(out, "Epochs: %lld for every share.", (long long)low);
    else
        fprintf(out, "Epochs: %lld to %lld, so that every share has as many updates.", (long long)low, (long long)high);
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
        begin_line(out, r);
        vj_put_markdown_cell(out, r->encoder);
        vj_put_markdown_cell(out, r->paper_cell);
        fprintf(out, " %g | %.1f | %+.1f |\n", r->paper, r->top1_mean, r->top1_mean - r->paper);
    }
}

/* Print top-1 as the released code counts it, if that was requested. */
static void print_as_published(FILE *out, const vj_probe_row *rows, int64_t count)
{
    bool head = false;
    for (int64_t i = 0; i < count; i++) {
        const vj_probe_row *r = &rows[i];
        if (isnan(r->as_published)) continue;
        if (!head)
            fprintf(out,
                    "\nTop-1 as the released code counts it: mean over batches on 64 GPUs, samples that fill up the "
                    "last one counted twice.\n\n"
                    "| task | pooling | labels | encoder | as published | each sample once |\n"
                    "|---|---|---|---|---|---|\n");
        head = true;
        begin_line(out, r);
        vj_put_markdown_cell(out, r->encoder);
        fprintf(out, " %.2f | %.2f |\n", r->as_published, r->top1_mean);
    }
}

static void print_head(FILE *out, const vj_probe_row **encoder, int n, int baselines)
{
    fprintf(out, "| task | pooling | labels | clips, training / validation |");
    for (int e = 0; e < n; e++) vj_put_markdown_cell(out, encoder[e]->encoder);
    for (int e = 0; e < n; e++) {
        if (!baselines || is_baseline(encoder[e]->encoder)) continue;
        fputs(" gain of", out);
        vj_put_markdown_cell(out, encoder[e]->encoder);
        fputs(" verdict |", out);
    }
    fprintf(out, "\n|---|---|---|---|");
    for (int e = 0; e < n; e++)
        fprintf(out, "---|%s", baselines && !is_baseline(encoder[e]->encoder) ? "---|---|" : "");
    fputc('\n', out);
}

/* Print the effective rank of each encoder's token features, if it is known: vjepa-embed measures it. */
static void print_ranks(FILE *out, const vj_probe_row **encoder, int n)
{
    int known = 0;
    for (int e = 0; e < n; e++) known += !isnan(encoder[e]->effective_rank);
    if (known == 0) return;
    fprintf(out, "\nEffective rank of the token features (of width):");
    for (int e = 0; e < n; e++) {
        fputs(e ? ", " : " ", out);
        vj_put_markdown(out, encoder[e]->encoder);
        fputc(' ', out);
        if (isnan(encoder[e]->effective_rank))
            fprintf(out, "unknown");
        else
            fprintf(out, "%.1f (%d)", encoder[e]->effective_rank, encoder[e]->width);
    }
    fprintf(out, ".\n");
}

/* Print " 3200 (2 lost)". */
static void print_clips(FILE *out, int64_t clips, int64_t failed)
{
    fprintf(out, " %lld", (long long)clips);
    if (failed > 0) fprintf(out, " (%lld lost)", (long long)failed);
}

/* Print one line (task, kind of probe and share): a cell for each encoder, then gains over the best baseline. */
static void print_row(FILE *out, const vj_report *r, const vj_probe_row *line, const vj_probe_row **encoder, int n,
                      int baselines)
{
    const vj_probe_row *baseline = best_baseline(r->rows, r->count, line);
    begin_line(out, line);
    print_clips(out, line->training_clips, line->training_failed);
    fputs(" /", out);
    print_clips(out, line->validation_clips, line->failed);
    fputs(" |", out);
    for (int e = 0; e < n; e++) {
        const vj_probe_row *row = find(r->rows, r->count, line, encoder[e]->encoder);
        if (row)
            print_cell(out, row);
        else
            fprintf(out, " |");
    }
    for (int e = 0; e < n; e++) {
        const vj_probe_row *row = find(r->rows, r->count, line, encoder[e]->encoder);
        if (!baselines || is_baseline(encoder[e]->encoder)) continue;
        if (row && baseline)
            print_gain(out, row, baseline);
        else
            fprintf(out, " | |");
    }
    fputc('\n', out);
}

void vj_report_print(FILE *out, const vj_report *r)
{
    const vj_probe_row *encoder[VJ_MAX_ENCODERS];
    const int n = encoders_of(r->rows, r->count, encoder);
    int baselines = 0;
    for (int e = 0; e < n; e++) baselines += is_baseline(encoder[e]->encoder);
    if (n == 0) return;
    print_legend(out, r->rows, r->count);
    if (baselines)
        fprintf(out, "Gain: over the better random encoder, with its standard error; \"helps\" above two of them.\n");
    fputc('\n', out);
    print_head(out, encoder, n, baselines);
    for (int64_t i = 0; i < r->count; i++)
        if (!find(r->rows, i, &r->rows[i], NULL))
            print_row(out, r, &r->rows[i], encoder, n, baselines); /* the first row of its line */
    vj_differences_print(out, r->differences);
    print_paper(out, r->rows, r->count);
    print_as_published(out, r->rows, r->count);
    print_protocol(out, r->rows, r->count);
    print_ranks(out, encoder, n);
    if (r->notes->count > 0) fprintf(out, "\nTo know about these numbers:\n");
    for (int i = 0; i < r->notes->count; i++) {
        fputs("- ", out);
        vj_put_markdown(out, r->notes->text[i]);
        fputc('\n', out);
    }
}

static vj_status write_markdown(FILE *out, const vj_report *r)
{
    vj_report_print(out, r);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ files */

/* The files in the order of writing; the last one is written only if there are differences. */
static const struct {
    const char *name, *begin; /* begin: the first characters of each such file */
    vj_status (*write)(FILE *, const vj_report *);
} files[] = {{"results.json", "[\n  {\n    \"task\"", write_json},
             {"results.csv", CSV_BEGIN, write_csv},
             {"results.md", MARKDOWN_BEGIN, write_markdown},
             {"differences.csv", VJ_DIFFERENCES_CSV_BEGIN, write_differences}};
enum { FILES = sizeof files / sizeof files[0], DIFFERENCES = FILES - 1 };

/* Write one file; it gets its name only when it is complete. */
static vj_status write_file(const char *path, int which, const vj_report *r)
{
    vj_file file;
    VJ_TRY(vj_file_begin_anew(&file, path));
    vj_status status = files[which].write(file.stream, r);
    if (status == VJ_OK) return vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}

vj_status vj_report_check(const char *option, const char *dir)
{
    VJ_TRY(vj_output_check_folder(option, dir));
    VJ_TRY(vj_clips_check_output(option, dir));
    for (int i = 0; i < FILES; i++) {
        char path[VJ_PATH + 32];
        snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
        VJ_TRY(vj_output_check_text(path, files[i].begin));
    }
    return VJ_OK;
}

vj_status vj_report_write(const char *dir, const vj_report *r)
{
    char path[VJ_PATH + 32];
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", dir);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
        if (i != DIFFERENCES || r->differences->count > 0)
            VJ_TRY(write_file(path, i, r));
        else if (unlink(path) != 0 && errno != ENOENT)
            return vj_raise(VJ_ERR_IO, "remove %s of earlier results", path);
    }
    return VJ_OK;
}
