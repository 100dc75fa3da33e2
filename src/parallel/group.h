/*
 * Ranks that sum and gather floats together, at once: through a shared-memory window on a node, through MPI between
 * nodes. What is summed while it is made is gradient_sum.h's.
 *
 * Results have the same bits on all ranks and in every call: sums are made in a fixed order of ranks, that of
 * partials.h, whoever makes them. On 2^k ranks it is the same wherever they are. Nodes may have different numbers of
 * ranks; then as many of each node do the work as the smallest has.
 */
#ifndef VJ_PARALLEL_GROUP_H
#define VJ_PARALLEL_GROUP_H

#include <mpi.h>

#include "base/status.h"

typedef struct vj_group vj_group;

/** `node`: of this rank, as vj_window_open() has it. Collective, as is all below. Close with vj_group_close(), also
 * after a failure. */
vj_status vj_group_open(vj_group **group, MPI_Comm comm, int node);
void vj_group_close(vj_group *group);

/** vj_window_way(). Not collective. */
const char *vj_group_way(const vj_group *group);

/** Threads that sum; 1 unless set. Not collective. */
void vj_group_set_threads(vj_group *group, int threads);

/* x is host memory (vj_map() of device memory, at most VJ_MAP_BYTES at a time); n and `first` are equal on all ranks.
 */

/** Sum over the ranks, in place, to all of them. */
void vj_group_allreduce(vj_group *group, float *x, int64_t n);

/** Rank r ends with the sum of [first[r], first[r+1]), in place; the rest of x is undefined. first [ranks + 1]. */
void vj_group_reduce_scatter(vj_group *group, float *x, const int64_t *first);

/** Rank r's [first[r], first[r+1]) to all. first [ranks + 1]. */
void vj_group_allgather(vj_group *group, float *x, const int64_t *first);

#endif
