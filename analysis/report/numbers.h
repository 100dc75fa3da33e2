/*
 * Reads tables of numbers in text files, such as metrics.csv and metrics.jsonl. It is fast, and tolerates damage: a
 * broken line becomes a problem with file and line, and all other lines are used. Prints nothing. Several threads may
 * read files at once.
 */
#ifndef VJ_NUMBERS_H
#define VJ_NUMBERS_H

#include "report/files.h"

typedef struct {
    char *name;
    double *value; /* [rows] NaN: empty */
} vj_number_column;

typedef struct {
    vj_number_column *columns;
    int count;
    int64_t rows;
} vj_numbers;

/**
 * Read a table whose first column is named `first`: CSV with a header, or, if the path contains ".jsonl", an object of
 * numbers and nulls on each line. Empty cells, null, nan and inf are NaN. A broken line (wrong number of cells, a cell
 * that is not a number, no end of line) is left out and becomes a problem; after five of them the rest is only counted.
 * Returns false if there is no table at all; a problem says why. Release the table with vj_numbers_release(), also
 * after a failure.
 */
bool vj_numbers_read(vj_numbers *numbers, const char *path, const char *first, vj_problems *problems);
void vj_numbers_release(vj_numbers *numbers);

/** Return the values of a column by its name; NULL if there is none. */
const double *vj_numbers_find(const vj_numbers *numbers, const char *name);

/**
 * Read one number from [text, end), rounded as by strtod(). *value is NaN for "null", "nan", "inf", and if there is
 * nothing before a comma or the end. Returns the end of the number; NULL if there is no number.
 */
const char *vj_parse_number(const char *text, const char *end, double *value);

#endif
