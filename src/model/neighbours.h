/*
 * Gives this rank's device (GPU) access to memory and events of the devices of the other ranks on its node. Sums of
 * gradients (train/peers.h) and sums in tensor groups (tensor_device.h) are built on it. No kernel waits for a kernel
 * of another device. Instead one rank records an event, and the others let later work wait for it; they may do so only
 * after the hosts have told each other that the event was recorded.
 */
#ifndef VJ_MODEL_NEIGHBOURS_H
#define VJ_MODEL_NEIGHBOURS_H

#include <mpi.h>

#include "kernels/kernels.h"

enum { VJ_NEIGHBOUR_VECTORS = 8, VJ_NEIGHBOUR_EVENTS = 4 }; /* at most */

typedef struct {
    vj_backend *be; /* borrowed */
    int rank, size; /* on the node */
    void **
        vector[VJ_NEIGHBOUR_VECTORS]; /* [size] one of each rank, as memory of this device; owned, except this rank's */
    vj_event *
        *event[VJ_NEIGHBOUR_EVENTS]; /* [size] one of each rank; the arrays are owned, the events are the backend's */
} vj_neighbours;

/**
 * Open the vectors of all ranks of `node`, and `events` events of each rank. own [vectors]: this rank's vectors, memory
 * of vj_device_alloc(); a vector that is NULL must be NULL on all ranks. `comm` contains the ranks of `node` and
 * perhaps others; all its ranks get the same status. VJ_ERR_LIBRARY: a device or the system refused (reported by the
 * rank that saw it). Collective over comm. Close with vj_neighbours_close(), also after a failure.
 */
vj_status vj_neighbours_open(vj_neighbours *n, vj_backend *be, MPI_Comm comm, MPI_Comm node, void *const *own,
                             int vectors, int events);

/** Wait for the device and close the memory of the other ranks. No rank may free its vectors before all ranks have
 * called this: the caller must put a barrier in between. Not collective. */
void vj_neighbours_close(vj_neighbours *n);

/** Record this rank's event number `event` in the lane that was entered last. */
void vj_neighbours_record(vj_neighbours *n, int event);

/** Let device work that is called from now on in this lane wait for the event number `event` of every rank. All ranks
 * must have recorded it before. */
void vj_neighbours_follow(vj_neighbours *n, int event);

/** Warn that devices of a node cannot share memory, and say what to do about it. */
void vj_neighbours_warn(void);

#endif
