/*
 * Sums in a fixed binary tree that is split in the middle. Terms that are computed one after another (the microbatches
 * of a rank) and terms that exist at the same time (one per rank) are summed in the same tree, so a sum of a fixed
 * number of terms has the same bits whether they are spread over 1, 2, 4, ... ranks.
 */
#ifndef VJ_PARALLEL_TREE_H
#define VJ_PARALLEL_TREE_H

#include "base/status.h"
#include "base/tree_sum.h"

/** Return the largest number of subtree sums that are kept at a time because their sibling is not complete yet, while
 * `terms` terms are added one after another. */
int vj_tree_levels(int64_t terms);

/** Return how many subtrees are completed by term `i` of `terms`. Each needs one addition: the sum kept last plus the
 * current one. */
int vj_tree_completes(int64_t i, int64_t terms);

/* A running sum of vectors of doubles on the host, one term after another. */
typedef struct {
    int64_t count, terms; /* values per term; terms per sum */
    int64_t done;         /* terms added so far */
    int kept;             /* subtree sums whose sibling is not complete yet */
    double *values;       /* [levels + 1, count], owned */
} vj_tree;

/** Allocate. Release with vj_tree_release(), also after a failure. */
vj_status vj_tree_init(vj_tree *tree, int64_t count, int64_t terms);
void vj_tree_release(vj_tree *tree);

/** Return the buffer [count] that the caller must fill with the next term; then call vj_tree_add() to add it. */
double *vj_tree_next(const vj_tree *tree);
void vj_tree_add(vj_tree *tree);

/** Return the sum [count] of all terms, which must all have been added. The next term starts a new sum and overwrites
 * it. */
double *vj_tree_total(vj_tree *tree);

#endif
