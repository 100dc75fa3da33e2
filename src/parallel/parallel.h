/*
 * Who works on what: the communicators, made once, and the split of work over ranks. Everything else asks here.
 */
#ifndef VJ_PARALLEL_H
#define VJ_PARALLEL_H

#include <mpi.h>
#include <stdint.h>

#include "base/status.h"

/**
 * This process by itself, in place of a communicator, for functions that say that they take it: they then call no MPI,
 * which need not have been started (base/program.h, without_mpi).
 */
#define VJ_ALONE MPI_COMM_NULL

/** Rank and size of a communicator, 0 and 1 of VJ_ALONE. Not collective. */
int vj_comm_rank(MPI_Comm comm);
int vj_comm_size(MPI_Comm comm);

/** Rank 0's bytes to all ranks; with VJ_ALONE nothing. Fewer than 2^31 bytes. Collective. */
void vj_broadcast(void *data, int64_t bytes, MPI_Comm comm);

/* Where a rank is. Ranks of a node can share memory. */
typedef struct {
    int node, nodes;            /* number of its node, in the order of their first ranks, and how many there are */
    int local_rank, local_size; /* its number on the node, and how many ranks this has */
    /*
     * Threads for this rank: what OMP_NUM_THREADS says; without it the processors it may run on, divided among the
     * ranks of the node that may run on the same ones. So neither `mpirun -n 2` without binding nor with it leaves more
     * threads than processors.
     */
    int threads;
} vj_place;

/** VJ_ALONE will do. Collective. */
vj_place vj_place_of(MPI_Comm comm);

/**
 * Tell in a line of the log how ranks lie on nodes, "4 ranks on 2 nodes (3 on a, 1 on b)", and behind it `more`, which
 * may be "". One rank says nothing. Collective.
 */
void vj_place_say(const vj_place *place, MPI_Comm comm, const char *more);

/*
 * world = data x tensor. A tensor group holds one model together; its ranks are neighbours: world rank = data_rank *
 * tensor_size + tensor_rank. Ranks of one tensor rank hold the same share of it and differ in their clips: `data`.
 */
typedef struct {
    MPI_Comm world, data, tensor; /* owned */
    int rank, size, data_rank, data_size, tensor_rank, tensor_size;
    vj_place place; /* in world */
} vj_layout;

/**
 * Split `world` into groups of `tensor` ranks. Refuses (VJ_ERR_USAGE) a number of ranks that this does not divide, and
 * a group whose ranks are not on one node, naming its hosts. Collective. Release with vj_layout_close(), collective,
 * also after a failure.
 */
vj_status vj_layout_open(vj_layout *layout, MPI_Comm world, int tensor);
void vj_layout_close(vj_layout *layout);

/** Rank `rank`'s contiguous share [first, last) of n items over `size` ranks; the first n mod size ranks get one more.
 */
void vj_split(int64_t n, int size, int rank, int64_t *first, int64_t *last);

/** Make one rank's failure everybody's: the worst status over the communicator; VJ_ALONE will do. Collective. */
vj_status vj_agree(MPI_Comm comm, vj_status status);

/**
 * Sum doubles over all ranks, in place; the same bits on all, and over 2^k ranks those of one rank that sums in the
 * order of tree.h. Collective.
 */
void vj_sum_doubles(MPI_Comm comm, double *values, int count);

#endif
