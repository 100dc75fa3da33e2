/*
 * The simulated machine below the code of src/parallel: memory that all simulated ranks share and nobody reads, and the
 * time that copying and summing in it takes. Included into each file of src/parallel before all else (-include) when it
 * is compiled for SimGrid SMPI: the code decides and sends as it always does, but numbers are not moved.
 *
 * A simulated process is a thread of the simulator; SMPI gives each its own copy of file-scope variables.
 */
#ifndef VJ_SIMULATED_MACHINE_H
#define VJ_SIMULATED_MACHINE_H

#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

/** Set the rate of this rank for what it reads and writes in memory, bytes a second. */
void simulated_memory_rate(double bytes_s);

/** Memory of any size: the same for all calls and ranks, its contents mean nothing. */
float *simulated_memory(void);

/** Add the time of touching so many bytes; it passes before this rank is next seen by others. */
void simulated_touch(double bytes);

/** Let `seconds` and all touching so far pass. */
void simulated_work(double seconds);

void *simulated_copy(void *to, const void *from, size_t bytes);
void *simulated_calloc(int64_t count, int64_t bytes);
void simulated_free(void *memory);

#ifdef VJ_SIMULATED
#define memcpy    simulated_copy
#define vj_calloc simulated_calloc
#undef free
#define free                simulated_free
#define MPI_Isend(...)      (simulated_work(0), MPI_Isend(__VA_ARGS__))
#define MPI_Alltoallv(...)  (simulated_work(0), MPI_Alltoallv(__VA_ARGS__))
#define MPI_Allgatherv(...) (simulated_work(0), MPI_Allgatherv(__VA_ARGS__))
#define MPI_Gatherv(...)    (simulated_work(0), MPI_Gatherv(__VA_ARGS__))
/* SMPI divides by the count. */
#define MPI_Bcast(data, count, ...) (simulated_work(0), (count) > 0 ? MPI_Bcast(data, count, __VA_ARGS__) : MPI_SUCCESS)
#endif

#endif
