/*
 * Sum gradients over the ranks, clip them, and apply AdamW and EMA (docs/method.md, section 7). With
 * parallel.zero = 1 each rank owns a slice of the moments and of the update, and the updated slices are exchanged.
 *
 * The sum overlaps the backward pass of a rank's last microbatch: it starts for the layers whose gradient is complete
 * (parallel/gradient_sum.h; GPUs: train/peers.h). It starts only after backward on a device whose memory
 * the ranks of a node cannot share (strict; some systems' GPUs), and with parallel.reduction reproducible if a rank has
 * several microbatches, since their sum is complete only after the last.
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
    int64_t first, last;                 /* what this rank updates: its slice, or all */
    float *first_moment, *second_moment; /* device [last - first] */
    int64_t *block, blocks;              /* [blocks + 1] what norms are summed in, in this order. Owned */
    vj_span *counted;                    /* [blocks] of them, what this rank sums. Owned */
    vj_segment *segment;                 /* [tensors] of an update. Owned */
    double *squares, *sum;               /* [blocks] on the host, owned, and the device */
    vj_group *group;                     /* owned */
    const vj_gradient_sum_ops *sum_ops;  /* borrowed */
    void *sum_over_ranks;                /* owned; NULL: the group sums, after backward */
    vj_peers *peers;                     /* sum_over_ranks, if devices do it; with zero it gathers, too. Else NULL */
    vj_weight_gather gather;             /* what it gathers; owned */
    float *packed[2];                    /* device; of weights and target what is packed for that, or NULL. Owned */
    bool adopted;                        /* the gradient is memory of sum_over_ranks */
    int64_t *part;                       /* [size + 1] slices inside of a view. Owned */
    const char *sums_way;                /* borrowed; how gradients are summed over the ranks, for people */
    bool reproducible;
    int64_t terms, done; /* this rank's microbatches of a step, and how many of them there are so far */
    float **kept;        /* [levels + 1] reproducible: sums that wait; kept[0] is the gradient. Owned */
    int level;           /* of them the one that is written next */
    vj_event *snapshot;  /* borrowed; the next update comes after it: copies of what it changes. NULL: there are none */
    double comm_s;       /* time spent in communication so far; where ranks are neighbours sums are made in it */
    double backward_s;   /* of it during backward */
} vj_optimizer;

typedef struct {
    int64_t update; /* Adam's t: updates done, this one included */
    double lr, weight_decay, ema;
    double clip[2]; /* factor on the encoder's and the predictor's gradient */
} vj_update;

/**
 * Moments start at zero; the predictor's tensors get optimizer.predictor_lr_scale. The gradient may move to memory that
 * ranks share, until the optimizer is closed; such memory counts where it is looked at, so a process seems to have up
 * to twice its gradient. The layout is borrowed. Collective, as is vj_optimizer_close(), also after a failure; all
 * ranks must pass the same settings.
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
 * Collective. */
void vj_optimizer_reduce(vj_optimizer *optimizer);

/**
 * 2-norms of the summed gradient of encoder and predictor, whole tensors; equal on all ranks, and for any number of
 * data ranks. In two calls: ask, then vj_sync(), then read, which is collective, also over the tensor group.
 */
void vj_optimizer_ask_norms(vj_optimizer *optimizer);
void vj_optimizer_norms(vj_optimizer *optimizer, double norm[2]);

/** AdamW on encoder and predictor, EMA of the encoder into the target, in one pass; then slices are exchanged.
 * Collective. */
void vj_optimizer_update(vj_optimizer *optimizer, const vj_update *update);

#endif
