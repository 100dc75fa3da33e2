/* Reads CSV as it is written by spreadsheets and by us. */
#include "base/csv_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/number.h"

enum { CSV_BYTES = 64 << 20, CSV_COLUMNS = 1024 };

/*
 * Take the cell that begins at *at, without its quotes, and move *at behind the comma or line feed after it. Returns
 * true for the last cell of a row.
 */
static bool take_cell(char **at, char **cell)
{
    char *in = *at, *out = *at;
    bool quoted = false;
    *cell = out;
    for (; *in && (quoted || (*in != ',' && *in != '\n')); in++) {
        if (*in == '"' && quoted && in[1] == '"')
            *out++ = *in++;
        else if (*in == '"')
            quoted = !quoted;
        else
            *out++ = *in;
    }
    const bool end = *in != ',';
    *at = *in ? in + 1 : in;
    if (end && out > *cell && out[-1] == '\r') out--;
    *out = '\0';
    return end;
}

static vj_status load_text(vj_csv_table *csv, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return vj_raise(VJ_ERR_IO, "read %s", path);
    if (!S_ISREG(info.st_mode) || info.st_size > CSV_BYTES)
        return vj_raise(VJ_ERR_FORMAT, "%s is no file, or larger than %d MB", path, CSV_BYTES >> 20);
    FILE *f = fopen(path, "r");
    if (!f) return vj_raise(VJ_ERR_IO, "read %s", path);
    csv->text = vj_calloc(info.st_size + 1, 1);
    if (!csv->text) {
        fclose(f); /* only read */
        return vj_raise(VJ_ERR_MEMORY, "no memory for %s", path);
    }
    const size_t bytes = fread(csv->text, 1, (size_t)info.st_size, f);
    const bool failed = ferror(f) != 0;
    fclose(f); /* only read */
    if (failed) return vj_raise(VJ_ERR_IO, "read %s", path);
    if (memchr(csv->text, '\0', bytes)) return vj_raise(VJ_ERR_FORMAT, "%s is no text", path);
    return VJ_OK;
}

vj_status vj_csv_table_read(vj_csv_table *csv, const char *path)
{
    char *row[CSV_COLUMNS];
    int64_t room = 0;
    memset(csv, 0, sizeof *csv);
    VJ_TRY(load_text(csv, path));
    static const char mark[] = "\xef\xbb\xbf"; /* skip the mark of the byte order that spreadsheets write */
    for (char *at = csv->text + (strncmp(csv->text, mark, 3) == 0 ? 3 : 0); *at;) {
        int cells = 0;
        char *cell;
        for (bool end = false; !end;) {
            end = take_cell(&at, &cell);
            if (cells < CSV_COLUMNS) row[cells++] = cell;
        }
        if (cells == 1 && row[0][0] == '\0') continue;
        if (!csv->cells) csv->columns = cells;
        const int64_t used = csv->cells ? (csv->rows + 1) * csv->columns : 0;
        if (cells != csv->columns) {
            csv->odd++;
            continue;
        }
        if (used + cells > room) {
            room = 2 * (used + cells);
            const char **more = vj_calloc(room, sizeof *more);
            if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory for %s", path);
            if (used) memcpy(more, csv->cells, (size_t)used * sizeof *more);
            free(csv->cells);
            csv->cells = more;
        }
        memcpy(csv->cells + used, row, (size_t)cells * sizeof *row);
        if (used) csv->rows++;
    }
    return csv->cells ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s is empty", path);
}

void vj_csv_table_release(vj_csv_table *csv)
{
    free(csv->text);
    free(csv->cells);
    memset(csv, 0, sizeof *csv);
}

int vj_csv_table_column(const vj_csv_table *csv, const char *name)
{
    for (int c = 0; c < csv->columns; c++)
        if (strcmp(csv->cells[c], name) == 0) return c;
    return -1;
}

const char *vj_csv_table_text(const vj_csv_table *csv, int64_t row, int column)
{
    return column < 0 ? "" : csv->cells[(row + 1) * csv->columns + column];
}

double vj_csv_table_number(const vj_csv_table *csv, int64_t row, int column)
{
    double value = NAN;
    (void)vj_parse_real(vj_csv_table_text(csv, row, column), &value);
    return value;
}

void vj_csv_put_text(FILE *out, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, out);
        return;
    }
    vj_csv_put_quoted(out, text);
}

void vj_csv_put_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}
