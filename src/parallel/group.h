/*
 * Blocking all-reduce, reduce-scatter and all-gather of floats: through a shared-memory window inside a node, through
 * MPI between nodes. gradient_sum.h is the version that overlaps with the backward pass.
 *
 * Results are bitwise equal on all ranks and in every call, because ranks are added in the fixed order of partials.h,
 * whichever rank adds. On 2^k ranks this order does not depend on how the ranks are placed on nodes. Nodes may have
 * different numbers of ranks; then on each node only as many ranks as the smallest node has do the work.
 */
#ifndef VJ_PARALLEL_GROUP_H
#define VJ_PARALLEL_GROUP_H

#include <mpi.h>

#include "base/status.h"

typedef struct vj_group vj_group;

/** Open a group of the ranks of `comm`. `node`: node of this rank, as vj_window_open() takes it. Collective, like all
 * functions below unless they say otherwise. Close with vj_group_close(), even after a failure. */
vj_status vj_group_open(vj_group **group, MPI_Comm comm, int node);
void vj_group_close(vj_group *group);

/** Return vj_window_way(): by what means sums are made, for messages. Not collective. */
const char *vj_group_way(const vj_group *group);

/** Set the number of threads for summing; initially 1. Not collective. */
void vj_group_set_threads(vj_group *group, int threads);

/* Below, x is host memory (for device memory: a vj_map() view, at most VJ_MAP_BYTES at a time); n and `first` must be
 * equal on all ranks. */

/** Sum x [n] over the ranks, in place; all ranks get the sum. */
void vj_group_allreduce(vj_group *group, float *x, int64_t n);

/** Give rank r the sum of x[first[r] .. first[r+1]), in place; the rest of its x is undefined. first [ranks + 1]. */
void vj_group_reduce_scatter(vj_group *group, float *x, const int64_t *first);

/** Copy x[first[r] .. first[r+1]) of every rank r to all ranks, in place. first [ranks + 1]. */
void vj_group_allgather(vj_group *group, float *x, const int64_t *first);

#endif
