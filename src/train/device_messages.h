/* May MPI be given addresses of a device's memory? */
#ifndef VJ_TRAIN_DEVICE_MESSAGES_H
#define VJ_TRAIN_DEVICE_MESSAGES_H

#include <mpi.h>
#include <stdbool.h>

#include "kernels/kernels.h"

/**
 * True if the MPI library says that it takes memory of CUDA devices (MPIX_Query_cuda_support(), an extension of Open
 * MPI and MPICH), and if test messages from device to device between the ranks of `across` arrive right. If it says so
 * and they do not, the rank that sees it says what arrived and rank 0 warns. The same answer on all ranks of comm,
 * where MPI_COMM_NULL for `across` is a rank that sends nothing. Collective.
 */
bool vj_device_messages(vj_backend *be, MPI_Comm across, MPI_Comm comm);

#endif
