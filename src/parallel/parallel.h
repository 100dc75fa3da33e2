/*
 * The communicators, made once, the placement of ranks on nodes, and the split of work over ranks.
 */
#ifndef VJ_PARALLEL_H
#define VJ_PARALLEL_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/**
 * Stands for a communicator of this process alone, in functions whose comment allows it. They then call no MPI
 * function, so MPI need not have been started (base/program.h, without_mpi).
 */
#define VJ_ALONE MPI_COMM_NULL

/** Return rank and size in a communicator; 0 and 1 for VJ_ALONE. Not collective. */
int vj_comm_rank(MPI_Comm comm);
int vj_comm_size(MPI_Comm comm);

/** Broadcast `bytes` bytes, any number, from rank 0; does nothing with VJ_ALONE. Collective. */
void vj_broadcast(void *data, int64_t bytes, MPI_Comm comm);

/* Names of communicators (MPI_Comm_set_name), for profilers and for what vjepa-plan says of messages. */
#define VJ_COMM_WORLD  "vjepa world"         /* all ranks, in the order of nodes */
#define VJ_COMM_DATA   "vjepa data"          /* ranks with the same part of the model */
#define VJ_COMM_TENSOR "vjepa tensor"        /* ranks that share a model */
#define VJ_COMM_NODE   "vjepa node"          /* ranks that share memory; no messages */
#define VJ_COMM_ACROSS "vjepa between nodes" /* speakers of nodes (window.h) */

/* Placement of a rank. Ranks are on the same node if they can share memory. */
typedef struct {
    int node, nodes;            /* index of the rank's node, counted in the order of the nodes' lowest ranks; nodes */
    int local_rank, local_size; /* index of the rank on its node; ranks on that node */
    /*
     * Threads for this rank: OMP_NUM_THREADS if set; otherwise the number of processors in its affinity mask, divided
     * by the number of ranks on the node with the same mask. So there are no more threads than processors, whether or
     * not mpirun binds ranks to processors.
     */
    int threads;
    int processors; /* the share of the node's processors that is this rank's, at least 1 */
} vj_place;

/** Return the placement of this rank. Accepts VJ_ALONE. Collective. */
vj_place vj_place_of(MPI_Comm comm);

/**
 * Log one line on the placement of ranks, "4 ranks on 2 nodes (3 on a, 1 on b)", followed by `more`, which may be "".
 * Logs nothing if there is only one rank. Collective.
 */
void vj_place_log(const vj_place *place, MPI_Comm comm, const char *more);

/*
 * world = data x tensor. The ranks of a tensor group share one copy of the model and are consecutive: world rank =
 * data_rank * tensor_size + tensor_rank. `data` joins the ranks with the same tensor rank; they hold the same part of
 * the model and work on different clips.
 */
typedef struct {
    MPI_Comm world, data, tensor; /* owned */
    int rank, size, data_rank, data_size, tensor_rank, tensor_size;
    vj_place place; /* in world */
} vj_layout;

/**
 * Split `world` into groups of `tensor` ranks. VJ_ERR_USAGE if the number of ranks is not a multiple of `tensor`, or if
 * a group's ranks are on several nodes (the message names the hosts). Collective. Release with vj_layout_close(), also
 * collective, even after a failure.
 */
vj_status vj_layout_open(vj_layout *layout, MPI_Comm world, int tensor);
void vj_layout_close(vj_layout *layout);

/** Compute the contiguous share [first, last) of rank `rank` when n items are divided over `size` ranks. The first n
 * mod size ranks get one item more. */
void vj_split(int64_t n, int size, int rank, int64_t *first, int64_t *last);

/**
 * Gather the numbers mine [n], any count, of all ranks in the order of ranks: *all [*total], to be freed with free();
 * NULL if there are none. VJ_ERR_MEMORY. Accepts VJ_ALONE. Collective, agreed.
 */
vj_status vj_gather_numbers(int64_t **all, int64_t *total, const int64_t *mine, int64_t n, MPI_Comm comm);

/** Return the same status on all ranks: VJ_OK if all passed VJ_OK, else the largest code passed. Prints the messages
 * that ranks have kept (base/fold.h). Accepts VJ_ALONE. Collective. */
vj_status vj_agree(MPI_Comm comm, vj_status status);

/**
 * Record that this process begins to wait for other ranks (true), or waits no longer (false), and ask whether it waits.
 * The watchdog uses it to name the ranks that others wait for. vj_agree() calls it itself. From any thread.
 */
void vj_wait_for_ranks(bool begins);
bool vj_waits_for_ranks(void);

/**
 * Sum doubles over all ranks, in place. All ranks get the same bits; on 2^k ranks these are the bits that a single rank
 * gets by summing in the order of tree.h. Collective.
 */
void vj_sum_doubles(MPI_Comm comm, double *values, int count);

#endif
