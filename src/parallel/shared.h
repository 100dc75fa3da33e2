/*
 * Read-only memory shared by the ranks of a node, for tables of which each rank would otherwise keep a copy. It is
 * filled once and then published. Unlike with window.h, ranks never wait for each other after that.
 */
#ifndef VJ_PARALLEL_SHARED_H
#define VJ_PARALLEL_SHARED_H

#include <mpi.h>

#include "base/status.h"

typedef struct {
    void *memory;     /* 64-byte aligned, zero at first */
    size_t bytes;     /* size of the shared mapping; 0: `memory` is private to this rank */
    MPI_Comm node;    /* ranks of this node; freed by vj_shared_publish() */
    MPI_Comm writers; /* freed likewise: the ranks that must fill their memory, one per node, or all ranks of a node
                         where memory is not shared. Its rank 0 is rank 0 of `comm`. MPI_COMM_NULL on other ranks */
} vj_shared;

/**
 * Allocate `bytes` bytes once per node. If /dev/shm of a node has not enough room, each rank of that node allocates its
 * own copy, and one warning names `what` the memory is for ("tables of the clip stores"). Afterwards the ranks of
 * `writers` fill the memory, and all ranks call vj_shared_publish(). With VJ_ALONE the caller fills it. Collective.
 * Close with vj_shared_close(), even after a failure.
 */
vj_status vj_shared_open(vj_shared *shared, MPI_Comm comm, int64_t bytes, const char *what);

/** Make the filled memory readable on all ranks of the node and, where it is shared, write-protect it. Collective. */
void vj_shared_publish(vj_shared *shared);

/** Unmap or free the memory. Not collective after vj_shared_publish(). */
void vj_shared_close(vj_shared *shared);

#endif
