/*
 * The results of a part of a campaign as a file, and the whole table from the files of all parts. Each job of a batch
 * system's array, of vjepa-probe or vjepa-evaluate, writes a part; another job merges them. The table is the same as
 * that of a campaign run in one job.
 */
#ifndef VJ_PROBE_PART_H
#define VJ_PROBE_PART_H

#include "probe/campaign.h"

enum { VJ_MAX_PARTS = 100000 };

/** Parse "2/8": part 2 of 8. VJ_ERR_USAGE, reported, for anything else. */
vj_status vj_part_parse(vj_campaign_part *part, const char *text);

/** Make the path of a part's file, "DIR/part_2_of_8" with an ending, ".json" or "". */
void vj_part_path(char path[VJ_FILE_PATH], const char *dir, const vj_campaign_part *part, const char *ending);

/**
 * Write DIR/part_2_of_8.json (docs/formats.md), atomically, with the rows and notes that vj_campaign_run() returned.
 * Not collective: one rank must call it.
 */
vj_status vj_part_write(const char *dir, const vj_campaign_part *part, const vj_probe_row *rows, int64_t count,
                        const vj_notes *notes);

/**
 * Read all `parts` parts from DIR: the rows (to be freed with free()) in the order of the table, and all notes.
 * VJ_ERR_IO, naming all missing parts; VJ_ERR_FORMAT if they are of different campaigns, or rows are missing. Not
 * collective.
 */
vj_status vj_part_read_all(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const char *dir, int parts);

/**
 * Make the table of all parts in DIR: their predictions become DIR/predictions.h5, then vj_campaign_report(). Errors as
 * above. Not collective.
 */
vj_status vj_part_merge(const char *dir, int parts);

#endif
