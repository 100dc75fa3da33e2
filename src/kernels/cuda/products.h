/*
 * Between products.c, which decides who multiplies, and product.cu, the own kernels. Everything is launched on the
 * backend's stream.
 */
#ifndef VJ_KERNELS_CUDA_PRODUCTS_H
#define VJ_KERNELS_CUDA_PRODUCTS_H

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/tensor_map.h"

#ifdef __cplusplus
extern "C" {
#endif

/** As vj_cuda_set_products(), even if VJ_PRODUCTS forces one. */
vj_status vj_cuda_use_products(vj_backend *be, const char *name);
/** Can the device multiply by wgmma? In bf16 also: does it multiply right? That is tried once, the first time. */
bool vj_cuda_has_wgmma(vj_backend *be);
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

/** A product's sums alone, of a and b as they are in `product` (with operands of bf16): floats, to `sums`. */
static inline vj_product vj_cuda_bare_product(const vj_product *product, float *sums)
{
    vj_product bare = *product;
    bare.accumulate = false;
    bare.bias = bare.residual = NULL;
    bare.finish = VJ_FINISH_PLAIN;
    bare.pre = bare.hidden = vj_f32(NULL);
    bare.c = vj_f32(sums);
    return bare;
}

/** What kernels by wgmma need of a device. */
typedef struct {
    vj_tensor_map_encode *encode; /* the driver's */
    int processors;               /* how many blocks run at a time; no result depends on it */
    bool attends;                 /* attention was tried, and is right as well */
    uint32_t *late; /* device memory, or NULL: a load that never comes sets it to 1 instead of failing the kernel */
} vj_cuda_wgmma;

/** Fill *how if this device has wgmma. Else false, and `why` not. */
bool vj_cuda_wgmma_open(vj_backend *be, vj_cuda_wgmma *how, char *why, size_t bytes);

/**
 * Are products by wgmma right on this device? The kernel is tried, and then those of attention (how->attends). If one
 * fails that, a warning says so. Waits for the device.
 */
bool vj_cuda_wgmma_try(vj_backend *be, vj_cuda_wgmma *how, char *why, size_t bytes);

/** As vj_cuda_tile_parts() and vj_cuda_tile_product(), on devices of compute capability 9.0 (product_wgmma.cu). */
int vj_cuda_wgmma_parts(const vj_product *product);
cudaError_t vj_cuda_wgmma_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                  float *sums, const vj_cuda_wgmma *how);

/** What attention by wgmma needs; NULL if mma is to compute it: the choice of who multiplies is that of attention. */
const vj_cuda_wgmma *vj_cuda_attention_wgmma(const vj_backend *be);

/** Device memory of an attention: operands are bf16, 16-byte aligned; terms is room for two floats a row and head. */
typedef struct {
    vj_array qkv, dout;
    float *out, *lse, *dqkv, *terms;
} vj_cuda_attention;

/** Attention forward and backward by wgmma (attention_wgmma.cu), or by mma if `how` is NULL; for the trial. */
cudaError_t vj_cuda_try_attention(cudaStream_t stream, const vj_cuda_wgmma *how, const vj_rows *rows, int D, int heads,
                                  const vj_cuda_attention *x);

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
