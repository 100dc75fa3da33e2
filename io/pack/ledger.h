/*
 * ledger.csv: one row for every file of the lists, in their order, with the verdict on it. Each rank keeps its rows in
 * memory, rank 0 puts them together and writes the file.
 */
#ifndef VJ_PACK_LEDGER_H
#define VJ_PACK_LEDGER_H

#include <mpi.h>

#include "video/video.h"

/* Beyond the verdicts of vj_video, which are refusals but for the first. */
enum {
    VJ_LEDGER_DAMAGED = VJ_VIDEO_VERDICTS, /* packed, though some frames are damaged or missing */
    VJ_LEDGER_SHORT,                       /* packed; fewer frames than a window spans, the last one is held */
    VJ_LEDGER_VERDICTS
};
const char *vj_ledger_verdict_name(int verdict);

/* A row. */
typedef struct {
    int64_t source; /* number in the lists, from 0 */
    const char *path;
    int verdict;
    char reason[256];
    vj_video_info info; /* all zero when the file was refused before it was known */
    int64_t clips, bytes;
    double seconds;
} vj_ledger_row;

typedef struct {
    char *text; /* rows, each ending in a newline; owned */
    int64_t bytes, room;
    int64_t verdicts[VJ_LEDGER_VERDICTS];
} vj_ledger;

/** Append a row. Rows must come in ascending order of source. */
vj_status vj_ledger_add(vj_ledger *ledger, const vj_ledger_row *row);

/**
 * Write STORE/ledger.csv from all ranks' rows, rank after rank. Afterwards ledger->verdicts counts for all. Collective,
 * agreed.
 */
vj_status vj_ledger_write(vj_ledger *ledger, const char *store, MPI_Comm comm);
void vj_ledger_release(vj_ledger *ledger);

/**
 * The text as one line of plain UTF-8: control characters and bytes that are not UTF-8 become \xHH, a backslash becomes
 * two. free() it; NULL when memory ends.
 */
char *vj_ledger_escape(const char *text);

#endif
