/*
 * Asks MPI whether it accepts device memory, then tries it: a library that claims it wrongly would corrupt gradients.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* RTLD_DEFAULT */
#endif
#include "train/device_messages.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"

/*
 * Lengths in floats of a message that MPI sends eagerly, and of one that needs a rendezvous. Both begin at an odd
 * offset.
 */
static const int lengths[] = {19, 300007};
enum { LENGTHS = sizeof lengths / sizeof lengths[0], OFFSET = 5, ROOM = 300007 + 2 * OFFSET };

/* Looked up by name, since not every MPI has it. In a program that is linked statically it may not be found. */
static bool mpi_says_so(void)
{
    int (*query)(void) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "MPIX_Query_cuda_support");
    memcpy(&query, &found, sizeof query);
    return query && query() == 1;
}

static float expected(int rank, int64_t i)
{
    return (float)(((int64_t)rank * 7919 + i * 31 + 1) % (1 << 24));
}

/*
 * Send n floats from each rank to the next one, and check that all of them arrive and that nothing beside them is
 * changed.
 */
static vj_status try_length(vj_backend *be, MPI_Comm across, float *device, float *host, int n)
{
    const int rank = vj_comm_rank(across), size = vj_comm_size(across), from = (rank + size - 1) % size;
    MPI_Request request[2];
    for (int64_t i = 0; i < ROOM; i++) {
        host[i] = expected(rank, i);
        host[ROOM + i] = -1;
    }
    vj_upload(be, device, host, 2 * (int64_t)ROOM * (int64_t)sizeof *host);
    VJ_TRY(vj_sync(be));
    MPI_Irecv(device + ROOM + OFFSET, n, MPI_FLOAT, from, 0, across, &request[0]);
    MPI_Isend(device + OFFSET, n, MPI_FLOAT, (rank + 1) % size, 0, across, &request[1]);
    MPI_Waitall(2, request, MPI_STATUSES_IGNORE);
    vj_download(be, host, device + ROOM, (int64_t)ROOM * (int64_t)sizeof *host);
    VJ_TRY(vj_sync(be));
    for (int64_t i = 0; i < ROOM; i++) {
        const float want = i < OFFSET || i >= OFFSET + n ? -1 : expected(from, i);
        if (!(host[i] == want))
            return vj_raise(
                VJ_ERR_LIBRARY,
                "a test message of %d floats from GPU to GPU, from rank %d between the nodes, arrived wrong: "
                "element %lld is %g, expected %g",
                n, from, (long long)(i - OFFSET), (double)host[i], (double)want);
    }
    return VJ_OK;
}

/* Every rank sends all lengths, even after it has seen a wrong message, since others wait for them. */
static vj_status try_all(vj_backend *be, MPI_Comm across, float *device, float *host)
{
    vj_status first = VJ_OK;
    for (int i = 0; i < LENGTHS; i++) {
        const vj_status status = try_length(be, across, device, host, lengths[i]);
        if (first == VJ_OK) first = status;
    }
    return first;
}

bool vj_device_messages(vj_backend *be, MPI_Comm across, MPI_Comm comm)
{
    if (vj_agree(comm, mpi_says_so() ? VJ_OK : VJ_ERR_STATE) != VJ_OK) return false;
    float *host = vj_calloc(2 * ROOM, sizeof *host);
    float *device = vj_device_alloc(be, 2 * ROOM * (int64_t)sizeof *device);
    vj_status status = vj_agree(comm, host && device ? VJ_OK : VJ_ERR_MEMORY);
    if (status == VJ_OK) status = vj_agree(comm, across == MPI_COMM_NULL ? VJ_OK : try_all(be, across, device, host));
    vj_device_free(be, device);
    free(host);
    if (status != VJ_OK && vj_comm_rank(comm) == 0)
        vj_warn("MPI says that it takes the memory of GPUs (MPIX_Query_cuda_support), but test messages fail: sums "
                "between nodes go through memory of the hosts, which is slower. Look at how MPI was built and at its "
                "transports (UCX_TLS, OMPI_MCA_*)");
    return status == VJ_OK;
}
