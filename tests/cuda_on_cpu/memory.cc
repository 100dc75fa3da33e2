/*
 * Device memory: pages that are all NaN until they are written, private copies of a few pages of that kind, so that
 * what nobody touches costs nothing. A block that other processes shall map moves to a file in memory (memfd) that has
 * no name; they find it through /proc/PID/fd, and nothing is left behind by a process that is killed.
 *
 *     64 KiB not mapped | slack, a block of exactly as many bytes as asked for, slack up to 255 bytes | 64 KiB not
 * mapped
 *
 * The block is NaN at first; the slack is a NaN that nothing else writes, so what is written there is seen after the
 * kernel that did it. Further away there is no memory. AddressSanitizer and valgrind know the slack as forbidden. The
 * host has no right to touch device memory: pages are opened while a stream works, and closed afterwards.
 */
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <fcntl.h>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes)   ((void)0)
#define VALGRIND_MAKE_MEM_NOACCESS(memory, bytes)    ((void)0)
#define VALGRIND_CHECK_MEM_IS_DEFINED(memory, bytes) ((void)0)
#define RUNNING_ON_VALGRIND                          0
#endif

/* There if the program was built with AddressSanitizer; these files never are. */
extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(void const volatile *, size_t);
__attribute__((weak)) void __asan_unpoison_memory_region(void const volatile *, size_t);
}

