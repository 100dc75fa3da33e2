/* Small plots and bars made of characters: Unicode's Braille dots and blocks, or plain ASCII. */
#ifndef VJ_REPORT_SPARKLINE_H
#define VJ_REPORT_SPARKLINE_H

#include "report/follow.h"

enum { VJ_SPARK_ROWS = 12, VJ_SPARK_COLUMNS = 256 };

typedef struct {
    bool any;         /* there is a value */
    bool logarithmic; /* all values are positive, and the largest is more than 30 times the smallest */
    double low, high; /* values at the bottom and the top */
    /* The rows from top to bottom, each exactly as many characters wide as was asked for. */
    char row[VJ_SPARK_ROWS][3 * VJ_SPARK_COLUMNS + 1];
} vj_sparkline;

/**
 * Draw the whole course of a column, first step on the left, in `rows` rows (at most VJ_SPARK_ROWS) of `columns`
 * characters (at most VJ_SPARK_COLUMNS). A character has two columns and four rows of dots, which reach from the
 * smallest to the largest value of their steps; in ASCII one of three heights, the mean. Steps without a value repeat
 * the one before.
 */
void vj_sparkline_draw(vj_sparkline *spark, const vj_course *course, int columns, int rows, bool unicode);

/** A bar of `columns` characters (at most VJ_SPARK_COLUMNS), filled to `share` (0 to 1; others are cut). */
void vj_bar_draw(char text[3 * VJ_SPARK_COLUMNS + 1], double share, int columns, bool unicode);

#endif
