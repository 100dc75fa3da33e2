/*
 * Reading lists of any length with bounded memory: bytes one after another, lines counted for messages. CSV records
 * (csv.h) and JSON objects (json.h) are taken from it.
 */
#ifndef VJ_PACK_TEXT_H
#define VJ_PACK_TEXT_H

#include <stddef.h>

#include "base/status.h"

/* The longest line, CSV record or JSON object of a list, and the longest path of a media file. */
enum { VJ_RECORD_BYTES = 65536, VJ_MEDIA_PATH = 4096 };

typedef struct {
    const char *name; /* borrowed; stands in messages */
    int fd;
    char *buffer; /* owned */
    size_t at, end;
    int64_t line;     /* of the byte to come, from 1 */
    vj_status status; /* a failed read, which was reported and looks like the end */
} vj_text;

/**
 * Open a list; `what` it is stands in messages ("media list"). Only regular files: opening a FIFO would wait for its
 * writer. A byte order mark is passed over. Close in any case.
 */
vj_status vj_text_open(vj_text *text, const char *name, const char *what);
void vj_text_close(vj_text *text);

/** The next byte, left or taken; -1 at the end, after a failed read and at a zero byte, which is no text: see status.
 */
int vj_text_peek(vj_text *text);
int vj_text_next(vj_text *text);

/** The first bytes of the list, at least a line or VJ_RECORD_BYTES, before anything was taken. */
const char *vj_text_begin(const vj_text *text, size_t *bytes);

/** Is this word a field of the first line, whose fields are so separated? Also before anything was taken. */
int vj_text_first_line_has(const vj_text *text, const char *word, char separator);

/** Take a line without its end, at most VJ_RECORD_BYTES with the zero that ends it; *length -1: there is none. */
vj_status vj_text_line(vj_text *text, char line[VJ_RECORD_BYTES], int64_t *length);

/** Refuse what stands in a line: "LIST:LINE: ...". Returns VJ_ERR_FORMAT. */
vj_status vj_text_refuse(const vj_text *text, int64_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
