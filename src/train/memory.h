/* What memory a rank of a run takes, known before anything is opened or allocated. */
#ifndef VJ_TRAIN_MEMORY_H
#define VJ_TRAIN_MEMORY_H

#include "base/config.h"
#include "feed/loader.h"

/* Bytes of the rank that takes most, the first. */
typedef struct {
    /* Floats, of a tensor group a rank's share. Moments with zero = 1 a data rank's; reproducible: gradients. */
    int64_t weights, gradient, moments, target;
    int64_t activations; /* for the masks of the first steps, not for the most there can be */
    int64_t reserved;    /* address space for the most there can be; not part of the sum */
    int64_t tables;      /* positions */
    int64_t buffers;     /* packed operands, sums over ranks; an estimate, small beside the rest */
    int64_t neighbours;  /* gradients of the node's other ranks, where this one sums them: they exist once, but the
                            system  counts them in every process */
    int64_t batches;     /* clips read ahead and being read */
    int64_t checkpoint;  /* to write from, where it needs a copy */
    int64_t program;     /* what the process has when asked: code, libraries, MPI */
    int64_t all;         /* the sum */
} vj_memory;

/**
 * Memory of `config` (checked) on so many ranks, `node_ranks` of them on a node, a layout that can work (layout.h).
 * `loader`: vj_loader_bytes_of(). Not collective.
 */
vj_status vj_memory_predict(vj_memory *memory, const vj_config *config, int ranks, int node_ranks,
                            vj_loader_bytes loader);

/** One line a part. */
void vj_memory_say(const vj_memory *memory);

#endif
