/*
 * Text from anywhere, put into files of several formats so that it is shown and never interpreted: a run's name with
 * "<script>" in it is shown as these letters. Bytes that are not UTF-8 and control characters are shown as U+FFFD.
 */
#ifndef VJ_BASE_MARKUP_H
#define VJ_BASE_MARKUP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/** Return the next character of UTF-8 text and move *text behind it. 0xFFFD for a byte that is not UTF-8, 0 at the end.
 */
uint32_t vj_utf8_next(const char **text);
/** Number of characters. */
int vj_utf8_length(const char *text);
/** Return a copy that is valid UTF-8, with U+FFFD for what is not, as JSON needs it. free() it; NULL: no memory. */
char *vj_utf8_copy(const char *text);
/** Return whether a text is valid UTF-8 without control characters, tabs and line ends. */
bool vj_utf8_is_name(const char *text);

/** Escaped for HTML and SVG, in text and in quoted attributes. */
void vj_put_html(FILE *out, const char *text);
/**
 * Escaped for Markdown, on one line: in a heading, a paragraph, an item of a list or a cell of a table. Only what would
 * mean something is escaped, so that "random_fan_in" can also be read as it stands.
 */
void vj_put_markdown(FILE *out, const char *text);
/** The same as the next cell of a table's line, which begins with "|": " text |". */
void vj_put_markdown_cell(FILE *out, const char *text);
/** As it is, for a terminal, which it cannot steer: control characters and bytes that are not UTF-8 become '?'. */
void vj_put_terminal(FILE *out, const char *text);
/**
 * A cell of CSV for spreadsheets, in quotes where needed (csv_table.h writes CSV for programs). Text that a spreadsheet
 * would take for a formula (it begins with = + @ or a minus that no number follows) gets a ' before it.
 */
void vj_put_csv(FILE *out, const char *text);
/** A number with all its digits, as short as possible; nothing for NaN. */
void vj_put_csv_number(FILE *out, double value);

#endif
