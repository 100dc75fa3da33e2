/* Bytes as one line of plain UTF-8, and back: how ledgers and JSON lists give names that are no text. */
#ifndef VJ_PACK_ESCAPE_H
#define VJ_PACK_ESCAPE_H

#include <stddef.h>

/** Control characters and bytes that are not UTF-8 become \xHH, a backslash becomes two. free() it; NULL: no memory. */
char *vj_escape(const char *text);

/** Back, into `text`; 0: a backslash is not followed by another or by xHH with HH above 00, or it does not fit. */
int vj_unescape(const char *escaped, char *text, size_t bytes);

#endif
