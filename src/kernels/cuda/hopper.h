/*
 * Instructions that are new in GPUs of compute capability 9.0, as in device.h by PTX or the emulation. Barriers in
 * shared memory, loads of tiles by the tensor memory accelerator (TMA), products of a warp group (wgmma): NVIDIA's PTX
 * ISA 9.0, sections 9.7.13.15 (mbarrier), 9.7.9.25 (cp.async.bulk.tensor), 9.7.15 (wgmma), 9.7.19.5 (setmaxnreg).
 *
 * They exist only on sm_90a. On other GPUs VJ_HOPPER is false and nothing here may be called.
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
#define VJ_GRID_CONSTANT __grid_constant__ /* a kernel's argument whose address may be taken */
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

enum { WARP_GROUP = 128 };              /* threads */
enum { MAX_SHARED_90 = 227 * 1024 };    /* shared memory of a block, with one block to a multiprocessor */
enum { EIGHT_ROWS_BYTES = 8 * 64 * 2 }; /* eight rows of 64 bf16 elements of an operand of wgmma */

/* ------------------------------------------------------------------------------------------------ registers */

/*
 * Registers of a thread in a block of three warp groups. Each thread starts with 168, the most that 384 threads can
 * have. One group loads tiles and two multiply: 40 + 2 * 232 = 3 * 168.
 */
enum { PRODUCER_REGISTERS = 40, CONSUMER_REGISTERS = 232, REGISTERS_AT_FIRST = 168 };
static_assert(PRODUCER_REGISTERS + 2 * CONSUMER_REGISTERS <= 3 * REGISTERS_AT_FIRST, "a group would wait for ever");

/*
 * Reduce, or increase, the registers of each thread of a warp group to `registers`, a multiple of 8 from 24 to 256. All
 * threads of the group must call it. Taking waits until other groups have given enough.
 */
template <int registers> VJ_DEVICE void give_registers()
{
#ifdef VJ_SM90A
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
#elif !defined __CUDACC__
    emu::set_registers(registers, false);
#endif
}
template <int registers> VJ_DEVICE void take_registers()
{
#ifdef VJ_SM90A
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
#elif !defined __CUDACC__
    emu::set_registers(registers, true);
#endif
}

/* ------------------------------------------------------------------------------------------------ phases */

/*
 * A barrier in shared memory, which passes through phases. A phase ends after as many arrivals as the barrier was
 * initialised with, and when all bytes announced in the phase are loaded. A phase is identified by its parity: the
 * first has 0. Waiting for parity 1 before the first phase has ended returns at once.
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
/* Make the initialisations visible to loads. Called after them, by the same thread, and before the block's barrier. */
VJ_DEVICE void phase_init_done()
{
#ifdef VJ_SM90A
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#elif !defined __CUDACC__
    emu::phase_init_done();
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
/* Announce how many bytes will be loaded in this phase, and arrive. */
VJ_DEVICE void phase_expect(phase_barrier *b, uint32_t bytes)
{
#ifdef VJ_SM90A
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes)
                 : "memory");
#elif !defined __CUDACC__
    emu::phase_expect(b, bytes);
#endif
}

/* Return whether the phase of this parity has ended; waits for it for a short time. */
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
 * Wait for the end of the phase of this parity. If it has not ended after about ten seconds, the kernel fails. In the
 * backend's trial of a kernel (`late` is not NULL) the wait is shorter, and then *late becomes 1 and the kernel goes
 * on.
 */
VJ_DEVICE void phase_wait(phase_barrier *b, uint32_t parity, uint32_t *late)
{
    if (phase_ended(b, parity)) return;
#ifdef VJ_SM90A
    const uint32_t patience = late ? 1 << 8 : 20 << 10; /* in units of 2^20 cycles */
    const uint32_t began = (uint32_t)(clock64() >> 20);
    while (!phase_ended(b, parity)) {
        if ((uint32_t)(clock64() >> 20) - began < patience) continue;
        if (!late) asm volatile("trap;");
        *late = 1;
        return;
    }
#else
    (void)late;
#endif
}

/*
 * A place in a ring of stages, and the parity of the phase to wait for there. Readers begin with parity 0, the writer
 * with 1, because all places are free at first.
 */
struct ring_place {
    int stage;
    uint32_t parity;
};

