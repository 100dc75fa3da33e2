/*
 * Shared by the three implementations of attention: tiles of bf16 on tensor cores, by instructions of all GPUs
 * (attention_tiles.cu) or of compute capability 9.0 (attention_wgmma.cu), and scalar code for any width and precision
 * (attention_simple.cu). attention.cu chooses one. For .cu files.
 */
#ifndef VJ_CUDA_ATTENTION_H
#define VJ_CUDA_ATTENTION_H

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/products.h"

/* Two numbers of each query that backward needs: log-sum-exp of its scores in base 2, and dout . out. */
struct alignas(8) row_term {
    float lse2, mean;
};

enum { SUM_ROWS = 64 };

/* The arguments of one call, passed to the kernels. */
struct attention {
    const int32_t *offset; /* of the segments */
    int64_t rows;          /* of all segments */
    int segments, longest, D, heads;
    int d;               /* width of a head */
    float scale, factor; /* 1/sqrt(d); the same times log2(e), for exponentials in base 2 */
    vj_array qkv, out;
    float *lse;            /* forward; or NULL */
    vj_array dqkv, dout;   /* backward */
    const row_term *terms; /* backward: [heads, rows] */
    float *sums;           /* backward: [segments, sum_parts, 3D], of columns of dqkv over SUM_ROWS rows; or NULL */
    int sum_parts;         /* of a segment */
    int tiles;             /* of one head of the longest segment */
    int rounded;           /* 1: operands are rounded to bf16 */
};

/* The tile of a block: rows row, row + 1, ... of a segment that begins at row `first` and has `length` rows. */
struct block_place {
    int64_t first;
    int length, row, head, segment;
};

/* Return the place of tile `number`. Tiles of one head of one segment have consecutive numbers, so that its keys and
 * values stay in the L2 cache. */
VJ_DEVICE block_place place_at(const attention &a, unsigned number, int rows_of_tile)
{
    const unsigned tile = number % (unsigned)a.tiles, rest = number / (unsigned)a.tiles;
    const unsigned head = rest % (unsigned)a.heads, segment = rest / (unsigned)a.heads;
    const int first = a.offset[segment];
    return block_place{first, a.offset[segment + 1] - first, (int)tile * rows_of_tile, (int)head, (int)segment};
}
/* Return the place of this block, if each block has one tile. */
VJ_DEVICE block_place place_of_block(const attention &a, int rows)
{
    return place_at(a, blockIdx.x, rows);
}

VJ_DEVICE float read_element(const vj_array &a, int64_t i)
{
    return a.type == VJ_TYPE_BF16 ? widen(((const bf16 *)a.data)[i]) : ((const float *)a.data)[i];
}

/* Set a->tiles for tiles of `rows_of_tile` rows and return the number of all tiles; 0, which makes a launch fail, if
 * there are too many. */
static inline unsigned attention_tiles(attention *a, int rows_of_tile)
{
    a->tiles = (a->longest + rows_of_tile - 1) / rows_of_tile;
    const int64_t all = (int64_t)a->tiles * a->heads * a->segments;
    return all <= INT32_MAX ? (unsigned)all : 0;
}

/* attention_tiles.cu. The first returns whether there is a kernel for heads of width d. Operands are bf16, 16-byte
 * aligned. */
bool attention_tiles_present(int d);
cudaError_t attention_tiles_forward(attention a, cudaStream_t stream);
cudaError_t attention_tiles_backward(attention a, cudaStream_t stream);

/* attention_wgmma.cu: the same, on the device that `how` describes. */
bool attention_wgmma_present(int d);
cudaError_t attention_wgmma_forward(attention a, cudaStream_t stream, const vj_cuda_wgmma *how);
cudaError_t attention_wgmma_backward(attention a, cudaStream_t stream, const vj_cuda_wgmma *how);

/* attention_simple.cu */
cudaError_t attention_simple_forward(attention a, cudaStream_t stream);
cudaError_t attention_simple_backward(attention a, cudaStream_t stream);

#endif
