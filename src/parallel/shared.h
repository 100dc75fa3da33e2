/*
 * One piece of memory that all ranks of a node read and none changes once it is filled: what would otherwise be kept by
 * each of them. In contrast to window.h nobody waits for anybody after it was published.
 */
#ifndef VJ_PARALLEL_SHARED_H
#define VJ_PARALLEL_SHARED_H

#include <mpi.h>

#include "base/status.h"

typedef struct {
    void *memory;     /* 64-byte aligned, zero at first */
    size_t bytes;     /* of the mapping; 0: memory of this rank alone */
    MPI_Comm node;    /* until it is published */
    MPI_Comm writers; /* likewise: the ranks that fill their memory, one of each node, or all of a node whose ranks
                         share nothing; rank 0 of the communicator is the first of them. MPI_COMM_NULL on other ranks */
} vj_shared;

/**
 * `bytes` bytes once a node. Where a node has no room for them in /dev/shm each of its ranks has its own, which is said
 * once, with `what` it is ("tables of the clip stores"). Collective. Then `writers` fill it, and all call
 * vj_shared_publish(). Close with vj_shared_close(), also after a failure.
 */
vj_status vj_shared_open(vj_shared *shared, MPI_Comm comm, int64_t bytes, const char *what);

/** The memory is filled: afterwards it can be read on all ranks and written by none. Collective. */
void vj_shared_publish(vj_shared *shared);

/** Not collective once it is published. */
void vj_shared_close(vj_shared *shared);

#endif
