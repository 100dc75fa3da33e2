/*
 * The ledger: one row for every file of the manifests with the verdict on it, as a line of CSV. Rows are kept with the
 * shards until the commit (commit.c) writes STORE/ledger.csv from them, in the order of the manifests.
 */
#ifndef VJ_PACK_LEDGER_H
#define VJ_PACK_LEDGER_H

#include <stddef.h>

#include "video/video.h"

/* Verdicts in addition to those of vj_video_verdict (of which all but VJ_VIDEO_OK mean that the file was refused). */
enum {
    VJ_LEDGER_DAMAGED = VJ_VIDEO_VERDICTS, /* packed, though some frames are damaged or missing */
    VJ_LEDGER_SHORT,            /* packed; the video is shorter than a window, so its last frame is repeated */
    VJ_LEDGER_HELD_OUT_ID,      /* not packed: a list of held-out ids names it */
    VJ_LEDGER_HELD_OUT_CONTENT, /* not packed: its perceptual hash matches a held-out video */
    VJ_LEDGER_DUPLICATE,        /* not packed: listed before, or its perceptual hash matches an earlier file */
    VJ_LEDGER_HELD_OUT,         /* a held-out video itself, of which only the perceptual hash is taken */
    VJ_LEDGER_VERDICTS
};
/** Return the word for a verdict in ledger.csv. */
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

/** The header line of a ledger, without a newline. */
extern const char vj_ledger_header[];

/**
 * Format a row as a line without a newline: bytes that are not text are escaped (escape.h), texts are quoted. free()
 * it; NULL: no memory.
 */
char *vj_ledger_text(const vj_ledger_row *row);

/** Extract the path from a line, still escaped, truncated to `bytes`; "" if the line has none. */
void vj_ledger_path(const char *line, char *path, size_t bytes);

/**
 * Return the line with another verdict and reason, and 0 clips. free() it; NULL: no memory, or not a line of a ledger.
 */
char *vj_ledger_revised(const char *line, int verdict, const char *reason);
/** Return the line with a remark (which has no quotes) added to its reason. free() it; NULL: as above. */
char *vj_ledger_remarked(const char *line, const char *remark);

#endif
