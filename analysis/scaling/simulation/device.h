/*
 * A simulated GPU, as parallel/gradient_sum.c asks a device for sums and copies (vj_sum_device). It has the lanes of
 * train/peers.h: computing; sums and copies between the GPUs of a node; copies to and from the host's memory. Nothing
 * is moved: a lane only knows until when it is busy, and the host, which runs beside, asks whether that time has come.
 */
#ifndef VJ_SIMULATED_DEVICE_H
#define VJ_SIMULATED_DEVICE_H

#include <mpi.h>

#include "parallel/gradient_sum.h"

typedef struct simulated_device simulated_device;

/**
 * link_bytes_s: from the memory of another GPU of the node, and to it. host_bytes_s: between the GPU and the host's
 * memory; 0: MPI takes memory of GPUs, and messages need no copies. Collective over the ranks of the node. Close with
 * simulated_device_close().
 */
vj_status simulated_device_open(simulated_device **device, MPI_Comm node, double link_bytes_s, double host_bytes_s);
void simulated_device_close(simulated_device *device);

/** For vj_gradient_sum_plan; its functions take the device as `user`. Borrowed from the device. */
const vj_sum_device *simulated_device_ops(const simulated_device *device);

/** vj_gradient_sum_plan.sum. The kernel waits for the link and takes the GPU from computing while it does. Arrays of
 * the GPU's own memory cost nothing. */
void simulated_device_sum(void *device, float *out, const float *const *in, int count, int64_t n);

/** All that was asked for is done, and from now on there is more. */
void simulated_device_start(simulated_device *device);

/** Ask for `seconds` of computing, after what was asked for before: the host is ahead of the GPU. */
void simulated_device_compute(simulated_device *device, double seconds);

/** Seconds from now until all computing so far is done; 0: it is. */
double simulated_device_busy(const simulated_device *device);

#endif
