/*
 * Between products.c, which decides who multiplies, and product.cu, the own kernels. Everything is launched on the
 * backend's stream.
 */
#ifndef VJ_KERNELS_CUDA_PRODUCTS_H
#define VJ_KERNELS_CUDA_PRODUCTS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/** As vj_cuda_set_products(), even if VJ_PRODUCTS forces one. */
vj_status vj_cuda_use_products(vj_backend *be, const char *name);
/** "13.1.0" and true, if cuBLASLt could be loaded, be it in use or not. */
bool vj_cuda_library_version(const vj_backend *be, char *text, size_t bytes);

/** to [rows, padded] = from [rows, width] rounded to bf16, with zeros behind each row; padded is a multiple of 8. */
cudaError_t vj_cuda_round_rows(cudaStream_t stream, void *to, vj_array from, int64_t rows, int64_t width,
                               int64_t padded);

/**
 * How many parts the depth of a product of bf16 is cut into, which are summed in order afterwards: a matter of its
 * shape alone, and 1 unless it is the gradient of a weight. Each part needs [M, N] floats.
 */
int vj_cuda_tile_parts(const vj_product *product);

/**
 * The product of bf16 by tensor cores. Rows of a and b, as they are stored, are `a_width` and `b_width` elements apart,
 * multiples of 8; both start at multiples of 16 bytes, and what is behind the end of a row is zero. `sums` is for
 * vj_cuda_tile_parts() parts if there are several.
 */
cudaError_t vj_cuda_tile_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                 float *sums);

/** The product of floats (or bf16, widened), of any shape. */
cudaError_t vj_cuda_float_product(cudaStream_t stream, const vj_product *product);

/**
 * What follows the sums (bias, residual, GELU ...) for `rows` rows of the result from `first` on; sums [parts, rows,
 * N], 16-byte aligned.
 */
cudaError_t vj_cuda_finish(cudaStream_t stream, const vj_product *product, const float *sums, int parts, int64_t first,
                           int64_t rows);

#ifdef __cplusplus
}
#endif

#endif
