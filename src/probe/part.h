/*
 * The results of a share of a campaign as a file, and the whole table from the files of all shares. Jobs of a batch
 * system's array each write a part; one more merges them. The table has the digits of a campaign that ran as one.
 */
#ifndef VJ_PROBE_PART_H
#define VJ_PROBE_PART_H

#include "probe/campaign.h"

/** Parse "2/8": part 2 of 8. VJ_ERR_USAGE, reported, for anything else. */
vj_status vj_part_parse(vj_campaign_part *part, const char *text);

/**
 * Write DIR/part_2_of_8.json (docs/formats.md), atomically, with the rows and notes that vj_campaign_run() returned.
 * Not collective: one rank must call it.
 */
vj_status vj_part_write(const char *dir, const vj_campaign_part *part, const vj_probe_row *rows, int64_t count,
                        const vj_notes *notes);

/**
 * Read all parts of so many from DIR: the rows (to be freed with free()) in the order of the table, the notes of all.
 * VJ_ERR_IO if parts are missing, all of which are named; VJ_ERR_FORMAT if they are of different campaigns, or rows are
 * missing. Not collective.
 */
vj_status vj_part_merge(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const char *dir, int parts);

#endif
