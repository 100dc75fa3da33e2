/*
 * Reads CSV (RFC 4180) record by record, with any separator; a field may hold any byte except zero. Lines end as in
 * text.h. Blanks around a field are removed unless they are inside quotes.
 */
#ifndef VJ_PACK_CSV_H
#define VJ_PACK_CSV_H

#include "pack/text.h"

enum { VJ_CSV_FIELDS = 64 };

typedef struct {
    char separator; /* set by the caller: a comma, semicolon, tab, or blank (any number of them) */
    int fields;     /* 0: end of the list */
    int64_t line;   /* first line of the record */
    const char *field[VJ_CSV_FIELDS];
    char bytes[VJ_RECORD_BYTES];
} vj_csv;

/** Read the next record, skipping empty lines. */
vj_status vj_csv_read(vj_csv *csv, vj_text *text);

/** Return the index of the header field called `name`, or -1. */
int vj_csv_column(const vj_csv *header, const char *name);

#endif
