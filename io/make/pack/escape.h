/*
 * Encodes arbitrary bytes as one line of printable UTF-8, and decodes them. Ledgers and JSON lists use this for file
 * names that are not valid text.
 */
#ifndef VJ_PACK_ESCAPE_H
#define VJ_PACK_ESCAPE_H

#include <stddef.h>

/**
 * Replace control characters and bytes that are not UTF-8 by \xHH, and a backslash by two. free() it; NULL: no memory.
 */
char *vj_escape(const char *text);

/**
 * Decode into `text`. Returns 0 if a backslash is not followed by another or by xHH with HH above 00, or if the result
 * does not fit in `bytes`.
 */
int vj_unescape(const char *escaped, char *text, size_t bytes);

#endif
