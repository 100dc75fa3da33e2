/* Sums over arrays side by side, block by block. */
#include "base/tree_sum.h"

#include <string.h>

enum { BLOCK = 1024 }; /* floats; so the sums that a level of the tree keeps stay in the first-level cache */

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
    } else { /* write `out` only after all terms have been read: it may be one of them */
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
