/* Parts of a campaign as JSON. Numbers are written with 17 digits, so that each double is read back exactly. */
#include "probe/part.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "probe/columns.h"

#define FORMAT "vjepa-probe-part"

void vj_part_path(char path[VJ_FILE_PATH], const char *dir, const vj_campaign_part *part, const char *ending)
{
    snprintf(path, VJ_FILE_PATH, "%.*s/part_%d_of_%d%s", VJ_PATH - 1, dir, part->index, part->count, ending);
}

static void json_path(char path[VJ_FILE_PATH], const char *dir, int index, int count)
{
    vj_part_path(path, dir, &(vj_campaign_part){.index = index, .count = count}, ".json");
}

vj_status vj_part_parse(vj_campaign_part *part, const char *text)
{
    int index = 0, count = 0, end = 0;
    *part = (vj_campaign_part){0};
    if (sscanf(text, "%6d/%6d%n", &index, &count, &end) != 2 || text[end] || index < 1 || index > count ||
        count > VJ_MAX_PARTS)
        return vj_raise(VJ_ERR_USAGE, "--part takes K/N, part K of N, such as 2/8, not '%s'", text);
    part->index = index;
    part->count = count;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

static json_t *row_object(const vj_probe_row *r, int64_t number)
{
    json_t *object = vj_columns_to_json(r, false);
    if (object && json_object_set_new(object, "number", json_integer(number)) == 0) return object;
    json_decref(object);
    return NULL;
}

static json_t *part_object(const vj_campaign_part *part, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    json_t *row_list = json_array(), *note_list = json_array();
    int bad = !row_list || !note_list;
    for (int64_t i = 0; !bad && i < count; i++)
        bad = json_array_append_new(row_list, row_object(&rows[i], part->number[i])) != 0;
    for (int i = 0; !bad && i < notes->count; i++)
        bad = json_array_append_new(note_list, vj_json_text(notes->text[i])) != 0;
    if (!bad)
        return json_pack("{s:s, s:i, s:i, s:I, s:o, s:o, s:o}", "format", FORMAT, "part", part->index, "parts",
                         part->count, "rows_in_table", (json_int_t)part->total, "campaign",
                         vj_json_text(part->campaign), "notes", note_list, "rows", row_list);
    json_decref(row_list);
    json_decref(note_list);
    return NULL;
}

vj_status vj_part_write(const char *dir, const vj_campaign_part *part, const vj_probe_row *rows, int64_t count,
                        const vj_notes *notes)
{
    char path[VJ_FILE_PATH];
    vj_file file;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", dir);
    vj_part_path(path, dir, part, ".json");
    json_t *object = part_object(part, rows, count, notes);
    if (!object) return vj_raise(VJ_ERR_LIBRARY, "%s could not be written as JSON", path);
    vj_status status = vj_file_begin_anew(&file, path);
    if (status == VJ_OK) {
        if (json_dumpf(object, file.stream, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) == 0 &&
            fputc('\n', file.stream) != EOF)
            status = vj_file_commit(&file);
        else
            status = vj_raise(VJ_ERR_IO, "write %s", path);
        vj_file_rollback(&file);
    }
    json_decref(object);
    return status;
}

/* ------------------------------------------------------------------------------------------------ merging */

static vj_status wrong(const char *path, const char *what)
{
    errno = 0;
    return vj_raise(VJ_ERR_FORMAT, "%s: %s; make it again, with --part", path, what);
}

/* Read a row of a part into its place in the table. */
static vj_status read_row(vj_probe_row *rows, bool *there, int64_t total, const json_t *object, const char *path)
{
    const json_int_t number = json_integer_value(json_object_get(object, "number"));
    vj_probe_row r;
    if (!json_is_integer(json_object_get(object, "number")) || !vj_columns_from_json(&r, object) || number < 0 ||
        number >= total)
        return wrong(path, "a row is not as it should be");
    if (there[number]) return wrong(path, "it has a row that another part has too");
    rows[number] = r;
    there[number] = true;
    return VJ_OK;
}

/* The table, as far as it has been read. */
typedef struct {
    vj_probe_row *rows; /* [total] */
    bool *there;        /* [total] */
    int64_t total;      /* -1: no part was read */
    char *campaign;
    vj_notes *notes;
} table;

/* Refuse a part of another campaign, and name the first line in which the two descriptions differ. */
static vj_status refuse_campaign(const char *path, const char *first, const char *other)
{
    size_t at = 0, line = 0;
    for (; first[at] && first[at] == other[at]; at++)
        if (first[at] == '\n') line = at + 1;
    errno = 0;
    return vj_raise(VJ_ERR_FORMAT,
                    "%s: its settings, encoders or features are not those of the parts before it, which have \"%.*s\", "
                    "and it \"%.*s\"; make it again, with --part",
                    path, (int)strcspn(first + line, "\n"), first + line, (int)strcspn(other + line, "\n"),
                    other + line);
}

static vj_status take_part(table *t, const json_t *object, const char *path, int index, int count)
{
    const char *format, *campaign;
    json_int_t total;
    json_t *notes, *rows, *item;
    size_t i;
    int part, parts;
    if (json_unpack((json_t *)object, "{s:s, s:i, s:i, s:I, s:s, s:o, s:o}", "format", &format, "part", &part, "parts",
                    &parts, "rows_in_table", &total, "campaign", &campaign, "notes", &notes, "rows", &rows) != 0 ||
        strcmp(format, FORMAT) != 0 || part != index || parts != count || total < 0 || total > INT32_MAX)
        return wrong(path, "it is no part of a campaign");
    if (t->total < 0) {
        t->total = total;
        t->campaign = strdup(campaign);
        t->rows = vj_calloc(total, sizeof *t->rows);
        t->there = vj_calloc(total, sizeof *t->there);
        if (!t->campaign || !t->rows || !t->there)
            return vj_raise(VJ_ERR_MEMORY, "no memory for %lld results", (long long)total);
    }
    if (strcmp(t->campaign, campaign) != 0) return refuse_campaign(path, t->campaign, campaign);
    if (t->total != total) return wrong(path, "it is of a table with another number of rows");
    json_array_foreach(notes, i, item)
    {
        if (json_is_string(item)) VJ_TRY(vj_notes_add(t->notes, "%s", json_string_value(item)));
    }
    json_array_foreach(rows, i, item)
    {
        VJ_TRY(read_row(t->rows, t->there, t->total, item, path));
    }
    return VJ_OK;
}

static vj_status read_part(table *t, const char *dir, int index, int count)
{
    char path[VJ_FILE_PATH], message[VJ_FILE_PATH + 256];
    json_error_t error;
    json_path(path, dir, index, count);
    json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!object) {
        snprintf(message, sizeof message, "line %d: %.200s", error.line, error.text);
        return wrong(path, message);
    }
    vj_status status = take_part(t, object, path, index, count);
    json_decref(object);
    return status;
}

