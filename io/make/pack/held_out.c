/* Reads ids of held-out files and looks them up. */
#include "pack/held_out.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "pack/csv.h"
#include "pack/json.h"
#include "pack/manifest.h"

static vj_status enter(vj_held_out *h, const char *id)
{
    int64_t first;
    h->entries++;
    h->digest = XXH3_64bits_withSeed(id, strlen(id) + 1, h->digest);
    return vj_hashmap_put(&h->ids, id, 0, &first);
}

static vj_status enter_path(vj_held_out *h, const char *path)
{
    char id[VJ_MEDIA_PATH];
    vj_media_id(id, path);
    return enter(h, id);
}

/* ------------------------------------------------------------------------------------------------ forms */

static const char *const columns[] = {"youtube_id", "video_id", "id", "path"}; /* all but the last are ids */
enum { COLUMNS = sizeof columns / sizeof columns[0] };

static vj_status read_csv(vj_held_out *h, vj_text *text, vj_csv *csv)
{
    int column = -1, is_path = 0;
    VJ_TRY(vj_csv_read(csv, text));
    for (int i = 0; i < COLUMNS && column < 0; i++) {
        column = vj_csv_column(csv, columns[i]);
        is_path = i == COLUMNS - 1;
    }
    if (column < 0) return vj_text_refuse(text, csv->line, "the header has no column youtube_id, video_id, id or path");
    for (;;) {
        VJ_TRY(vj_csv_read(csv, text));
        if (csv->fields == 0) return VJ_OK;
        if (column >= csv->fields) return vj_text_refuse(text, csv->line, "the record has too few fields");
        VJ_TRY(is_path ? enter_path(h, csv->field[column]) : enter(h, csv->field[column]));
    }
}

static vj_status enter_object(void *held_out, const vj_text *text, int64_t line, json_t *object)
{
    vj_held_out *h = held_out;
    char number[32];
    const json_t *given = json_object_get(object, "id");
    const char *id = json_string_value(given);
    const char *path = json_string_value(json_object_get(object, "path"));
    if (json_is_integer(given)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(given));
        id = number;
    }
    if (!id && !path) return vj_text_refuse(text, line, "the object has neither an id nor a path that is a text");
    return id ? enter(h, id) : enter_path(h, path);
}

static int has_extension(const char *path, size_t length)
{
    size_t letters = 0;
    if (length > 0 && path[length - 1] == '"') length--;
    while (letters < length && isalnum((unsigned char)path[length - 1 - letters])) letters++;
    return letters >= 2 && letters <= 5 && letters < length && path[length - 1 - letters] == '.';
}

/* Cut the label off a line "path label". It is a number after the last divider, or a word after a file name. */
static void cut_label(char *line)
{
    for (const char *divider = "\t ,;"; *divider; divider++) {
        char *at = strrchr(line, *divider);
        if (!at) continue;
        size_t length = (size_t)(at - line);
        while (length > 0 && strchr("\t ,;", line[length - 1])) length--;
        const int number = at[1 + strspn(at + 1, "-0123456789")] == '\0';
        if (!number && (strpbrk(at + 1, "./") || !has_extension(line, length))) continue;
        line[length] = '\0';
        return;
    }
}

static vj_status read_lines(vj_held_out *h, vj_text *text)
{
    char *line = malloc(VJ_RECORD_BYTES);
    int64_t length = 0;
    vj_status status = line ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    while (status == VJ_OK) {
        status = vj_text_line(text, line, &length);
        if (status != VJ_OK || length < 0) break;
        char *path = line + strspn(line, " \t");
        while (length > 0 && strchr(" \t", line[length - 1])) line[--length] = '\0';
        cut_label(path);
        vj_text_unquote(path);
        if (*path) status = enter_path(h, path);
    }
    free(line);
    return status;
}

/* ------------------------------------------------------------------------------------------------ lists */

/* Return the separator of a CSV list, which has one of the columns in its first line; 0: not CSV. */
static char has_header(const vj_text *text)
{
    for (int i = 0; i < COLUMNS; i++)
        for (const char *separator = ",\t;"; *separator; separator++)
            if (vj_text_first_line_has(text, columns[i], *separator)) return *separator;
    return 0;
}

static vj_status read_list(vj_held_out *h, vj_text *text)
{
    size_t bytes;
    const char *begin = vj_text_begin(text, &bytes);
    size_t blank = 0;
    while (blank < bytes && strchr(" \t\r\n", begin[blank])) blank++;
    if (blank < bytes && (begin[blank] == '[' || begin[blank] == '{')) return vj_json_each(text, enter_object, h);
    const char separator = has_header(text);
    if (!separator) return read_lines(h, text);
    vj_csv *csv = malloc(sizeof *csv);
    if (csv) csv->separator = separator;
    vj_status status = csv ? read_csv(h, text, csv) : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    free(csv);
    return status;
}

vj_status vj_held_out_read(vj_held_out *h, const vj_strings *lists, const char *scratch)
{
    *h = (vj_held_out){.digest = 0};
    VJ_TRY(vj_hashmap_init(&h->ids, scratch));
    for (int i = 0; i < lists->count; i++) {
        vj_text text;
        int64_t before = h->entries;
        vj_status status = vj_text_open(&text, lists->item[i], "list of held-out ids");
        if (status == VJ_OK) status = read_list(h, &text);
        vj_text_close(&text);
        VJ_TRY(status);
        if (h->entries == before) return vj_raise(VJ_ERR_FORMAT, "%s names no id", lists->item[i]);
    }
    return VJ_OK;
}

void vj_held_out_release(vj_held_out *h)
{
    vj_hashmap_release(&h->ids);
}

int vj_held_out_has(const vj_held_out *h, const char *id, const char *path)
{
    char stem[VJ_MEDIA_PATH];
    if (vj_hashmap_find(&h->ids, id) >= 0) return 1;
    vj_media_id(stem, path);
    return vj_hashmap_find(&h->ids, stem) >= 0;
}
