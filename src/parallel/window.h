/*
 * Memory that the ranks of a node share, and how they wait for one another: what group.c and reduction.c sum
 * with. Ranks are taken as nodes x ranks of a node: `node` has the neighbours whose memory can be read, `across` the
 * ranks with the same place on every node.
 */
#ifndef VJ_PARALLEL_WINDOW_H
#define VJ_PARALLEL_WINDOW_H

#include <mpi.h>

#include "base/status.h"

enum { VJ_FLAGS = 2 };

typedef struct vj_flags vj_flags;

/* All owned. */
typedef struct {
    MPI_Comm node, across;
    int node_rank, node_size, node_index, nodes;
    float **memory;   /* [node_size] every neighbour's floats, 64-byte aligned, and our own; alone on a node: none */
    vj_flags **flags; /* [node_size] */
    size_t bytes;     /* of each neighbour's mapping, which begins with its flags */
} vj_window;

/**
 * `floats` floats for each rank of comm that has neighbours, zero. At most `most` ranks share, 0: all of a node. Where
 * nodes have unequal numbers of ranks, ranks of a node are not neighbours in comm, or there is no shared memory to be
 * had (which is said), each rank is a node of its own. Collective. Close with vj_window_close(), collective, also after
 * a failure.
 */
vj_status vj_window_open(vj_window *window, MPI_Comm comm, int64_t floats, int most);
void vj_window_close(vj_window *window);

/** Tell the neighbours that counter `flag` of this rank is now `value`; what was written before is theirs to read. */
void vj_window_tell(const vj_window *window, int flag, int64_t value);

/** The least value of counter `flag` on the node; what was written before it was told can be read. */
int64_t vj_window_least(const vj_window *window, int flag);

/** Once around in a loop that waits: lets others have the processor, and MPI send what it holds back. */
void vj_window_idle(const vj_window *window);

/** Wait until all neighbours' counters are `value` or more. */
void vj_window_wait(const vj_window *window, int flag, int64_t value);

#endif
