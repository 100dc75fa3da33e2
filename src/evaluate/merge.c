/* Merges the results of the parts of a campaign into one folder. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/csv_table.h"
#include "base/file.h"
#include "evaluate/parts.h"
#include "probe/attention_file.h"
#include "probe/part.h"

static void path_in_part(char path[VJ_FILE_PATH], const char *dir, int index, int parts, const char *name)
{
    char ending[64];
    snprintf(ending, sizeof ending, "/%s", name);
    vj_part_path(path, dir, &(vj_campaign_part){.index = index, .count = parts}, ending);
}

/* ------------------------------------------------------------------------------------------------ heads.csv */

/* The file heads.csv of one part, and the columns that tell to which row of the table a head belongs. */
typedef struct {
    vj_csv_table csv;
    int task, encoder, pooling, labels;
} heads;

static bool is_of(const heads *h, int64_t line, const vj_probe_row *row)
{
    char labels[32];
    snprintf(labels, sizeof labels, "%g", row->labels);
    return strcmp(vj_csv_table_text(&h->csv, line, h->task), row->task) == 0 &&
           strcmp(vj_csv_table_text(&h->csv, line, h->encoder), row->encoder) == 0 &&
           strcmp(vj_csv_table_text(&h->csv, line, h->pooling), row->kind) == 0 &&
           strcmp(vj_csv_table_text(&h->csv, line, h->labels), labels) == 0;
}

static void write_line(FILE *out, const vj_csv_table *csv, int64_t line)
{
    for (int i = 0; i < csv->columns; i++) {
        if (i) fputc(',', out);
        vj_csv_put_text(out, vj_csv_table_text(csv, line, i));
    }
    fputc('\n', out);
}

/* Write the lines of all parts in the order of the rows. */
static void write_heads(FILE *out, const heads *part, int parts, const vj_probe_row *rows, int64_t count)
{
    bool head = false;
    for (int64_t r = 0; r < count; r++)
        for (int k = 0; k < parts; k++)
            for (int64_t line = 0; line < part[k].csv.rows; line++) {
                if (!is_of(&part[k], line, &rows[r])) continue;
                if (!head) write_line(out, &part[k].csv, -1);
                head = true;
                write_line(out, &part[k].csv, line);
            }
}

static vj_status read_heads(heads *h, const char *dir, int index, int parts)
{
    char path[VJ_FILE_PATH];
    path_in_part(path, dir, index, parts, "heads.csv");
    if (access(path, F_OK) != 0) return VJ_OK; /* a part without rows */
    VJ_TRY(vj_csv_table_read(&h->csv, path));
    h->task = vj_csv_table_column(&h->csv, "task");
    h->encoder = vj_csv_table_column(&h->csv, "encoder");
    h->pooling = vj_csv_table_column(&h->csv, "pooling");
    h->labels = vj_csv_table_column(&h->csv, "labels_percent");
    return VJ_OK;
}

static vj_status join_heads(const char *dir, int parts)
{
    char path[VJ_FILE_PATH];
    heads *part = vj_calloc(parts, sizeof *part);
    vj_probe_row *rows = NULL;
    vj_notes notes = {0};
    vj_file file;
    int64_t count;
    vj_status status = part ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d parts", parts);
    for (int k = 0; status == VJ_OK && k < parts; k++) status = read_heads(&part[k], dir, k + 1, parts);
    if (status == VJ_OK) status = vj_part_read_all(&rows, &count, &notes, dir, parts);
    snprintf(path, sizeof path, "%.*s/heads.csv", VJ_PATH - 1, dir);
    if (status == VJ_OK) status = vj_file_begin_anew(&file, path);
    if (status == VJ_OK) {
        write_heads(file.stream, part, parts, rows, count);
        status = vj_file_commit(&file);
        vj_file_rollback(&file);
    }
    for (int k = 0; part && k < parts; k++) vj_csv_table_release(&part[k].csv);
    vj_notes_release(&notes);
    free(rows);
    free(part);
    return status;
}

/* ------------------------------------------------------------------------------------------------ attention.h5 */

/* Move the maps of `more` to the end of `all`. Both must show the same samples. */
static vj_status add_maps(vj_attention *all, vj_attention *more)
{
    vj_attention_map *map = realloc(all->map, (size_t)(all->count + more->count) * sizeof *map);
    if (!map) return vj_raise(VJ_ERR_MEMORY, "no memory for the attention of %lld probes", (long long)more->count);
    all->map = map;
    memcpy(all->map + all->count, more->map, (size_t)more->count * sizeof *map);
    all->count += more->count;
    more->count = 0;
    return VJ_OK;
}

static bool show_the_same(const vj_attention *a, const vj_attention *b)
{
    return a->samples == b->samples && a->segments == b->segments && a->t == b->t && a->y == b->y && a->x == b->x &&
           memcmp(a->clip, b->clip, (size_t)a->samples * sizeof *a->clip) == 0;
}

static vj_status join_attention(const char *dir, int parts)
{
    char path[VJ_FILE_PATH];
    vj_attention all = {0};
    vj_status status = VJ_OK;
    for (int k = 1; status == VJ_OK && k <= parts; k++) {
        vj_attention one = {0};
        path_in_part(path, dir, k, parts, VJ_ATTENTION_FILE);
        if (access(path, F_OK) != 0) continue;
        status = vj_attention_read(&one, path);
        if (status == VJ_OK && all.count == 0) {
            all = one;
            continue;
        }
        if (status == VJ_OK && show_the_same(&all, &one)) status = add_maps(&all, &one);
        vj_attention_release(&one);
    }
    snprintf(path, sizeof path, "%.*s/" VJ_ATTENTION_FILE, VJ_PATH - 1, dir);
    if (status == VJ_OK && all.count > 0) status = vj_attention_may_replace(path);
    if (status == VJ_OK && all.count > 0) status = vj_attention_write(&all, path);
    vj_attention_release(&all);
    return status;
}

/* ------------------------------------------------------------------------------------------------ all */

vj_status vj_evaluate_merge(const char *dir, int parts)
{
    char path[VJ_FILE_PATH], text[32];
    VJ_TRY(vj_part_merge(dir, parts));
    VJ_TRY(join_heads(dir, parts));
    VJ_TRY(join_attention(dir, parts));
    snprintf(path, sizeof path, "%.*s/complete", VJ_PATH - 1, dir);
    snprintf(text, sizeof text, "%d parts\n", parts);
    return vj_file_put_text(path, text);
}
