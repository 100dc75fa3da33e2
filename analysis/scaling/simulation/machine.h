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

/*
 * The network of messages that src/parallel sends itself, without collective functions, between ranks of the same place
 * on different nodes: the ranks of `comm` are the nodes. A node has a link out and a link in, and a message waits at
 * each for those before it; between them nothing blocks. SMPI's own messages share links instead, which is as long in
 * sum, and takes the simulator hours for a million messages at a time.
 */

/** node_ranks: of this rank's node. A message costs its sender message_s and takes as long to arrive, beside the time
 * on the links. Collective over all ranks, whose nodes have equally many. */
void simulated_network_open(int node_ranks, double bytes_s, double message_s);
int simulated_isend(const void *data, int n, MPI_Datatype type, int node, int tag, MPI_Comm comm, MPI_Request *request);
int simulated_irecv(void *data, int n, MPI_Datatype type, int node, int tag, MPI_Comm comm, MPI_Request *request);
int simulated_test_all(int count, MPI_Request *request, int *all);

/** Messages and bytes that this rank has sent since the last call. */
void simulated_sent(int64_t sent[2]);

#ifdef VJ_SIMULATED
#define memcpy    simulated_copy
#define vj_calloc simulated_calloc
#undef free
#define free                                       simulated_free
#define MPI_Testall(count, request, all, statuses) simulated_test_all(count, request, all)
#define MPI_Isend                                  simulated_isend
#define MPI_Irecv                                  simulated_irecv
#define MPI_Alltoallv(...)                         (simulated_work(0), MPI_Alltoallv(__VA_ARGS__))
#define MPI_Allgatherv(...)                        (simulated_work(0), MPI_Allgatherv(__VA_ARGS__))
#define MPI_Gatherv(...)                           (simulated_work(0), MPI_Gatherv(__VA_ARGS__))
/* SMPI divides by the count. */
#define MPI_Bcast(data, count, ...) (simulated_work(0), (count) > 0 ? MPI_Bcast(data, count, __VA_ARGS__) : MPI_SUCCESS)
#endif

#endif
