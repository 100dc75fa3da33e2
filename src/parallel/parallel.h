/*
 * Who works on what: the communicators, made once, and the split of work over ranks. Everything else asks here.
 * Tensor parallelism will split `world` into data x tensor; today tensor is 1 and `data` equals the communicator given.
 */
#ifndef VJ_PARALLEL_H
#define VJ_PARALLEL_H

#include <mpi.h>
#include <stdint.h>

#include "base/status.h"

/** Rank `rank`'s contiguous share [first, last) of n items over `size` ranks; the first n mod size ranks get one more.
 */
void vj_split(int64_t n, int size, int rank, int64_t *first, int64_t *last);

/** Make one rank's failure everybody's: the worst status over the communicator. Collective. */
vj_status vj_agree(MPI_Comm comm, vj_status status);

/**
 * Threads for this rank: what OMP_NUM_THREADS says; without it the processors this rank may run on, divided among the
 * ranks of the node that may run on the same ones. So neither `mpirun -n 2` without binding nor with it leaves more
 * threads than processors. Collective.
 */
int vj_threads(MPI_Comm comm);

/**
 * Sum doubles over all ranks, in place; the same bits on all, and over 2^k ranks those of one rank that sums in the
 * order of tree.h. Collective.
 */
void vj_sum_doubles(MPI_Comm comm, double *values, int count);

#endif
