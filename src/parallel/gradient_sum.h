/*
 * Sums a gradient over the ranks bucket by bucket while the backward pass is still producing it, last layer first. The
 * gradients are in memory that the ranks of a node share, of the host or of devices: when all ranks of the node have
 * finished a bucket, each of them sums its share of the bucket and writes the sum into the vectors of all. Between
 * nodes a bounded number of buckets is in flight through nonblocking MPI. Nothing is allocated after opening. Nodes may
 * have different numbers of ranks: all ranks sum, but on each node only as many as the smallest node has communicate
 * with other nodes.
 *
 * Additions are made in the order of vj_group_allreduce(), so the results are bitwise equal to its results, regardless
 * of which rank sums and when.
 */
#ifndef VJ_PARALLEL_GRADIENT_SUM_H
#define VJ_PARALLEL_GRADIENT_SUM_H

#include <mpi.h>

#include <stdbool.h>

#include "base/status.h"

typedef struct vj_gradient_sum vj_gradient_sum;

/* How far a rank is with the buckets; also the counters of its window. */
typedef enum { VJ_SUM_MADE, VJ_SUM_NODE, VJ_SUM_DELIVERED } vj_sum_mark;
enum { VJ_SUM_SLOTS = 4 }; /* buckets between nodes at a time */

/*
 * What the sum asks of a device that owns the vectors and works beside the host: each function returns before its work
 * is done, and work is done in the order of the calls. `user` is the plan's.
 */
typedef struct {
    float *const *vectors; /* [ranks of this node] as memory of this device; borrowed, also the addresses */
    void (*copy)(void *user, void *to, const void *from, int64_t bytes);
    /* mark: this rank's work so far is what `mark` stands for; its counter is told to the node's ranks afterwards.
     * follow: what is called from now on comes after that mark of all ranks of the node. */
    void (*mark)(void *user, vj_sum_mark mark);
    void (*follow)(void *user, vj_sum_mark mark);
    /* Between nodes: keep a slot's place behind all calls so far, and ask whether all before it is done. */
    void (*keep)(void *user, int slot);
    bool (*done)(void *user, int slot);
    /* Memory for messages, of the device, or of the host for copies that go on beside its work; NULL, reported, where
     * there is none. The device's own until it is closed. */
    float *(*alloc)(void *user, int64_t n, bool host);
    /* Copies to and from the host's memory of alloc(), through which messages go. NULL: MPI reads and writes the
     * memory of the device itself. */
    void (*to_host)(void *user, void *host, const void *device, int64_t bytes);
    void (*to_device)(void *user, void *device, const void *host, int64_t bytes);
} vj_sum_device;

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
    const vj_sum_device *device; /* borrowed; NULL: the vectors are memory of the host. Needs `sum`; ignores `alone` */
    void *user;                  /* first argument of `sum` and of the device's functions, borrowed */
    int node;                    /* node of this rank, as vj_window_open() takes it */
} vj_gradient_sum_plan;

/** Allocate everything and open the shared memory. Collective. Close with vj_gradient_sum_close(), also collective,
 * even after a failure. */
vj_status vj_gradient_sum_open(vj_gradient_sum **reduction, MPI_Comm comm, const vj_gradient_sum_plan *plan);
void vj_gradient_sum_close(vj_gradient_sum *reduction);

/** Return this rank's vector [n]: in shared memory, initially zero and owned by the reduction, or plan->alone, or the
 * device's. Not collective. */
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
