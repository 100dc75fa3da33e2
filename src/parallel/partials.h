/*
 * Sums over ranks on several nodes. Each node first computes partial sums over its own ranks, and only these are sent
 * to other nodes. A partial sum covers consecutive ranks of one node. The choice of partial sums fixes the order of
 * additions:
 *
 * - On 2^k ranks they are the largest subtrees of the tree over all ranks (base/tree_sum.h) whose ranks are on one
 * node. The result has the bits of that tree, however the ranks are placed.
 * - On other numbers of ranks there is one partial sum for each run of consecutive ranks on a node, and a tree over
 * these: the same bits if ranks are placed alike.
 *
 * If ranks are numbered node by node, a node has one partial sum when every node has the same power of two of ranks or
 * when the total is not a power of two; otherwise it may have a few.
 */
#ifndef VJ_PARALLEL_PARTIALS_H
#define VJ_PARALLEL_PARTIALS_H

#include <stdbool.h>
#include <stdint.h>

/* The partial sum over ranks [first, first + count). */
typedef struct {
    int first, count;
    int node;  /* node that all these ranks are on */
    int local; /* index of rank `first` on its node; the others follow consecutively */
    int turn;  /* index among the partial sums of this node */
} vj_partial;

typedef struct {
    int count, per_node; /* partial sums in all; largest number on one node */
    bool of_ranks;       /* true on 2^k ranks: they are subtrees of the tree over all ranks */
    vj_partial *item;    /* [count] in the order of ranks. Owned */
} vj_partials;

/** Choose the partial sums of `ranks` ranks; rank r is on node[r], in [0, nodes). Aborts the job if a few words of
 * memory per rank cannot be allocated. Not collective. */
void vj_partials_init(vj_partials *partials, const int *node, int ranks, int nodes);
void vj_partials_release(vj_partials *partials);

/* Adds `count` arrays in[..][n] into out [n] in the order of base/tree_sum.h; out may be one of them. */
typedef void vj_partials_adder(void *user, float *out, const float *const *in, int count, int64_t n);

/** Compute out [n] as the sum of the partial sums in[count][n], which are overwritten; out may be one of them. */
void vj_partials_sum(const vj_partials *partials, float *out, float **in, int64_t n, vj_partials_adder *add,
                     void *user);

#endif
