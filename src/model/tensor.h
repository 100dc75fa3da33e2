/*
 * The tensor group of a model (parallel.tensor): ranks that hold shares of its blocks and work on the same rows.
 * stack.h says how a stack of blocks is divided; this file has the group's communication. With NULL (no group) all
 * functions do nothing. Pointers are device memory, and every function is collective over the group.
 */
#ifndef VJ_MODEL_TENSOR_H
#define VJ_MODEL_TENSOR_H

#include "model/params.h"
#include "model/tensor_device.h"
#include "parallel/group.h"
#include "parallel/parallel.h"

enum { VJ_TENSOR_MAX = 64 }; /* ranks */

typedef struct {
    MPI_Comm comm;            /* borrowed from the layout */
    vj_group *group;          /* owned */
    vj_tensor_device *device; /* owned; NULL: sums and gathers go through the host */
    int rank, size;
    bool sequence; /* the stream between products is divided by rows */
    double comm_s; /* seconds spent in these functions so far */
} vj_tensor;

/** Open the layout's tensor group; *tensor stays NULL if it has one rank. Collective. Free with vj_tensor_close(). */
vj_status vj_tensor_open(vj_tensor **tensor, const vj_layout *layout, bool sequence);

/** Let the ranks' devices exchange without the host, if they can. Fails without memory. The backend must stay open
 * until the group is closed. Collective. */
vj_status vj_tensor_use_device(vj_tensor *tensor, vj_backend *be, const vj_layout *layout);

void vj_tensor_close(vj_tensor *tensor);

/** Replace x [n] by its sum over the ranks, on all of them (all-reduce). */
void vj_tensor_sum(vj_tensor *t, vj_backend *be, float *x, int64_t n);

/** Replace each rank's own rows (vj_split) of x [R, D] by their sum over the ranks; the other rows become undefined. */
void vj_tensor_sum_rows(vj_tensor *t, vj_backend *be, float *x, int64_t R, int D);

/** Send each rank's own rows of x [R, D] to all ranks (all-gather). D must be even if x is bf16. */
void vj_tensor_gather_rows(vj_tensor *t, vj_backend *be, vj_array x, int64_t R, int D);

/** Replace x [n] on all ranks by that of rank 0. */
void vj_tensor_broadcast(vj_tensor *t, vj_backend *be, float *x, int64_t n);

enum { VJ_ASSEMBLE_MAX = 1 << 20, VJ_ASSEMBLE_WORK = 2 * VJ_ASSEMBLE_MAX };

/**
 * Collect elements [first, last) of a divided tensor, at most VJ_ASSEMBLE_MAX, from all ranks' shares on rank `owner`.
 *
 * @param held   device, this rank's share of the whole tensor [p->count]
 * @param whole  host, [last - first], written on `owner`
 * @param work   host, [VJ_ASSEMBLE_WORK]
 */
void vj_tensor_assemble(vj_tensor *t, vj_backend *be, const vj_param *p, const float *held, int64_t first, int64_t last,
                        int owner, float *whole, float *work);

#endif
