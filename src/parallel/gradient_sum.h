/*
 * Sums a gradient over the ranks bucket by bucket while the backward pass is still producing it, last layer first. The
 * gradients are in memory that the ranks of a node share: when all ranks of the node have finished a bucket, each of
 * them sums its share of the bucket and writes the sum into the vectors of all. Between nodes a bounded number of
 * buckets is in flight through nonblocking MPI. Nothing is allocated after opening. Nodes may have different numbers of
 * ranks: all ranks sum, but on each node only as many as the smallest node has communicate with other nodes.
 *
 * Additions are made in the order of vj_group_allreduce(), so the results are bitwise equal to its results, regardless
 * of which rank sums and when.
 */
#ifndef VJ_PARALLEL_GRADIENT_SUM_H
#define VJ_PARALLEL_GRADIENT_SUM_H

#include <mpi.h>

#include "base/status.h"

typedef struct vj_gradient_sum vj_gradient_sum;

/* n, bucket and first must be equal on all ranks. */
typedef struct {
    float *alone; /* [n], borrowed: the vector to use if this rank shares memory with no other rank */
    int64_t n;
    int64_t bucket;       /* floats per bucket */
    const int64_t *first; /* [ranks + 1] rank r gets only the sum of [first[r], first[r+1]); the rest of its vector is
                             undefined afterwards. NULL: every rank gets the whole sum. Read only while opening */
    int threads;          /* for summing */
    /* Adds `count` arrays of n floats in the order of base/tree_sum.h: a kernel of the device that owns the vectors.
     * NULL: vj_tree_sum() with `threads` threads. */
    void (*sum)(void *user, float *out, const float *const *in, int count, int64_t n);
    void *user; /* first argument of `sum`, borrowed */
    int node;   /* node of this rank, as vj_window_open() takes it */
} vj_gradient_sum_plan;

/** Allocate everything and open the shared memory. Collective. Close with vj_gradient_sum_close(), also collective,
 * even after a failure. */
vj_status vj_gradient_sum_open(vj_gradient_sum **reduction, MPI_Comm comm, const vj_gradient_sum_plan *plan);
void vj_gradient_sum_close(vj_gradient_sum *reduction);

/** Return this rank's vector [n]: in shared memory, initially zero and owned by the reduction, or plan->alone. Not
 * collective. */
float *vj_gradient_sum_vector(const vj_gradient_sum *reduction);

/** Return vj_window_way(): by what means sums are made, for messages. Not collective. */
const char *vj_gradient_sum_way(const vj_gradient_sum *reduction);

/**
 * Declare elements [offset, n) of this rank's vector final; the rank must not touch them until vj_gradient_sum_end()
 * has returned. Then sum the buckets that all ranks have finished. Never waits; with nothing to do it costs less than a
 * microsecond plus a test of MPI requests. Ranks may call it with different offsets, or never. Not collective.
 */
void vj_gradient_sum_made(vj_gradient_sum *reduction, int64_t offset);

/** Declare this rank's whole vector final and wait until all of it is summed. Values written afterwards belong to the
 * next sum. Collective. */
void vj_gradient_sum_end(vj_gradient_sum *reduction);

#endif