template <int STAGES> VJ_DEVICE void go_on(ring_place *at)
{
    if (++at->stage < STAGES) return;
    at->stage = 0;
    at->parity ^= 1;
}
/* Advance by `places` places. */
template <int STAGES> VJ_DEVICE void go_by(ring_place *at, int places)
{
    const int to = at->stage + places;
    at->stage = to % STAGES;
    at->parity ^= to / STAGES & 1;
}

/* ------------------------------------------------------------------------------------------------ loads */

/*
 * Load the map's box from element x of row y on into shared memory; elements outside the array become zero. Its bytes
 * must be announced to the barrier. `to` is aligned to 1024 bytes. One thread calls it; the data are complete when the
 * phase has ended.
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
 * Make what this thread, or copy_async() for it, wrote to shared memory visible to wgmma. Called before other threads
 * are told that it is complete. Loads by TMA do not need this.
 */
VJ_DEVICE void operands_written()
{
#ifdef VJ_SM90A
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#elif !defined __CUDACC__
    emu::operands_written();
#endif
}

/*
 * Return the descriptor of an operand of wgmma: its address in shared memory and its layout, with 16-byte pieces in the
 * order of the 128-byte swizzle. If the depth is the last dimension, `stride` is the distance in bytes from eight rows
 * to the next eight. If the depth is the first dimension, `stride` is the distance from eight steps of depth to the
 * next eight, and `leading` that from 64 elements of the width to the next 64.
 */
VJ_DEVICE uint64_t wgmma_operand(const void *at, int leading, int stride)
{
    return (uint64_t)((shared_address(at) & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(stride >> 4) << 32 | (uint64_t)1 << 62;
}
/* Return the descriptor of the same operand `bytes` further on; only its lower half changes. */
VJ_DEVICE uint64_t operand_at(uint64_t operand, int bytes)
{
    return operand >> 32 << 32 | (uint32_t)((uint32_t)operand + (uint32_t)(bytes >> 4));
}

/* Accumulators as operands of asm: "+f"(d[i]) for so many of them, and their list in the PTX, from %0 on. */
#define VJ_4(i)  "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define VJ_16(i) VJ_4(i), VJ_4((i) + 4), VJ_4((i) + 8), VJ_4((i) + 12)
#define VJ_32(i) VJ_16(i), VJ_16((i) + 16)
#define VJ_TO_15 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define VJ_TO_31                                                                                                       \
    VJ_TO_15                                                                                                           \
    ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27"                                                     \
    ", %28, %29, %30, %31"
#define VJ_TO_39                                                                                                       \
    VJ_TO_31                                                                                                           \
    ", %32, %33, %34, %35, %36, %37, %38, %39"
#define VJ_TO_63                                                                                                       \
    VJ_TO_39                                                                                                           \
    ", %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53"                                           \
    ", %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define VJ_TO_95                                                                                                       \
    VJ_TO_63                                                                                                           \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77"                                           \
    ", %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91"                                           \
    ", %92, %93, %94, %95"
#define VJ_TO_127                                                                                                      \
    VJ_TO_95                                                                                                           \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109"                                 \
    ", %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123"                             \
    ", %124, %125, %126, %127"

/* The instruction: its width, the list of accumulators, the asm operand numbers after them, and these operands. */
#define VJ_WGMMA_SHARED(width, list, a_, b_, add_, a_transposed_, b_transposed_, ...)                                  \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, " add_ ", 0; "                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" width "k16.f32.bf16.bf16 {" list "}, " a_ ", " b_                 \
                 ", p, 1, 1, " a_transposed_ ", " b_transposed_ "; }"                                                  \
                 : __VA_ARGS__                                                                                         \
                 : "l"(a), "l"(b), "r"((int)add), "n"((int)a_transposed), "n"((int)b_transposed))
#define VJ_WGMMA_REGISTERS(width, list, a0, a1, a2, a3, b_, add_, b_transposed_, ...)                                  \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, " add_ ", 0; "                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" width "k16.f32.bf16.bf16 {" list "}, {" a0 ", " a1 ", " a2        \
                 ", " a3 "}, " b_ ", p, 1, 1, " b_transposed_ "; }"                                                    \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add), "n"((int)b_transposed))

/*
 * d[64, WIDE] (+)= A[64, 16] B[16, WIDE], computed by the four warps of a group, which all call it with the same
 * arguments. Warp w holds 16 rows of d from 16 w on; in each eight columns a lane has the elements that mma() gives it.
 * Before wgmma_wait() the elements of d must not be accessed and the operands must not be written.
 */
