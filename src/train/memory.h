/* Predict the memory that a rank of a run needs, before anything is opened or allocated. */
#ifndef VJ_TRAIN_MEMORY_H
#define VJ_TRAIN_MEMORY_H

#include "base/config.h"
#include "feed/loader.h"

/* Bytes on the rank that needs most memory, rank 0. */
typedef struct {
    /* Floats; in a tensor group, one rank's share. Moments: with zero = 1, one data rank's slice. Gradient: with
       parallel.reduction reproducible, several gradients. */
    int64_t weights, gradient, moments, target;
    int64_t activations; /* for the masks of the first steps, not for the most there can be; with VJ_RESERVE_SHARE more
                            on a device that is not the host */
    int64_t reserve;     /* to ask vj_model_reserve() for */
    int64_t reserved;    /* for the most there can be, on the host as address space; not part of the sum */
    int64_t tables;      /* positions */
    int64_t buffers;     /* packed operands, sums over ranks; an estimate, small beside the rest */
    int64_t messages;    /* of the host, between nodes: what is on its way of the gradient, and a block of weights */
    int64_t neighbours;  /* gradients of the node's other ranks, where this one sums them: they exist once, but the
                            system  counts them in every process */
    int64_t batches;     /* clips read ahead and being read */
    int64_t checkpoint;  /* buffers that checkpoints are written from, if a copy is needed */
    int64_t watch;       /* the in-run watch (watch.every): its clips' features, on rank 0, and an encoder's memory */
    int64_t program;     /* resident at the time of the call, and an allowance: code, libraries, MPI */
    int64_t all;         /* the sum */
    int64_t device;      /* of it what is memory of a device that is not the host, as its allocator counts it; else 0 */
} vj_memory;

/**
 * Memory of `config` (checked) on so many ranks, `node_ranks` of them on a node, a layout that can work (layout.h).
 * `loader`: vj_loader_bytes_of(). Not collective.
 */
vj_status vj_memory_predict(vj_memory *memory, const vj_config *config, int ranks, int node_ranks,
                            vj_loader_bytes loader);

/** Log one line for each part. */
void vj_memory_say(const vj_memory *memory);

#endif
