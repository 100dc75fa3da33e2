/*
 * Files that could not be had at this moment: missing, unreadable, or their decoding took more time or memory than
 * allowed although it was tried twice. That says as much of a file system, a ticket or a machine as of the files, so a
 * store in which they are many (pack.max_refused) is not published.
 */
#ifndef VJ_PACK_REFUSED_H
#define VJ_PACK_REFUSED_H

#include "pack/ledger.h"
#include "pack/shards.h"

/* Counts by dataset, the held-out videos last; and a file of each. */
typedef struct {
    struct {
        int64_t files;
        char example[512]; /* path and reason */
    } of[VJ_MAX_LIST + 1];
} vj_refused;

/** Whether a verdict (vj_ledger.h) is one of the moment. */
bool vj_refused_counts(int verdict);

/** Whether decoding a file again, alone and with wider limits, may end in another verdict. */
bool vj_refused_decode_again(int verdict);

/** Count a file, if its verdict is one of the moment. dataset: VJ_SOURCE_HELD_OUT for held-out videos. */
void vj_refused_add(vj_refused *refused, int dataset, int verdict, const char *path, const char *reason);

/** VJ_ERR_IO, with host, root and an example, if they are more than pack.max_refused of a dataset. */
vj_status vj_refused_check(const vj_refused *refused, const vj_pack_plan *plan);

/**
 * Remove complete shards that hold files which were missing or unreadable when they were packed and can be opened now,
 * so that they are made again. *removed: how many. Not collective: one rank does it.
 */
vj_status vj_refused_forget(const vj_pack_plan *plan, int64_t *removed);

/** VJ_ERR_IO if this process does not see a folder that the lists speak of: `root`, or the folder of a list. */
vj_status vj_refused_check_roots(const vj_config *config);

#endif
