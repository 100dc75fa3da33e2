/* Runs a frozen encoder over clip stores and writes the features that probes and analysis read. */
#ifndef VJ_PROBE_EMBED_H
#define VJ_PROBE_EMBED_H

#include <mpi.h>

#include "base/config.h"
#include "probe/probe.h"

typedef struct {
    const char *encoder; /* a checkpoint, the folder of a run (its newest checkpoint), or random:published[:SEED],
                            random:fan_in[:SEED] (SEED: run.seed) */
    const char *stores;  /* "A.clips,B.clips": clip stores, concatenated */
    const char *out;     /* path of the feature store to write */
    vj_pooling keep;     /* VJ_POOL_ATTENTIVE: all tokens; VJ_POOL_AVERAGE: their mean */
    int dry_run;         /* check everything and stop before the first clip */
} vj_embed_request;

/**
 * Encode the centre crop of every clip with the target encoder, including its final norm, and write the features with
 * all labels. If embed.limit is less than the number of clips, that many clips are drawn by a permutation keyed with
 * run.seed and encoded in ascending order. Clips are divided over the ranks. The effective rank of the layer-normalised
 * tokens is stored and printed. A damaged clip gets no row, and is counted; it is not replaced, because evaluations on
 * different clips could not be compared. The number of rows must be known before the file is written, so when a damaged
 * clip is found, the rest of the pass only looks for more of them, and a second pass encodes the good clips. Too many
 * damaged clips (vj_too_damaged()) are an error, and so is a failure of the file system.
 * Collective.
 */
vj_status vj_embed(const vj_config *config, const vj_embed_request *request, MPI_Comm comm);

#endif
