/*
 * Packing: media files named in lists, or found in folders, become a clip store (clips/clips.h), and every file gets a
 * line in its ledger.csv. Read pack.c first.
 *
 *   manifest.h   lists and folders, file by file      catalogue.h  all of them, numbered, in a file
 *   sharding.h   which shard holds which              recipe.h     what decides a store's content
 *   shards.h     a rank's shards                      commit.h     from shards to a store, with
 *                                                                  phash_index.h, ledger.h, report.h
 */
#ifndef VJ_PACK_H
#define VJ_PACK_H

#include <mpi.h>

#include "base/config.h"

/**
 * Decode the files of config->pack.lists or .datasets and write config->pack.store. Resumes after the shards that are
 * complete, on any number of ranks; the store's content does not depend on that number. A file that cannot be used
 * never stops the job: it is in the ledger with a verdict. If there is no clip at all, an error is returned. A complete
 * store that was packed with the same settings from the same lists is left unchanged (VJ_OK); a store of other settings
 * is refused. dry_run: only read the lists and print what would be done. Collective; a failure of one rank is returned
 * on that rank only.
 */
vj_status vj_pack(const vj_config *config, MPI_Comm comm, int dry_run);

#endif
