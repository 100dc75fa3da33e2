/*
 * Reads files of labels, which name classes and fix their numbers, in the forms in which they are published:
 *
 * Lines: NAME, numbered from 0 in the order of the lines; or NAME NUMBER, or NUMBER NAME, if the lines have the numbers
 * from 0 on in any order. A tab, comma, semicolon or blank divides name and number. A first line of column names may
 * precede lines with numbers.
 *
 * JSON: [name, ...], numbered from 0; {name: number}; or {number: name}. Numbers may be strings.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack/json.h"
#include "pack/listing.h"

static vj_status enter_class(vj_listing *l, int label, const vj_text *text, int64_t line, const char *name,
                             int64_t number)
{
    int32_t met;
    char wrong[512];
    VJ_TRY(vj_class_names_enter(l->classes, label, name, number, &met, wrong));
    return *wrong ? vj_text_refuse(text, line, "%s", wrong) : VJ_OK;
}

/* Return the value of a text that is a whole number >= 0; -1: it is not. */
static int64_t number_in(const char *text)
{
    char *end;
    if (*text < '0' || *text > '9') return -1;
    const long long number = strtoll(text, &end, 10);
    return *end == '\0' && number < VJ_MAX_CLASSES ? number : -1;
}

/* Remove quotes around a name; some published files have them inside their texts. */
static char *without_quotes(char *name)
{
    const size_t length = strlen(name);
    if (length < 2 || *name != '"' || name[length - 1] != '"') return name;
    name[length - 1] = '\0';
    return name + 1;
}

/* ------------------------------------------------------------------------------------------------ JSON */

static size_t read_bytes(void *buffer, size_t bytes, void *user)
{
    size_t n = 0;
    for (int byte; n < bytes && (byte = vj_text_next(user)) >= 0; n++) ((char *)buffer)[n] = (char)byte;
    return n;
}

/* Read one member of {name: number} or {number: name}. */
static vj_status read_pair(vj_listing *l, int label, const vj_text *text, const char *key, const json_t *value)
{
    char name[VJ_CLASS_NAME + 2];
    const char *word = json_string_value(value);
    int64_t number = word ? number_in(word) : json_is_integer(value) ? (int64_t)json_integer_value(value) : -1;
    if (number < 0 && word) {
        number = number_in(key);
        key = word;
    }
    if (number < 0) return vj_text_refuse(text, 1, "class \"%.200s\" has no number from 0 on", key);
    snprintf(name, sizeof name, "%s", key);
    return enter_class(l, label, text, 1, without_quotes(name), number);
}

static vj_status read_json(vj_listing *l, int label, vj_text *text)
{
    const char *key;
    json_t *value;
    size_t i;
    json_error_t error;
    vj_status status = VJ_OK;
    json_t *all = json_load_callback(read_bytes, text, JSON_REJECT_DUPLICATES, &error);
    if (!all) return vj_text_refuse(text, error.line, "this is not JSON: %s", error.text);
    json_object_foreach(all, key, value)
    {
        if (status == VJ_OK) status = read_pair(l, label, text, key, value);
    }
    json_array_foreach(all, i, value)
    {
        if (status == VJ_OK && !json_is_string(value))
            status = vj_text_refuse(text, 1, "item %zu of the list is no text, so it names no class", i);
        if (status == VJ_OK) status = enter_class(l, label, text, 1, json_string_value(value), (int64_t)i);
    }
    json_decref(all);
    return status;
}

/* ------------------------------------------------------------------------------------------------ lines */

typedef struct {
    char *text; /* owned */
    int64_t line;
} class_line;

typedef struct {
    class_line *line; /* [count], owned */
    int64_t count, room;
} class_lines;

/* Whether the number is before or after the divider in a line. */
typedef enum { NUMBER_LAST, NUMBER_FIRST } number_side;

/* Return the number in a line, -1 if there is none on this side; *name: the beginning of the name, of *length bytes. */
static int64_t split_line(const char *text, char divider, number_side side, const char **name, size_t *length)
{
    char number[16];
    const char *at = side == NUMBER_LAST ? strrchr(text, divider) : strchr(text, divider);
    if (!at || at == text) return -1;
    const char *begin = side == NUMBER_LAST ? at + 1 : text, *end = side == NUMBER_LAST ? text + strlen(text) : at;
    begin += strspn(begin, " \t");
    while (end > begin && strchr(" \t", end[-1])) end--;
    if (snprintf(number, sizeof number, "%.*s", (int)(end - begin), begin) >= (int)sizeof number) return -1;
    *name = side == NUMBER_LAST ? text : at + 1 + strspn(at + 1, " \t");
    const char *name_end = side == NUMBER_LAST ? at : text + strlen(text);
    while (name_end > *name && strchr(" \t", name_end[-1])) name_end--;
    *length = (size_t)(name_end - *name);
    return *length > 0 ? number_in(number) : -1;
}

/*
 * Return whether the lines from `first` on have the numbers 0, 1, ... on this side, each once. Lines with equal names
 * are not numbered: "digit 0", "digit 1" are names that end in numbers. `seen` [count] is scratch.
 */
