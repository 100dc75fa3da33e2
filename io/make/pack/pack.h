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
 * Decode the files of config->pack.lists or .datasets and write config->pack.store. Shards that are complete are gone
 * on with, on any number of ranks; the store does not depend on it. A file that cannot be used never stops the job: it
 * is in the ledger with a verdict. No clip at all is an error. A store that is complete and was packed with the same
 * settings from the same lists is left alone, which is no error; one of other settings is refused.
 * dry_run: read the lists, say what would be done. Collective; a failure of one rank alone is returned there only.
 */
vj_status vj_pack(const vj_config *config, MPI_Comm comm, int dry_run);

#endif
