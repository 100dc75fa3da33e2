/* Declarations of this variant's kernels, one for each row of VJ_ISA_KERNELS (../backend.h);
 * its download is declared in ../cpu_device.h. */
#ifndef VJ_CPU_CPU_H
#define VJ_CPU_CPU_H

#include "isa.h"
#include "kernels/cpu_device.h"

#define VJ_ROW(name, ...) void VJ_CPU(name)(vj_backend * be, __VA_ARGS__);
VJ_ISA_KERNELS(VJ_ROW)
#undef VJ_ROW

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
/* Return the number of pieces of `size` elements that cover n. */
static inline int64_t parts(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/**
 * sums[d] = (accumulate ? sums[d] : 0) + the sum over chunks of partial[chunk * stride + d], for D columns; added in
 * double, in the order of the chunks.
 */
void VJ_CPU(add_chunks)(vj_backend *be, float *sums, const float *partial, int64_t stride, int64_t chunks,
                        int accumulate, int D);

#endif
