/*
 * The interface between products.c, which chooses what computes a product, and the own kernels (product.cu,
 * product_wgmma.cu). Everything is launched on the backend's stream.
 */
#ifndef VJ_KERNELS_CUDA_PRODUCTS_H
#define VJ_KERNELS_CUDA_PRODUCTS_H

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/tensor_map.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The same as vj_cuda_set_products(), but ignores VJ_PRODUCTS. */
vj_status vj_cuda_use_products(vj_backend *be, const char *name);
/** Return whether the device has wgmma and, in bf16, whether its products are correct, which is tested once, in the
 * first call. */
bool vj_cuda_has_wgmma(vj_backend *be);
/** Return whether cuBLASLt could be loaded, in use or not, and write its version, "13.1.0". */
bool vj_cuda_library_version(const vj_backend *be, char *text, size_t bytes);

/** to [rows, padded] = from [rows, width] rounded to bf16, with zeros behind each row; padded is a multiple of 8. */
cudaError_t vj_cuda_round_rows(cudaStream_t stream, void *to, vj_array from, int64_t rows, int64_t width,
                               int64_t padded);

/**
 * Return into how many parts the depth of a product of bf16 is divided; their results are added in order afterwards. It
 * depends only on the shape, and is 1 except for gradients of weights. Each part needs [M, N] floats.
 */
int vj_cuda_tile_parts(const vj_product *product);

/**
 * Compute a product of bf16 on tensor cores. Stored rows of a and b are `a_width` and `b_width` elements apart,
 * multiples of 8; both are 16-byte aligned, and the padding of each row is zero. `sums` has room for
 * vj_cuda_tile_parts() parts if there are several.
 */
cudaError_t vj_cuda_tile_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                 float *sums);

/** Return the product that computes only the sums of `product` (with operands of bf16), as floats, to `sums`. */
static inline vj_product vj_cuda_bare_product(const vj_product *product, float *sums)
{
    vj_product bare = *product;
    bare.accumulate = false;
    bare.bias = bare.residual = NULL;
    bare.finish = VJ_FINISH_PLAIN;
    bare.pre = bare.hidden = vj_f32(NULL);
    bare.c = vj_f32(sums);
    bare.sums = NULL;
    return bare;
}

/** What kernels with wgmma need to know of a device. */
typedef struct {
    vj_tensor_map_encode *encode; /* a function of the driver */
    int processors;               /* how many blocks run at a time; no result depends on it */
    unsigned attends;             /* attention was tried too: bit d / 16 tells that heads d wide are correct */
    uint32_t *late; /* device memory, or NULL: a load that never comes sets it to 1 instead of failing the kernel */
} vj_cuda_wgmma;

/**
 * What the environment variable VJ_WGMMA leaves of wgmma: "none" (it is not tried either), "products" (attention is
 * computed without it) or, if it is not set, all. For a device on which even the trial of these kernels fails.
 */
typedef enum { VJ_WGMMA_ALL, VJ_WGMMA_PRODUCTS, VJ_WGMMA_NONE, VJ_WGMMA_UNKNOWN } vj_cuda_wgmma_wish;
vj_cuda_wgmma_wish vj_cuda_wgmma_wanted(void);

/** Fill *how if this device has wgmma. If not, return false, with the reason in `why`. */
bool vj_cuda_wgmma_open(vj_backend *be, vj_cuda_wgmma *how, char *why, size_t bytes);

/**
 * Return whether products by wgmma are correct on this device. Tries the kernel, and then, also if it is wrong, those
 * of attention, for each width of heads (sets how->attends). Reports failures as warnings, and the last one of products
 * in `why`. Waits for the device.
 */
bool vj_cuda_wgmma_try(vj_backend *be, vj_cuda_wgmma *how, char *why, size_t bytes);

/**
 * The same as vj_cuda_tile_parts() and vj_cuda_tile_product(), on devices of compute capability 9.0 (product_wgmma.cu).
 * It needs `scratch` for vj_cuda_wgmma_scratch_rows() rows of N floats: parts, or sums of columns.
 */
int vj_cuda_wgmma_parts(const vj_product *product);
int64_t vj_cuda_wgmma_scratch_rows(const vj_product *product);
cudaError_t vj_cuda_wgmma_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                  float *scratch, const vj_cuda_wgmma *how);
/** Return whether a weight's gradient keeps an H100 busy with whole tiles of 128 x 256 until its end: then it is
 * expected to be as fast as the library's. */
bool vj_cuda_wgmma_fills(const vj_product *product);
/** Return whether product->sums are made by this product; else the caller has to sum the columns of its result. */
bool vj_cuda_wgmma_sums(const vj_product *product);

/** Return what attention by wgmma needs, or NULL if mma computes it for all widths of heads: the device has no wgmma,
 * or the choice for products is mma. */
const vj_cuda_wgmma *vj_cuda_attention_wgmma(const vj_backend *be);

/** Device memory of an attention: operands are bf16, 16-byte aligned; terms: two floats per row and head. */
typedef struct {
    vj_array qkv, dout;
    float *out, *lse, *dqkv, *terms;
} vj_cuda_attention;

/** Attention forward and backward by wgmma (attention_wgmma.cu), or by mma if `how` is NULL; for the trial. */
cudaError_t vj_cuda_try_attention(cudaStream_t stream, const vj_cuda_wgmma *how, const vj_rows *rows, int D, int heads,
                                  const vj_cuda_attention *x);

/** Compute a product of floats (or of bf16, widened), of any shape. */
cudaError_t vj_cuda_float_product(cudaStream_t stream, const vj_product *product);

/**
 * Compute `rows` rows of the result from row `first` on from their sums: add the parts, then bias, residual, GELU ...
 * sums [parts, rows, N], 16-byte aligned.
 */
cudaError_t vj_cuda_finish(cudaStream_t stream, const vj_product *product, const float *sums, int parts, int64_t first,
                           int64_t rows);

#ifdef __cplusplus
}
#endif

#endif
