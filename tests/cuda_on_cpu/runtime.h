/* What runtime.cc (streams, events, copies) and memory.cc (device and pinned memory) share. */
#ifndef VJ_EMU_RUNTIME_H
#define VJ_EMU_RUNTIME_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "emu.h"
#include "emulated.h"

namespace emu
{

/* Locked by every call, and while work of a stream is done. */
extern std::mutex gate;
typedef std::unique_lock<std::mutex> lock;

/* The whole number that an environment variable holds. Anything else ends the program. */
long long setting(const char *name, long long otherwise);
int devices();         /* EMU_DEVICES, or 0 */
cudaError_t missing(); /* cudaSuccess if there are devices */

/* Print, with the name of the work that runs, and abort: what is wrong with the program under test. */
[[noreturn]] void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What an error message says about memory: how far it is from which block. */
const char *describe(const void *memory);

/* The calls that a file hands a cudaError_t go through here: cudaGetLastError() has it afterwards. */
cudaError_t keep(cudaError_t error);
int current_device();

/* ------------------------------------------------------------------------------------------------ memory.cc */

enum place { PAGEABLE, PINNED, DEVICE, BEYOND /* it begins in device memory and ends outside the block */ };
place place_of(const void *memory, size_t bytes);

/* Under valgrind: report device memory that nobody has written, as compute-sanitizer's initcheck does for a copy from
 * it to the host. */
void check_written(const void *memory, size_t bytes);

/* Device memory can be touched between these two only: by work of a stream, not by the host. */
void open_memory();
void close_memory();

/* Has anything been written behind a block? Reports. */
void check_ends();

/* Counters of an event, in memory that other processes can map. */
struct counters {
    std::atomic<long> recorded; /* tickets given out by cudaEventRecord() */
    std::atomic<long> done;     /* the newest one that a stream has reached */
    std::atomic<long> wanted;   /* the newest one that another process waits for */
};
counters *new_counters(cudaIpcEventHandle_t *handle);
counters *open_counters(const cudaIpcEventHandle_t *handle);

/* ------------------------------------------------------------------------------------------------ runtime.cc */

void finish_all(lock &held); /* all streams of this process */

} /* namespace emu */

#endif
