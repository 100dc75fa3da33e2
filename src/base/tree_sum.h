/*
 * Sums arrays in the order of one fixed binary tree, which is split in the middle: the left subtree has count / 2
 * terms, the right one the others. All sums over ranks have this order, also those by kernels (vj_sum_arrays()).
 */
#ifndef VJ_BASE_TREE_SUM_H
#define VJ_BASE_TREE_SUM_H

#include <stdint.h>

/** out[i] = the tree's sum of in[0][i] ... in[count - 1][i]. `out` may be one of them. Bits do not depend on threads.
 */
void vj_tree_sum(float *out, const float *const *in, int count, int64_t n, int threads);

#endif
