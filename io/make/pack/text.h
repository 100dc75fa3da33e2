/*
 * Reads lists of any length with bounded memory, byte by byte, counting lines for messages. csv.h and json.h read their
 * records and objects through it. Lines end in LF or CR LF, or all in CR alone, as some programs export tables: a list
 * whose first VJ_RECORD_BYTES hold a CR and no LF is read as if each CR were an LF.
 */
#ifndef VJ_PACK_TEXT_H
#define VJ_PACK_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/progress.h"
#include "base/status.h"

/* The longest line, CSV record or JSON object of a list, and the longest path of a media file. */
enum { VJ_RECORD_BYTES = 65536, VJ_MEDIA_PATH = 4096 };

typedef struct {
    const char *name; /* borrowed; used in messages */
    int fd;
    int64_t bytes, got; /* of the whole list; read so far */
    vj_progress_line progress;
    char *buffer; /* owned */
    size_t at, end;
    bool returns;     /* lines end in CR alone */
    int64_t line;     /* line of the next byte, from 1 */
    vj_status status; /* the error of a failed read, which was reported; the readers see the end of the list */
} vj_text;

/**
 * Open a list; `what` describes it in messages ("media list"). Only regular files: opening a FIFO would wait for its
 * writer. A byte order mark and empty lines at the beginning are skipped. Call vj_text_close() also after a failure.
 */
vj_status vj_text_open(vj_text *text, const char *name, const char *what);
void vj_text_close(vj_text *text);

/**
 * Return the next byte without consuming it (peek), or consume it (next). -1 at the end, after a failed read, and at a
 * zero byte, which text does not have: check text->status.
 */
int vj_text_peek(vj_text *text);
int vj_text_next(vj_text *text);

/** Return the first bytes of the list, at least a line or VJ_RECORD_BYTES. Only before anything was consumed. */
const char *vj_text_begin(const vj_text *text, size_t *bytes);

/**
 * Return whether `word` is a field of the first line, whose fields are separated by `separator`. Only before anything
 * was consumed.
 */
int vj_text_first_line_has(const vj_text *text, const char *word, char separator);

/**
 * Read a line without its line end, at most VJ_RECORD_BYTES with the terminating zero; *length is -1 at the end of the
 * list.
 */
vj_status vj_text_line(vj_text *text, char line[VJ_RECORD_BYTES], int64_t *length);

/** Remove the quotes around a text, if any; a doubled quote inside stands for one. */
void vj_text_unquote(char *text);

/** Report what is wrong with a line as "LIST:LINE: ...". Returns VJ_ERR_FORMAT. */
vj_status vj_text_refuse(const vj_text *text, int64_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
