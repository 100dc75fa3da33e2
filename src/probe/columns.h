/* The columns of a table of results, one list for CSV, JSON and the parts of a divided campaign. */
#ifndef VJ_PROBE_COLUMNS_H
#define VJ_PROBE_COLUMNS_H

#include <jansson.h>

#include "probe/report.h"

/** Write the line of headings, or a row, of results.csv. Unknown values are empty. */
void vj_columns_csv_head(FILE *out);
void vj_columns_csv_row(FILE *out, const vj_probe_row *row);

/** Make a JSON string of any text: bytes that are not UTF-8, as paths may have, become U+FFFD. NULL: out of memory. */
json_t *vj_json_text(const char *text);

/**
 * Make a JSON object of a row; NULL: out of memory. Unknown values are null. `derived`: also values computed from the
 * others (errors, intervals, differences), for readers of results.json.
 */
json_t *vj_columns_to_json(const vj_probe_row *row, bool derived);

/** Read a row from an object that vj_columns_to_json() made. Returns false if it lacks something or a text is too long.
 */
bool vj_columns_from_json(vj_probe_row *row, const json_t *object);

#endif
