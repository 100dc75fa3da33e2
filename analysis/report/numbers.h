/*
 * Tables of numbers as text, such as metrics.csv and metrics.jsonl, read fast and whatever state they are in: what is
 * wrong with a line becomes a problem with file and line, and the other lines count. Prints nothing; any thread may
 * read a file.
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
 * Read a table whose first column is named `first`: CSV with a header, or if the path contains ".jsonl" an object of
 * numbers and nulls on each line. Empty cells, null, nan and inf are NaN. Lines that are broken (other than the right
 * number of cells, a cell that is no number, no end of line) are left out and become problems, at most five and a count
 * of the rest. Returns false if there is no table at all; a problem says why. Release with vj_numbers_release(), also
 * after a failure.
 */
bool vj_numbers_read(vj_numbers *numbers, const char *path, const char *first, vj_problems *problems);
void vj_numbers_release(vj_numbers *numbers);

/** A column by its name; NULL: there is none. */
const double *vj_numbers_find(const vj_numbers *numbers, const char *name);

/**
 * Read one number at `text`, which ends before `end`, rounded as strtod() does. *value is NaN for "null", "nan", "inf"
 * and where nothing is before a comma or the end. Returns the end of the number; NULL if it is none.
 */
const char *vj_parse_number(const char *text, const char *end, double *value);

#endif
