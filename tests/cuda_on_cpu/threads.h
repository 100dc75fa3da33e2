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

/* ------------------------------------------------------------------------------------------------ of hopper.cc */

void begin_block();
void ordinary_write(const void *to); /* 16 bytes of shared memory, by the thread that runs; not by TMA */
void end_thread();                   /* the thread that runs is about to end */
void end_block();
void describe_phases(); /* to stderr: what barriers in shared memory wait for */

} /* namespace emu */

#endif
