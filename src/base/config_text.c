/* Settings as text: YAML that reads back to the same numbers, and the help of a program. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/settings.h"

enum { DIGITS = 6 }; /* at least, so that 100 is not printed as 1e+02 */

static void print_numbers(FILE *out, const double *values, int count)
{
    fputc('[', out);
    for (int i = 0; i < count; i++) {
        if (i > 0) fputs(", ", out);
        vj_print_real(out, values[i], DIGITS);
    }
    fputc(']', out);
}

void vj_text_quote(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\') {
            fprintf(out, "\\%c", *at);
        } else if (*at < 0x20 || *at == 0x7f) {
            fprintf(out, "\\x%02x", *at);
        } else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) { /* U+0080 to U+009F, controls too */
            fprintf(out, "\\x%02x", *++at);
        } else if (*at == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9)) { /* line, paragraph separator */
            fprintf(out, "\\u20%02x", at[2] - 0x80);
            at += 2;
        } else {
            fputc(*at, out);
        }
    }
    fputc('"', out);
}

/*
 * Print a text. Words that the table allows are not quoted, anything else is, so that no path is taken for a number or
 * a boolean.
 */
static void print_text(FILE *out, const char *text, bool word)
{
    if (word)
        fputs(text, out);
    else
        vj_text_quote(out, text);
}

static void print_texts(FILE *out, const vj_strings *list, bool words)
{
    fputc('[', out);
    for (int i = 0; i < list->count; i++) {
        if (i > 0) fputs(", ", out);
        print_text(out, list->item[i], words);
    }
    fputc(']', out);
}

static void print_value(FILE *out, const vj_setting *row, const void *base);

/* Print a list of maps, an item on each line, with the keys that its kind has. */
static void print_maps(FILE *out, const vj_setting *list, const char *config)
{
    const vj_maps *maps = vj_maps_of(list);
    int count = *(const int *)(config + maps->count_at);
    if (count == 0) fputs(" []", out);
    for (int n = 0; n < count; n++) {
        const char *item = config + list->at + (size_t)n * maps->bytes, *before = "\n    - {";
        int kind = *(const int *)(item + maps->rows[maps->kind].at);
        for (int i = 0; i < maps->count; i++) {
            const vj_setting *row = &maps->rows[i];
            if (!(row->kinds & 1U << kind)) continue;
            fprintf(out, "%s%s: ", before, row->key);
            print_value(out, row, item);
            before = ", ";
        }
        fputc('}', out);
    }
}

static void print_value(FILE *out, const vj_setting *row, const void *base)
{
    const void *value = (const char *)base + row->at;
    const char *word;
    int length;
    switch (row->type) {
    case VJ_SET_INTEGER:
        fprintf(out, "%" PRId64, row->bytes == sizeof(int) ? *(const int *)value : *(const int64_t *)value);
        break;
    case VJ_SET_NUMBER:
        if (vj_setting_has_auto(row) && *(const double *)value == VJ_AUTO)
            fputs("auto", out);
        else
            vj_print_real(out, *(const double *)value, DIGITS);
        break;
    case VJ_SET_CHOICE:
        word = vj_choice_word(row->allowed, *(const int *)value, &length);
        fprintf(out, "%.*s", length, word);
        break;
    case VJ_SET_TEXT:
        print_text(out, value, *row->allowed);
        break;
    case VJ_SET_TEXTS:
        print_texts(out, value, *row->allowed);
        break;
    case VJ_SET_RANGE:
    case VJ_SET_VECTOR:
        print_numbers(out, value, (int)(row->bytes / sizeof(double)));
        break;
    case VJ_SET_SHARES:
        print_numbers(out, value, *(const int *)((const double *)value + VJ_MAX_MASKS));
        break;
    case VJ_SET_GENERATORS:
    case VJ_SET_DATASETS:
        print_maps(out, row, base);
        break;
    }
}

