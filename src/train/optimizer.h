/*
 * Sum gradients over the ranks, clip them, and apply AdamW and EMA (docs/method.md, section 7). With
 * parallel.zero = 1 each rank owns a slice of the moments and of the update, and the updated slices are exchanged.
 *
 * The sum overlaps the backward pass of a rank's last microbatch: it starts for the layers whose gradient is complete
 * (parallel/gradient_sum.h; GPUs: train/peers.h). In two cases it starts only after the backward pass: on a device
 * whose memory the ranks of a node cannot share (strict; GPUs of some systems), and with parallel.reduction
 * reproducible if a rank has several microbatches, because the tree over them is complete only after the last.
 */
#ifndef VJ_TRAIN_OPTIMIZER_H
#define VJ_TRAIN_OPTIMIZER_H

#include <mpi.h>

#include "model/trainable.h"
#include "parallel/gradient_sum.h"
#include "parallel/group.h"
#include "parallel/parallel.h"
#include "train/peers.h"
#include "train/weight_gather.h"

typedef struct {
    vj_trainable *trained; /* borrowed */
    MPI_Comm comm;         /* borrowed; layout->data: replicas of this rank's weights */
    int rank, size, zero;
    double beta1, beta2, eps;
    int64_t *slice;                      /* [size + 1] the flat vector's slices; cut at checkpoint blocks. Owned */
    int64_t first, last;                 /* elements that this rank updates: its slice, or all */
    float *first_moment, *second_moment; /* device [last - first] */
    int64_t *block, blocks; /* [blocks + 1] borders of the blocks that norms are summed over, in order. Owned */
    vj_span *counted;       /* [blocks] the part of each block that this rank sums. Owned */
    vj_segment *segment;    /* [tensors] arguments of vj_adamw(). Owned */
    double *squares, *sum;  /* [blocks] on the host, owned, and the device */
    vj_group *group;        /* owned */
    const vj_gradient_sum_ops *sum_ops; /* borrowed */
    void *sum_over_ranks;               /* object of sum_ops, owned; NULL: `group` sums after the backward pass */
    vj_peers *peers;                    /* sum_over_ranks if devices sum; with zero they also gather. Else NULL */
    vj_weight_gather gather;            /* what `peers` gathers; owned */
    float *packed[2];                   /* device: packed floats of weights and target for `gather`, or NULL. Owned */
    bool adopted;                       /* the gradient is in memory of sum_over_ranks */
    int64_t *part;                      /* [size + 1] borders of the slices inside a vj_map() view. Owned */
    const char *sums_way;               /* borrowed; by what means gradients are summed over the ranks, for messages */
    bool reproducible;
    int64_t terms, done; /* this rank's microbatches per step; how many of them are done */
    float **kept;        /* [levels + 1] reproducible: subtree sums (parallel/tree.h); kept[0] is the gradient. Owned */
    int level;           /* index in `kept` of the buffer to write next */
    vj_event
        *snapshot; /* borrowed; the next update waits for it, because weights are being copied. NULL: no copy runs */
    double comm_s; /* time spent in communication so far, including the additions within a node */
    double backward_s; /* part of comm_s that was spent during the backward pass */
} vj_optimizer;

typedef struct {
    int64_t update; /* Adam's t: updates done, this one included */
    double lr, weight_decay, ema;
    double clip[2]; /* factor on the encoder's and the predictor's gradient */
} vj_update;

/**
 * Create an optimizer whose moments are zero; the predictor's tensors get optimizer.predictor_lr_scale. Until it is
 * closed, trained->gradient may be in memory shared with other ranks; the system counts shared pages in every process
 * that touches them, so a process may seem to hold its gradient twice. The layout is borrowed. All ranks must pass the
 * same settings. Collective, as is vj_optimizer_close(), which must be called also after a failure.
 */
vj_status vj_optimizer_open(vj_optimizer **optimizer, vj_trainable *trained, const vj_config *config,
                            const vj_layout *layout);
void vj_optimizer_close(vj_optimizer *optimizer);

/** Before a microbatch: point the gradient at the buffer to write. True: the microbatch must add to what is there. */
bool vj_optimizer_before(vj_optimizer *optimizer);
/** After a microbatch: make the sums of gradients that are now complete (reproducible: in the order of
 * parallel/tree.h). */
void vj_optimizer_after(vj_optimizer *optimizer);

/** Finish the sum over the ranks of the gradient of all microbatches; with zero = 1 each rank gets only its own slice.
 * Between nodes it returns when all messages have come, also on GPUs: call all device work before that does not need
 * the sums. Collective. */
void vj_optimizer_reduce(vj_optimizer *optimizer);

/**
 * Compute the 2-norms of the summed gradients of encoder and predictor, over whole tensors; they are equal on all ranks
 * and do not depend on the number of data ranks. Call vj_optimizer_download_norms(), then vj_sync(), then
 * vj_optimizer_norms(), which is collective, also over the tensor group.
 */
void vj_optimizer_download_norms(vj_optimizer *optimizer);
void vj_optimizer_norms(vj_optimizer *optimizer, double norm[2]);

/** Apply AdamW to encoder and predictor and the EMA to the target, in one pass over memory; with zero = 1 then exchange
 * the slices. Collective. */
void vj_optimizer_update(vj_optimizer *optimizer, const vj_update *update);

#endif
