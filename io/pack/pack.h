/*
 * Packing: media files named in lists become a clip store (clips/clips.h), and every file gets a line in its
 * ledger.csv. Read pack.c first; lists, ledger and progress stand beside it.
 */
#ifndef VJ_PACK_H
#define VJ_PACK_H

#include <mpi.h>

#include "base/config.h"

/**
 * Decode the files of config->pack.lists, rank r those of number r, r + size, ..., and write config->pack.store. A file
 * that cannot be used never stops the job: it is in the ledger with a verdict. No clip at all is an error. A store that
 * is complete and was packed with the same settings from the same lists is left alone, which is no error.
 * dry_run: read the lists, say what would be done. The store does not depend on the number of ranks, but for how clips
 * are spread over shards. Collective.
 */
vj_status vj_pack(const vj_config *config, MPI_Comm comm, int dry_run);

#endif
