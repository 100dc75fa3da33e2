/*
 * A report as a document: sections with paragraphs, notes, tables, lists, pictures and plots (plot.h). It is built
 * once, and can be written as one HTML file, as Markdown with SVG files, and as CSV.
 *
 * All texts that are passed in are copied. They are plain text: the writers escape them, so names and messages from
 * files may be passed as they are. Tables, lists and plots belong to their document and are valid until it is
 * destroyed. These functions abort when out of memory.
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

/** Create an empty document. Free it with vj_document_destroy(). Aborts the job without memory. */
vj_document *vj_document_create(const char *title);
/** Free a document. NULL is allowed. */
void vj_document_destroy(vj_document *document);

/** Begin a section, to which everything belongs that is added next. Sections are listed at the top of the document. */
void vj_document_section(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);
/** Add a heading inside the section. */
void vj_document_heading(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);
void vj_document_paragraph(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);

/**
 * Add a note that something is wrong or missing. It is shown at this place, and notes are counted at the top of the
 * document. The text should say which file and line, what was found, and what is therefore not shown.
 */
void vj_document_note(vj_document *document, const char *format, ...) VJ_PRINTF(2, 3);
int vj_document_notes(const vj_document *document);
/** Return the text of note `number`, from 0; NULL if there are fewer. */
const char *vj_document_note_text(const vj_document *document, int number);

/* ------------------------------------------------------------------------------------------------ tables, lists */

typedef enum { VJ_LEFT, VJ_RIGHT } vj_align;

/**
 * Add a table. Add all its columns first, then all cells, row by row. Missing cells of the last row are empty.
 *
 * @param name     name of its CSV file, without ending. Characters other than letters, digits, "-" and "_" are
 * replaced, and a number is added if another one has this name
 * @param caption  a sentence above the table; "": none
 */
vj_table *vj_document_table(vj_document *document, const char *name, const char *caption);
/** Add a column. The unit follows the heading in smaller letters, and in CSV as "heading (unit)"; "": none. */
void vj_table_column(vj_table *table, vj_align align, const char *heading, const char *unit);
void vj_table_text(vj_table *table, const char *format, ...) VJ_PRINTF(2, 3);
/** Add a cell with a number, shown with `decimals` digits after the point, and in CSV with all digits. NaN: empty cell.
 */
void vj_table_number(vj_table *table, double value, int decimals);
/** Add a cell with a time, shown as vj_duration() does, and in CSV as a number of seconds. The column's unit must be
 * "s". NaN: empty cell. */
void vj_table_seconds(vj_table *table, double seconds);
/**
 * Add the next cell together with its heading, instead of calling vj_table_column(). All rows must have the same cells.
 * Those of the first row create the columns: texts are aligned left, numbers right.
 */
void vj_row_text(vj_table *table, const char *heading, const char *format, ...) VJ_PRINTF(3, 4);
void vj_row_number(vj_table *table, const char *heading, const char *unit, double value, int decimals);
void vj_row_seconds(vj_table *table, const char *heading, double seconds);
/** Emphasise the cell that was added last, for example the best of its column. */
void vj_table_highlight(vj_table *table);

/** Add a list of names and values, shown as two columns. */
vj_list *vj_document_list(vj_document *document);
void vj_list_put(vj_list *list, const char *key, const char *format, ...) VJ_PRINTF(3, 4);

/* ------------------------------------------------------------------------------------------------ pictures, plots */

/**
 * Add a picture: a JPEG file in memory, which is copied.
 *
 * @param name     name of the file in Markdown's folder, without ending, as for a table
 * @param alt      description for readers who cannot see the picture
 * @param caption  a sentence below it; "": none
 */
void vj_document_picture(vj_document *document, const char *name, const void *jpeg, size_t bytes, const char *alt,
                         const char *caption);

/**
 * Add a plot; fill it with the functions of plot.h. Plots that follow one another are side by side if there is room.
 *
 * @param name   name of its CSV and SVG files, without ending, as for a table
 * @param title  shown above the plot
 */
vj_plot *vj_document_plot(vj_document *document, const char *name, const char *title);

/* ------------------------------------------------------------------------------------------------ writers */

/**
 * Draw all plots with one gnuplot process. Must be called before writing HTML or Markdown. VJ_ERR_LIBRARY if gnuplot is
 * missing or fails; the message says what to install.
 */
vj_status vj_document_draw(vj_document *document);

/* The beginning of the HTML file, by which a report is recognised before it is overwritten. */
#define VJ_DOCUMENT_HTML_BEGIN                                                                                         \
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"generator\" "                 \
    "content=\"vjepa-report\">\n"

/** Write one HTML file, without scripts, which loads nothing from elsewhere. */
vj_status vj_document_html(const vj_document *document, const char *path);

/** Write FOLDER/report.md with an SVG file for each plot and a JPEG file for each picture. Creates the folder. */
vj_status vj_document_markdown(const vj_document *document, const char *folder);

/**
 * Check that the files which vj_document_markdown() would write are not there, or are of an earlier report;
 * VJ_ERR_USAGE if not. `document` NULL: check report.md alone, before there is a document.
 */
vj_status vj_document_check_markdown(const vj_document *document, const char *folder);

/**
 * Write a CSV file for each table and plot into a folder, which is created, and report.txt, by which it is recognised.
 * Numbers have all digits. The rows of a plot are "series, x, y, low, high", those of a heat map "row, column, value".
 */
vj_status vj_document_csv(const vj_document *document, const char *folder);

/**
 * Check that the files which vj_document_csv() would write are not there, or that the folder is that of an earlier
 * report; VJ_ERR_USAGE if not. So a folder of a run or of results does not lose its own files.
 */
vj_status vj_document_check_csv(const vj_document *document, const char *folder);

#endif
