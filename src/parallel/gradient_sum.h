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

/* States that a rank reports of each bucket, in this order; also the numbers of the window's counters: its gradient is
 * computed; its share is summed over the node; the finished sum is delivered to the node. */
typedef enum { VJ_SUM_MADE, VJ_SUM_NODE, VJ_SUM_DELIVERED } vj_sum_mark;
enum { VJ_SUM_SLOTS = 4 }; /* largest number of buckets in flight between nodes */

/*
 * The operations of a device that owns the vectors and works asynchronously: each function returns before its work is
 * done, and the work is done in the order of the calls. `user` is the plan's.
 */
typedef struct {
    float *const *vectors; /* [ranks of this node] as memory of this device; borrowed, also the pointers in it */
    void (*copy)(void *user, void *to, const void *from, int64_t bytes);
    /* mark: record an event behind this rank's work so far; the sum raises the window's counter `mark` afterwards.
     * follow: let work that is called from now on wait for that event of every rank of the node. */
    void (*mark)(void *user, vj_sum_mark mark);
    void (*follow)(void *user, vj_sum_mark mark);
    /* For a slot (a bucket in flight between nodes). keep: record an event behind all work so far. done: return whether
     * all work before that event is done. */
    void (*keep)(void *user, int slot);
    bool (*done)(void *user, int slot);
    /* Allocate memory for messages, n floats of the device or of the host; NULL, reported, if there is none. The device
     * frees it when it is closed. */
    float *(*alloc)(void *user, int64_t n, bool host);
    /* Copy to and from host memory of alloc(), which MPI then sends and receives. NULL: MPI reads and writes the
     * device's memory itself. */
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
    const vj_sum_device *device; /* borrowed; NULL: the vectors are host memory. With a device `sum` must be set, and
                                    `alone` is not used */
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
