/*
 * Instructions that GPUs of compute capability 9.0 add, emulated (hopper.cc): barriers in shared memory that count
 * arrivals and bytes (mbarrier), loads of tiles by tensor maps (cp.async.bulk.tensor), and products of a warp group
 * (wgmma). src/kernels/cuda/hopper.h calls these functions; NVIDIA's PTX ISA 9.0 describes the instructions.
 */
#ifndef VJ_EMU_HOPPER_H
#define VJ_EMU_HOPPER_H

#include <cstdint>

namespace emu
{

/* What cuTensorMapEncodeTiled() writes into a tensor map's 128 bytes: of two dimensions, the first without gaps. */
struct tensor_map {
    const char *data;
    uint64_t size[2];  /* in elements of 2 bytes */
    uint64_t stride;   /* bytes between rows */
    uint32_t box[2];   /* of one load */
    uint32_t swizzled; /* by 128 bytes, or not at all */
    uint32_t magic;
};

/* An address as instructions take it: of shared memory, where the first 1024 bytes are the system's. */
uint32_t shared_address(const void *in_shared);

/* Give up, or take, registers. Those of all threads of a block are at most 64 Ki; who takes waits until it has them. */
void set_registers(int number, bool more);

/* Barriers: a phase ends when all arrivals have come and all bytes that were announced have been loaded. */
void phase_init(void *barrier, uint32_t arrivals);
void phase_init_done(); /* loads may count on the barriers that were initialised before */
void phase_arrive(void *barrier);
void phase_expect(void *barrier, uint32_t bytes); /* announces bytes, and arrives */
void phase_wait(void *barrier, uint32_t parity, int line);

/*
 * Begin to load the box at element x of row y. Its bytes are NaN until the phase ends, which is not before somebody
 * waits for it.
 */
void load_tile(void *to, const void *map, int x, int y, void *barrier);

/*
 * d[64 x columns] (+)= A[64 x 16] B[16 x columns] by the four warps of a group, which have `columns` / 2 elements of d
 * each. A and B are descriptors of shared memory. Until wgmma_wait() the elements are NaN; operands are read by it, as
 * late as they may be.
 */
void wgmma(float *d, int columns, uint64_t a, uint64_t b, bool a_transposed, bool b_transposed, bool add);
/* The same, with the part of A that a thread has in registers. */
void wgmma(float *d, int columns, const uint32_t *a, uint64_t b, bool b_transposed, bool add);
void operands_written(); /* what the thread's asynchronous copies wrote may be read by wgmma from now on */
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int pending);

} /* namespace emu */

#endif
