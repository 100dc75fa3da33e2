/* What became of all files, by dataset and verdict: counted while the store is committed, told at its end. */
#ifndef VJ_PACK_REPORT_H
#define VJ_PACK_REPORT_H

#include "pack/catalogue.h"
#include "pack/ledger.h"

typedef struct {
    int64_t sources, clips, store_bytes, shards;
    int64_t files[VJ_MAX_LIST][VJ_LEDGER_VERDICTS], clips_of[VJ_MAX_LIST][VJ_LEDGER_VERDICTS];
    int64_t doubtful; /* packed, though they may be copies of others: the ledger says of which */
    int64_t held_out_videos, held_out_unread; /* how many; of these could not be decoded, so nothing is compared */
} vj_pack_report;

/** The summary as text, lines indented by two blanks. free() it; NULL: no memory. */
char *vj_pack_report_text(const vj_pack_report *report, const vj_media_names *names);

/** Files of all datasets with one verdict. */
int64_t vj_pack_report_files(const vj_pack_report *report, int verdict);

#endif