template <int WIDE, bool a_transposed, bool b_transposed>
VJ_DEVICE void wgmma(float d[WIDE / 2], uint64_t a, uint64_t b, bool add)
{
    static_assert(WIDE == 64 || WIDE == 128 || WIDE == 192 || WIDE == 256, "widths that are written down below");
#ifdef VJ_SM90A
    if constexpr (WIDE == 64)
        VJ_WGMMA_SHARED("64", VJ_TO_31, "%32", "%33", "%34", "%35", "%36", VJ_32(0));
    else if constexpr (WIDE == 128)
        VJ_WGMMA_SHARED("128", VJ_TO_63, "%64", "%65", "%66", "%67", "%68", VJ_32(0), VJ_32(32));
    else if constexpr (WIDE == 192)
        VJ_WGMMA_SHARED("192", VJ_TO_95, "%96", "%97", "%98", "%99", "%100", VJ_32(0), VJ_32(32), VJ_32(64));
    else
        VJ_WGMMA_SHARED("256", VJ_TO_127, "%128", "%129", "%130", "%131", "%132", VJ_32(0), VJ_32(32), VJ_32(64),
                        VJ_32(96));
#elif !defined __CUDACC__
    emu::wgmma(d, WIDE, a, b, a_transposed, b_transposed, add);
#endif
}

/*
 * The same with A in registers: the lanes of a warp hold its 16 rows as for mma(). These registers must not be written
 * before wgmma_wait().
 */
template <int WIDE, bool b_transposed>
VJ_DEVICE void wgmma(float d[WIDE / 2], const uint32_t a[4], uint64_t b, bool add)
{
    static_assert(WIDE == 32 || WIDE == 64 || WIDE == 80 || WIDE == 128, "widths that are written down below");
#ifdef VJ_SM90A
    if constexpr (WIDE == 32)
        VJ_WGMMA_REGISTERS("32", VJ_TO_15, "%16", "%17", "%18", "%19", "%20", "%21", "%22", VJ_16(0));
    else if constexpr (WIDE == 64)
        VJ_WGMMA_REGISTERS("64", VJ_TO_31, "%32", "%33", "%34", "%35", "%36", "%37", "%38", VJ_32(0));
    else if constexpr (WIDE == 80)
        VJ_WGMMA_REGISTERS("80", VJ_TO_39, "%40", "%41", "%42", "%43", "%44", "%45", "%46", VJ_32(0), VJ_4(32),
                           VJ_4(36));
    else
        VJ_WGMMA_REGISTERS("128", VJ_TO_63, "%64", "%65", "%66", "%67", "%68", "%69", "%70", VJ_32(0), VJ_32(32));
#elif !defined __CUDACC__
    emu::wgmma(d, WIDE, a, b, b_transposed, add);
#endif
}

/* Call it before the first wgmma() after a wait, and after the thread wrote to d. */
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
/* Wait until at most `pending` committed groups of products are in progress. */
template <int pending> VJ_DEVICE void wgmma_wait()
{
#ifdef VJ_SM90A
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#elif !defined __CUDACC__
    emu::wgmma_wait(pending);
#endif
}
/*
 * Keep the compiler from moving accesses to these n values across this point, and so across a wait next to it. n is a
 * multiple of 4.
 */
template <int n> VJ_DEVICE void here(float d[n])
{
#ifdef VJ_SM90A
    VJ_UNROLL
    for (int i = 0; i < n; i += 4) asm volatile("" : VJ_4(i)::"memory");
#else
    (void)d;
#endif
}
/* Keep the compiler from computing what depends on x before this point, and from keeping it until then in registers. */
VJ_DEVICE void computed_here(int64_t &x)
{
#ifdef VJ_SM90A
    asm volatile("" : "+l"(x));
#else
    (void)x;
#endif
}
/* Wait until at most `pending` groups are in progress, none of which writes d; then the thread may access d again. */
template <int WIDE, int pending = 0> VJ_DEVICE void wgmma_results(float d[WIDE / 2])
{
    wgmma_wait<pending>();
    here<WIDE / 2>(d);
}

#undef VJ_4
#undef VJ_16
#undef VJ_32
#undef VJ_TO_15
#undef VJ_TO_31
#undef VJ_TO_39
#undef VJ_TO_63
#undef VJ_TO_95
#undef VJ_TO_127
#undef VJ_WGMMA_SHARED
#undef VJ_WGMMA_REGISTERS

#endif
