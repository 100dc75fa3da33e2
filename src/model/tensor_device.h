/*
 * Sums and gathers of a tensor group whose ranks' devices share memory: data moves from device to device, and the host
 * only says when. Each rank copies what it has into a room that its neighbours can read; when all have, each sums its
 * share out of all rooms, and all read the sums. Events on the devices keep the order, counters in shared memory tell
 * the hosts that these were recorded: a host waits for other hosts to have called the same function, never for a
 * device. Sums have the order and so the bits of parallel/group.h.
 */
#ifndef VJ_MODEL_TENSOR_DEVICE_H
#define VJ_MODEL_TENSOR_DEVICE_H

#include <mpi.h>

#include "kernels/kernels.h"

typedef struct vj_tensor_device vj_tensor_device;

/* Floats at a time, of which a rank has two rooms on its device. */
enum { VJ_TENSOR_PIECE = 4 << 20, VJ_TENSOR_ROOM_BYTES = 2 * VJ_TENSOR_PIECE * (int)sizeof(float) };

/**
 * Open rooms on the devices of comm, all of whose ranks are on the same node (`node` as vj_window_open() takes it).
 * *device stays NULL where devices cannot share memory, of which a warning tells if `warns`. Fails without memory.
 * Collective; close with vj_tensor_device_close(), collective, before the backend is closed.
 */
vj_status vj_tensor_device_open(vj_tensor_device **device, vj_backend *be, MPI_Comm comm, int node, bool warns);
void vj_tensor_device_close(vj_tensor_device *device);

/* Below x is device memory, of at most VJ_TENSOR_PIECE floats; n and first [ranks + 1] are equal on all ranks. All are
 * collective. */

/** Replace x [n] by its sum over the ranks, on all of them. */
void vj_tensor_device_allreduce(vj_tensor_device *device, float *x, int64_t n);

/** Give rank r the sum of x[first[r] .. first[r+1]), in place; the rest of its x stays. */
void vj_tensor_device_reduce_scatter(vj_tensor_device *device, float *x, const int64_t *first);

/** Copy x[first[r] .. first[r+1]) of every rank r to all ranks, in place. */
void vj_tensor_device_allgather(vj_tensor_device *device, float *x, const int64_t *first);

#endif
