/* The order of sums: which of them a term completes, and sums over arrays side by side. */
#include "parallel/tree.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1024 }; /* floats: what a level of the tree keeps stays in the first-level cache */

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

static void add_arrays(float *out, const float *a, const float *b, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

static void sum_block(float *out, const float *const *in, int count, int64_t at, int64_t n)
{
    if (count == 1) {
        if (out != in[0] + at) memcpy(out, in[0] + at, (size_t)n * sizeof *out);
    } else if (count == 2) {
        add_arrays(out, in[0] + at, in[1] + at, n);
    } else { /* not into `out` before all is read: it may be a term */
        float left[BLOCK], right[BLOCK];
        sum_block(left, in, count / 2, at, n);
        sum_block(right, in + count / 2, count - count / 2, at, n);
        add_arrays(out, left, right, n);
    }
}

void vj_tree_sum(float *out, const float *const *in, int count, int64_t n, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && n > BLOCK)
    for (int64_t at = 0; at < n; at += BLOCK) sum_block(out + at, in, count, at, n - at < BLOCK ? n - at : BLOCK);
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
