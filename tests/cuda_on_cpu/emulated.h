/*
 * What tests and the emulated cuBLASLt ask of the emulated runtime beyond CUDA's own calls. For C and C++. The programs
 * export these functions, so that a library that they load by dlopen() finds them.
 */
#ifndef VJ_EMULATED_H
#define VJ_EMULATED_H

#include <stdbool.h>
#include <stddef.h>

#include "cuda_runtime_api.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of device memory that are taken now, and the most that were at any time. */
void emu_memory(int device, size_t *now, size_t *peak);

/** What this process has asked of its GPUs since it began. */
typedef struct {
    long launches, copies;
    long waits; /* calls in which the host waited for work of a stream or a device, or for an event, not done yet */
} emu_usage;
void emu_used(emu_usage *usage);

/** Put work(data) into a stream's queue as a kernel called `name` (kept, not copied); `data` is the work's to free. */
cudaError_t emu_enqueue(cudaStream_t stream, const char *name, void (*work)(void *data), void *data);

/** Open MPI's and MPICH's question whether MPI takes memory of a device: EMU_MPI_CUDA. It does, where the host may
 * touch it. */
int MPIX_Query_cuda_support(void);

/** Is all of bytes at `memory` in one block of device memory of this process? */
bool emu_on_device(const void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