namespace emu
{

namespace
{

enum { PAGE = 4096, GUARD = 64 << 10, ALIGN = 256, EVENTS = 4096 };
const size_t TEMPLATE = 8 << 20;
const uint16_t UNTOUCHED = 0xffa5; /* NaN as float and as bf16 */

struct block {
    char *pages; /* first of them */
    size_t mapped;
    char *start;
    size_t bytes;
    int device;
    bool in_file;    /* for other processes, at */
    uint64_t offset; /* in the file */
    int opened;      /* another process's: how often it was opened; 0: our own */
    int owner;
    char *end() const { return start + bytes; }
    char *mapped_end() const { return pages + mapped; }
};

/* Never destroyed: threads may still work when the process ends. */
struct all_memory {
    std::map<const char *, block> blocks; /* by first page */
    std::map<const char *, size_t> pinned;
    std::map<const char *, size_t> freed; /* pages that were blocks */
    int untouched = -1;                   /* TEMPLATE bytes, all 0xff: NaN */
    int file = -1, event_file = -1;
    uint64_t file_bytes = 0;
    size_t now[64] = {}, peak[64] = {};
    int open = 0;
    counters *events = nullptr;
    int event_count = 0;
    std::map<std::pair<int, int>, counters *> others_events; /* by process and file */
    struct sigaction before;
    bool watching = false;
};
all_memory &all = *new all_memory;

size_t rounded(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

bool protects()
{
    static const bool yes = !RUNNING_ON_VALGRIND && setting("EMU_PROTECT", 1) && !setting("EMU_MPI_CUDA", 0);
    return yes;
}

/* The block whose pages, or the pages beside them, hold `memory`. */
const block *near(const void *memory)
{
    const char *p = (const char *)memory;
    auto it = all.blocks.upper_bound(p + GUARD);
    while (it != all.blocks.begin()) {
        --it;
        if (p >= it->second.pages - GUARD && p < it->second.mapped_end() + GUARD) return &it->second;
        if (it->second.mapped_end() + GUARD < p) break;
    }
    return nullptr;
}

const block *holding(const void *memory)
{
    const block *b = near(memory);
    return b && (const char *)memory >= b->start && (const char *)memory < b->end() ? b : nullptr;
}

/* Say what the address is, and let whoever was there before, or the system, end the program. */
void on_fault(int number, siginfo_t *info, void *)
{
    const void *at = info->si_addr;
    const block *b = near(at);
    auto freed = all.freed.upper_bound((const char *)at);
    char text[512];
    int n = 0;
    if (b && !*running)
        n = snprintf(text, sizeof text, "emu: the host touches device memory: %s\n", describe(at));
    else if (b)
        n = snprintf(text, sizeof text, "emu: %s, thread %u,%u,%u of block %u,%u,%u, overruns its memory: %s\n",
                     running, threadIdx.x, threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z, describe(at));
    else if (freed != all.freed.begin() && (const char *)at < (--freed)->first + freed->second)
        n = snprintf(text, sizeof text, "emu: %s: %p is device memory that was freed\n",
                     *running ? running : "the host", at);
    else if (*running)
        n = snprintf(text, sizeof text,
                     "emu: %s, thread %u,%u,%u of block %u,%u,%u, touches %p, which is no device memory\n", running,
                     threadIdx.x, threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z, at);
    if (n > 0 && write(2, text, (size_t)n) < 0) _exit(1);
    sigaction(number, &all.before, nullptr);
}

/* Kernels are compiled so that a misaligned access is an illegal instruction, since GPUs have none (VjepaCuda.cmake).
 */
void on_trap(int number)
{
    char text[256];
    const int n =
        snprintf(text, sizeof text, "emu: %s, thread %u,%u,%u of block %u,%u,%u: an access that is not aligned\n",
                 running, threadIdx.x, threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z);
    if (*running && write(2, text, (size_t)n) < 0) _exit(1);
    signal(number, SIG_DFL);
}

void watch_faults()
{
    if (all.watching) return;
    all.watching = true;
    signal(SIGILL, on_trap);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &all.before);
}

void fill(char *from, const char *to)
{
    for (; from < to; from += 2) memcpy(from, &UNTOUCHED, from + 1 < to ? 2 : 1);
}

/* Not memcmp(), in which AddressSanitizer would see the forbidden. The first byte that was written, or null. */
const char *written(const char *from, const char *to)
{
    typedef const volatile uint64_t __attribute__((may_alias, aligned(1))) word;
    const char *pattern = (const char *)&UNTOUCHED;
    const uint64_t four = UNTOUCHED * 0x0001000100010001ull;
    if (RUNNING_ON_VALGRIND) return nullptr; /* it watches by itself, us too */
    const volatile char *p = from;
    while (p + 8 <= to && *(word *)p == four) p += 8;
    for (; p < to; p++)
        if (*p != pattern[(p - from) % 2]) return (const char *)p;
    return nullptr;
}

void forbid(const char *from, const char *to)
{
    if (from < to) {
        if (__asan_poison_memory_region) __asan_poison_memory_region(from, (size_t)(to - from));
        (void)VALGRIND_MAKE_MEM_NOACCESS(from, to - from);
    }
}

/* Map pages of a file at an address. */
bool map_at(char *pages, size_t bytes, int kind, int file, uint64_t offset)
{
    return mmap(pages, bytes, PROT_READ | PROT_WRITE, kind | MAP_FIXED, file, (off_t)offset) != MAP_FAILED;
}

/* A file of NaN. */
int untouched_file()
{
    if (all.untouched >= 0) return all.untouched;
    const int file = memfd_create("NaN", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, TEMPLATE) != 0) return -1;
    char *pages = (char *)mmap(nullptr, TEMPLATE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (pages == MAP_FAILED) return -1;
    memset(pages, 0xff, TEMPLATE);
    munmap(pages, TEMPLATE);
    return all.untouched = file;
}

/* Map pages between two that are not there: of a file of device memory, or, with file < 0, new ones. */
char *map_pages(int file, uint64_t offset, size_t bytes)
{
    char *all_of_it = (char *)mmap(nullptr, bytes + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all_of_it == MAP_FAILED) return nullptr;
    char *pages = all_of_it + GUARD;
    bool there = file < 0 || map_at(pages, bytes, MAP_SHARED, file, offset);
    for (size_t at = 0; file < 0 && there && at < bytes; at += TEMPLATE)
        there = map_at(pages + at, bytes - at < TEMPLATE ? bytes - at : TEMPLATE, MAP_PRIVATE, untouched_file(), 0);
    if (there) return pages;
    munmap(all_of_it, bytes + 2 * GUARD);
    return nullptr;
}

/* To where other processes can map it; its address stays. */
bool move_to_file(block &b)
{
    if (b.in_file) return true;
    if (all.file < 0) all.file = memfd_create("emulated device memory", MFD_CLOEXEC);
    if (all.file < 0 || ftruncate(all.file, (off_t)(all.file_bytes + b.mapped)) != 0) return false;
    open_memory();
    size_t moved = 0;
    while (moved < b.mapped) {
        const ssize_t n = pwrite(all.file, b.pages + moved, b.mapped - moved, (off_t)(all.file_bytes + moved));
        if (n <= 0) break;
        moved += (size_t)n;
    }
    b.in_file = moved == b.mapped && map_at(b.pages, b.mapped, MAP_SHARED, all.file, all.file_bytes);
    close_memory();
    if (!b.in_file) return false;
    b.offset = all.file_bytes;
    all.file_bytes += b.mapped;
    return true;
}

void add_block(const block &b)
{
    forbid(b.end(), b.mapped_end());
    forbid(b.pages, b.start);
    if (protects() && !all.open) mprotect(b.pages, b.mapped, PROT_NONE);
    watch_faults();
    all.freed.erase(b.pages);
    all.blocks[b.pages] = b;
}

void remove_block(const block &b)
{
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(b.pages, b.mapped);
    munmap(b.pages - GUARD, b.mapped + 2 * GUARD);
    if (all.freed.size() < 65536) all.freed[b.pages] = b.mapped;
    all.blocks.erase(b.pages);
}

void check_end(const block &b)
{
    const char *at = written(b.end(), b.mapped_end());
    if (at) report("has written outside its memory: %s", describe(at));
}

/* The open file of another process, for us. */
int file_of(int process, int file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", process, file);
    return open(path, O_RDWR | O_CLOEXEC);
}

size_t limit()
{
    static const size_t bytes = (size_t)setting("EMU_MEMORY", (long long)8 << 30);
    return bytes;
}

struct memory_handle {
    uint32_t magic;
    int process, file, device;
    uint64_t offset, mapped, before, bytes;
};
struct event_handle {
    uint32_t magic;
    int process, file, index;
};
const uint32_t MEMORY = 0x4d454d31, EVENT = 0x45565431;
static_assert(sizeof(memory_handle) <= sizeof(cudaIpcMemHandle_t), "fits");

bool shares()
{
    return setting("EMU_IPC", 1) != 0;
}

} /* namespace */

const char *describe(const void *memory)
{
    static thread_local char text[160];
    const char *p = (const char *)memory;
    const block *b = near(p);
    if (!b)
        snprintf(text, sizeof text, "%p is not in device memory", memory);
    else if (p < b->start)
        snprintf(text, sizeof text, "%p, %zu bytes before a block of %zu", memory, (size_t)(b->start - p), b->bytes);
    else if (p >= b->end())
        snprintf(text, sizeof text, "%p, %zu bytes behind the end of a block of %zu", memory, (size_t)(p - b->end()),
                 b->bytes);
    else
        snprintf(text, sizeof text, "%p, byte %zu of a block of %zu", memory, (size_t)(p - b->start), b->bytes);
    return text;
}

place place_of(const void *memory, size_t bytes)
{
    const char *p = (const char *)memory;
    if (const block *b = holding(p)) return p + bytes <= b->end() ? DEVICE : BEYOND;
    auto it = all.pinned.upper_bound(p);
    if (it == all.pinned.begin()) return PAGEABLE;
    --it;
    return p + bytes <= it->first + it->second ? PINNED : PAGEABLE;
}

void check_written(const void *memory, size_t bytes)
{
    (void)VALGRIND_CHECK_MEM_IS_DEFINED(memory, bytes);
}

void open_memory()
{
    if (all.open++ || !protects()) return;
    for (const auto &one : all.blocks) mprotect(one.second.pages, one.second.mapped, PROT_READ | PROT_WRITE);
}

void close_memory()
{
    if (--all.open || !protects()) return;
    for (const auto &one : all.blocks) mprotect(one.second.pages, one.second.mapped, PROT_NONE);
}

void check_ends()
{
    for (const auto &one : all.blocks) check_end(one.second);
}

counters *new_counters(cudaIpcEventHandle_t *handle)
{
    if (!shares()) return nullptr;
    if (!all.events) {
        all.event_file = memfd_create("emulated events", MFD_CLOEXEC);
        if (all.event_file < 0 || ftruncate(all.event_file, EVENTS * sizeof(counters)) != 0) return nullptr;
        void *memory = mmap(nullptr, EVENTS * sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED, all.event_file, 0);
        if (memory == MAP_FAILED) return nullptr;
        all.events = (counters *)memory;
    }
    if (all.event_count == EVENTS) return nullptr;
    const event_handle made = {EVENT, (int)getpid(), all.event_file, all.event_count};
    memset(handle, 0, sizeof *handle);
    memcpy(handle, &made, sizeof made);
    return &all.events[all.event_count++];
}

counters *open_counters(const cudaIpcEventHandle_t *handle)
{
    event_handle h;
    memcpy(&h, handle, sizeof h);
    if (h.magic != EVENT || h.index < 0 || h.index >= EVENTS || !shares()) return nullptr;
    counters *&events = all.others_events[{h.process, h.file}];
    if (!events) {
        const int file = file_of(h.process, h.file);
        if (file < 0) return nullptr;
        void *memory = mmap(nullptr, EVENTS * sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (memory == MAP_FAILED) return nullptr;
        events = (counters *)memory;
    }
    return &events[h.index];
}

} /* namespace emu */

using namespace emu;

extern "C" {

void emu_memory(int device, size_t *now, size_t *peak)
{
    lock held(gate);
    *now = device >= 0 && device < 64 ? all.now[device] : 0;
    *peak = device >= 0 && device < 64 ? all.peak[device] : 0;
}

bool emu_on_device(const void *memory, size_t bytes)
{
    lock held(gate);
    return place_of(memory, bytes) == DEVICE;
}

int MPIX_Query_cuda_support(void)
{
    return (int)setting("EMU_MPI_CUDA", 0);
}

cudaError_t cudaMemGetInfo(size_t *unused, size_t *total)
{
    if (missing()) return keep(missing());
    lock held(gate);
    *total = limit();
    *unused = limit() - all.now[current_device()];
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    *memory = nullptr;
    if (missing()) return keep(missing());
    if (bytes == 0) return cudaSuccess;
    lock held(gate);
    const int device = current_device();
    if (bytes > limit() - all.now[device]) return keep(cudaErrorMemoryAllocation);
    block b = {};
    b.mapped = rounded(bytes, PAGE);
    b.bytes = bytes;
    b.device = device;
    if (!(b.pages = map_pages(-1, 0, b.mapped))) return keep(cudaErrorMemoryAllocation);
    b.start = b.pages + b.mapped - rounded(bytes, ALIGN);
    fill(b.pages, b.start);
    fill(b.end(), b.mapped_end());
    (void)VALGRIND_MAKE_MEM_UNDEFINED(b.start, bytes);
    add_block(b);
    all.now[device] += bytes;
    if (all.now[device] > all.peak[device]) all.peak[device] = all.now[device];
    *memory = b.start;
    return cudaSuccess;
}

/* Waits for all work, as CUDA's does. */
cudaError_t cudaFree(void *memory)
{
    if (missing()) return keep(missing());
    if (!memory) return cudaSuccess;
    lock held(gate);
    finish_all(held);
    const block *found = holding(memory);
    if (!found || found->start != memory || found->opened) return keep(cudaErrorInvalidValue);
    const block b = *found;
    if (protects()) mprotect(b.pages, b.mapped, PROT_READ | PROT_WRITE);
    running = "something";
    check_end(b);
    if (const char *at = written(b.pages, b.start)) report("has written outside its memory: %s", describe(at));
    running = "";
    remove_block(b);
    if (b.in_file &&
        fallocate(all.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)b.offset, (off_t)b.mapped) != 0)
        report("no hole in the file of device memory: %s", strerror(errno));
    all.now[b.device] -= b.bytes;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned)
{
    *memory = nullptr;
    if (missing()) return keep(missing());
    if (posix_memalign(memory, PAGE, bytes ? bytes : 1)) return keep(cudaErrorMemoryAllocation);
    lock held(gate);
    all.pinned[(const char *)*memory] = bytes;
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned)
{
    if (missing()) return keep(missing());
    lock held(gate);
    if (!all.pinned.emplace((const char *)memory, bytes).second) return keep(cudaErrorHostMemoryAlreadyRegistered);
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *memory)
{
    lock held(gate);
    finish_all(held);
    return keep(all.pinned.erase((const char *)memory) ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaFreeHost(void *memory)
{
    if (!memory) return cudaSuccess;
    lock held(gate);
    finish_all(held);
    if (!all.pinned.erase((const char *)memory)) return keep(cudaErrorInvalidValue);
    free(memory);
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------- other processes */

/* As CUDA's, the handle is of a whole block, of which `memory` must be the beginning. */
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *memory)
{
    lock held(gate);
    if (!shares()) return keep(cudaErrorNotSupported);
    const block *found = holding(memory);
    if (!found || found->opened || found->start != memory) return keep(cudaErrorInvalidValue);
    block *b = &all.blocks[found->pages];
    if (!move_to_file(*b)) return keep(cudaErrorMemoryAllocation);
    const memory_handle made = {
        MEMORY, (int)getpid(), all.file, b->device, b->offset, b->mapped, (uint64_t)(b->start - b->pages), b->bytes};
    memset(handle, 0, sizeof *handle);
    memcpy(handle, &made, sizeof made);
    return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void **memory, cudaIpcMemHandle_t handle, unsigned)
{
    *memory = nullptr;
    memory_handle h;
    memcpy(&h, &handle, sizeof h);
    lock held(gate);
    if (!shares()) return keep(cudaErrorNotSupported);
    if (h.magic != MEMORY) return keep(cudaErrorInvalidValue);
    if (h.process == (int)getpid()) return keep(cudaErrorDeviceUninitialized);
    for (auto &one : all.blocks) {
        block &b = one.second;
        if (b.opened && b.owner == h.process && b.offset == h.offset) {
            b.opened++;
            *memory = b.start;
            return cudaSuccess;
        }
    }
    const int file = file_of(h.process, h.file);
    if (file < 0) return keep(cudaErrorMapBufferObjectFailed);
    block b = {};
    b.mapped = h.mapped;
    b.bytes = h.bytes;
    b.device = h.device;
    b.offset = h.offset;
    b.opened = 1;
    b.owner = h.process;
    b.pages = map_pages(file, h.offset, h.mapped);
    close(file);
    if (!b.pages) return keep(cudaErrorMapBufferObjectFailed);
    b.start = b.pages + h.before;
    add_block(b);
    *memory = b.start;
    return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void *memory)
{
    lock held(gate);
    finish_all(held);
    const block *found = holding(memory);
    if (!found || !found->opened || found->start != memory) return keep(cudaErrorInvalidValue);
    block *b = &all.blocks[found->pages];
    if (--b->opened == 0) remove_block(block(*b));
    return cudaSuccess;
}
}
