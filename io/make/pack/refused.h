/*
 * Counts files refused for a cause that may be temporary: missing, unreadable, or decoding took more time or memory
 * than allowed although it was tried twice. The cause may be the file system, its access rights or the machine instead
 * of the file. So a store with too many of them (pack.max_refused) is not published.
 */
#ifndef VJ_PACK_REFUSED_H
#define VJ_PACK_REFUSED_H

#include "pack/ledger.h"
#include "pack/shards.h"

/* Counts for each dataset, those of held-out videos last, with one file of each as an example. */
typedef struct {
    struct {
        int64_t files;
        char example[512]; /* path and reason */
    } of[VJ_MAX_LIST + 1];
} vj_refused;

/** Return whether a verdict (ledger.h) may have a temporary cause. */
bool vj_refused_counts(int verdict);

/** Return whether decoding a file again, alone and with wider limits, may give another verdict. */
bool vj_refused_decode_again(int verdict);

/** Count a file if its verdict may have a temporary cause. dataset: VJ_SOURCE_HELD_OUT for held-out videos. */
void vj_refused_add(vj_refused *refused, int dataset, int verdict, const char *path, const char *reason);

/**
 * Return VJ_ERR_IO, naming host, root and an example, if more than pack.max_refused of a dataset's files were counted.
 */
vj_status vj_refused_check(const vj_refused *refused, const vj_pack_plan *plan);

/**
 * Remove complete shards with files that were missing or unreadable when they were packed and can be opened now, so
 * that these shards are made again. *removed: number of shards removed. Not collective: one rank does it.
 */
vj_status vj_refused_forget(const vj_pack_plan *plan, int64_t *removed);

/** Return VJ_ERR_IO if this process cannot see a folder that the lists refer to: `root`, or the folder of a list. */
vj_status vj_refused_check_roots(const vj_config *config);

#endif
