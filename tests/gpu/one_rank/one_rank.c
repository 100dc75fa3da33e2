/* What the model calls of parallel/ and model/tensor.c, for one process: there is never a tensor group. */
#include "model/tensor.h"

void vj_split(int64_t n, int size, int rank, int64_t *first, int64_t *last)
{
    VJ_ASSERT(size == 1 && rank == 0);
    *first = 0;
    *last = n;
}

void vj_tensor_sum(vj_tensor *t, vj_backend *be, float *x, int64_t n)
{
    (void)be, (void)x, (void)n;
    VJ_ASSERT(!t);
}

void vj_tensor_sum_rows(vj_tensor *t, vj_backend *be, float *x, int64_t R, int D)
{
    (void)be, (void)x, (void)R, (void)D;
    VJ_ASSERT(!t);
}

void vj_tensor_gather_rows(vj_tensor *t, vj_backend *be, vj_array x, int64_t R, int D)
{
    (void)be, (void)x, (void)R, (void)D;
    VJ_ASSERT(!t);
}
