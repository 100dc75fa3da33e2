/*
 * Tensor maps: they tell the tensor memory accelerator of a GPU of compute capability 9.0 where the tiles of an array
 * are. The driver makes them; its function is looked up at run time, so that nothing links libcuda. For C and for
 * kernels.
 */
#ifndef VJ_KERNELS_CUDA_TENSOR_MAP_H
#define VJ_KERNELS_CUDA_TENSOR_MAP_H

#include <stdint.h>

/* The same as CUtensorMap of cuda.h. */
typedef struct {
#ifdef __cplusplus
    alignas(128)
#else
    _Alignas(128)
#endif
        uint64_t opaque[16];
} vj_tensor_map;

/* Values of cuda.h; tests/cuda_on_cpu/tensor_map_header.c compares them with that file. */
enum {
    VJ_MAP_BF16 = 9,
    VJ_MAP_NOT_INTERLEAVED = 0,
    VJ_MAP_SWIZZLE_128 = 3,
    VJ_MAP_FROM_MEMORY_128 = 2, /* the L2 cache reads 128 bytes at a time */
    VJ_MAP_ZEROS_OUTSIDE = 0
};

/**
 * cuTensorMapEncodeTiled() of CUDA 12.0: sizes in elements, the contiguous dimension first; strides in bytes, from the
 * second dimension on. Returns 0, or an error of the driver.
 */
typedef int vj_tensor_map_encode(vj_tensor_map *map, int type, uint32_t rank, void *data, const uint64_t *sizes,
                                 const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave,
                                 int swizzle, int promotion, int fill);

#endif
