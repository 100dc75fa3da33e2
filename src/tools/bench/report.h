/*
 * The results of a benchmark as one JSON object with single values, whose names contain their units, and arrays of
 * rows. It is printed as JSON, or as text with a line for each value and a table for each array.
 */
#ifndef VJ_BENCH_REPORT_H
#define VJ_BENCH_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "base/status.h"
#include "bench/timing.h"

/** Set a value of an object. NaN and infinity become null; in a text that is not UTF-8, bytes that are not ASCII become
 * "?". These functions abort when out of memory. */
void vj_put_text(json_t *object, const char *key, const char *text);
void vj_put_number(json_t *object, const char *key, double value);
void vj_put_count(json_t *object, const char *key, int64_t value);
/** Set a value to {"min": s, "median": s, "max": s}. */
void vj_put_timing(json_t *object, const char *key, vj_timing seconds);

/** Set the value of `key` to an empty object and return it; borrowed from `object`. */
json_t *vj_put_object(json_t *object, const char *key);
/** Add a row to the array under `key`, which the first row creates, and return it; borrowed. All rows of an array must
 * have the same keys. */
json_t *vj_put_row(json_t *object, const char *key);

/** Return how many seconds the unit of a key's values has: 1 for "step_s" and "seconds", 3600 for "walltime_h", 0 if
 * they are no times, such as those of "flops" and of the rates "gb_s" and "clips_s". */
double vj_key_seconds(const char *key);

enum { VJ_CELL = 256 };

/** Make the text of a value; "-" for null. `seconds`: what vj_key_seconds() says of its key, for times with a unit. */
void vj_show_value(const json_t *value, double seconds, char cell[VJ_CELL]);

/** Makes the text of a cell from its key and value. `value` NULL: the heading of the column. */
typedef void vj_show(const char *key, const json_t *value, char cell[VJ_CELL]);
/** Print rows as a table with a heading: columns as wide as their widest cell, texts to the left, numbers to the right.
 * `indent` begins each line. */
void vj_report_table(const json_t *rows, const char *indent, vj_show *show, FILE *out);

/** Print the report. VJ_ERR_IO if that fails. */
vj_status vj_report_json(const json_t *report, FILE *out);
vj_status vj_report_text(const json_t *report, FILE *out);

#endif
