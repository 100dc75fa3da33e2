/*
 * The language of the kernels: CUDA compiled by nvcc, or C++ compiled by any host compiler with emu.h. Kernels include
 * only this. Each special instruction of a GPU (mma, ldmatrix, cp.async, bf16 rounding) is a function here with two
 * bodies: PTX, and plain C++ that defines what the PTX means. VJ_UNROLL stands before loops over registers.
 */
#ifndef VJ_DEVICE_H
#define VJ_DEVICE_H

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define VJ_DEVICE   __device__ __forceinline__
#define VJ_MEMBER   __device__ __forceinline__ /* member function of a class */
#define VJ_UNROLL   _Pragma("unroll")          /* unroll the next loop, so that arrays it indexes stay in registers */
#define VJ_UNROLL_2 _Pragma("unroll 2")
#define VJ_UNROLL_4 _Pragma("unroll 4") /* so that several loads are in flight */
#define VJ_ROLLED   _Pragma("unroll 1")
#else
#include "emu.h"
#define VJ_DEVICE static inline
#define VJ_MEMBER inline
#define VJ_UNROLL
#define VJ_UNROLL_2
#define VJ_UNROLL_4
#define VJ_ROLLED
#endif

/* ------------------------------------------------------------------------------------------------ launch, shared */

/* Shared memory that a block may have on each GPU that the backend supports: 163 KB of sm_80. Kernels for other GPUs
 * pass their own limit.
 */
#define VJ_SHARED_MAX (163 * 1024)

/*
 * Return the block's shared memory as a T. The PTX gets its size as a comment, which tests/cuda_compile reads, because
 * the compiler does not know the size that a launch requests.
 */
#ifdef __CUDACC__
template <class T, int max = VJ_SHARED_MAX> VJ_DEVICE T &shared()
{
    static_assert(sizeof(T) <= max, "more shared memory than a block can have");
    asm("// vj_shared %0" ::"n"((int)sizeof(T)));
    extern __shared__ __align__(1024) unsigned char vj_shared[]; /* aligned as operands of wgmma must be */
    return *reinterpret_cast<T *>(vj_shared);
}
template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t bytes, cudaStream_t stream, A... argument)
{
    if (bytes > 48 * 1024) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    kernel<<<grid, block, bytes, stream>>>(P(argument)...);
    return cudaGetLastError();
}
#else
template <class T, int max = VJ_SHARED_MAX> T &shared()
{
    static_assert(sizeof(T) <= max, "more shared memory than a block can have");
    return *reinterpret_cast<T *>(emu::shared_memory(sizeof(T)));
}
/* `call` is the text of the call; reports take the kernel's name from it. */
template <class... P, class... A>
cudaError_t launch_as(const char *call, void (*kernel)(P...), dim3 grid, dim3 block, size_t bytes, cudaStream_t stream,
                      A... argument)
{
    return emu::enqueue(stream, grid, block, bytes, call, [=] { kernel(P(argument)...); });
}
#define launch(...) launch_as(#__VA_ARGS__, __VA_ARGS__)
#endif

/* Return x, which all lanes of the warp have, so that the compiler sees it: it keeps x once for the warp, and branches
 * by it are the same for all lanes. */
VJ_DEVICE int same_in_warp(int x)
{
    return __shfl_sync(0xffffffffu, x, 0);
}

/* ------------------------------------------------------------------------------------------------ exact */

