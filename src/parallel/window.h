/*
 * Memory shared by the ranks of a node, with counters for synchronisation; group.c and gradient_sum.c sum with it.
 * Nodes may have different numbers of ranks, in any order in the communicator. Only the "speakers" of a node
 * communicate with other nodes: its first ranks, as many as the smallest node has. Speaker i of a node exchanges data
 * with speaker i of each other node.
 */
#ifndef VJ_PARALLEL_WINDOW_H
#define VJ_PARALLEL_WINDOW_H

#include <mpi.h>

#include "base/status.h"
#include "parallel/partials.h"

enum { VJ_FLAGS = 3 };

typedef struct vj_flags vj_flags;

/* Placement of a rank of the communicator. */
typedef struct {
    int node, local; /* index of its node, in the order of the nodes' lowest ranks; its index on that node */
} vj_window_rank;

/* All pointers and communicators are owned. */
typedef struct {
    MPI_Comm node, across; /* node: all ranks of this node. across: speaker i of every node, in the order of nodes, if
                              this rank is speaker i; else MPI_COMM_NULL */
    int node_rank, node_size, node_index, nodes;
    int speakers, largest; /* ranks on the smallest and on the largest node */
    vj_window_rank *rank;  /* [ranks of the communicator] */
    vj_partials partials;
    int own;          /* number of partial sums of this node */
    float **memory;   /* [node_size] floats of each rank of the node, 64-byte aligned; NULL if it has one rank */
    vj_flags **flags; /* [node_size] counters of each rank of the node */
    size_t bytes;     /* size of the mapping of each rank, which begins with its counters */
} vj_window;

/**
 * Allocate `floats` floats, initially zero, in shared memory for each rank of comm that has other ranks on its node.
 * Ranks that pass the same `node` >= 0 share memory: pass vj_place_of().node; tests pass finer divisions. If shared
 * memory cannot be allocated, a warning is logged and each rank becomes a node of its own. Collective. Close with
 * vj_window_close(), also collective, even after a failure.
 */
vj_status vj_window_open(vj_window *window, MPI_Comm comm, int64_t floats, int node);
void vj_window_close(vj_window *window);

/**
 * Fill in what follows from the ranks' nodes alone: nodes, rank, speakers, largest and partials. first[r]: the first
 * rank on the node of rank r. Aborts the job if a few words of memory per rank cannot be allocated. For counting what a
 * window would exchange (traffic.h); vj_window_open() does it itself. Not collective.
 */
void vj_window_number(vj_window *window, const int *first, int ranks);

/** Return by what means sums are made, for messages: "shared memory on a node, MPI between nodes". The same on all
 * ranks. */
const char *vj_window_way(const vj_window *window);

/** Set counter `flag` of this rank to `value` (store-release): ranks of the node that see it also see earlier writes.
 */
void vj_window_set(const vj_window *window, int flag, int64_t value);

/** Return the smallest value of counter `flag` over the ranks of the node (load-acquire): writes made before the
 * counters were set are visible. */
int64_t vj_window_min(const vj_window *window, int flag);

/** Call in each pass of a waiting loop: yields the processor and lets MPI make progress on pending messages. */
void vj_window_idle(const vj_window *window);

/** Wait until counter `flag` of every rank of the node is at least `value`. */
void vj_window_wait(const vj_window *window, int flag, int64_t value);

#endif
