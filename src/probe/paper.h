/*
 * Published results, for comparison with our own: a CSV file (docs/formats.md, "Published results"), whose cells are
 * matched with results by names.
 */
#ifndef VJ_PROBE_PAPER_H
#define VJ_PROBE_PAPER_H

#include "base/csv_table.h"
#include "probe/report.h"

typedef struct {
    vj_csv_table cells;                                    /* owned */
    int row, column, value, model, table, protocol, views; /* numbers of columns; -1: the file has none */
    char only_table[32];                                   /* "": cells of any table */
} vj_paper;

/**
 * Read a file; with only_table, which may be "", only cells of this table match. VJ_ERR_FORMAT if it has no columns
 * row, column and value. Release also after a failure. Not collective.
 */
vj_status vj_paper_read(vj_paper *paper, const char *path, const char *only_table);
void vj_paper_release(vj_paper *paper);

/** Return whether cell `at` (a line of the file) matches a result with these names and share of the labels. */
bool vj_paper_matches(const vj_paper *paper, int64_t at, const char *encoder, const char *task, const char *kind,
                      double labels);
/** Return the published number of a cell; NaN if the cell is not a number. */
double vj_paper_value(const vj_paper *paper, int64_t at);
/** Write where a cell is published, "table 6, V-JEPA, ViT-H/16". */
void vj_paper_place(const vj_paper *paper, int64_t at, char *text, size_t bytes);

/**
 * Set `paper` and `paper_cell` of each row to the first cell that matches, preferably one with the row's own views
 * ("16x8x3"); *filled counts such rows. Adds a note if a later matching cell has another number, and if the cell has
 * other views.
 */
vj_status vj_paper_fill(int64_t *filled, const vj_paper *paper, vj_probe_row *rows, int64_t count, vj_notes *notes);

#endif
