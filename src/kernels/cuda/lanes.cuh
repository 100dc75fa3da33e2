/*
 * Shared by the kernels: reads and writes in 16-byte pieces for each type of elements, sums over the threads of a warp
 * and of a block, sums of columns in two stages, GELU, and the launch. The order of all sums depends only on shapes.
 */
#ifndef VJ_KERNELS_CUDA_LANES_CUH
#define VJ_KERNELS_CUDA_LANES_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/gelu.h"

enum { WARP = 32, THREADS = 256, WARPS = THREADS / WARP }; /* of a block, unless a kernel has its own */

/* ------------------------------------------------------------------------------------------------ launch */

/** Return how many groups of `size` cover n. */
static inline int64_t groups_of(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/** Launch and report a failure; does nothing for an empty grid. */
template <class... P, class... A>
void launch_blocks(vj_backend *be, const char *what, void (*kernel)(P...), dim3 grid, unsigned threads,
                   size_t shared_bytes, A... argument)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    (void)vj_cuda_check(be, launch(kernel, grid, dim3(threads), shared_bytes, vj_cuda_stream(be), argument...), what);
}

/** Launch at least `threads` threads, numbered by global_thread(). */
template <class... P, class... A>
void launch_threads(vj_backend *be, const char *what, void (*kernel)(P...), int64_t threads, A... argument)
{
    launch_blocks(be, what, kernel, dim3((unsigned)groups_of(threads, THREADS)), THREADS, 0, argument...);
}

/** Launch at least `warps` whole warps, numbered by global_warp(). */
template <class... P, class... A>
void launch_warps(vj_backend *be, const char *what, void (*kernel)(P...), int64_t warps, A... argument)
{
    launch_blocks(be, what, kernel, dim3((unsigned)groups_of(warps, WARPS)), THREADS, 0, argument...);
}

VJ_DEVICE int64_t global_thread()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
VJ_DEVICE int64_t global_warp()
{
    return global_thread() / WARP;
}
VJ_DEVICE int lane_of_warp()
{
    return (int)(threadIdx.x % WARP);
}
VJ_DEVICE int warp_of_block()
{
    return (int)(threadIdx.x / WARP);
}

/* ------------------------------------------------------------------------------------------------ memory */

/** Return whether all of these pointers are multiples of `bytes`; NULL is. */
template <class... T> bool aligned_to(size_t bytes, const T *...pointer)
{
    const uintptr_t all = (uintptr_t(0) | ... | (uintptr_t)pointer);
    return all % bytes == 0;
}
/** Return whether W = 4 elements at a time may be read and written at multiples of 4. */
static inline bool in_fours(vj_array x)
{
    return aligned_to((size_t)(4 * vj_type_bytes(x.type)), (const char *)x.data);
}

