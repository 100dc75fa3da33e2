/*
 * Sums and gathers over ranks whose vectors are memory of devices (GPUs) that work beside the host. On a node data
 * moves from device to device; the host only says when, through counters in shared memory and events on the devices, so
 * no kernel ever waits for another device's kernel. Between nodes MPI is given memory of the devices if it can take it
 * (device_messages.h), else data is copied through memory of the hosts, beside the kernels. The algorithm is
 * parallel/gradient_sum.h's, as for memory of the host, and so are the bits.
 */
#ifndef VJ_TRAIN_PEERS_H
#define VJ_TRAIN_PEERS_H

#include "model/trainable.h"
#include "parallel/device_gather.h"
#include "train/gradient_sum_ops.h"

typedef struct vj_peers vj_peers;

/* All but the vectors must be equal on all ranks. */
typedef struct {
    float *gradient; /* [n] */
    int64_t n;
    int64_t bucket;              /* floats that are summed together while backward goes on: vj_peers_bucket() */
    const int64_t *first;        /* [ranks + 1] rank r gets only the sum of [first[r], first[r+1]); NULL: each gets all.
                                    Borrowed */
    const vj_gathered *gathered; /* [vectors] for vj_peers_gather(), but for `of`; borrowed */
    void *const *memory;         /* [vectors] of this rank; borrowed */
    int vectors;                 /* 0: nothing is gathered */
    int node;                    /* of this rank, as vj_window_open() takes it */
} vj_peers_plan;

/**
 * Open the vectors of the node's other ranks, which are memory of vj_device_alloc() of their backends. Sets *peers to
 * NULL where that is not possible: one rank, a device that does not share, or a system that forbids it, of which a
 * warning tells. Fails only without memory. Collective. Close with vj_peers_close(), collective, before any rank frees
 * its vectors.
 */
vj_status vj_peers_open(vj_peers **peers, vj_backend *be, MPI_Comm comm, const vj_peers_plan *plan);
void vj_peers_close(vj_peers *peers);

/** By what means sums are made, for messages. Static storage, the same on all ranks. */
const char *vj_peers_way(const vj_peers *peers);

/**
 * Floats that GPUs of so many nodes sum together, from parallel.bucket_mb: as many times that as there are nodes, up to
 * 64 MiB, so that messages do not become small and many with the number of nodes.
 */
int64_t vj_peers_bucket(int64_t bucket_mb, int nodes);

/** Sums the gradients while backward makes them. */
extern const vj_gradient_sum_ops vj_peers_sum;

/** Give every rank the slices of all ranks of what the plan says is gathered; by the way that sums go. Collective. */
void vj_peers_gather(vj_peers *peers);

#endif
