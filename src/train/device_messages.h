/* Finds out whether MPI accepts addresses of device memory. */
#ifndef VJ_TRAIN_DEVICE_MESSAGES_H
#define VJ_TRAIN_DEVICE_MESSAGES_H

#include <mpi.h>
#include <stdbool.h>

#include "kernels/kernels.h"

/**
 * Return true if the MPI library claims to support memory of CUDA devices (MPIX_Query_cuda_support(), an extension of
 * Open MPI and MPICH) and test messages from device to device between the ranks of `across` arrive unchanged. If it
 * claims so and a test fails, the rank that received the wrong message reports it and rank 0 warns. All ranks of comm
 * get the same answer. Ranks that send no messages between nodes pass MPI_COMM_NULL for `across`. Collective.
 */
bool vj_device_messages(vj_backend *be, MPI_Comm across, MPI_Comm comm);

#endif
