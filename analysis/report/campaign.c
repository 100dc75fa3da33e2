/* Reads the results of probe campaigns. */
#include "report/campaign.h"

#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "probe/metrics.h"
#include "report/inside.h"
#include "report/pages.h"

/* The names in results.json and results.csv of the members of a row. */
typedef struct {
    const char *json, *csv;
    bool is_text;
    size_t at; /* offset in vj_result */
} field;
#define AT(member) offsetof(vj_result, member)
static const field fields[] = {
    {"task", "task", true, AT(task)},
    {"encoder", "encoder", true, AT(encoder)},
    {"pooling", "pooling", true, AT(probe)},
    {"labels", "labels_percent", false, AT(labels)},
    {"training_clips", "training_clips", false, AT(training_clips)},
    {"validation_clips", "validation_clips", false, AT(validation_clips)},
    {"seeds", "seeds", false, AT(seeds)},
    {"top1_mean", "top1_mean_percent", false, AT(top1)},
    {"top1_std", "top1_std_percent", false, AT(sd)},
    {"effective_rank", "effective_rank", false, AT(effective_rank)},
    {"top5_mean", "top5_mean_percent", false, AT(top5)},
    {"mean_class", "mean_class_percent", false, AT(mean_class)},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static void set_field(vj_result *r, const field *f, const char *text, double number)
{
    memcpy((char *)r + f->at, f->is_text ? (const void *)&text : &number, f->is_text ? sizeof text : sizeof number);
}

/* Add a row, whose texts are copied. Returns NULL, and adds none, if it is incomplete. */
static vj_result *add_row(vj_campaign_results *c, const vj_result *from)
{
    vj_result r = *from;
    if (!r.task || !*r.task || !r.encoder || !*r.encoder || !(r.top1 >= 0.0 && r.top1 <= 100.0)) {
        c->odd++;
        return NULL;
    }
    r.task = vj_report_copy(r.task);
    r.encoder = vj_report_copy(r.encoder);
    r.probe = vj_report_copy(r.probe);
    const double half = vj_mean_half_width(r.sd, r.seeds);
    r.low = r.top1 - half;
    r.high = r.top1 + half;
    vj_wilson_interval(r.top1 / 100.0, r.validation_clips, &r.wilson_low, &r.wilson_high);
    r.wilson_low *= 100.0;
    r.wilson_high *= 100.0;
    c->rows = vj_report_room(c->rows, c->count, sizeof *c->rows);
    c->rows[c->count++] = r;
    return &c->rows[c->count - 1];
}

/* ------------------------------------------------------------------------------------------------ JSON */

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void add_note(vj_campaign_results *c, const char *text)
{
    for (int i = 0; i < c->note_count; i++)
        if (strcmp(c->notes[i], text) == 0) return;
    c->notes = vj_report_room(c->notes, c->note_count, sizeof *c->notes);
    c->notes[c->note_count++] = vj_report_copy(text);
}

/* Read a square array of counts from "confusion", and names of its classes from "classes"; anything else is ignored.
 * The counts may be sums over several seeds. */
static void add_confusion(vj_result *r, const json_t *o)
{
    enum { MAX_ROWS = 1024 };
    const json_t *matrix = json_object_get(o, "confusion"), *names = json_object_get(o, "classes");
    const size_t n = json_array_size(matrix);
    double all = 0.0;
    if (n == 0 || n > MAX_ROWS) return;
    for (size_t i = 0; i < n; i++)
        if (json_array_size(json_array_get(matrix, i)) != n) return;
    vj_status status = vj_per_class_begin(&r->by_class, (int)n);
    for (size_t i = 0; i < n * n && status == VJ_OK; i++) {
        const double clips = json_number_value(json_array_get(json_array_get(matrix, i / n), i % n));
        if (clips > 0.0) all += clips;
        status = vj_per_class_add(&r->by_class, (int)(i / n), (int)(i % n), clips);
    }
    const bool several = r->validation_clips >= 1.0 && all > r->validation_clips;
    if (status == VJ_OK) status = vj_per_class_finish(&r->by_class, several ? llround(all / r->validation_clips) : 1);
    if (status != VJ_OK) vj_per_class_release(&r->by_class);
    if (status != VJ_OK || json_array_size(names) != n) return;
    r->class_names = vj_report_memory((int64_t)n, sizeof *r->class_names);
    for (size_t i = 0; i < n; i++) r->class_names[i] = vj_report_copy(json_string_value(json_array_get(names, i)));
}

static double number_at(const json_t *object, const char *key, size_t i)
{
    const json_t *value = json_array_get(json_object_get(object, key), i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Read the differences. Entries without the name of another encoder or without a number are left out. */
static void add_differences(vj_result *r, const json_t *list)
{
    size_t i;
    const json_t *o;
    json_array_foreach(list, i, o)
    {
        const char *minus = json_string_value(json_object_get(o, "minus"));
        const char *verdict = json_string_value(json_object_get(o, "verdict"));
        if (!minus || isnan(number_of(o, "difference"))) continue;
        r->differences = vj_report_room(r->differences, r->difference_count, sizeof *r->differences);
        r->differences[r->difference_count++] =
            (vj_result_difference){.minus = vj_report_copy(minus),
                                   .verdict = vj_report_copy(verdict),
                                   .difference = number_of(o, "difference"),
                                   .seeds = number_of(o, "seeds"),
                                   .low = number_at(o, "t_interval", 0),
                                   .high = number_at(o, "t_interval", 1),
                                   .clips_low = number_at(o, "bootstrap_interval", 0),
                                   .clips_high = number_at(o, "bootstrap_interval", 1),
                                   .p_least = number_at(o, "mcnemar_p", 0),
                                   .p_most = number_at(o, "mcnemar_p", 1)};
    }
}

static void add_object(vj_campaign_results *c, const json_t *o)
{
    size_t i;
    const json_t *note;
    vj_result from = {0};
    for (size_t f = 0; f < FIELDS; f++) {
        const json_t *value = json_object_get(o, fields[f].json);
        set_field(&from, &fields[f], json_string_value(value), json_is_number(value) ? json_number_value(value) : NAN);
    }
    vj_result *row = add_row(c, &from);
    if (row) add_confusion(row, o);
    if (row) add_differences(row, json_object_get(o, "differences"));
    json_array_foreach(json_object_get(o, "notes"), i, note)
    {
        if (json_is_string(note)) add_note(c, json_string_value(note));
    }
}

static vj_status read_json(vj_campaign_results *c, const char *path)
{
    const int64_t max_bytes = 256 << 20;
    char why[VJ_PATH + 256];
    size_t i;
    const json_t *row;
    json_t *list = vj_page_json(path, max_bytes, why, sizeof why);
    if (!list) return vj_raise(VJ_ERR_FORMAT, "%s", why);
    const bool is_list = json_is_array(list), is_empty = is_list && json_array_size(list) == 0;
    json_array_foreach(list, i, row) add_object(c, row);
    json_decref(list);
    if (is_empty) return vj_raise(VJ_ERR_FORMAT, "%s has no results: no probe was measured", path);
    return c->count > 0 ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s is no list of results", path);
}

/* ------------------------------------------------------------------------------------------------ CSV */

static vj_status read_csv(vj_campaign_results *c, const char *path)
{
    vj_csv_table csv;
    vj_status status = vj_csv_table_read(&csv, path);
    c->odd += csv.odd;
    for (int64_t r = 0; r < csv.rows && status == VJ_OK; r++) {
        vj_result from = {0};
        for (size_t f = 0; f < FIELDS; f++) {
            const int column = vj_csv_table_column(&csv, fields[f].csv);
            set_field(&from, &fields[f], vj_csv_table_text(&csv, r, column), vj_csv_table_number(&csv, r, column));
        }
        add_row(c, &from);
    }
    if (status == VJ_OK && c->count == 0) status = vj_raise(VJ_ERR_FORMAT, "%s holds no results", path);
    vj_csv_table_release(&csv);
    return status;
}

vj_status vj_campaign_read(vj_campaign_results *c, const char *path)
{
    char file[VJ_PATH + 32];
    struct stat info;
    memset(c, 0, sizeof *c);
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode))
        return vj_page_begins(path, "[") ? read_json(c, path) : read_csv(c, path);
    const bool json = vj_page_has(path, "results.json");
    if (!json && !vj_page_has(path, "results.csv"))
        return vj_raise(VJ_ERR_FORMAT, "%s has no results yet: the evaluation is at work, or was interrupted", path);
    if (snprintf(file, sizeof file, "%s/results.%s", path, json ? "json" : "csv") >= (int)sizeof file)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    return json ? read_json(c, file) : read_csv(c, file);
}

void vj_campaign_release(vj_campaign_results *c)
{
    for (int64_t r = 0; r < c->count; r++) {
        free(c->rows[r].task);
        free(c->rows[r].encoder);
        free(c->rows[r].probe);
        for (int64_t i = 0; i < c->rows[r].difference_count; i++) {
            free(c->rows[r].differences[i].minus);
            free(c->rows[r].differences[i].verdict);
        }
        free(c->rows[r].differences);
        vj_report_free_names(c->rows[r].class_names, c->rows[r].by_class.classes);
        vj_per_class_release(&c->rows[r].by_class);
    }
    free(c->rows);
    vj_report_free_names(c->notes, c->note_count);
    memset(c, 0, sizeof *c);
}

/* ------------------------------------------------------------------------------------------------ tables */

bool vj_result_same_probe(const vj_result *a, const vj_result *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->probe, b->probe) == 0;
}

void vj_campaign_put(vj_table *t, const vj_result *r)
{
    vj_row_text(t, "task", "%s", r->task);
    vj_row_text(t, "probe", "%s", r->probe);
    vj_row_text(t, "encoder", "%s", r->encoder);
}
