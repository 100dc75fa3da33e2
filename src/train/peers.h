/*
 * Sums and gathers over ranks whose vectors are in the memory of devices (GPUs), which work asynchronously. Within a
 * node data moves from device to device; counters in shared memory and events on the devices order this, so no kernel
 * waits for a kernel of another device. Between nodes MPI reads and writes device memory if it can (device_messages.h);
 * otherwise data is copied through host memory while kernels run. Algorithm and bits are those of
 * parallel/gradient_sum.h, as for gradients in host memory.
 */
#ifndef VJ_TRAIN_PEERS_H
#define VJ_TRAIN_PEERS_H

#include "model/trainable.h"
#include "parallel/device_gather.h"
#include "train/gradient_sum_ops.h"

typedef struct vj_peers vj_peers;

/* Must be equal on all ranks, except `gradient` and `memory`. */
typedef struct {
    float *gradient; /* [n] */
    int64_t n;
    int64_t bucket;              /* floats of a bucket (gradient_sum.h): vj_peers_bucket() */
    const int64_t *first;        /* [ranks + 1] rank r gets only the sum of [first[r], first[r+1]); NULL: each gets all.
                                    Borrowed */
    const vj_gathered *gathered; /* [vectors] for vj_peers_gather(), without the member `of`; borrowed */
    void *const *memory;         /* [vectors] this rank's vectors; borrowed */
    int vectors;                 /* 0: nothing is gathered */
    int node;                    /* of this rank, as vj_window_open() takes it */
} vj_peers_plan;

/**
 * Open the vectors of the other ranks of the node; vectors must be memory of vj_device_alloc(). If that is not
 * possible, *peers becomes NULL and VJ_OK is returned: there is one rank, the device cannot share memory, or the system
 * forbids it (with a warning). VJ_ERR_MEMORY. Collective. Close with vj_peers_close(), also collective, before any rank
 * frees its vectors.
 */
vj_status vj_peers_open(vj_peers **peers, vj_backend *be, MPI_Comm comm, const vj_peers_plan *plan);
void vj_peers_close(vj_peers *peers);

/** Return a text that says by what means sums are made, for messages; the same on all ranks. Static storage. */
const char *vj_peers_way(const vj_peers *peers);

/**
 * Return the bucket size for GPUs on `nodes` nodes, in floats: parallel.bucket_mb times the number of nodes, up to 64
 * MiB, so that messages do not become smaller and more numerous with the number of nodes.
 */
int64_t vj_peers_bucket(int64_t bucket_mb, int nodes);

/** The sum of gradients, for vj_optimizer; `sum` is a vj_peers. */
extern const vj_gradient_sum_ops vj_peers_sum;

/** Give all ranks the slices of all ranks of the vectors plan->gathered. Collective. */
void vj_peers_gather(vj_peers *peers);

#endif
