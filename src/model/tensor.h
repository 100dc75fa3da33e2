/*
 * The tensor group of a model (parallel.tensor): ranks that hold shares of its blocks and work on the same rows. How a
 * stack of blocks is divided is stack.h's; here is what its ranks exchange. NULL stands for a rank that is alone: all
 * functions then do nothing. Memory is the device's, everything is collective over the group.
 */
#ifndef VJ_MODEL_TENSOR_H
#define VJ_MODEL_TENSOR_H

#include "model/params.h"
#include "parallel/group.h"
#include "parallel/parallel.h"

enum { VJ_TENSOR_MOST = 64 }; /* ranks */

typedef struct {
    MPI_Comm comm;   /* borrowed from the layout */
    vj_group *group; /* owned */
    int rank, size;
    bool sequence; /* the stream between products is divided by rows */
    double comm_s; /* spent here so far */
} vj_tensor;

/** The layout's tensor group; *tensor stays NULL where it has one rank. Collective. Free with vj_tensor_close(). */
vj_status vj_tensor_open(vj_tensor **tensor, const vj_layout *layout, bool sequence);
void vj_tensor_close(vj_tensor *tensor);

/** x [n]: the sum over the ranks, on all of them. */
void vj_tensor_sum(vj_tensor *t, vj_backend *be, float *x, int64_t n);

/** x [R, D]: the sum over the ranks, each rank its own rows (vj_split); the others are undefined. */
void vj_tensor_sum_rows(vj_tensor *t, vj_backend *be, float *x, int64_t R, int D);

/** x [R, D]: each rank's own rows to all. D is even where x is bf16. */
void vj_tensor_gather_rows(vj_tensor *t, vj_backend *be, vj_array x, int64_t R, int D);

enum { VJ_ASSEMBLE_MOST = 1 << 20, VJ_ASSEMBLE_WORK = 2 * VJ_ASSEMBLE_MOST };

/**
 * Elements [first, last) of a divided tensor, at most VJ_ASSEMBLE_MOST, from all ranks' shares to rank `owner`.
 *
 * @param held   device, this rank's share of the whole tensor [p->count]
 * @param whole  host, [last - first], written on `owner`
 * @param work   host, [VJ_ASSEMBLE_WORK]
 */
void vj_tensor_assemble(vj_tensor *t, vj_backend *be, const vj_param *p, const float *held, int64_t first, int64_t last,
                        int owner, float *whole, float *work);

#endif
