/*
 * The commit: when all shards are complete, one rank streams over them in order, decides what is left out for its look,
 * writes the ledger in the order of the manifests, and last the index, from which moment the store exists. What grows
 * with the files is in scratch files in the store's folder, about 150 bytes each and their rows of the ledger, 400 more
 * when looks are compared; in memory is one shard's tables at a time.
 */
#ifndef VJ_PACK_COMMIT_H
#define VJ_PACK_COMMIT_H

#include "pack/report.h"
#include "pack/shards.h"

/** Not collective: one rank does it. Without any clip (report->clips 0) there is a ledger, but no store. */
vj_status vj_pack_commit(const vj_pack_plan *plan, vj_pack_report *report);

#endif
