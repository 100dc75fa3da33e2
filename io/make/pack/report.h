/* Counts of files and clips by dataset and verdict: collected during the commit, printed at its end. */
#ifndef VJ_PACK_REPORT_H
#define VJ_PACK_REPORT_H

#include "pack/catalogue.h"
#include "pack/ledger.h"

typedef struct {
    int64_t sources, clips, store_bytes, shards;
    int64_t files[VJ_MAX_LIST][VJ_LEDGER_VERDICTS], clips_of[VJ_MAX_LIST][VJ_LEDGER_VERDICTS];
    char missing[VJ_MAX_LIST][512]; /* first missing file of each dataset; "": none */
    int64_t doubtful;               /* files packed although they may be copies of others, which the ledger names */
    int64_t held_out_videos, held_out_unread; /* number of held-out videos; those that could not be decoded, so that
                                                 nothing was compared with them */
} vj_pack_report;

/** Format the summary as text, lines indented by two blanks. free() it; NULL: no memory. */
char *vj_pack_report_text(const vj_pack_report *report, const vj_media_names *names);

/** Return the number of files with this verdict in all datasets. */
int64_t vj_pack_report_files(const vj_pack_report *report, int verdict);

#endif
