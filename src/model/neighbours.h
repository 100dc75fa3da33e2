/*
 * Memory and events of the devices (GPUs) of a node's ranks, as this rank's device sees them: what sums over devices
 * stand on, those of gradients (train/peers.h) and of tensor groups (tensor_device.h). No kernel waits for another
 * device's; events are recorded by one rank and followed by the others, once the host knows that they were recorded.
 */
#ifndef VJ_MODEL_NEIGHBOURS_H
#define VJ_MODEL_NEIGHBOURS_H

#include <mpi.h>

#include "kernels/kernels.h"

enum { VJ_NEIGHBOUR_VECTORS = 8, VJ_NEIGHBOUR_EVENTS = 4 }; /* at most */

typedef struct {
    vj_backend *be;                      /* borrowed */
    int rank, size;                      /* on the node */
    void **vector[VJ_NEIGHBOUR_VECTORS]; /* [size] of each rank, as memory of this device; owned, but for own memory */
    vj_event **event[VJ_NEIGHBOUR_EVENTS]; /* [size] of each rank; of the backend. Owned */
} vj_neighbours;

/**
 * Open the vectors of all ranks of `node`, memory of vj_device_alloc(), and as many events of each as `events` says.
 * own [vectors]: this rank's, NULL where there is none, which must be so on all ranks. `comm` has this node's ranks and
 * perhaps others: all get the same status. VJ_ERR_LIBRARY, reported where it was seen: a device or the system refused.
 * Collective over comm. Close with vj_neighbours_close(), also after a failure.
 */
vj_status vj_neighbours_open(vj_neighbours *n, vj_backend *be, MPI_Comm comm, MPI_Comm node, void *const *own,
                             int vectors, int events);

/** Wait for the device and close what is the others'. Nobody may free what is shared before all have done so: a barrier
 * is the caller's business. Not collective. */
void vj_neighbours_close(vj_neighbours *n);

/** This rank's event of that number is here, in the lane that was entered last. */
void vj_neighbours_record(vj_neighbours *n, int event);

/** What is called from now on in this lane comes after all ranks' events of that number, which the host knows to have
 * been recorded. */
void vj_neighbours_follow(vj_neighbours *n, int event);

/** Say that devices of a node cannot share memory, and what to do about it. */
void vj_neighbours_warn(void);

#endif
