/*
 * Checks that src/kernels/cuda/tensor_map.h agrees with NVIDIA's cuda.h, where that is installed. It is compiled and
 * never run: a different value or size, or a call with arguments of other kinds, is a compile error.
 */
#include <cuda.h>

#include "kernels/cuda/tensor_map.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is not " #theirs)
SAME(VJ_MAP_BF16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
SAME(VJ_MAP_NOT_INTERLEAVED, CU_TENSOR_MAP_INTERLEAVE_NONE);
SAME(VJ_MAP_SWIZZLE_128, CU_TENSOR_MAP_SWIZZLE_128B);
SAME(VJ_MAP_FROM_MEMORY_128, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
SAME(VJ_MAP_ZEROS_OUTSIDE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
SAME(sizeof(vj_tensor_map), sizeof(CUtensorMap));
SAME(_Alignof(vj_tensor_map), _Alignof(CUtensorMap));
SAME(sizeof(int), sizeof(CUresult));
SAME(sizeof(int), sizeof(CUtensorMapDataType));
SAME(CUDA_SUCCESS, 0);

/* Check that the driver's function accepts arguments of our types. */
void vj_tensor_map_call(vj_tensor_map *map, int n, uint32_t u, void *data, const uint64_t *sizes, const uint32_t *box);
void vj_tensor_map_call(vj_tensor_map *map, int n, uint32_t u, void *data, const uint64_t *sizes, const uint32_t *box)
{
    _Static_assert(sizeof(cuTensorMapEncodeTiled((CUtensorMap *)map, (CUtensorMapDataType)n, u, data,
                                                 (const cuuint64_t *)sizes, (const cuuint64_t *)sizes, box, box,
                                                 (CUtensorMapInterleave)n, (CUtensorMapSwizzle)n,
                                                 (CUtensorMapL2promotion)n, (CUtensorMapFloatOOBfill)n)) > 0,
                   "");
}
