/*
 * Sums and gathers in a tensor group whose ranks' devices can read one another's memory: data moves from device to
 * device. Each rank copies its data into a buffer (a "room") that the other ranks can read; then each rank adds its
 * share of all rooms; then all ranks read the sums. Events on the devices order this work, and counters in shared
 * memory tell the hosts that the events were recorded. So a host waits until the other hosts have called the same
 * function, but never for a device. Sums are made in the order of parallel/group.h and have the same bits.
 */
#ifndef VJ_MODEL_TENSOR_DEVICE_H
#define VJ_MODEL_TENSOR_DEVICE_H

#include <mpi.h>

#include "kernels/kernels.h"

typedef struct vj_tensor_device vj_tensor_device;

/* Size of a room in floats; each rank has two rooms on its device, used in turn. */
enum { VJ_TENSOR_PIECE = 4 << 20, VJ_TENSOR_ROOM_BYTES = 2 * VJ_TENSOR_PIECE * (int)sizeof(float) };

/**
 * Allocate the rooms. All ranks of comm must be on the same node (`node` as vj_window_open() takes it). If the devices
 * cannot share memory, *device becomes NULL and VJ_OK is returned, with a warning if `warns`. VJ_ERR_MEMORY.
 * Collective. Close with vj_tensor_device_close(), also collective, before the backend is closed.
 */
vj_status vj_tensor_device_open(vj_tensor_device **device, vj_backend *be, MPI_Comm comm, int node, bool warns);
void vj_tensor_device_close(vj_tensor_device *device);

/* Below, x is device memory of at most VJ_TENSOR_PIECE floats; n and first [ranks + 1] must be equal on all ranks. All
 * functions are collective. */

/** Replace x [n] by its sum over the ranks, on all of them. */
void vj_tensor_device_allreduce(vj_tensor_device *device, float *x, int64_t n);

/** Give rank r the sum of x[first[r] .. first[r+1]), in place; the rest of its x stays. */
void vj_tensor_device_reduce_scatter(vj_tensor_device *device, float *x, const int64_t *first);

/** Copy x[first[r] .. first[r+1]) of every rank r to all ranks, in place. */
void vj_tensor_device_allgather(vj_tensor_device *device, float *x, const int64_t *first);

#endif
