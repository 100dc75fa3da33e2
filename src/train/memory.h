/* Predicts how much memory a rank of a run needs, before anything is opened or allocated. */
#ifndef VJ_TRAIN_MEMORY_H
#define VJ_TRAIN_MEMORY_H

#include "base/config.h"
#include "feed/loader.h"

/* Bytes on rank 0, which needs the most memory. */
typedef struct {
    /* In a tensor group: one rank's share. Moments: with zero = 1, one data rank's slice. Gradient: with
       parallel.reduction reproducible, all buffers for partial sums too. */
    int64_t weights, gradient, moments, target;
    int64_t activations; /* for the masks of the first steps, which need less than the largest masks possible; on a
                            device that is not the host with the reserve of vj_model_reserve() */
    int64_t reserve;     /* argument for vj_model_reserve() */
    int64_t reserved;    /* activations of the largest masks possible: on the host their address space is reserved. Not
                            part of the sum */
    int64_t tables;      /* position tables */
    int64_t buffers;     /* packed operands and buffers for sums over ranks; a rough estimate, small beside the rest */
    int64_t messages;    /* host memory for messages between nodes: buckets in flight, and a block of weights */
    int64_t neighbours;  /* gradients of the other ranks of the node, if they are in shared memory: they exist once, but
                            the system counts them in every process */
    int64_t batches;     /* clips read ahead and being read */
    int64_t checkpoint;  /* buffers that checkpoints are written from, if a copy is needed */
    int64_t watch;   /* the in-run watch (watch.every): features of its clips, on rank 0, and memory of its encoder */
    int64_t program; /* memory in use before training allocates any, plus an allowance: code, libraries, MPI */
    int64_t all;     /* the sum */
    int64_t device;  /* part of the sum that is memory of a device other than the host, as its allocator counts it */
} vj_memory;

/**
 * Predict the memory of a run of `config` (checked) on `ranks` ranks, `node_ranks` of them on each node; the layout
 * must be one that can work (layout.h). `loader`: the result of vj_loader_bytes_of(). `program`: memory of the process
 * before training allocates any, vj_resident_bytes(). Not collective.
 */
vj_status vj_memory_predict(vj_memory *memory, const vj_config *config, int ranks, int node_ranks,
                            vj_loader_bytes loader, int64_t program);

/** Log the parts, and warn if `room`, the bytes that the node has for each rank (parallel/room.h), is less. */
void vj_memory_log(const vj_memory *memory, int64_t room);

#endif
