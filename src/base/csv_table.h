/* A CSV file with a header as a table in memory: results, published numbers, scaling studies. Cells may be quoted. */
#ifndef VJ_BASE_CSV_TABLE_H
#define VJ_BASE_CSV_TABLE_H

#include <stdio.h>

#include "base/status.h"

typedef struct {
    char *text;         /* owned */
    const char **cells; /* [rows + 1, columns], the first row is the header. Owned, pointing into text */
    int columns;
    int64_t rows; /* without the header */
    int64_t odd;  /* lines with another number of cells, left out */
} vj_csv_table;

/** Read a whole file, up to 64 MB. Release with vj_csv_table_release(), also after a failure. */
vj_status vj_csv_table_read(vj_csv_table *csv, const char *path);
void vj_csv_table_release(vj_csv_table *csv);
/** Number of a column; -1: there is none. */
int vj_csv_table_column(const vj_csv_table *csv, const char *name);
/** A cell of row `row` (from 0), "" where `column` is -1; as a number: NaN where it is none. */
const char *vj_csv_table_text(const vj_csv_table *csv, int64_t row, int column);
double vj_csv_table_number(const vj_csv_table *csv, int64_t row, int column);

/** Write a cell, byte for byte: in quotes where it has commas, quotes or line ends, or always in quotes. Tables for a
 * reader's spreadsheet are written with vj_put_csv() (markup.h), which changes what a spreadsheet would run. */
void vj_csv_put_text(FILE *out, const char *text);
void vj_csv_put_quoted(FILE *out, const char *text);

#endif
