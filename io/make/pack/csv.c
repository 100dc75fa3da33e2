/* Reads CSV records. */
#include "pack/csv.h"

#include <string.h>

static vj_status keep(vj_csv *csv, const vj_text *text, size_t *used, int byte)
{
    if (*used == sizeof csv->bytes)
        return vj_text_refuse(text, csv->line, "the record is longer than %zu bytes: is a quote left open?",
                              sizeof csv->bytes);
    csv->bytes[(*used)++] = (char)byte;
    return VJ_OK;
}

/* Read a quoted field whose first quote was consumed; a doubled quote stands for one. */
static vj_status read_quoted(vj_csv *csv, vj_text *text, size_t *used)
{
    for (;;) {
        int byte = vj_text_next(text);
        if (byte < 0) {
            VJ_TRY(text->status);
            return vj_text_refuse(text, csv->line, "a quoted field has no closing quote");
        }
        if (byte == '"' && vj_text_peek(text) != '"') return VJ_OK;
        if (byte == '"') vj_text_next(text);
        VJ_TRY(keep(csv, text, used, byte));
    }
}

static void skip_blanks(vj_text *text)
{
    while (vj_text_peek(text) == ' ') vj_text_next(text);
}

static vj_status read_field(vj_csv *csv, vj_text *text, size_t *used)
{
    skip_blanks(text);
    const int quoted = vj_text_peek(text) == '"';
    const size_t begin = *used;
    int byte;
    csv->field[csv->fields++] = csv->bytes + *used;
    if (quoted) {
        vj_text_next(text);
        VJ_TRY(read_quoted(csv, text, used));
    }
    while (!quoted && (byte = vj_text_peek(text)) >= 0 && byte != csv->separator && byte != '\r' && byte != '\n') {
        VJ_TRY(keep(csv, text, used, byte));
        vj_text_next(text);
    }
    while (!quoted && *used > begin && csv->bytes[*used - 1] == ' ') --*used;
    return keep(csv, text, used, '\0');
}

/* Read what follows a field: a separator (*more is set), or the end of the record. Blanks at the end of a line do not
 * separate fields. */
static vj_status read_delimiter(vj_csv *csv, vj_text *text, int *more)
{
    const int blanks = vj_text_peek(text) == ' ';
    skip_blanks(text);
    int byte = vj_text_peek(text);
    *more = blanks && csv->separator == ' ' && byte >= 0 && byte != '\r' && byte != '\n';
    if (*more) return text->status;
    byte = vj_text_next(text);
    if (byte == '\r') byte = vj_text_next(text);
    *more = byte >= 0 && byte == csv->separator;
    if (byte >= 0 && !*more && byte != '\n')
        return vj_text_refuse(text, csv->line,
                              "text follows a closing quote, or a carriage return stands inside a line");
    return text->status;
}

vj_status vj_csv_read(vj_csv *csv, vj_text *text)
{
    size_t used = 0;
    csv->fields = 0;
    while (vj_text_peek(text) == '\n' || vj_text_peek(text) == '\r') vj_text_next(text);
    csv->line = text->line;
    int more = vj_text_peek(text) >= 0;
    while (more) {
        if (csv->fields == VJ_CSV_FIELDS) return vj_text_refuse(text, csv->line, "more than %d fields", VJ_CSV_FIELDS);
        VJ_TRY(read_field(csv, text, &used));
        VJ_TRY(read_delimiter(csv, text, &more));
    }
    return text->status;
}

int vj_csv_column(const vj_csv *header, const char *name)
{
    for (int i = 0; i < header->fields; i++)
        if (strcmp(header->field[i], name) == 0) return i;
    return -1;
}
