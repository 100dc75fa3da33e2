/* Escapes text for HTML, Markdown and CSV. */
#include "base/markup.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

enum { REPLACEMENT = 0xFFFD };

uint32_t vj_utf8_next(const char **text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)*text;
    const int length = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : at[0] >> 3 == 30 ? 4 : 0;
    if (at[0] == 0) return 0;
    *text += 1;
    if (length == 0) return REPLACEMENT;
    uint32_t code = length == 1 ? at[0] : at[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if (at[i] >> 6 != 2) return REPLACEMENT; /* also at the end of the text */
        code = code << 6 | (at[i] & 0x3Fu);
    }
    if (code < least[length] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return REPLACEMENT;
    *text += length - 1;
    const bool control = (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0);
    const bool turns_text =
        (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069); /* right to left */
    return control || turns_text || code == 0xFFFE || code == 0xFFFF ? REPLACEMENT : code;
}

int vj_utf8_length(const char *text)
{
    int length = 0;
    while (vj_utf8_next(&text)) length++;
    return length;
}

static void put_utf8(FILE *out, uint32_t code)
{
    if (code < 0x80) {
        putc((int)code, out);
    } else if (code < 0x800) {
        fprintf(out, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 0x3F)));
    } else if (code < 0x10000) {
        fprintf(out, "%c%c%c", (int)(0xE0 | code >> 12), (int)(0x80 | (code >> 6 & 0x3F)), (int)(0x80 | (code & 0x3F)));
    } else {
        fprintf(out, "%c%c%c%c", (int)(0xF0 | code >> 18), (int)(0x80 | (code >> 12 & 0x3F)),
                (int)(0x80 | (code >> 6 & 0x3F)), (int)(0x80 | (code & 0x3F)));
    }
}

char *vj_utf8_copy(const char *text)
{
    char *copy = NULL;
    size_t bytes;
    FILE *out = open_memstream(&copy, &bytes);
    if (!out) return NULL;
    for (uint32_t code; (code = vj_utf8_next(&text));) put_utf8(out, code);
    if (fclose(out) == 0) return copy;
    free(copy);
    return NULL;
}

bool vj_utf8_is_name(const char *text)
{
    for (uint32_t code; (code = vj_utf8_next(&text));)
        if (code == REPLACEMENT || code == '\n' || code == '\t') return false;
    return true;
}

static void put_entity(FILE *out, uint32_t code)
{
    if (code == '&' || code == '<' || code == '>' || code == '"' || code == '\'')
        fprintf(out, "&#%d;", (int)code);
    else
        put_utf8(out, code);
}

void vj_put_html(FILE *out, const char *text)
{
    for (uint32_t code; (code = vj_utf8_next(&text));) put_entity(out, code);
}

/*
 * If the text begins with a mark that Markdown would take for a heading, a list or a line ("# ", "- ", "---", "12. "),
 * return the number of characters up to the one that must be escaped, including it; else 0.
 */
static size_t end_of_mark(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    const size_t end = digits > 0 ? digits + strspn(text + digits, ".)") : strspn(text, "#-+");
    return end > digits && (text[end] == '\0' || isspace((unsigned char)text[end])) ? digits + 1 : 0;
}

/*
 * Return whether Markdown would interpret this character of a text. It does not interpret an underscore inside a word.
 */
static bool is_mark(const char *begin, const char *at)
{
    if (*at != '_') return *at && strchr("\\`*[]|~$", *at);
    return at == begin || !isalnum((unsigned char)at[-1]) || !isalnum((unsigned char)at[1]);
}

void vj_put_markdown(FILE *out, const char *text)
{
    while (*text && isspace((unsigned char)*text)) text++;
    const char *const begin = text, *const mark = text + end_of_mark(text);
    while (*text) {
        const bool escaped = is_mark(begin, text) || text + 1 == mark;
        const uint32_t code = vj_utf8_next(&text);
        if (escaped) putc('\\', out);
        if (code == '&' || code == '<' || code == '>')
            put_entity(out, code);
        else
            put_utf8(out, code == '\n' || code == '\t' ? ' ' : code);
    }
}

void vj_put_markdown_cell(FILE *out, const char *text)
{
    putc(' ', out);
    vj_put_markdown(out, text);
    fputs(" |", out);
}

void vj_put_terminal(FILE *out, const char *text)
{
    for (uint32_t code; (code = vj_utf8_next(&text));) put_utf8(out, code == REPLACEMENT || code < 0x20 ? '?' : code);
}

static bool looks_like_formula(const char *text)
{
    if (text[0] == '-' || text[0] == '+') return !isdigit((unsigned char)text[1]) && text[1] != '.';
    return text[0] == '=' || text[0] == '@';
}

void vj_put_csv(FILE *out, const char *text)
{
    const bool formula = looks_like_formula(text), quoted = strpbrk(text, ",\"\n\r\t;") != NULL;
    if (quoted) putc('"', out);
    if (formula) putc('\'', out);
    for (uint32_t code; (code = vj_utf8_next(&text));) {
        if (code == '"') putc('"', out);
        put_utf8(out, code);
    }
    if (quoted) putc('"', out);
}

void vj_put_csv_number(FILE *out, double value)
{
    if (!isnan(value)) vj_print_real(out, value, 9);
}
