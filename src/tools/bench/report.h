/*
 * The results of a benchmark as one JSON object: single values, with units in their names, and arrays of rows. Printed
 * as JSON, or as text: a line for each value, a table for each array.
 */
#ifndef VJ_BENCH_REPORT_H
#define VJ_BENCH_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "base/status.h"
#include "bench/timing.h"

/** Set a value of an object; NaN and infinity become null, a text that is not UTF-8 gets ? for what is not ASCII.
 * Aborts when out of memory. */
void vj_put_text(json_t *object, const char *key, const char *text);
void vj_put_number(json_t *object, const char *key, double value);
void vj_put_count(json_t *object, const char *key, int64_t value);
/** {"min": s, "median": s, "max": s}. */
void vj_put_timing(json_t *object, const char *key, vj_timing seconds);

/** An empty object under `key`; borrowed from `object`. */
json_t *vj_put_object(json_t *object, const char *key);
/** A new row of the array under `key`, which is made at its first row; borrowed. Rows of an array have the same keys.
 */
json_t *vj_put_row(json_t *object, const char *key);

/** Print; VJ_ERR_IO if that failed. */
vj_status vj_report_json(const json_t *report, FILE *out);
vj_status vj_report_text(const json_t *report, FILE *out);

#endif
