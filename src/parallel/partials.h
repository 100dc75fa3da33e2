/*
 * Sums over ranks on several nodes. Each node adds up what it can alone, its partial sums, and only these travel. A
 * partial sum is that of neighbouring ranks of one node. Which ones there are decides the order of additions:
 *
 * - On 2^k ranks they are the largest subtrees of the tree over all ranks (base/tree_sum.h) that lie on one node. The
 *   result then has the bits of that tree, wherever the ranks are.
 * - On other numbers of ranks there is one for each run of neighbouring ranks on a node, and a tree over these: the
 * same bits whenever ranks are placed alike.
 *
 * Where nodes have 2^k ranks each, or any number that is no power of two in all, a node has one partial sum, else a
 * few.
 */
#ifndef VJ_PARALLEL_PARTIALS_H
#define VJ_PARALLEL_PARTIALS_H

#include <stdbool.h>
#include <stdint.h>

/* The sum of ranks [first, first + count). */
typedef struct {
    int first, count;
    int node;  /* all of them are on this one */
    int local; /* number of rank `first` on its node; those of the others follow */
    int turn;  /* how many partial sums of this node come before */
} vj_partial;

typedef struct {
    int count, most;  /* partial sums; the most that a node has */
    bool of_ranks;    /* they are subtrees of the tree over all ranks */
    vj_partial *item; /* [count] in the order of ranks. Owned */
} vj_partials;

/** Of `ranks` ranks of which r is on node[r], below `nodes`. Ends the job where there is no memory for a few words a
 * rank. */
void vj_partials_init(vj_partials *partials, const int *node, int ranks, int nodes);
void vj_partials_release(vj_partials *partials);

/* Adds `count` arrays of n up in the order of base/tree_sum.h; out may be one of them. */
typedef void vj_partials_adder(void *user, float *out, const float *const *in, int count, int64_t n);

/** out [n] = the sum of the partial sums in [count], which are overwritten; out may be one of them. */
void vj_partials_sum(const vj_partials *partials, float *out, float **in, int64_t n, vj_partials_adder *add,
                     void *user);

#endif
