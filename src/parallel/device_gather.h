/*
 * All-gather of vectors in the memory of devices (GPUs) that work asynchronously: each rank has updated one slice of
 * each vector, and afterwards all ranks have all slices. Within a node a slice is copied from device to device. To
 * other nodes it is sent in pieces through the speakers (window.h): speaker i of a node sends to speaker i of each
 * other node, which copies the pieces to the ranks of its node. As in gradient_sum.h, a bounded number of pieces is in
 * flight, and MPI reads and writes the device's memory or copies of it in host memory, whichever the device provides.
 */
#ifndef VJ_PARALLEL_DEVICE_GATHER_H
#define VJ_PARALLEL_DEVICE_GATHER_H

#include "parallel/gradient_sum.h"
#include "parallel/window.h"

typedef struct vj_device_gather vj_device_gather;

/* A vector [n] to gather. All pointers are borrowed, also those in `of`. */
typedef struct {
    void *const *of;      /* [ranks of this node] the copy of each rank, as memory of this rank's device */
    int64_t n;            /* elements */
    int element;          /* bytes per element: 4 or 2 */
    const int64_t *first; /* [ranks + 1] rank r has updated elements [first[r], first[r + 1]), limited to n */
} vj_gathered;

enum { VJ_MAX_GATHERED = 4 }; /* vectors of a gather, at most */
typedef struct {
    vj_gathered vector[VJ_MAX_GATHERED];
    int vectors;
    int rank, ranks; /* of the communicator */
    int64_t bucket;  /* bucket size of the sum of gradients, in floats; pieces get the size of its messages */
    const vj_sum_device *device; /* borrowed; its `vectors` are not used. No sum may run during a gather */
    void *user;                  /* first argument of its functions, borrowed */
} vj_device_gather_plan;

/** Allocate everything. The window is borrowed; its counters are used. Collective. Close with vj_device_gather_close(),
 * also after a failure; closing is not collective. */
vj_status vj_device_gather_open(vj_device_gather **gather, const vj_window *window, const vj_device_gather_plan *plan);
void vj_device_gather_close(vj_device_gather *gather);

/** Give all slices to all ranks. Reads this rank's slice after all device work that was called before; device work that
 * is called afterwards sees all slices. Collective. */
void vj_device_gather_run(vj_device_gather *gather);

#endif
