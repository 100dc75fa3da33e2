/*
 * Writes the table of ridge probes (docs/formats.md, "Results of probes"). Rows of vjepa-probe and vjepa-evaluate in
 * the same folder are kept, with everything that their objects in results.json contain.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "probe/columns.h"
#include "spectrum/ridge.h"

static const char kind[] = "ridge";

typedef struct {
    const char *dir;
    json_t *list; /* of all rows, in the order of the table */
    vj_probe_row *rows;
    int64_t count;
    vj_differences differences; /* of other probes; owned */
    vj_notes *notes;
} table;

/* ------------------------------------------------------------------------------------------------ what is there */

/* Keep the rows of other probes, and notes on them. */
static vj_status keep_others(table *t, json_t *there, const char *path)
{
    size_t i, n;
    json_t *object, *note;
    vj_probe_row row;
    json_array_foreach(there, i, object)
    {
        if (!vj_columns_from_json(&row, object))
            return vj_raise(VJ_ERR_FORMAT,
                            "%s: entry %zu is no row of results of this version: give --table another "
                            "folder",
                            path, i);
        if (strcmp(row.kind, kind) == 0) continue; /* of an earlier run */
        json_array_append(t->list, object);
        VJ_TRY(vj_differences_add_json(&t->differences, row.task, row.kind, row.labels, row.encoder,
                                       json_object_get(object, "differences")));
        json_array_foreach(json_object_get(object, "notes"), n, note)
        {
            if (json_is_string(note)) VJ_TRY(vj_notes_add(t->notes, "%s", json_string_value(note)));
        }
    }
    return VJ_OK;
}

static vj_status read_others(table *t)
{
    char path[VJ_PATH + 32];
    json_error_t error;
    snprintf(path, sizeof path, "%s/results.json", t->dir);
    if (access(path, F_OK) != 0) return VJ_OK;
    json_t *there = json_load_file(path, 0, &error);
    if (!there) return vj_raise(VJ_ERR_FORMAT, "%s, line %d: %s", path, error.line, error.text);
    const vj_status status = keep_others(t, there, path);
    json_decref(there);
    return status;
}

/* ------------------------------------------------------------------------------------------------ ours */

/* Give the encoder the name that other rows use for the same weights. */
static void settle_name(const table *t, vj_probe_row *row)
{
    size_t i;
    json_t *object;
    vj_probe_row other;
    json_array_foreach(t->list, i, object)
    {
        if (row->encoder_digest == 0 || !vj_columns_from_json(&other, object) ||
            other.encoder_digest != row->encoder_digest)
            continue;
        memcpy(row->encoder, other.encoder, sizeof row->encoder);
        return;
    }
}

/* Return the index after the last row of the task, or the end if it has no rows. */
static size_t place_of(const table *t, const char *task)
{
    size_t i, place = json_array_size(t->list);
    json_t *object;
    json_array_foreach(t->list, i, object)
    {
        const char *of = json_string_value(json_object_get(object, "task"));
        if (of && strcmp(of, task) == 0) place = i + 1;
    }
    return place;
}

static vj_status add_ours(table *t, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    for (int64_t i = 0; i < count; i++) {
        vj_probe_row row = rows[i];
        settle_name(t, &row);
        json_t *object = vj_columns_to_json(&row, true), *list = json_array();
        for (int n = 0; n < notes->count; n++) json_array_append_new(list, vj_json_text(notes->text[n]));
        if (json_object_set_new(object, "notes", list) != 0 ||
            json_array_insert_new(t->list, place_of(t, row.task), object) != 0)
            return vj_raise(VJ_ERR_MEMORY, "no memory for the table of results");
    }
    return VJ_OK;
}

/* Convert t->list to t->rows. */
static vj_status take_rows(table *t)
{
    size_t i;
    json_t *object;
    t->rows = vj_calloc((int64_t)json_array_size(t->list) + 1, sizeof *t->rows);
    if (!t->rows) return vj_raise(VJ_ERR_MEMORY, "no memory for the table of results");
    json_array_foreach(t->list, i, object) VJ_ASSERT(vj_columns_from_json(&t->rows[t->count++], object));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ files */

static vj_status write_json(FILE *out, const table *t)
{
    if (json_dumpf(t->list, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0 && fputc('\n', out) != EOF) return VJ_OK;
    return vj_raise(VJ_ERR_LIBRARY, "the results could not be written as JSON");
}

static vj_status write_csv(FILE *out, const table *t)
{
    vj_columns_csv_head(out);
    for (int64_t i = 0; i < t->count; i++) vj_columns_csv_row(out, &t->rows[i]);
    return VJ_OK;
}

static vj_status write_markdown(FILE *out, const table *t)
{
    vj_report_print(out, &(vj_report){t->rows, t->count, &t->differences, t->notes});
    return VJ_OK;
}

static vj_status write_file(const table *t, const char *name, vj_status (*write)(FILE *, const table *))
{
    char path[VJ_PATH + 32];
    vj_file file;
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    VJ_TRY(vj_file_begin_anew(&file, path));
    const vj_status status = write(file.stream, t);
    if (status == VJ_OK) return vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}

static vj_status join(table *t, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    VJ_TRY(read_others(t));
    VJ_TRY(add_ours(t, rows, count, notes));
    for (int i = 0; i < notes->count; i++) VJ_TRY(vj_notes_add(t->notes, "%s", notes->text[i]));
    VJ_TRY(take_rows(t));
    if (mkdir(t->dir, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", t->dir);
    VJ_TRY(write_file(t, "results.json", write_json));
    VJ_TRY(write_file(t, "results.csv", write_csv));
    return write_file(t, "results.md", write_markdown);
}

vj_status vj_ridge_table_write(const char *dir, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    vj_notes all = {0};
    table t = {.dir = dir, .list = json_array(), .notes = &all};
    const vj_status status = t.list ? join(&t, rows, count, notes) : vj_raise(VJ_ERR_MEMORY, "no memory for a table");
    json_decref(t.list);
    free(t.rows);
    vj_differences_release(&t.differences);
    vj_notes_release(&all);
    return status;
}