/* Return the length of "section" in "section.key", and whether row i is the first of its section. */
static int section_length(int i)
{
    return (int)strcspn(vj_settings[i].key, ".");
}
static bool section_begins(int i)
{
    return i == 0 || strncmp(vj_settings[i - 1].key, vj_settings[i].key, (size_t)section_length(i) + 1) != 0;
}

void vj_config_print(const vj_config *config, FILE *out)
{
    for (int i = 0; i < vj_settings_count; i++) {
        const vj_setting *row = &vj_settings[i];
        int section = section_length(i);
        if (section_begins(i)) fprintf(out, "%.*s:\n", section, row->key);
        fprintf(out, vj_maps_of(row) ? "  %s:" : "  %s: ", row->key + section + 1);
        print_value(out, row, config);
        fputc('\n', out);
    }
}

char *vj_config_text(const vj_config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    vj_config_print(config, out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static bool section_asked(int i, const char *const *sections)
{
    if (!sections) return true;
    for (; *sections; sections++)
        if (strlen(*sections) == (size_t)section_length(i) &&
            strncmp(*sections, vj_settings[i].key, strlen(*sections)) == 0)
            return true;
    return false;
}

void vj_print_help(FILE *out, const char *text, size_t bytes, int column, int indent)
{
    enum { WIDTH = 110 };
    const char *const end = text + bytes;
    bool begins = true; /* the line has no word yet */
    for (const char *word = text; word < end;) {
        word += strspn(word, " \n");
        const int length = word < end ? (int)strcspn(word, " \n") : 0;
        if (length == 0) break;
        if (!begins && column + 1 + length > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            begins = true;
        }
        fprintf(out, "%s%.*s", begins ? "" : " ", length, word);
        column += length + !begins;
        begins = false;
        word += length;
    }
    fputc('\n', out);
}

static void help_row(FILE *out, const vj_setting *row, int indent)
{
    static const char *const types[] = {[VJ_SET_INTEGER] = "integer in ",
                                        [VJ_SET_NUMBER] = "number in ",
                                        [VJ_SET_CHOICE] = "",
                                        [VJ_SET_TEXT] = "",
                                        [VJ_SET_TEXTS] = "list of ",
                                        [VJ_SET_RANGE] = "[low, high] in ",
                                        [VJ_SET_VECTOR] = "list in ",
                                        [VJ_SET_SHARES] = "list in ",
                                        [VJ_SET_GENERATORS] = "",
                                        [VJ_SET_DATASETS] = ""};
    const char *allowed = *row->allowed ? row->allowed : vj_maps_of(row) ? "maps" : "text";
    bool text = row->type == VJ_SET_TEXT && !*row->allowed;
    fprintf(out, "%*s%s: %s%s%s   (%s%s)\n%*s", indent, "", row->key, text ? "\"" : "", row->initial, text ? "\"" : "",
            types[row->type], allowed, indent + 4, "");
    vj_print_help(out, row->help, strlen(row->help), indent + 4, indent + 4);
}

void vj_config_each(const vj_config *config, const char *section, vj_config_visit *visit, void *user)
{
    const char *const sections[] = {section, NULL};
    for (int i = 0; i < vj_settings_count; i++) {
        char *text = NULL;
        size_t bytes = 0;
        if (!section_asked(i, sections)) continue;
        FILE *out = open_memstream(&text, &bytes);
        VJ_ASSERT(out); /* writing to memory fails only without memory */
        print_value(out, &vj_settings[i], config);
        fclose(out);
        visit(user, vj_settings[i].key, text, vj_settings[i].help);
        free(text);
    }
}

void vj_config_help(FILE *out, const char *const *sections)
{
    for (int i = 0; i < vj_settings_count; i++) {
        if (!section_asked(i, sections)) continue;
        if (section_begins(i) && i > 0) fputc('\n', out);
        help_row(out, &vj_settings[i], 2);
        const vj_maps *maps = vj_maps_of(&vj_settings[i]);
        for (int n = 0; maps && n < maps->count; n++) help_row(out, &maps->rows[n], 6);
    }
}
