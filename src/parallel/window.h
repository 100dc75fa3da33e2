/*
 * Memory that the ranks of a node share, and how they wait for one another: what group.c and gradient_sum.c sum with.
 * Nodes may have different numbers of ranks, and these may lie anywhere in the communicator. Between nodes, the first
 * ranks of each speak for it, as many as the smallest node has: its speakers. Speaker i of a node exchanges with the
 * speakers i of the others.
 */
#ifndef VJ_PARALLEL_WINDOW_H
#define VJ_PARALLEL_WINDOW_H

#include <mpi.h>

#include "base/status.h"
#include "parallel/partials.h"

enum { VJ_FLAGS = 3 };

typedef struct vj_flags vj_flags;

/* Where a rank of the communicator is. */
typedef struct {
    int node, local; /* its node's number, in the order of their first ranks, and its own there */
} vj_window_rank;

/* All owned. */
typedef struct {
    MPI_Comm node,
        across; /* all ranks of this node; speaker i of every node (across: in the order of nodes), or null */
    int node_rank, node_size, node_index, nodes;
    int speakers, largest; /* ranks of the smallest and of the largest node */
    vj_window_rank *rank;  /* [ranks of the communicator] */
    vj_partials partials;
    int own;          /* partial sums of this node */
    float **memory;   /* [node_size] every neighbour's floats, 64-byte aligned, and our own; alone on a node: none */
    vj_flags **flags; /* [node_size] */
    size_t bytes;     /* of each neighbour's mapping, which begins with its flags */
} vj_window;

/**
 * `floats` floats for each rank of comm that has neighbours, zero. Ranks that give the same number as `node`, 0 or
 * more, are on one node and share memory: vj_place_of().node, or in tests a part of it. Where there is no shared memory
 * to be had, which is said, each rank is a node of its own. Collective. Close with vj_window_close(), collective, also
 * after a failure.
 */
vj_status vj_window_open(vj_window *window, MPI_Comm comm, int64_t floats, int node);
void vj_window_close(vj_window *window);

/** How sums go, for people: "shared memory on a node, MPI between nodes". The same on all ranks. */
const char *vj_window_way(const vj_window *window);

/** Tell the neighbours that counter `flag` of this rank is now `value`; what was written before is theirs to read. */
void vj_window_tell(const vj_window *window, int flag, int64_t value);

/** The least value of counter `flag` on the node; what was written before it was told can be read. */
int64_t vj_window_least(const vj_window *window, int flag);

/** Once around in a loop that waits: lets others have the processor, and MPI send what it holds back. */
void vj_window_idle(const vj_window *window);

/** Wait until all neighbours' counters are `value` or more. */
void vj_window_wait(const vj_window *window, int flag, int64_t value);

#endif
