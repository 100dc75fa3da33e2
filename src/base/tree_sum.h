/*
 * Sums of arrays in one fixed binary tree, split at the middle: count / 2 terms left, the rest right. What the ranks
 * hold is summed in this order wherever it is done (parallel/tree.h, and a kernel of each device).
 */
#ifndef VJ_BASE_TREE_SUM_H
#define VJ_BASE_TREE_SUM_H

#include <stdint.h>

/** out[i] = the tree's sum of in[0][i] ... in[count - 1][i]. `out` may be one of them. Bits do not depend on threads.
 */
void vj_tree_sum(float *out, const float *const *in, int count, int64_t n, int threads);

#endif
