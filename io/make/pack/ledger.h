/*
 * The ledger: one row for every file of the manifests with the verdict on it, as a line of CSV. Rows are kept with the
 * shards until the commit (commit.c) writes STORE/ledger.csv from them, in the order of the manifests.
 */
#ifndef VJ_PACK_LEDGER_H
#define VJ_PACK_LEDGER_H

#include <stddef.h>

#include "video/video.h"

/* Beyond the verdicts of vj_video, which are refusals but for the first. */
enum {
    VJ_LEDGER_DAMAGED = VJ_VIDEO_VERDICTS, /* packed, though some frames are damaged or missing */
    VJ_LEDGER_SHORT,                       /* packed; fewer frames than a window spans, the last one is held */
    VJ_LEDGER_HELD_OUT_ID,                 /* left out: a list of held-out ids names it */
    VJ_LEDGER_HELD_OUT_CONTENT,            /* left out: looks like a held-out video */
    VJ_LEDGER_DUPLICATE,                   /* left out: listed before, or looks like a file before it */
    VJ_LEDGER_HELD_OUT,                    /* a held-out video itself: only its look was wanted */
    VJ_LEDGER_VERDICTS
};
const char *vj_ledger_verdict_name(int verdict);

/* A row. */
typedef struct {
    int64_t source;      /* number in the manifests, from 0 */
    const char *dataset; /* name; "" for a held-out video */
    const char *path, *reason;
    int verdict;
    const vj_video_info *info; /* NULL: the file was not opened */
    int64_t bytes;
    uint64_t digest; /* xxh3 of the file; 0: not read */
    int64_t shard, clips;
    double seconds;
} vj_ledger_row;

/** The first line of a ledger, without its end. */
extern const char vj_ledger_header[];

/** A line, without its end: bytes that are no text escaped (escape.h), texts quoted. free() it; NULL: no memory. */
char *vj_ledger_text(const vj_ledger_row *row);

/** The path in a line, escaped as it is there, cut to `bytes`; empty where the line has none. */
void vj_ledger_path(const char *line, char *path, size_t bytes);

/** The same line with another verdict and no clips. free() it; NULL: no memory, or it is no line of a ledger. */
char *vj_ledger_revised(const char *line, int verdict, const char *reason);
/** The same row with a remark, without quotes, added to its reason. free() it; NULL: as above. */
char *vj_ledger_remarked(const char *line, const char *remark);

#endif
