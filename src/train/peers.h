/*
 * Sums and gathers over the ranks of a node whose devices can read and write one another's memory (GPUs). Data moves
 * from device to device; the host only says when, through counters in shared memory and events on the devices, so no
 * kernel ever waits for another device's kernel. parallel/gradient_sum.h is the version for host memory, and sums in
 * the same order: the results have the same bits.
 */
#ifndef VJ_TRAIN_PEERS_H
#define VJ_TRAIN_PEERS_H

#include "model/trainable.h"
#include "train/gradient_sum_ops.h"

typedef struct vj_peers vj_peers;

/* All but the vectors must be equal on all ranks. */
typedef struct {
    float *gradient; /* [n] */
    int64_t n;
    int64_t bucket;       /* floats that are summed together while backward goes on */
    const int64_t *first; /* [ranks + 1] rank r gets only the sum of [first[r], first[r+1]); NULL: each gets all.
                             Borrowed */
    float *weights;       /* [n], and */
    float *target;        /* [encoder_n]: for vj_peers_gather(); target may be NULL */
    int64_t encoder_n;
    int node; /* of this rank, as vj_window_open() takes it */
} vj_peers_plan;

/**
 * Open the other ranks' vectors, which are memory of vj_device_alloc() of their backends. Sets *peers to NULL where
 * that is not possible: one rank, several nodes, a device that does not share, or a system that forbids it, of which a
 * warning tells. Fails only without memory. Collective. Close with vj_peers_close(), collective, before any rank frees
 * its vectors.
 */
vj_status vj_peers_open(vj_peers **peers, vj_backend *be, MPI_Comm comm, const vj_peers_plan *plan);
void vj_peers_close(vj_peers *peers);

/** Sums the gradients while backward makes them. */
extern const vj_gradient_sum_ops vj_peers_sum;

/** Give every rank the slices [first[r], first[r+1]) of all ranks' weights and targets. Collective. */
void vj_peers_gather(vj_peers *peers);

#endif
