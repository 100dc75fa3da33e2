/* Exact GELU and its gradient; the arithmetic is in vector.h and is shared with products that apply GELU to their
 * result.
 */
#include "cpu.h"
#include "vector.h"

enum { BLOCK = 4096 }; /* floats a thread takes at a time */

void VJ_CPU(gelu_forward)(vj_backend *be, float *y, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t block = 0; block < n; block += BLOCK) {
        int64_t end = least(n, block + BLOCK);
        for (int64_t i = block; i < end; i += LANES) {
            vf slope;
            vstore_part(y + i, vgelu(vload_part(x + i, end - i), &slope), end - i);
        }
    }
}

void VJ_CPU(gelu_backward)(vj_backend *be, float *dx, const float *dy, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t block = 0; block < n; block += BLOCK) {
        int64_t end = least(n, block + BLOCK);
        for (int64_t i = block; i < end; i += LANES) {
            vf slope;
            vgelu(vload_part(x + i, end - i), &slope);
            vstore_part(dx + i, vload_part(dy + i, end - i) * slope, end - i);
        }
    }
}
