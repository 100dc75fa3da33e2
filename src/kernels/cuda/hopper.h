/*
 * Instructions that GPUs of compute capability 9.0 add, in the manner of device.h: PTX, or the emulation. Barriers in
 * shared memory, loads of tiles by the tensor memory accelerator (TMA), products of a warp group (wgmma): NVIDIA's PTX
 * ISA 9.0, sections 9.7.13.15 (mbarrier), 9.7.9.25 (cp.async.bulk.tensor), 9.7.15 (wgmma), 9.7.19.5 (setmaxnreg).
 *
 * They exist on sm_90a alone. On other GPUs VJ_HOPPER is false and nothing here may be called.
 */
#ifndef VJ_KERNELS_CUDA_HOPPER_H
#define VJ_KERNELS_CUDA_HOPPER_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor_map.h"

#if defined __CUDA_ARCH_FEAT_SM90_ALL
#define VJ_SM90A 1
#elif !defined __CUDACC__
#include "emu_hopper.h"
#endif

#if defined VJ_SM90A || !defined __CUDACC__
constexpr bool VJ_HOPPER = true;
#else
constexpr bool VJ_HOPPER = false;
#endif

#ifdef __CUDACC__
#define VJ_GRID_CONSTANT __grid_constant__ /* a kernel's argument of which the address may be taken */
#else
#define VJ_GRID_CONSTANT
#endif

VJ_DEVICE uint32_t shared_address(const void *in_shared)
{
#ifdef __CUDACC__
    return (uint32_t)__cvta_generic_to_shared(in_shared);
#else
    return emu::shared_address(in_shared);
#endif
}

/* ------------------------------------------------------------------------------------------------ registers */

/*
 * A warp group gives registers back, or takes some that others gave: as many a thread, a multiple of 8 from 24 to 256.
 * All its threads have to call it. Taking waits until there are enough.
 */
template <int registers> VJ_DEVICE void give_registers()
{
#ifdef VJ_SM90A
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
#endif
}
template <int registers> VJ_DEVICE void take_registers()
{
#ifdef VJ_SM90A
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
#endif
}

/* ------------------------------------------------------------------------------------------------ phases */

/*
 * A barrier in shared memory. It counts through phases: one ends when so many arrivals have come as it was initialised
 * with, and all bytes were loaded that were announced in it. Phases are known by their parity: the first has 0, and who
 * waits for 1 before it has ended goes on at once.
 */
struct phase_barrier {
    uint64_t state;
};

VJ_DEVICE void phase_init(phase_barrier *b, uint32_t arrivals)
{
#ifdef VJ_SM90A
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
#elif !defined __CUDACC__
    emu::phase_init(b, arrivals);
#endif
}
/* After the initialisations, by the thread that made them, and before the block's barrier: for loads see them too. */
VJ_DEVICE void phase_init_done()
{
#ifdef VJ_SM90A
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

VJ_DEVICE void phase_arrive(phase_barrier *b)
{
#ifdef VJ_SM90A
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
#elif !defined __CUDACC__
    emu::phase_arrive(b);
#endif
}
/* Announce bytes that will be loaded in this phase, and arrive. */
VJ_DEVICE void phase_expect(phase_barrier *b, uint32_t bytes)
{
#ifdef VJ_SM90A
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes)
                 : "memory");
#elif !defined __CUDACC__
    emu::phase_expect(b, bytes);
#endif
}

/* Has the phase of this parity ended? Waits a little for it. */
VJ_DEVICE bool phase_ended(phase_barrier *b, uint32_t parity)
{
#ifdef VJ_SM90A
    uint32_t ended;
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }"
                 : "=r"(ended)
                 : "r"(shared_address(b)), "r"(parity)
                 : "memory");
    return ended != 0;
#elif !defined __CUDACC__
    emu::phase_wait(b, parity, __LINE__);
    return true;
#else
    return false;
#endif
}

/*
 * Wait for the end of the phase of this parity. One that does not end within about ten seconds never will: then the
 * kernel fails, or, where the backend tries the kernel (`late` is not NULL), says so in *late and goes on.
 */
VJ_DEVICE void phase_wait(phase_barrier *b, uint32_t parity, uint32_t *late)
{
    if (phase_ended(b, parity)) return;
#ifdef VJ_SM90A
    const long long patience = late ? 1ll << 28 : 20ll << 30; /* cycles */
    const long long began = clock64();
    while (!phase_ended(b, parity)) {
        if (clock64() - began < patience) continue;
        if (!late) asm volatile("trap;");
        *late = 1;
        return;
    }
#else
    (void)late;
#endif
}