/** Load W = 1, 4 or 8 neighbours as floats; for 4 and 8 the address must be a multiple of their bytes, or of 16. */
template <int W> VJ_DEVICE void load(float v[W], const float *p)
{
    if constexpr (W == 1)
        v[0] = *p;
    else
        VJ_UNROLL
    for (int i = 0; i < W; i += 4) {
        const float4 four = *reinterpret_cast<const float4 *>(p + i);
        v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
    }
}
template <int W> VJ_DEVICE void load(float v[W], const bf16 *p)
{
    if constexpr (W == 1) {
        v[0] = widen(*p);
    } else if constexpr (W == 4) {
        const uint2 pairs = *reinterpret_cast<const uint2 *>(p);
        v[0] = widen((bf16)pairs.x), v[1] = widen((bf16)(pairs.x >> 16));
        v[2] = widen((bf16)pairs.y), v[3] = widen((bf16)(pairs.y >> 16));
    } else {
        const uint4 pairs = *reinterpret_cast<const uint4 *>(p);
        v[0] = widen((bf16)pairs.x), v[1] = widen((bf16)(pairs.x >> 16));
        v[2] = widen((bf16)pairs.y), v[3] = widen((bf16)(pairs.y >> 16));
        v[4] = widen((bf16)pairs.z), v[5] = widen((bf16)(pairs.z >> 16));
        v[6] = widen((bf16)pairs.w), v[7] = widen((bf16)(pairs.w >> 16));
    }
}
template <int W> VJ_DEVICE void store(float *p, const float v[W])
{
    if constexpr (W == 1)
        *p = v[0];
    else
        VJ_UNROLL
    for (int i = 0; i < W; i += 4) *reinterpret_cast<float4 *>(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
}
template <int W> VJ_DEVICE void store(bf16 *p, const float v[W])
{
    if constexpr (W == 1)
        *p = (bf16)pack(v[0], 0.0f);
    else if constexpr (W == 4)
        *reinterpret_cast<uint2 *>(p) = make_uint2(pack(v[0], v[1]), pack(v[2], v[3]));
    else
        *reinterpret_cast<uint4 *>(p) =
            make_uint4(pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
}

/** The same if perhaps only `left` elements exist: the rest is read as 0 and not written. */
template <int W, class T> VJ_DEVICE void load_part(float v[W], const T *p, int64_t left)
{
    if (left >= W) {
        load<W>(v, p);
    } else {
        VJ_UNROLL
        for (int i = 0; i < W; i++) {
            v[i] = 0.0f;
            if (i < left) load<1>(v + i, p + i);
        }
    }
}
template <int W, class T> VJ_DEVICE void store_part(T *p, const float v[W], int64_t left)
{
    if (left >= W) {
        store<W>(p, v);
    } else {
        VJ_UNROLL
        for (int i = 0; i < W; i++)
            if (i < left) store<1>(p + i, v + i);
    }
}

/** Load elements at, at + 1, ... of an array of either type. */
template <int W> VJ_DEVICE void load_of(float v[W], vj_array x, int64_t at)
{
    if (x.type == VJ_TYPE_BF16)
        load<W>(v, (const bf16 *)x.data + at);
    else
        load<W>(v, (const float *)x.data + at);
}
template <int W> VJ_DEVICE void store_of(vj_array y, int64_t at, const float v[W])
{
    if (y.type == VJ_TYPE_BF16)
        store<W>((bf16 *)y.data + at, v);
    else
        store<W>((float *)y.data + at, v);
}

/* ------------------------------------------------------------------------------------------------ sums */

/** Return the sum over the warp, with the same bits in each lane. */
template <class T> VJ_DEVICE T sum_of_warp(T x)
{
    VJ_UNROLL
    for (int other = WARP / 2; other > 0; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}
/** Return the largest over the warp; NaN if all are NaN. */
VJ_DEVICE float largest_of_warp(float x)
{
    VJ_UNROLL
    for (int other = WARP / 2; other > 0; other /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

/**
 * Return the sum over the block, with the same bits in each thread. `part` is shared memory, one element per warp; it
 * may be used again after the next barrier.
 */
template <class T> VJ_DEVICE T sum_of_block(T x, T *part)
{
    x = sum_of_warp(x);
    if (lane_of_warp() == 0) part[warp_of_block()] = x;
    __syncthreads();
    T sum = part[0];
    for (int w = 1; w < (int)(blockDim.x / WARP); w++) sum += part[w];
    return sum;
}
VJ_DEVICE float largest_of_block(float x, float *part)
{
    x = largest_of_warp(x);
    if (lane_of_warp() == 0) part[warp_of_block()] = x;
    __syncthreads();
    float largest = part[0];
    for (int w = 1; w < (int)(blockDim.x / WARP); w++) largest = fmaxf(largest, part[w]);
    return largest;
}

/**
 * Sums over rows are made in two stages. First each block sums a part of the rows: `rows` of them, at most 1024 parts.
 * Then totals_of_parts() sums the parts. Both numbers depend only on R.
 */
static inline int64_t rows_of_part(int64_t R)
{
    const int64_t rows = groups_of(groups_of(R, 1024), WARPS) * WARPS;
    return rows > 128 ? rows : 128;
}

/*
 * Sum the columns of `partial` [parts, columns] in double: columns below `split` go to first[column], the others to
 * second[column - split]. A block has 32 columns; each of its warps takes every 32nd part, then the warps' sums are
 * added. There are few blocks, which mostly wait for memory: so they have as many warps as a block can have.
 */
enum { TOTAL_WARPS = 32, TOTAL_THREADS = TOTAL_WARPS * WARP };
struct totals_shared {
    double sum[TOTAL_WARPS][WARP];
};
template <class Out, class T>
__global__ void __launch_bounds__(TOTAL_THREADS) totals_kernel(Out *first, Out *second, int64_t split, const T *partial,
                                                               int64_t parts, int64_t columns, int accumulate)
{
    totals_shared &s = shared<totals_shared>();
    const int64_t column = (int64_t)blockIdx.x * WARP + lane_of_warp();
    double sum = 0;
    if (column < columns)
        for (int64_t p = warp_of_block(); p < parts; p += TOTAL_WARPS) sum += (double)partial[p * columns + column];
    s.sum[warp_of_block()][lane_of_warp()] = sum;
    __syncthreads();
    if (warp_of_block() > 0 || column >= columns) return;
    Out *to = column < split ? first + column : second + (column - split);
    double all = accumulate ? (double)*to : 0.0;
    for (int w = 0; w < TOTAL_WARPS; w++) all += s.sum[w][lane_of_warp()];
    *to = (Out)all;
}
template <class Out, class T>
void totals_of_parts(vj_backend *be, const char *what, Out *first, Out *second, int64_t split, const T *partial,
                     int64_t parts, int64_t columns, int accumulate)
{
    launch_blocks(be, what, totals_kernel<Out, T>, dim3((unsigned)groups_of(columns, WARP)), TOTAL_THREADS,
                  sizeof(totals_shared), first, second, split, partial, parts, columns, accumulate);
}

#endif
