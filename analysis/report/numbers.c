/*
 * Reads CSV and JSON lines of numbers. The files of a hundred long runs are gigabytes. They are read in pieces that fit
 * into the processor's cache, and each number is written directly to its place in the table.
 */
#include "report/numbers.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "report/inside.h"

#define FILE_BYTES ((int64_t)8 << 30) /* a hundred million rows */
enum { COLUMNS_MAX = 256, NAME_MAX_BYTES = 200, PROBLEMS_MAX = 5, PIECE_BYTES = 1 << 18 };

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

/* Read nan, inf, infinity or null, which all stand for a missing number. */
static const char *no_number(const char *text, const char *end, double *value)
{
    static const char *const words[] = {"nan", "null", "infinity", "inf"};
    *value = NAN;
    if (text < end && (*text == '-' || *text == '+')) text++;
    for (int i = 0; i < 4; i++)
        if (word(text, end, words[i])) return word(text, end, words[i]);
    return NULL;
}

/* Read a number with too many digits or too large an exponent for the fast way to round it correctly. */
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
 * Return how many of the eight characters at `text` are digits before the first other one, and get their number, by
 * arithmetic on all eight bytes at once (Langdale and Lemire 2019, section 3.2).
 */
static inline int eight_digits(const char *text, uint64_t *number)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    word = le64toh(word) ^ UINT64_C(0x3030303030303030); /* digits are 0 to 9 now; the first is the lowest byte */
    const uint64_t none = ((word + UINT64_C(0x0606060606060606)) | word) & UINT64_C(0xf0f0f0f0f0f0f0f0);
    const int digits = none ? __builtin_ctzll(none) / 8 : 8;
    if (digits == 0) return 0;
    word <<= 64 - 8 * digits; /* leading zeros, and nothing after the digits */
    word = word * 10 + (word >> 8);
    *number = ((word & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064) +
               (word >> 16 & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001)) >>
              32;
    return digits;
}

/* Append the digits at `text` to a number, and count them. Returns the position after them. */
static inline const char *take_digits(const char *text, const char *end, uint64_t *number, int *count)
{
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    while (end - text >= 8) {
        uint64_t more = 0;
        const int digits = eight_digits(text, &more);
        *number = *number * tens[digits] + more;
        *count += digits;
        text += digits;
        if (digits < 8) return text;
    }
    for (; text < end && is_digit(*text); text++, ++*count) *number = *number * 10 + (uint64_t)(*text - '0');
    return text;
}

/*
 * Up to 19 digits make an integer. If it is below 2^53 and the power of ten is at most 10^22, both are exact as
 * doubles, so their product or quotient is rounded only once, and equals the result of strtod() (Clinger 1990).
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
    at = take_digits(at, end, &digits, &count);
    if (at < end && *at == '.') {
        exponent = count;
        at = take_digits(at + 1, end, &digits, &count);
        exponent -= count;
    }
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
    const char *first; /* name of the first column */
    bool json;
    int64_t line;   /* from 1 */
    int64_t room;   /* rows that columns have memory for: at least one more than `rows`, for the current line */
    int64_t broken; /* lines left out */
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

/* Add a column, which is empty in all rows so far. Returns -1 if there are too many. */
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

/* Make room for the numbers of the next line. They become a row when table->rows is increased. */
static void make_room(reader *r)
{
    vj_numbers *t = r->table;
    if (t->rows < r->room) return;
    r->room = r->room > 0 ? 2 * r->room : 1024;
    for (int c = 0; c < t->count; c++) {
        t->columns[c].value = realloc(t->columns[c].value, (size_t)r->room * sizeof(double));
        VJ_ASSERT(t->columns[c].value);
    }
}

/* Return the place of a number of the current line. */
static double *cell_of(const reader *r, int column)
{
    return &r->table->columns[column].value[r->table->rows];
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

static bool read_header(reader *r, const char *line, const char *end)
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
    if (r->table->count > 0 && strcmp(r->table->columns[0].name, r->first) == 0) return true;
    vj_problems_add(r->problems, "%s:1: the first column is \"%.40s\", not \"%s\": not a table of metrics.", r->path,
                    r->table->count > 0 ? r->table->columns[0].name : "", r->first);
    return false;
}

static void read_csv_line(reader *r, const char *line, const char *end)
{
    const int columns = r->table->count;
    const char *at = line;
    int cells = 0;
    for (; cells < columns && at <= end; cells++) {
        double *value = cell_of(r, cells);
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
        broken(r, "the header has %d cells, this line %lld", columns, (long long)found);
        return;
    }
    r->table->rows++;
}

