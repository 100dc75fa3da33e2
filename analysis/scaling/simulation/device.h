/*
 * A simulated GPU for parallel/gradient_sum.c, with the interface of vj_sum_device. It has the lanes of train/peers.h:
 * computing; sums and copies between the GPUs of a node; copies to and from host memory. No data are moved. A lane only
 * knows until when it is busy; the host runs concurrently and asks whether that time has come.
 */
#ifndef VJ_SIMULATED_DEVICE_H
#define VJ_SIMULATED_DEVICE_H

#include <mpi.h>

#include "parallel/gradient_sum.h"

typedef struct simulated_device simulated_device;

/**
 * Create a device. link_bytes_s: bandwidth from and to the memory of another GPU of the node. host_bytes_s: bandwidth
 * between the GPU and host memory; 0: MPI accepts GPU memory, and messages need no copies. Close it with
 * simulated_device_close(). Collective over the ranks of the node.
 */
vj_status simulated_device_open(simulated_device **device, MPI_Comm node, double link_bytes_s, double host_bytes_s);
void simulated_device_close(simulated_device *device);

/** Return the functions for vj_gradient_sum_plan, which take the device as `user`. Borrowed from the device. */
const vj_sum_device *simulated_device_ops(const simulated_device *device);

/** The function vj_gradient_sum_plan.sum. Its kernel waits for the link, and the GPU cannot compute during that time.
 * Arrays in the GPU's own memory cost nothing. */
void simulated_device_sum(void *device, float *out, const float *const *in, int count, int64_t n);

/** Set all lanes idle, to begin with new work now. */
void simulated_device_start(simulated_device *device);

/** Queue `seconds` of computing after what is queued already. The call returns at once, as a kernel launch does. */
void simulated_device_compute(simulated_device *device, double seconds);

/** Return the seconds from now until all queued computing is done; 0: it is done. */
double simulated_device_busy(const simulated_device *device);

#endif
