/* Draws curves and bars with characters. */
#include "report/sparkline.h"

#include <math.h>
#include <string.h>

enum { DOTS_X = 2, DOTS_Y = 4, LEVELS = 3, LOG_FROM = 30 };

/* The values that one column of dots shows. */
typedef struct {
    bool any;
    double low, high, mean;
} column;

/* ------------------------------------------------------------------------------------------------ values */

/* Combine the spans in column `x` of `columns`; if they have no value, take the mean of `before`. */
static column column_of(const vj_course *course, int x, int columns, const column *before)
{
    const int from = (int)((int64_t)x * course->count / columns);
    int to = (int)(((int64_t)x + 1) * course->count / columns);
    double sum = 0.0;
    int64_t count = 0;
    column c = {.any = before->any, .low = before->mean, .high = before->mean, .mean = before->mean};
    if (to <= from) to = from + 1;
    for (int i = from; i < to && i < course->count; i++) {
        const vj_course_span *s = &course->span[i];
        if (s->count == 0) continue;
        c.low = count ? fmin(c.low, s->low) : s->low;
        c.high = count ? fmax(c.high, s->high) : s->high;
        sum += s->sum;
        count += s->count;
    }
    if (count) {
        c.any = true;
        c.mean = sum / (double)count;
    }
    return c;
}

static void find_limits(vj_sparkline *spark, const vj_course *course)
{
    for (int i = 0; i < course->count; i++) {
        const vj_course_span *s = &course->span[i];
        if (s->count == 0) continue;
        spark->low = spark->any ? fmin(spark->low, s->low) : s->low;
        spark->high = spark->any ? fmax(spark->high, s->high) : s->high;
        spark->any = true;
    }
    spark->logarithmic = spark->any && spark->low > 0.0 && spark->high > LOG_FROM * spark->low;
}

/* Return the row of a value, counted from the bottom. */
static int height_of(const vj_sparkline *spark, double value, int rows)
{
    double share = 0.5; /* all values are equal */
    if (spark->logarithmic)
        share = log(value / spark->low) / log(spark->high / spark->low);
    else if (spark->high > spark->low)
        share = (value - spark->low) / (spark->high - spark->low);
    const int row = (int)(share * rows);
    return row < 0 ? 0 : row >= rows ? rows - 1 : row;
}

/* ------------------------------------------------------------------------------------------------ characters */

/* Write a Braille pattern: U+2800 plus a bit for each dot. */
static size_t put_braille(char *to, unsigned dots)
{
    to[0] = (char)0xe2;
    to[1] = (char)(0xa0 | dots >> 6);
    to[2] = (char)(0x80 | (dots & 0x3f));
    return 3;
}

static void draw_braille(vj_sparkline *spark, const vj_course *course, int columns, int rows)
{
    /* The bit of the dot in column x of the character, y from the bottom. */
    static const unsigned char bit[DOTS_X][DOTS_Y] = {{0x40, 0x04, 0x02, 0x01}, {0x80, 0x20, 0x10, 0x08}};
    unsigned char dots[VJ_SPARK_ROWS][VJ_SPARK_COLUMNS] = {{0}};
    column c = {.any = false};
    for (int x = 0; x < DOTS_X * columns; x++) {
        const column before = c;
        c = column_of(course, x, DOTS_X * columns, &before);
        if (!c.any) continue;
        /* Join it to the previous column, so that a steep curve has no gaps. */
        const double low = before.any ? fmin(c.low, before.high) : c.low;
        const double high = before.any ? fmax(c.high, before.low) : c.high;
        const int top = height_of(spark, high, DOTS_Y * rows);
        for (int y = height_of(spark, low, DOTS_Y * rows); y <= top; y++)
            dots[rows - 1 - y / DOTS_Y][x / DOTS_X] |= bit[x % DOTS_X][y % DOTS_Y];
    }
    for (int r = 0; r < rows; r++) {
        size_t used = 0;
        for (int x = 0; x < columns; x++) used += put_braille(spark->row[r] + used, dots[r][x]);
        spark->row[r][used] = '\0';
    }
}

static void draw_ascii(vj_sparkline *spark, const vj_course *course, int columns, int rows)
{
    static const char level[LEVELS] = {'_', '-', '"'};
    column c = {.any = false};
    for (int r = 0; r < rows; r++) {
        memset(spark->row[r], ' ', (size_t)columns);
        spark->row[r][columns] = '\0';
    }
    for (int x = 0; x < columns; x++) {
        c = column_of(course, x, columns, &c);
        if (!c.any) continue;
        const int y = height_of(spark, c.mean, LEVELS * rows);
        spark->row[rows - 1 - y / LEVELS][x] = level[y % LEVELS];
    }
}

static int cut(int value, int limit)
{
    return value < 1 ? 1 : value > limit ? limit : value;
}

void vj_sparkline_draw(vj_sparkline *spark, const vj_course *course, int columns, int rows, bool unicode)
{
    columns = cut(columns, VJ_SPARK_COLUMNS);
    rows = cut(rows, VJ_SPARK_ROWS);
    memset(spark, 0, sizeof *spark);
    find_limits(spark, course);
    if (unicode)
        draw_braille(spark, course, columns, rows);
    else
        draw_ascii(spark, course, columns, rows);
}

void vj_bar_draw(char text[3 * VJ_SPARK_COLUMNS + 1], double share, int columns, bool unicode)
{
    columns = cut(columns, VJ_SPARK_COLUMNS);
    if (!(share > 0.0)) share = 0.0;
    const int eighths = (int)(8.0 * (share > 1.0 ? 1.0 : share) * columns);
    size_t used = 0;
    for (int x = 0; x < columns; x++) {
        const int fill = eighths - 8 * x;
        if (!unicode) {
            text[used++] = fill >= 8 ? '#' : '.';
        } else if (fill >= 1) { /* U+2588 full block to U+258F one eighth */
            memcpy(text + used, "\xe2\x96\x88", 3);
            text[used + 2] = (char)(0x88 + (fill >= 8 ? 0 : 8 - fill));
            used += 3;
        } else { /* U+2591 light shade */
            memcpy(text + used, "\xe2\x96\x91", 3);
            used += 3;
        }
    }
    text[used] = '\0';
}