/* ------------------------------------------------------------------------------------------------ JSON lines */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) at++;
    return at;
}

/* Read one pair "name": number of an object. Returns its end; NULL if there is none. */
static const char *read_pair(reader *r, const char *at, const char *end, int expected)
{
    const char *close = at < end && *at == '"' ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
    if (!close) return NULL;
    const char *name = at + 1, *colon = skip_blanks(close + 1, end);
    const size_t length = (size_t)(close - name);
    const bool usual =
        expected < r->table->count && strlen(r->table->columns[expected].name) == length &&
        memcmp(r->table->columns[expected].name, name, length) == 0; /* in the order of the previous line */
    int c = usual ? expected : find(r->table, name, length);
    if (c < 0) c = add_column(r, name, length);
    if (c < 0 || colon >= end || *colon != ':') return NULL;
    return vj_parse_number(skip_blanks(colon + 1, end), end, cell_of(r, c));
}

static void read_json_line(reader *r, const char *line, const char *end)
{
    for (int c = 0; c < r->table->count; c++) *cell_of(r, c) = NAN;
    const char *at = skip_blanks(line, end);
    bool good = at < end && *at == '{';
    for (int pair = 0; good; pair++) {
        at = read_pair(r, skip_blanks(at + 1, end), end, pair);
        at = at ? skip_blanks(at, end) : NULL;
        good = at && at < end && *at == ',';
        if (!good) break;
    }
    if (at && at < end && *at == '}' && skip_blanks(at + 1, end) == end)
        r->table->rows++;
    else
        broken(r, "not one JSON object of numbers");
}

/* ------------------------------------------------------------------------------------------------ files */

/* Read one line without its line feed. False: this is not a table. */
static bool read_line(reader *r, const char *line, const char *end)
{
    if (end > line && end[-1] == '\r') end--;
    if (++r->line == 1 && !r->json) return read_header(r, line, end);
    make_room(r);
    if (r->json)
        read_json_line(r, line, end);
    else
        read_csv_line(r, line, end);
    return true;
}

/* Read the complete lines of a piece of the file. *used: their bytes. */
static bool read_piece(reader *r, const char *text, int64_t bytes, int64_t *used)
{
    const char *line = text, *const end = text + bytes, *stop;
    bool good = true;
    for (; good && (stop = memchr(line, '\n', (size_t)(end - line))); line = stop + 1) good = read_line(r, line, stop);
    *used = line - text;
    return good;
}

/* Read the file piece by piece. An incomplete line is moved to the beginning of the next piece. */
static bool read_lines(reader *r, int fd, int64_t bytes)
{
    int64_t room = PIECE_BYTES, held = 0, used, got = 1;
    char *text = vj_report_memory(room, 1);
    bool good = true;
    for (int64_t at = 0; good && got > 0 && at < bytes; at += got) {
        if (held == room) { /* a very long line */
            text = realloc(text, (size_t)(room *= 2));
            VJ_ASSERT(text);
        }
        got = vj_read_at(fd, text + held, room - held < bytes - at ? room - held : bytes - at, at);
        if (got < 0) vj_problems_add(r->problems, "%s cannot be read: %s.", r->path, strerror(errno));
        good = got >= 0 && read_piece(r, text, held + got, &used);
        if (!good) break;
        held += got - used;
        memmove(text, text + used, (size_t)held);
    }
    r->line++;
    if (good && held > 0)
        broken(r, "the last line has no end (%lld bytes): the run is writing it, was killed, or the disk was full",
               (long long)held);
    free(text);
    return good;
}

bool vj_numbers_read(vj_numbers *numbers, const char *path, const char *first, vj_problems *problems)
{
    int64_t bytes = 0;
    *numbers = (vj_numbers){0};
    reader r = {
        .table = numbers, .problems = problems, .path = path, .first = first, .json = strstr(path, ".jsonl") != NULL};
    const int fd = vj_report_open(path, FILE_BYTES, &bytes, problems);
    bool good = fd >= 0 && read_lines(&r, fd, bytes);
    if (fd >= 0) close(fd); /* only read */
    if (r.broken > PROBLEMS_MAX)
        vj_problems_add(problems, "%s: %lld more lines are broken and left out.", path,
                        (long long)(r.broken - PROBLEMS_MAX));
    if (good && numbers->count == 0) vj_problems_add(problems, "%s is empty.", path);
    if (good && numbers->count > 0 && !vj_numbers_find(numbers, first)) {
        vj_problems_add(problems, "%s: no line has \"%s\": not a table of metrics.", path, first);
        good = false;
    }
    return good && numbers->count > 0;
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
