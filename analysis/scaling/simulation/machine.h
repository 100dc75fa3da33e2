/*
 * The simulated machine below the code of src/parallel: memory that all simulated ranks share and whose contents nobody
 * reads, and the time that copying and summing takes. When a file of src/parallel is compiled for SimGrid SMPI, this
 * header is included before everything else (-include). The code then makes the same decisions and sends the same
 * messages as always, but moves no data.
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

/** Set the memory bandwidth of this rank for reads and writes, in bytes a second. */
void simulated_memory_rate(double bytes_s);

/** Return memory of any size. It is the same for all calls and ranks, and its contents have no meaning. */
float *simulated_memory(void);

/** Add the time of reading or writing `bytes` bytes. It passes before this rank's next communication. */
void simulated_touch(double bytes);

/** Let `seconds` and all time added by simulated_touch() pass. */
void simulated_work(double seconds);

void *simulated_copy(void *to, const void *from, size_t bytes);
void *simulated_calloc(int64_t count, int64_t bytes);
void simulated_free(void *memory);

/*
 * A network for the point-to-point messages of src/parallel. They go between ranks with the same place on different
 * nodes, so the ranks of `comm` are the nodes. A node has an outgoing and an incoming link. A message waits at each
 * link for earlier ones; the network between the links never blocks. SMPI's own messages share the bandwidth of links
 * instead. That takes the same time in total, but the simulator needs hours for a million concurrent messages.
 */

/** Set up the network. node_ranks: number of ranks on this rank's node, which must be the same on all nodes. A message
 * takes message_s of its sender's time and as long again to arrive, in addition to the time on the links. Collective
 * over all ranks. */
void simulated_network_open(int node_ranks, double bytes_s, double message_s);
int simulated_isend(const void *data, int n, MPI_Datatype type, int node, int tag, MPI_Comm comm, MPI_Request *request);
int simulated_irecv(void *data, int n, MPI_Datatype type, int node, int tag, MPI_Comm comm, MPI_Request *request);
int simulated_test_all(int count, MPI_Request *request, int *all);

/** Get the number of messages and bytes that this rank has sent since the last call. */
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
/* SMPI divides by the count, which must not be 0. */
#define MPI_Bcast(data, count, ...) (simulated_work(0), (count) > 0 ? MPI_Bcast(data, count, __VA_ARGS__) : MPI_SUCCESS)
#endif

#endif
