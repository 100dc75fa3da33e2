/* CSV and JSON lines of numbers. The file is in memory as a whole; each line is parsed in place. */
#include "report/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "report/inside.h"

#define FILE_BYTES ((int64_t)8 << 30) /* a hundred million rows */
enum { COLUMNS_MAX = 256, NAME_MAX_BYTES = 200, PROBLEMS_MAX = 5 };

/* ------------------------------------------------------------------------------------------------ one number */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *word(const char *text, const char *end, const char *expected)
{
    const size_t length = strlen(expected);
    return (size_t)(end - text) >= length && strncasecmp(text, expected, length) == 0 ? text + length : NULL;
}

/* nan, inf, infinity, null: all of them say that there is no number. */
static const char *no_number(const char *text, const char *end, double *value)
{
    static const char *const words[] = {"nan", "null", "infinity", "inf"};
    *value = NAN;
    if (text < end && (*text == '-' || *text == '+')) text++;
    for (int i = 0; i < 4; i++)
        if (word(text, end, words[i])) return word(text, end, words[i]);
    return NULL;
}

/* Numbers of more digits or larger exponents than the fast way can round rightly. */
static const char *slow_number(const char *text, const char *end, double *value)
{
    char copy[64], *stop;
    const size_t length = (size_t)(end - text) < sizeof copy - 1 ? (size_t)(end - text) : sizeof copy - 1;
    memcpy(copy, text, length);
    copy[length] = '\0';
    *value = strtod(copy, &stop);
    return stop > copy ? text + (stop - copy) : NULL;
}

/*
 * Up to 19 digits make an integer. If it is below 2^53 and the power of ten at most 10^22, both are exact as doubles,
 * so that one product or quotient of them is rounded once, as strtod() would (Clinger 1990).
 */
const char *vj_parse_number(const char *text, const char *end, double *value)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *at = text;
    uint64_t digits = 0;
    int count = 0, exponent = 0, e = 0;
    *value = NAN;
    const bool minus = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    for (; at < end && is_digit(*at); at++, count++) digits = digits * 10 + (uint64_t)(*at - '0');
    if (at < end && *at == '.')
        for (at++; at < end && is_digit(*at); at++, count++, exponent--) digits = digits * 10 + (uint64_t)(*at - '0');
    if (count == 0) return no_number(text, end, value);
    if (at < end && (*at == 'e' || *at == 'E')) {
        const char *sign = at + 1, *power;
        if (sign < end && (*sign == '-' || *sign == '+')) sign++;
        for (power = sign; power < end && is_digit(*power) && power - sign < 4; power++) e = e * 10 + (*power - '0');
        if (power == sign) return NULL;
        exponent += at[1] == '-' ? -e : e;
        at = power;
    }
    if (count > 19 || digits >= 1ull << 53 || exponent < -22 || exponent > 22) return slow_number(text, end, value);
    const double exact = (double)digits;
    *value = exponent < 0 ? exact / tens[-exponent] : exact * tens[exponent];
    if (minus) *value = -*value;
    return at;
}

/* ------------------------------------------------------------------------------------------------ a table */

typedef struct {
    vj_numbers *table;
    vj_problems *problems;
    const char *path;
    int64_t line;            /* from 1 */
    int64_t room;            /* rows that the columns have memory for */
    int64_t broken;          /* lines left out */
    double row[COLUMNS_MAX]; /* the line that is parsed */
} reader;

static int find(const vj_numbers *table, const char *name, size_t length)
{
    for (int c = 0; c < table->count; c++)
        if (strlen(table->columns[c].name) == length && memcmp(table->columns[c].name, name, length) == 0) return c;
    return -1;
}

const double *vj_numbers_find(const vj_numbers *numbers, const char *name)
{
    const int c = find(numbers, name, strlen(name));
    return c < 0 ? NULL : numbers->columns[c].value;
}

/* A new column; it is empty in the rows so far. -1: too many. */
static int add_column(reader *r, const char *name, size_t length)
{
    vj_numbers *t = r->table;
    if (t->count == COLUMNS_MAX || length > NAME_MAX_BYTES) return -1;
    t->columns = vj_report_room(t->columns, t->count, sizeof *t->columns);
    vj_number_column *column = &t->columns[t->count];
    VJ_ASSERT(asprintf(&column->name, "%.*s", (int)length, name) >= 0);
    column->value = vj_report_memory(r->room, sizeof(double));
    for (int64_t i = 0; i < t->rows; i++) column->value[i] = NAN;
    return t->count++;
}

static void add_row(reader *r)
{
    vj_numbers *t = r->table;
    if (t->rows == r->room) {
        r->room = r->room > 0 ? 2 * r->room : 1024;
        for (int c = 0; c < t->count; c++) {
            t->columns[c].value = realloc(t->columns[c].value, (size_t)r->room * sizeof(double));
            VJ_ASSERT(t->columns[c].value);
        }
    }
    for (int c = 0; c < t->count; c++) t->columns[c].value[t->rows] = r->row[c];
    t->rows++;
}