static bool are_numbered(const class_lines *lines, int64_t first, char divider, number_side side, bool *seen)
{
    const int64_t n = lines->count - first;
    const char *name, *before = "";
    size_t length, before_length = 0;
    memset(seen, 0, (size_t)lines->count * sizeof *seen);
    for (int64_t i = first; i < lines->count; i++) {
        const int64_t number = split_line(lines->line[i].text, divider, side, &name, &length);
        if (number < 0 || number >= n || seen[number]) return false;
        if (length == before_length && memcmp(name, before, length) == 0) return false;
        seen[number] = true;
        before = name;
        before_length = length;
    }
    return n > 0;
}

static vj_status enter_numbered(vj_listing *l, int label, const vj_text *text, const class_lines *lines, int64_t first,
                                char divider, number_side side)
{
    char name[VJ_CLASS_NAME + 2];
    const char *begin;
    size_t length;
    for (int64_t i = first; i < lines->count; i++) {
        const int64_t number = split_line(lines->line[i].text, divider, side, &begin, &length);
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), begin);
        VJ_TRY(enter_class(l, label, text, lines->line[i].line, without_quotes(name), number));
    }
    return VJ_OK;
}

static vj_status enter_lines(vj_listing *l, int label, const vj_text *text, const class_lines *lines)
{
    static const char dividers[] = "\t,; ";
    const int64_t before = l->classes->of[label].count;
    bool *seen = vj_calloc(lines->count + 1, sizeof *seen);
    if (!seen) return vj_raise(VJ_ERR_MEMORY, "no memory for the classes of %s", text->name);
    for (const char *divider = dividers; *divider; divider++)
        for (int form = 0; form < 4; form++) {
            const int64_t first = form / 2; /* 1: after a line of column names */
            const number_side side = form % 2 ? NUMBER_FIRST : NUMBER_LAST;
            if ((first == 1 && *divider == ' ') || !are_numbered(lines, first, *divider, side, seen)) continue;
            free(seen);
            return enter_numbered(l, label, text, lines, first, *divider, side);
        }
    free(seen);
    for (int64_t i = 0; i < lines->count; i++) {
        const class_line *at = &lines->line[i];
        char *name = without_quotes(at->text);
        if (vj_class_names_of_number(l->classes, label, at->line - 1) < 0 &&
            vj_class_names_find(l->classes, label, name) >= before)
            return vj_text_refuse(text, at->line, "class \"%.200s\" is named twice", name);
        VJ_TRY(enter_class(l, label, text, at->line, name, at->line - 1));
    }
    return VJ_OK;
}

static vj_status add_line(class_lines *lines, const char *text, int64_t number)
{
    if (lines->count == lines->room) {
        const int64_t room = lines->room ? 2 * lines->room : 256;
        class_line *grown = realloc(lines->line, (size_t)room * sizeof *grown);
        if (!grown) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld class names", (long long)room);
        lines->line = grown;
        lines->room = room;
    }
    lines->line[lines->count] = (class_line){strdup(text), number};
    if (!lines->line[lines->count].text) return vj_raise(VJ_ERR_MEMORY, "no memory for a class name");
    lines->count++;
    return VJ_OK;
}

static vj_status read_lines(vj_listing *l, int label, vj_text *text)
{
    class_lines lines = {0};
    char *line = malloc(VJ_RECORD_BYTES);
    int64_t length = 0;
    vj_status status = line ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    while (status == VJ_OK) {
        const int64_t number = text->line;
        status = vj_text_line(text, line, &length);
        if (status != VJ_OK || length < 0) break;
        while (length > 0 && strchr(" \t", line[length - 1])) line[--length] = '\0';
        if (length > 0 && number > VJ_MAX_CLASSES)
            status = vj_text_refuse(text, number, "more than %d classes", VJ_MAX_CLASSES);
        else if (length > 0)
            status = add_line(&lines, line, number);
    }
    if (status == VJ_OK) status = enter_lines(l, label, text, &lines);
    for (int64_t i = 0; i < lines.count; i++) free(lines.line[i].text);
    free(lines.line);
    free(line);
    return status;
}

/* Return whether a file is JSON: an object, or an array of strings. "[something] falling" is the name of a class. */
static bool is_json(const char *begin, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && strchr(" \t\r\n", begin[at])) at++;
    if (at == bytes || begin[at] != '[') return at < bytes && begin[at] == '{';
    for (at++; at < bytes && strchr(" \t\r\n", begin[at]);) at++;
    return at < bytes && (begin[at] == '"' || begin[at] == ']');
}

vj_status vj_listing_fix_classes(vj_listing *l, int label)
{
    vj_text text;
    size_t bytes;
    const char *path = l->settings->labels;
    vj_label_classes *c = &l->classes->of[label];
    if (*path == '\0' || l->fixed & 1U << label) return VJ_OK;
    if (c->kind == VJ_LABEL_NUMBERS)
        return vj_raise(VJ_ERR_FORMAT, "label %s is given as numbers in %s, and by the names of %s here",
                        l->names->label_names[label], c->place, path);
    vj_status status = vj_text_open(&text, path, "labels");
    if (status == VJ_OK) {
        const char *begin = vj_text_begin(&text, &bytes);
        status = is_json(begin, bytes) ? read_json(l, label, &text) : read_lines(l, label, &text);
    }
    vj_text_close(&text);
    c->kind = VJ_LABEL_NAMES;
    snprintf(c->place, sizeof c->place, "%s", path);
    l->fixed |= 1U << label;
    return status;
}