/* Name all missing parts, so that they can be submitted together. */
static vj_status check_there(const char *dir, int parts)
{
    char path[VJ_FILE_PATH], list[256] = "";
    size_t used = 0;
    int missing = 0;
    for (int i = 1; i <= parts; i++) {
        json_path(path, dir, i, parts);
        if (access(path, R_OK) == 0) continue;
        missing++;
        if (used < sizeof list - 16) used += (size_t)snprintf(list + used, sizeof list - used, " %d", i);
    }
    if (missing == 0) return VJ_OK;
    errno = 0;
    return vj_raise(VJ_ERR_IO, "%d of the %d parts in %s are missing:%s%s; part_K_of_%d.json is made by --part K/%d",
                    missing, parts, dir, list, used < sizeof list - 16 ? "" : " ...", parts, parts);
}

static vj_status check_rows(const table *t, const char *dir)
{
    for (int64_t i = 0; i < t->total; i++)
        if (!t->there[i])
            return vj_raise(VJ_ERR_FORMAT,
                            "row %lld of the %lld of the table is in no part in %s: make all parts again", (long long)i,
                            (long long)t->total, dir);
    return VJ_OK;
}

vj_status vj_part_read_all(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const char *dir, int parts)
{
    table t = {.total = -1, .notes = notes};
    *rows = NULL;
    *row_count = 0;
    if (parts < 1 || parts > VJ_MAX_PARTS)
        return vj_raise(VJ_ERR_USAGE, "--merge takes the number of parts, 1 to %d, not %d", VJ_MAX_PARTS, parts);
    vj_status status = check_there(dir, parts);
    for (int i = 1; status == VJ_OK && i <= parts; i++) status = read_part(&t, dir, i, parts);
    if (status == VJ_OK) status = check_rows(&t, dir);
    free(t.there);
    free(t.campaign);
    if (status != VJ_OK) {
        free(t.rows);
        return status;
    }
    *rows = t.rows;
    *row_count = t.total;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the whole table */

typedef struct {
    const vj_probe_row *rows;
    int64_t count;
} order;

/* Return the number of the row that a head belongs to. For vj_predictions_join(). */
static int64_t place_of(const void *context, const vj_head_facts *head)
{
    const order *o = context;
    int64_t i = 0;
    while (i < o->count && (strcmp(o->rows[i].task, head->task) != 0 || strcmp(o->rows[i].kind, head->kind) != 0 ||
                            o->rows[i].labels != head->labels || strcmp(o->rows[i].encoder, head->encoder) != 0))
        i++;
    return i;
}

/* Join the parts' predictions in one file. A part without rows has none. */
static vj_status merge_predictions(const char *dir, int parts, const vj_probe_row *rows, int64_t count)
{
    char to[VJ_FILE_PATH], (*path)[VJ_FILE_PATH] = vj_calloc(parts, sizeof *path);
    const char **paths = vj_calloc(parts, sizeof *paths);
    int there = 0;
    vj_status status = path && paths ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d parts", parts);
    for (int i = 0; status == VJ_OK && i < parts; i++) {
        vj_campaign_predictions_path(path[there], dir, &(vj_campaign_part){.index = i + 1, .count = parts});
        if (access(path[there], F_OK) == 0) paths[there] = path[there], there++;
    }
    vj_campaign_predictions_path(to, dir, NULL);
    if (status == VJ_OK) status = vj_predictions_may_replace(to);
    if (status == VJ_OK && there > 0) status = vj_predictions_join(to, paths, there, place_of, &(order){rows, count});
    free(paths);
    free(path);
    return status;
}

vj_status vj_part_merge(const char *dir, int parts)
{
    vj_probe_row *rows;
    vj_notes notes = {0};
    int64_t count;
    vj_status status = vj_part_read_all(&rows, &count, &notes, dir, parts);
    if (status == VJ_OK) status = merge_predictions(dir, parts, rows, count);
    if (status == VJ_OK) status = vj_campaign_report(dir, rows, count, &notes);
    free(rows);
    vj_notes_release(&notes);
    return status;
}
