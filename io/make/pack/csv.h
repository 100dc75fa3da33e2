/*
 * CSV after RFC 4180, record by record, with any separator; a field may hold any byte but zero. Lines end in LF or CR
 * LF. Blanks around a field that do not stand between quotes are left out.
 */
#ifndef VJ_PACK_CSV_H
#define VJ_PACK_CSV_H

#include "pack/text.h"

enum { VJ_CSV_FIELDS = 64 };

typedef struct {
    char separator; /* set by the caller: a comma, semicolon, tab, or blank (any number of them) */
    int fields;     /* 0: no record is left */
    int64_t line;   /* the first of the record */
    const char *field[VJ_CSV_FIELDS];
    char bytes[VJ_RECORD_BYTES];
} vj_csv;

/** Take the next record that is not an empty line. */
vj_status vj_csv_read(vj_csv *csv, vj_text *text);

/** The field of the header that is called `name`, or -1. */
int vj_csv_column(const vj_csv *header, const char *name);

#endif
