/*
 * The commit, the last step of packing. When all shards are complete, one rank reads their tables in order, decides
 * which clips are dropped as copies (by perceptual hash), writes the ledger in the order of the manifests, and finally
 * writes the index; the store exists once the index does. Data that grow with the number of files are in scratch files
 * in the store's folder: for each file its row of the ledger and about 150 bytes, plus 400 bytes if hashes are
 * compared. Only one shard's tables at a time are in memory.
 */
#ifndef VJ_PACK_COMMIT_H
#define VJ_PACK_COMMIT_H

#include "pack/report.h"
#include "pack/shards.h"

/**
 * Commit the store and fill in `report`. Not collective: one rank does it. If there is no clip at all (report->clips is
 * 0), the ledger is written, but no index: there is no store.
 */
vj_status vj_pack_commit(const vj_pack_plan *plan, vj_pack_report *report);

#endif
