/*
 * A report as a document: sections of paragraphs, notes, tables, lists, pictures and plots (plot.h). It is built once
 * and written as one HTML file, as Markdown with SVG files, and as CSV.
 *
 * Every text that is passed in is taken as text and copied: the writers escape it, so names and messages from files
 * may be passed as they are. Tables, lists and plots belong to their document and are valid until it is destroyed.
 * Building aborts when out of memory.
 */
#ifndef VJ_DOCUMENT_H
#define VJ_DOCUMENT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define VJ_PRINTF(text, first) __attribute__((format(printf, text, first)))

typedef struct vj_document vj_document;
typedef struct vj_table vj_table;
typedef struct vj_list vj_list;
typedef struct vj_plot vj_plot;

vj_document *vj_document_create(const char *title);
/** NULL is allowed. */
void vj_document_destroy(vj_document *document);

/** Begin a section: what is added next belongs to it. Sections are listed at the top of the document. */
void vj_document_section(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);
/** A heading inside the section. */
void vj_document_heading(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);
void vj_document_paragraph(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);

/**
 * Something is wrong or missing: shown where it is added, marked as a note, and counted at the top of the document. Say
 * which file and line, what was found, and what is therefore not shown.
 */
void vj_document_note(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);
int vj_document_notes(const vj_document *document);

/* ------------------------------------------------------------------------------------------------ tables, lists */

typedef enum { VJ_LEFT, VJ_RIGHT } vj_align;

/**
 * A table. First all columns, then all cells, row after row; a last row that is not full is filled with empty cells.
 *
 * @param name     of its CSV file, without ending; made of letters, digits, "-" and "_" (others are replaced), and
 *                 unique (a number is added)
 * @param caption  a sentence above the table; "": none
 */
vj_table *vj_document_table(vj_document *document, const char *name, const char *caption);
/** `unit` follows the heading in smaller letters, and in CSV as "heading (unit)"; "": none. */
void vj_table_column(vj_table *table, vj_align align, const char *heading, const char *unit);
void vj_table_text(vj_table *table, const char *format, ...) VJ_PRINTF(2, 3);
/** A number, shown with `decimals` digits behind the point and in CSV with all its digits. NaN: an empty cell. */
void vj_table_number(vj_table *table, double value, int decimals);
/**
 * The next cell under its heading, where all rows have the same cells: those of the first row make the columns, texts
 * on the left, numbers on the right. So headings and cells are said in one place; no vj_table_column() then.
 */
void vj_row_text(vj_table *table, const char *heading, const char *format, ...) VJ_PRINTF(3, 4);
void vj_row_number(vj_table *table, const char *heading, const char *unit, double value, int decimals);
/** Emphasise the last cell, for example the best of its column. */
void vj_table_highlight(vj_table *table);

/** A list of names and values, shown as two columns. */
vj_list *vj_document_list(vj_document *document);
void vj_list_put(vj_list *list, const char *key, const char *format, ...) VJ_PRINTF(3, 4);

/* ------------------------------------------------------------------------------------------------ pictures, plots */

/**
 * A PNG file in memory, which is copied.
 *
 * @param name     of the file in Markdown's folder, as a table's
 * @param alt      what can be seen, for readers who cannot see it
 * @param caption  a sentence below; "": none
 */
void vj_document_picture(vj_document *document, const char *name, const void *png, size_t bytes, const char *alt,
                         const char *caption);

/**
 * A plot; plot.h says how it is filled. Plots that follow one another stand side by side where there is room.
 *
 * @param name   of its CSV and SVG files, as a table's
 * @param title  above the plot
 */
vj_plot *vj_document_plot(vj_document *document, const char *name, const char *title);

/* ------------------------------------------------------------------------------------------------ writers */

/**
 * Draw all plots with one gnuplot process; the writers of HTML and Markdown need it. VJ_ERR_LIBRARY with a message that
 * says what to install if gnuplot is missing or fails.
 */
vj_status vj_document_draw(vj_document *document);

/* What the HTML file begins with, by which a report is told from other files of the name. */
#define VJ_DOCUMENT_HTML_BEGIN                                                                                         \
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"generator\" "                 \
    "content=\"vjepa-report\">\n"

/** Write one self-contained HTML file: no scripts, and nothing is loaded from elsewhere. */
vj_status vj_document_html(const vj_document *document, const char *path);

/** Write FOLDER/report.md with an SVG file for each plot and a PNG file for each picture; the folder is made. */
vj_status vj_document_markdown(const vj_document *document, const char *folder);

/**
 * Write a CSV file for each table and plot into a folder, which is made. Numbers have all digits. Rows of a plot are
 * "series, x, y, low, high", of a heat map "row, column, value".
 */
vj_status vj_document_csv(const vj_document *document, const char *folder);

#endif
