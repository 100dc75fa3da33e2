/*
 * Numbers from text, and as text: the values of options and of environment variables, and cells of lists. A text is a
 * number only if all of it is; "12x", "" and " " are none. Nothing here is collective.
 */
#ifndef VJ_BASE_NUMBER_H
#define VJ_BASE_NUMBER_H

#include <stdio.h>

#include "base/status.h"

/** Parse a whole decimal number. Returns false, and leaves *value as it is, if `text` is not one in [low, high]. */
bool vj_parse_whole(const char *text, int64_t low, int64_t high, int64_t *value);

/** Parse a finite decimal number. Returns false, and leaves *value as it is, if `text` is not one. */
bool vj_parse_real(const char *text, double *value);

/**
 * Parse "1,2,4", whole numbers in [low, high] with commas between them, into values [capacity]. Returns their count,
 * or -1 if the text is anything else or has more than `capacity` numbers.
 */
int vj_parse_list(const char *text, int64_t low, int64_t high, int64_t *values, int capacity);

/** Print the shortest decimal text that reads back as the same double, with at least `digits` significant digits before
 * an exponent is used ("1e+06" with 6, "1000000" with 9). */
void vj_print_real(FILE *out, double value, int digits);

/** Parse the value of an option as a whole number into *value; if the option was not given (text NULL), *value keeps
 * its value. VJ_ERR_USAGE if the text is not a whole number in [low, high]. */
vj_status vj_option_number(const char *option, const char *text, int64_t low, int64_t high, int64_t *value);

/** Likewise, a number above 0. */
vj_status vj_option_positive(const char *option, const char *text, double *value);

#endif
