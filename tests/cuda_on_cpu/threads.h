/*
 * What emu.cc, where the threads of a block take turns, offers the other parts of the emulation (hopper.cc), and what
 * it asks of them. Also what the race detector is told of memory that instructions touch on behalf of a thread.
 */
#ifndef VJ_EMU_THREADS_H
#define VJ_EMU_THREADS_H

#include "emu.h"

#ifdef EMU_TSAN
extern "C" {
void __tsan_acquire(void *at);
void __tsan_release(void *at);
void __tsan_read16(void *at);
void __tsan_write16(void *at);
}
#else
#define __tsan_acquire(at) ((void)(at))
#define __tsan_release(at) ((void)(at))
#define __tsan_read16(at)  ((void)(at))
#define __tsan_write16(at) ((void)(at))
#endif

namespace emu
{

/* memcpy() that the race detector does not see: what a warp's lanes give one another is the emulation's own affair. */
typedef volatile uint32_t __attribute__((may_alias)) word;
static inline void give(void *to, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / 4; i++) ((word *)to)[i] = ((const word *)from)[i];
}

/* ------------------------------------------------------------------------------------------------ of emu.cc */

int thread_of_block(); /* that runs */
int threads_of_block();
char *shared_begin(); /* of the block's shared memory, a multiple of 1024; it has shared_used() bytes */
size_t shared_used();

/* Let other threads run until `true_now` returns true. `what` and `line` are for a report; `what` is kept. */
void wait_for(const char *what, int line, const std::function<bool()> &true_now);

/* Print what is wrong with the kernel and where each thread waits, and abort. */
[[noreturn]] void give_up(const char *what);

/*
 * EMU_TENSOR_CORES=truncate: products round as coarsely as those of a GPU, by what others measured on tensor cores
 * (Fasi et al. 2021; on an H100 Li et al. 2024): the accumulator and the products of 16 of depth are cut after one bit
 * more than a float has below the largest of them, and their sum to a float, both toward zero. Else a sum of 16
 * products is rounded as floats are, and then added.
 */
extern const bool truncates;

/* c + the sum of a[k a_step] b[k b_step] over the depth, at most 16, as tensor cores make it. The products of bf16 are
 * exact as floats. */
float truncated_sum(float c, const float *a, int a_step, const float *b, int b_step, int depth);

/* ------------------------------------------------------------------------------------------------ of hopper.cc */

void begin_block();
void ordinary_write(const void *to); /* 16 bytes of shared memory, by the thread that runs; not by TMA */
void end_thread();                   /* the thread that runs is about to end */
void end_block();
void describe_phases(); /* to stderr: what barriers in shared memory wait for */

} /* namespace emu */

#endif
