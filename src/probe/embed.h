/* A frozen encoder over a clip store: the features that probes and analysis read. */
#ifndef VJ_PROBE_EMBED_H
#define VJ_PROBE_EMBED_H

#include <mpi.h>

#include "base/config.h"
#include "probe/probe.h"

typedef struct {
    const char *encoder; /* a checkpoint, or random:published[:SEED], random:fan_in[:SEED] (SEED: run.seed) */
    const char *stores;  /* "A.clips,B.clips": one after the other */
    const char *out;     /* feature store to write */
    vj_pooling keep;     /* VJ_POOL_ATTENTIVE: all tokens; VJ_POOL_AVERAGE: their mean */
    int dry_run;         /* check everything and stop before the first clip */
} vj_embed_request;

/**
 * Encode the centre crop of every clip (or of embed.limit clips, drawn by a permutation keyed with run.seed, in their
 * order) with the target encoder, final norm included, and write the features with all labels. Clips are divided over
 * the ranks. The effective rank of the layer-normalised tokens is stored and printed; a clip that cannot be read is an
 * error, since an evaluation on other clips would be another one. Collective.
 */
vj_status vj_embed(const vj_config *config, const vj_embed_request *request, MPI_Comm comm);

#endif