/* A product that is rounded before anything is added to it, as on the host: never part of a multiply-add. */
VJ_DEVICE float mul_exact(float a, float b)
{
#ifdef __CUDACC__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

/* ------------------------------------------------------------------------------------------------ bf16 */

typedef uint16_t bf16;

VJ_DEVICE float widen(bf16 x)
{
#ifdef __CUDACC__
    return __uint_as_float((uint32_t)x << 16);
#else
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
#endif
}

/* Round two floats to bf16, ties to even, and pack them, `low` in the lower half. */
VJ_DEVICE uint32_t pack(float low, float high)
{
#ifdef __CUDACC__
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
#else
    return emu::round_bf16(low) | (uint32_t)emu::round_bf16(high) << 16;
#endif
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* c[16x8] += a[16x16] b[16x8]; fragments as PTX's mma.m16n8k16 spreads them over a warp. */
VJ_DEVICE void mma(float c[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef __CUDACC__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emu::mma_m16n8k16(c, a, b);
#endif
}

/* d = c + a b. */
VJ_DEVICE void mma(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4])
{
#ifdef __CUDACC__
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#else
    for (int i = 0; i < 4; i++) d[i] = c[i];
    emu::mma_m16n8k16(d, a, b);
#endif
}

/* c[16x8] += a[16x8] b[8x8]: half the depth. */
VJ_DEVICE void mma_half(float c[4], const uint32_t a[2], uint32_t b)
{
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
#else
    const uint32_t whole_a[4] = {a[0], a[1], 0, 0}, whole_b[2] = {b, 0};
    emu::mma_m16n8k16(c, whole_a, whole_b);
#endif
}

/* Load four 8x8 matrices of bf16; lane l passes the address of row l % 8 of matrix l / 8, in shared memory, 16-byte
 * aligned. */
VJ_DEVICE void ldmatrix4(uint32_t r[4], const bf16 *row)
{
#ifdef __CUDACC__
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
#else
    emu::ldmatrix4(r, false, row);
#endif
}
VJ_DEVICE void ldmatrix4_transposed(uint32_t r[4], const bf16 *row)
{
#ifdef __CUDACC__
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
#else
    emu::ldmatrix4(r, true, row);
#endif
}

/* Copy 16 bytes from global to shared memory asynchronously; `there` false: write zeros, and do not read `from`. */
VJ_DEVICE void copy_async(void *to, const void *from, bool there)
{
#ifdef __CUDACC__
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
#else
    emu::copy_async(to, from, there);
#endif
}
VJ_DEVICE void copy_commit()
{
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emu::copy_commit();
#endif
}
/* Wait until at most `pending` groups of this thread's copies are in flight. */
template <int pending> VJ_DEVICE void copy_wait()
{
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#else
    emu::copy_wait(pending);
#endif
}

/* ------------------------------------------------------------------------------------------------ stores */

/* Store four floats in global memory, 16-byte aligned, by one instruction, where the compiler might use four. */
VJ_DEVICE void store_four(float *to, const float v[4])
{
#ifdef __CUDACC__
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "f"(v[0]), "f"(v[1]),
                 "f"(v[2]), "f"(v[3])
                 : "memory");
#else
    *reinterpret_cast<float4 *>(to) = float4{v[0], v[1], v[2], v[3]};
#endif
}

/* Store four values rounded to bf16, two in a word; 8-byte aligned. */
VJ_DEVICE void store_four(bf16 *to, uint32_t first, uint32_t second)
{
#ifdef __CUDACC__
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(first), "r"(second)
                 : "memory");
#else
    *reinterpret_cast<uint2 *>(to) = uint2{first, second};
#endif
}

/* ------------------------------------------------------------------------------------------------ numbers */

/* 1 / x, with an error of one unit in the last place. */
VJ_DEVICE float reciprocal(float x)
{
#ifdef __CUDACC__
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
#else
    return 1.0f / x;
#endif
}

/* 2^x, with a relative error of 2^-22; 0 below 2^-126. */
VJ_DEVICE float power_of_two(float x)
{
#ifdef __CUDACC__
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
#else
    return x < -126.0f ? 0.0f : exp2f(x);
#endif
}

/*
 * 2^x for x up to 127, with a relative error of 2^-18, by multiply-adds instead of the unit for exponentials, which
 * makes a quarter as many instructions a cycle: 2^n times a polynomial in x - n, from -1/2 to 1/2 (minimax, degree 4:
 * 2.7e-6). Below -126 it is 2^-126. A NaN leads to a NaN or at least 3e38.
 */
VJ_DEVICE float power_of_two_by_products(float x)
{
    const float integers = 12582912.0f; /* 1.5 * 2^23: floats from here to 2^24 have no fraction */
#ifdef __CUDACC__
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(-126.0f));
#else
    x = x < -126.0f ? -126.0f : x;
#endif
    const float n = x + integers, rest = x - (n - integers);
    float power = 0.00957010221f;
    power = power * rest + 0.0559178591f;
    power = power * rest + 0.240247443f;
    power = power * rest + 0.693121791f;
    power = power * rest + 0.999999285f;
#ifdef __CUDACC__
    return __uint_as_float(__float_as_uint(power) + (__float_as_uint(n) << 23));
#else
    uint32_t bits, exponent;
    memcpy(&bits, &power, 4);
    memcpy(&exponent, &n, 4);
    bits += exponent << 23;
    memcpy(&power, &bits, 4);
    return power;
#endif
}

#endif
