/*
 * Sums a gradient over the ranks bucket by bucket while the backward pass is still producing it, last layer first. The
 * gradients lie in memory that the ranks of a node share: a rank that finds a bucket finished by all of them sums its
 * share of that bucket and writes the sum into all their vectors. Between nodes a
 * bounded number of buckets is on its way through nonblocking MPI. Nothing is allocated after opening. Nodes may have
 * different numbers of ranks: all of them sum, and as many of each node as the smallest has send.
 *
 * Sums are made in the order of vj_group_allreduce(), so they have its bits, whoever makes them and whenever.
 */
#ifndef VJ_PARALLEL_GRADIENT_SUM_H
#define VJ_PARALLEL_GRADIENT_SUM_H

#include <mpi.h>

#include "base/status.h"

typedef struct vj_gradient_sum vj_gradient_sum;

/* n, bucket, first are equal on all ranks. */
typedef struct {
    float *alone; /* [n], borrowed: the vector of a rank that has no neighbours to share memory with */
    int64_t n;
    int64_t bucket;       /* floats that are summed at a time */
    const int64_t *first; /* [ranks + 1] rank r gets the sum of [first[r], first[r+1]) only, the rest of its vector is
                             undefined afterwards; NULL: all get all. Not needed after opening */
    int threads;          /* that sum */
    /* Who adds arrays up, in the order of base/tree_sum.h: a kernel of the device whose memory the vectors are. NULL:
     * vj_tree_sum(), by `threads`. */
    void (*sum)(void *user, float *out, const float *const *in, int count, int64_t n);
    void *user; /* of sum, borrowed */
    int node;   /* of this rank, as vj_window_open() has it */
} vj_gradient_sum_plan;

/** Collective. Close with vj_gradient_sum_close(), collective, also after a failure. */
vj_status vj_gradient_sum_open(vj_gradient_sum **reduction, MPI_Comm comm, const vj_gradient_sum_plan *plan);
void vj_gradient_sum_close(vj_gradient_sum *reduction);

/** This rank's vector [n]: zero, in shared memory and owned by the reduction, or plan->alone. Not collective. */
float *vj_gradient_sum_vector(const vj_gradient_sum *reduction);

/** vj_window_way(). Not collective. */
const char *vj_gradient_sum_way(const vj_gradient_sum *reduction);

/**
 * From `offset` on this rank has made its vector, and touches it no more before vj_gradient_sum_end(): sum what all
 * ranks have made so far. Never waits; where there is nothing to do it costs less than a microsecond and a look at MPI.
 * Ranks may call it at different offsets, or never. Not collective.
 */
void vj_gradient_sum_made(vj_gradient_sum *reduction, int64_t offset);

/** This rank has made all of it: wait until all is summed. What is made next belongs to the next sum. Collective. */
void vj_gradient_sum_end(vj_gradient_sum *reduction);

#endif
