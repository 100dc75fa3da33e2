/* Small plots and bars made of characters: Unicode Braille dots and blocks, or plain ASCII. */
#ifndef VJ_REPORT_SPARKLINE_H
#define VJ_REPORT_SPARKLINE_H

#include "report/follow.h"

enum { VJ_SPARK_ROWS = 12, VJ_SPARK_COLUMNS = 256 };

typedef struct {
    bool any;         /* there is a value */
    bool logarithmic; /* all values are positive, and the largest is more than 30 times the smallest */
    double low, high; /* values at the bottom and the top */
    /* The rows from top to bottom, each exactly `columns` characters wide. */
    char row[VJ_SPARK_ROWS][3 * VJ_SPARK_COLUMNS + 1];
} vj_sparkline;

/**
 * Draw the whole course of a column, with the first step on the left, in `rows` rows (at most VJ_SPARK_ROWS) of
 * `columns` characters (at most VJ_SPARK_COLUMNS). In Unicode a character has two columns of four dots; the dots of a
 * column reach from the smallest to the largest value of its steps. In ASCII a character has one of three heights, for
 * the mean. Steps without a value repeat the previous one.
 */
void vj_sparkline_draw(vj_sparkline *spark, const vj_course *course, int columns, int rows, bool unicode);

/** Draw a bar of `columns` characters (at most VJ_SPARK_COLUMNS), filled to `share` (limited to 0 ... 1). */
void vj_bar_draw(char text[3 * VJ_SPARK_COLUMNS + 1], double share, int columns, bool unicode);

#endif