/* ------------------------------------------------------------------------------------------------ loads */

/*
 * Load the map's box from element x of row y on, in bytes that are announced to the barrier; what lies outside the
 * array is zero. `to` is a multiple of 1024 bytes. One thread calls it; the bytes are there when the phase has ended.
 */
VJ_DEVICE void load_tile(void *to, const vj_tensor_map *map, int x, int y, phase_barrier *b)
{
#ifdef VJ_SM90A
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
        "[%4];" ::"r"(shared_address(to)),
        "l"(map), "r"(x), "r"(y), "r"(shared_address(b))
        : "memory");
#elif !defined __CUDACC__
    emu::load_tile(to, map, x, y, b);
#endif
}

/* ------------------------------------------------------------------------------------------------ products */

/*
 * Where an operand of wgmma begins in shared memory, and how it lies there, with 16-byte pieces in the order of the
 * 128-byte swizzle. As stored with its depth last, `stride` bytes are between eight rows and the next eight; with the
 * depth first, between eight of depth and the next eight, and `leading` between 64 of its width and the next 64.
 */
VJ_DEVICE uint64_t wgmma_operand(const void *at, int leading, int stride)
{
    return (uint64_t)((shared_address(at) & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}
/* The same operand `bytes` further. */
VJ_DEVICE uint64_t operand_at(uint64_t operand, int bytes)
{
    return operand + (uint64_t)(bytes >> 4);
}

#define VJ_4(i)  "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define VJ_16(i) VJ_4(i), VJ_4((i) + 4), VJ_4((i) + 8), VJ_4((i) + 12)
#define VJ_32(i) VJ_16(i), VJ_16((i) + 16)

/*
 * d[64, WIDE] (+)= A[64, 16] B[16, WIDE] by the four warps of a group, all of which call it alike; WIDE is 192 or 256.
 * Of d a lane has for each eight columns what mma() leaves it: warp w the rows from 16 w on. The elements may not be
 * touched before wgmma_wait(), nor what the operands name be written.
 */
template <int WIDE, bool a_transposed, bool b_transposed>
VJ_DEVICE void wgmma(float d[WIDE / 2], uint64_t a, uint64_t b, bool add)
{
    static_assert(WIDE == 192 || WIDE == 256, "widths that are written down below");
#ifdef VJ_SM90A
    if constexpr (WIDE == 256) {
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %130, 0; "
                     "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
                     "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
                     "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "
                     "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
                     "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, "
                     "%74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, "
                     "%92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, "
                     "%108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, "
                     "%123, %124, %125, %126, %127}, "
                     "%128, %129, p, 1, 1, %131, %132; }"
                     : VJ_32(0), VJ_32(32), VJ_32(64), VJ_32(96)
                     : "l"(a), "l"(b), "r"((int)add), "n"((int)a_transposed), "n"((int)b_transposed));
    } else {
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %98, 0; "
                     "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 "
                     "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
                     "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "
                     "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
                     "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, "
                     "%74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, "
                     "%92, %93, %94, %95}, "
                     "%96, %97, p, 1, 1, %99, %100; }"
                     : VJ_32(0), VJ_32(32), VJ_32(64)
                     : "l"(a), "l"(b), "r"((int)add), "n"((int)a_transposed), "n"((int)b_transposed));
    }
#elif !defined __CUDACC__
    emu::wgmma(d, WIDE, a, b, a_transposed, b_transposed, add);
#endif
}

/* Before the first wgmma() after a wait, or after the thread wrote to d. */
VJ_DEVICE void wgmma_fence()
{
#ifdef VJ_SM90A
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#elif !defined __CUDACC__
    emu::wgmma_fence();
#endif
}
VJ_DEVICE void wgmma_commit()
{
#ifdef VJ_SM90A
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#elif !defined __CUDACC__
    emu::wgmma_commit();
#endif
}
/* Wait until at most `pending` groups of products that were committed are on their way. */
template <int pending> VJ_DEVICE void wgmma_wait()
{
#ifdef VJ_SM90A
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#elif !defined __CUDACC__
    emu::wgmma_wait(pending);
#endif
}
/* Wait for all products; then d is the thread's own again: the compiler may not read it earlier. */
template <int WIDE> VJ_DEVICE void wgmma_results(float d[WIDE / 2])
{
    wgmma_wait<0>();
#ifdef VJ_SM90A
    VJ_UNROLL
    for (int i = 0; i < WIDE / 2; i += 4) asm volatile("" : VJ_4(i)::"memory");
#else
    (void)d;
#endif
}

#undef VJ_4
#undef VJ_16
#undef VJ_32

#endif
