/*
 * Counts the messages that ranks would send through MPI, without sending them, for the forecasts of vjepa-plan. Each
 * function is implemented beside the code that sends. Exchanges through the shared memory of a node are not counted.
 *
 * Counts are over all ranks. Each point-to-point send is a message, and so is each rank's call of a collective
 * function. Bytes are those that other ranks receive: in a gather the root's own part is left out, and a broadcast
 * counts once, at its root. tests/plan/count_mpi.c counts a running program by the same rules.
 */
#ifndef VJ_PARALLEL_TRAFFIC_H
#define VJ_PARALLEL_TRAFFIC_H

#include "parallel/device_gather.h"

typedef struct {
    int64_t messages, bytes;
} vj_traffic;

/* Which function of group.h. */
typedef enum { VJ_COUNT_ALLREDUCE, VJ_COUNT_REDUCE_SCATTER, VJ_COUNT_ALLGATHER } vj_group_call;

/* Below, first_rank [ranks]: for each rank of the communicator, the first rank on its node. Each function adds to
 * *traffic. None is collective. */

/** A whole sum of gradients as `plan` describes it (gradient_sum.h), on communicators VJ_COMM_ACROSS. Fails only for
 * want of memory. */
vj_status vj_gradient_sum_count(vj_traffic *traffic, const vj_gradient_sum_plan *plan, const int *first_rank,
                                int ranks);

/** A call of vj_group_reduce_scatter() or vj_group_allgather() with these shares, first [ranks + 1], or of
 * vj_group_allreduce() with all of them together, on communicators VJ_COMM_ACROSS. Fails only for want of memory. */
vj_status vj_group_count(vj_traffic *traffic, vj_group_call call, const int64_t *first, const int *first_rank,
                         int ranks);

/** A call of vj_device_gather_run() (device_gather.h): of the plan ranks, bucket, and of the vectors n, element and
 * first count. */
void vj_device_gather_count(vj_traffic *traffic, const vj_device_gather_plan *plan, const int *first_rank);

/** A call of vj_sum_doubles() on a communicator of `ranks` ranks. */
void vj_sum_doubles_count(vj_traffic *traffic, int ranks, int64_t count);

#endif
