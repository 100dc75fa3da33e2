/*
 * Sums in one fixed binary tree, split at the middle. Terms that are made one after another (a rank's microbatches) and
 * terms that lie beside one another (the ranks) are summed in the same order, so a sum over 2^k ranks of n terms each
 * has the same bits for every k.
 */
#ifndef VJ_PARALLEL_TREE_H
#define VJ_PARALLEL_TREE_H

#include "base/status.h"
#include "base/tree_sum.h"

/** Most sums that wait for their right half while the last of `terms` terms is made. */
int vj_tree_levels(int64_t terms);

/** How many sums term `i` of `terms` completes: each adds what was kept last to what is at hand. */
int vj_tree_completes(int64_t i, int64_t terms);

/* Doubles on the host, term after term. */
typedef struct {
    int64_t count, terms; /* values of a term, terms of a sum */
    int64_t done;         /* terms so far */
    int kept;             /* sums that wait for their right half */
    double *values;       /* [levels + 1, count], owned */
} vj_tree;

/** Allocate. Release with vj_tree_release(), also after a failure. */
vj_status vj_tree_init(vj_tree *tree, int64_t count, int64_t terms);
void vj_tree_release(vj_tree *tree);

/** Where the next term is to be written, [count]; vj_tree_add() then takes it into the sum. */
double *vj_tree_next(const vj_tree *tree);
void vj_tree_add(vj_tree *tree);

/** The sum of all terms, [count], when all were added; the next term starts anew and overwrites it. */
double *vj_tree_total(vj_tree *tree);

#endif
