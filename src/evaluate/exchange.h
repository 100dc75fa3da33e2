/*
 * Exchange of rows and gradients between the ranks that encode samples and the ranks that own the heads, and of keys.
 * Private to this folder.
 */
#ifndef VJ_EVALUATE_EXCHANGE_H
#define VJ_EVALUATE_EXCHANGE_H

#include "evaluate/parts.h"

/* A row to compute, for one head and one sample. */
typedef struct {
    int64_t head, sample; /* index of the head; of the sample among those of its side, or of the measuring pass */
    int64_t row;          /* index of the row in the head's batch, or among all rows of the measuring pass */
    int rank;             /* the rank that encodes the sample */
    int slot;             /* its index among the samples and views of that rank */
} vj_entry;

/** Create an exchange without buffers, which later calls allocate. `e` is borrowed. */
vj_status vj_exchange_open(vj_exchange **exchange, vj_evaluation *e);
void vj_exchange_close(vj_exchange *exchange);
/** Send the keys of heads [n] of encoder i from their owners to e->encoded.keys[i] on all ranks. Collective. */
vj_status vj_exchange_keys(vj_evaluation *e, int i, const int64_t *heads, int64_t n);
/**
 * Compute the rows of entries [n], and send them to the owners of their heads. The entries must be the same on all
 * ranks, ordered by rank, slot and head; they are borrowed until the next call. Collective, agreed.
 */
vj_status vj_exchange_rows(vj_evaluation *e, int i, const vj_entry *entries, int64_t n);
/** On the owner of its head: return the row of entry k of the last vj_exchange_rows() (host), and the place to write
 * its gradient to (host; only for a head with a key). */
const float *vj_exchange_row(const vj_exchange *x, int64_t k);
float *vj_exchange_drow(vj_exchange *x, int64_t k);
/** Send the gradients of rows back to the ranks that encoded the samples, compute there the gradients of the keys, and
 * send these to the owners. Collective, agreed. */
vj_status vj_exchange_back(vj_evaluation *e);
/** On the owner of its head: return the gradient of the key from entry k (host). */
const float *vj_exchange_dkey(const vj_exchange *x, int64_t k);

#endif
