/* The order of additions: which subtrees a term completes. */
#include "parallel/tree.h"

#include <stdlib.h>

int vj_tree_levels(int64_t terms)
{
    int levels = 0;
    for (; terms > 1; terms -= terms / 2) levels++; /* the right half is the larger one */
    return levels;
}

int vj_tree_completes(int64_t i, int64_t terms)
{
    int sums = 0;
    while (terms > 1) {
        const int64_t left = terms / 2;
        if (i < left) {
            terms = left;
            sums = 0;
        } else {
            i -= left;
            terms -= left;
            sums++;
        }
    }
    return sums;
}

vj_status vj_tree_init(vj_tree *tree, int64_t count, int64_t terms)
{
    *tree = (vj_tree){.count = count, .terms = terms};
    tree->values = vj_calloc((vj_tree_levels(terms) + 1) * count, sizeof *tree->values);
    return tree->values ? VJ_OK
                        : vj_raise(VJ_ERR_MEMORY, "no memory for sums of %lld terms of %lld values", (long long)terms,
                                   (long long)count);
}

void vj_tree_release(vj_tree *tree)
{
    free(tree->values);
    tree->values = NULL;
}

double *vj_tree_next(const vj_tree *tree)
{
    return tree->values + tree->kept * tree->count;
}

void vj_tree_add(vj_tree *tree)
{
    VJ_ASSERT(tree->done < tree->terms);
    for (int sums = vj_tree_completes(tree->done++, tree->terms); sums > 0; sums--) {
        const double *right = vj_tree_next(tree);
        tree->kept--;
        double *left = vj_tree_next(tree);
        for (int64_t i = 0; i < tree->count; i++) left[i] += right[i];
    }
    if (tree->done < tree->terms) tree->kept++;
}

double *vj_tree_total(vj_tree *tree)
{
    VJ_ASSERT(tree->done == tree->terms);
    tree->done = 0;
    return tree->values;
}
