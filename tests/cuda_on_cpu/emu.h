/*
 * A GPU of one thread block at a time: its threads are fibres on one host thread, which change places where they wait
 * for one another. Enough of CUDA for our kernels, no more. No CUDA header is needed.
 *
 * What is found: results (the arithmetic is the host's), reads of what nothing wrote (shared memory and cudaMalloc
 * start as NaN; the target of an asynchronous copy is NaN until it was waited for), barriers that not all threads reach
 * and other deadlocks (a report says where each thread waits), missing barriers (EMU_ORDER=<seed> lets the fibres and
 * blocks run in another order: the bits must stay; under -fsanitize=thread each thread is a thread of its own to the
 * race detector, and only barriers order them).
 */
#ifndef VJ_EMU_H
#define VJ_EMU_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned of_x = 1, unsigned of_y = 1, unsigned of_z = 1) : x(of_x), y(of_y), z(of_z) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}
struct alignas(8) uint2 {
    unsigned x, y;
};
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return uint4{x, y, z, w};
}
static inline float2 make_float2(float x, float y)
{
    return float2{x, y};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return uint2{x, y};
}

/* Of the thread that runs; set at each change of fibres. */
extern struct emu_index {
    unsigned x, y, z;
} threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

namespace emu
{

struct counts {
    long launches, blocks, threads, barriers, warp_steps, switches, mmas;
};
extern counts count; /* since the program began; barriers and warp_steps by thread */
extern long order;   /* 0: in order; else the seed of another one */

/* Put a kernel into a stream's queue (runtime.cc): `thread` is what each of its threads does. */
cudaError_t enqueue(cudaStream_t stream, dim3 grid, dim3 block, size_t shared_bytes, const char *call,
                    std::function<void()> thread);
extern const char *running; /* the work that is done now, for reports; "" between */
int compute_capability();   /* 90, or EMU_CAPABILITY */
bool valid(dim3 grid, dim3 block, size_t shared_bytes);
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread); /* now */
void *shared_memory(size_t bytes);

void barrier(const char *file, int line);

/* A step of a warp: each lane gives `bytes` bytes (a multiple of 4) and gets those of lane `from`. */
void exchange(void *result, const void *mine, size_t bytes, int from, unsigned mask, const char *what);
void warp_barrier();
void mma_m16n8k16(float c[4], const uint32_t a[4], const uint32_t b[2]);
void ldmatrix4(uint32_t r[4], bool transposed, const void *row);
void copy_async(void *to, const void *from, bool there);
void copy_commit();
void copy_wait(int pending);

static inline uint16_t round_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return 0x7fff;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <class T> T from_lane(T value, int lane, unsigned mask, const char *what)
{
    static_assert(sizeof value % 4 == 0, "whole words");
    T result;
    exchange(&result, &value, sizeof value, lane, mask, what);
    return result;
}
int lane();

} /* namespace emu */

#define __syncthreads() emu::barrier(__FILE__, __LINE__)
#define __syncwarp()    emu::warp_barrier()
template <class T> T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32)
{
    (void)width;
    return emu::from_lane(value, emu::lane() ^ other, mask, "shfl_xor");
}
template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32)
{
    (void)width;
    return emu::from_lane(value, from & 31, mask, "shfl");
}
static inline int __any_sync(unsigned mask, int mine)
{
    for (int other = 16; other > 0; other /= 2) mine |= __shfl_xor_sync(mask, mine, other);
    return mine;
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

#endif
