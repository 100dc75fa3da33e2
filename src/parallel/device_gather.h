/*
 * Gives slices of vectors, each of which one rank has updated, to all ranks, where the vectors are memory of devices
 * that work beside the host. A rank's own slice goes from device to device to the ranks of its node. To the other nodes
 * it goes in pieces, through the speakers (window.h): speaker i of a node sends to speaker i of each other node, which
 * copies what arrives to its neighbours. As in gradient_sum.h a bounded number of pieces is in flight, and messages are
 * memory of the devices or copies of it on the host, as the device has it.
 */
#ifndef VJ_PARALLEL_DEVICE_GATHER_H
#define VJ_PARALLEL_DEVICE_GATHER_H

#include "parallel/gradient_sum.h"
#include "parallel/window.h"

typedef struct vj_device_gather vj_device_gather;

/* A vector [n]. All pointers are borrowed, also the addresses. */
typedef struct {
    void *const *of;      /* [ranks of this node] each one's, as memory of this device */
    int64_t n;            /* elements */
    int element;          /* bytes: 4, or 2 */
    const int64_t *first; /* [ranks + 1] rank r has updated [first[r], first[r + 1]), as far as the vector goes */
} vj_gathered;

enum { VJ_GATHERED_MOST = 4 };
typedef struct {
    vj_gathered vector[VJ_GATHERED_MOST];
    int vectors;
    int rank, ranks; /* of the communicator */
    int64_t bucket;  /* floats of a sum of gradients at a time; pieces are as long as its messages */
    const vj_sum_device
        *device; /* borrowed; `vectors` are not used, nor is a sum under way while slices are gathered */
    void *user;  /* first argument of its functions, borrowed */
} vj_device_gather_plan;

/** Allocate everything. The window (borrowed) lends its counters. Collective; close with vj_device_gather_close(), not
 * collective, also after a failure. */
vj_status vj_device_gather_open(vj_device_gather **gather, const vj_window *window, const vj_device_gather_plan *plan);
void vj_device_gather_close(vj_device_gather *gather);

/** Give all ranks all slices: this rank's as it is after all that has been called so far; what is called next comes
 * after they are there. Collective. */
void vj_device_gather_run(vj_device_gather *gather);

#endif