__attribute__((format(printf, 2, 3))) static void broken(reader *r, const char *format, ...)
{
    char *text;
    va_list arguments;
    if (r->broken++ >= PROBLEMS_MAX) return;
    va_start(arguments, format);
    VJ_ASSERT(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    vj_problems_add(r->problems, "%s:%lld: %s; the line is left out.", r->path, (long long)r->line, text);
    free(text);
}

/* ------------------------------------------------------------------------------------------------ CSV */

static bool read_header(reader *r, const char *line, const char *end, const char *first)
{
    while (line <= end) {
        const char *comma = memchr(line, ',', (size_t)(end - line));
        const char *stop = comma ? comma : end;
        if (add_column(r, line, (size_t)(stop - line)) < 0) {
            vj_problems_add(r->problems, "%s:1: the header has more than %d columns or a name of more than %d bytes.",
                            r->path, COLUMNS_MAX, NAME_MAX_BYTES);
            return false;
        }
        line = stop + 1;
    }
    if (r->table->count > 0 && strcmp(r->table->columns[0].name, first) == 0) return true;
    vj_problems_add(r->problems, "%s:1: the first column is \"%.40s\", not \"%s\": not a table of metrics.", r->path,
                    r->table->count > 0 ? r->table->columns[0].name : "", first);
    return false;
}

static void read_csv_line(reader *r, const char *line, const char *end)
{
    const int columns = r->table->count;
    const char *at = line;
    int cells = 0;
    for (; cells < columns && at <= end; cells++) {
        double *value = &r->row[cells];
        const char *stop = at;
        *value = NAN;
        if (at < end && *at != ',') stop = vj_parse_number(at, end, value);
        if (!stop || (stop < end && *stop != ',')) {
            const char *comma = memchr(at, ',', (size_t)(end - at));
            broken(r, "column %s holds \"%.*s\", which is no number", r->table->columns[cells].name,
                   (int)((comma ? comma : end) - at < 40 ? (comma ? comma : end) - at : 40), at);
            return;
        }
        at = stop + 1;
    }
    if (cells < columns || at <= end) {
        int64_t found = 1;
        for (const char *c = line; c < end; c++) found += *c == ',';
        broken(r, "%lld cells, the header has %d", (long long)found, columns);
        return;
    }
    add_row(r);
}

/* ------------------------------------------------------------------------------------------------ JSON lines */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) at++;
    return at;
}

/* One "name": number of an object; returns its end, NULL: it is none. */
static const char *read_pair(reader *r, const char *at, const char *end, int expected)
{
    const char *close = at < end && *at == '"' ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
    if (!close) return NULL;
    const char *name = at + 1, *colon = skip_blanks(close + 1, end);
    const size_t length = (size_t)(close - name);
    const bool usual =
        expected < r->table->count && strlen(r->table->columns[expected].name) == length &&
        memcmp(r->table->columns[expected].name, name, length) == 0; /* in the order of the line before */
    int c = usual ? expected : find(r->table, name, length);
    if (c < 0) c = add_column(r, name, length);
    if (c < 0 || colon >= end || *colon != ':') return NULL;
    return vj_parse_number(skip_blanks(colon + 1, end), end, &r->row[c]);
}

static void read_json_line(reader *r, const char *line, const char *end)
{
    for (int c = 0; c < COLUMNS_MAX; c++) r->row[c] = NAN;
    const char *at = skip_blanks(line, end);
    bool good = at < end && *at == '{';
    for (int pair = 0; good; pair++) {
        at = read_pair(r, skip_blanks(at + 1, end), end, pair);
        at = at ? skip_blanks(at, end) : NULL;
        good = at && at < end && *at == ',';
        if (!good) break;
    }
    if (at && at < end && *at == '}' && skip_blanks(at + 1, end) == end)
        add_row(r);
    else
        broken(r, "not one JSON object of numbers");
}

/* ------------------------------------------------------------------------------------------------ files */

static bool read_lines(reader *r, const char *text, const char *end, const char *first)
{
    const bool json = strstr(r->path, ".jsonl") != NULL;
    for (const char *line = text, *next; line < end; line = next) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        r->line++;
        next = stop ? stop + 1 : end;
        if (!stop) {
            broken(r, "the last line has no end (%lld bytes): the run is writing it, was killed, or the disk was full",
                   (long long)(end - line));
            break;
        }
        if (stop > line && stop[-1] == '\r') stop--;
        if (json) {
            read_json_line(r, line, stop);
        } else if (r->line == 1) {
            if (!read_header(r, line, stop, first)) return false;
        } else {
            read_csv_line(r, line, stop);
        }
    }
    return true;
}

bool vj_numbers_read(vj_numbers *numbers, const char *path, const char *first, vj_problems *problems)
{
    int64_t bytes = 0;
    *numbers = (vj_numbers){0};
    reader *r = vj_report_memory(1, sizeof *r);
    *r = (reader){.table = numbers, .problems = problems, .path = path};
    char *text = vj_report_load(path, FILE_BYTES, &bytes, problems);
    bool good = text && read_lines(r, text, text + bytes, first);
    if (r->broken > PROBLEMS_MAX)
        vj_problems_add(problems, "%s: %lld more lines are broken and left out.", path,
                        (long long)(r->broken - PROBLEMS_MAX));
    if (good && numbers->count == 0) vj_problems_add(problems, "%s is empty.", path);
    if (good && numbers->count > 0 && !vj_numbers_find(numbers, first)) {
        vj_problems_add(problems, "%s: no line has \"%s\": not a table of metrics.", path, first);
        good = false;
    }
    good = good && numbers->count > 0;
    free(text);
    free(r);
    return good;
}

void vj_numbers_release(vj_numbers *numbers)
{
    for (int c = 0; c < numbers->count; c++) {
        free(numbers->columns[c].name);
        free(numbers->columns[c].value);
    }
    free(numbers->columns);
    *numbers = (vj_numbers){0};
}
