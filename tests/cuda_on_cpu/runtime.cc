/*
 * CUDA's runtime, emulated. A stream is a queue: launches, copies, and records of events wait in it until the host
 * waits for something that comes after them. So whatever relies on a wait that is missing finds old or poisoned memory:
 *
 *   - Work is done as late as it may be, that of other streams only where an event is waited for. With
 *     EMU_STREAMS=<seed> it is done in a random order of the streams instead, and sometimes at once.
 *   - A copy from pinned memory reads it when it is done; a checksum taken at the call must still be right then.
 *     A copy to pinned memory fills it with NaN at the call.
 *   - Memory that is not pinned is copied as CUDA says: read before the call returns, or written before.
 *
 * An event that other processes may wait for has its counters in shared memory. Who waits says for which record; the
 * process that owes it has a thread that looks for such wishes and does the work, as a GPU would by itself.
 */
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <execinfo.h>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "runtime.h"

/* One call of cudaEventRecord(): what waits for an event waits for one of these. */
struct record {
    emu_stream *stream;    /* null: another process's */
    bool reached;          /* by the stream */
    double time;           /* seconds */
    emu::counters *shared; /* null: of this process only */
    long ticket;
    bool done() const { return stream ? reached : shared->done >= ticket; }
};

struct emu_event {
    unsigned flags;
    int device;
    emu::counters *shared;
    cudaIpcEventHandle_t handle;
    std::shared_ptr<record> last;
};

struct operation {
    std::function<void()> work;
    std::shared_ptr<record> needs; /* first */
    bool touches;                  /* device memory */
};

struct emu_stream {
    int device;
    std::deque<operation> queue;
};

namespace emu
{

std::mutex gate;

namespace
{

struct host_range {
    const char *from, *to;
    bool written;
};

/* Never destroyed: threads may still work when the process ends. */
struct all_work {
    std::list<emu_stream *> streams;
    std::map<int, emu_stream *> null_streams;  /* CUDA's stream 0, by device */
    std::list<host_range> on_the_way;          /* pinned memory that copies in queues read or write */
    std::vector<std::shared_ptr<record>> owed; /* records that other processes may wait for */
    bool serving = false;
    emu_usage used = {};
    std::map<std::string, long> waits_of, launches_of; /* by the functions that were called, with EMU_REPORT=2 */
    uint64_t random = 0;
};
all_work &all = *new all_work;

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device_now = 0;

double seconds()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

long long order_of_streams()
{
    static const long long seed = setting("EMU_STREAMS", 0);
    return seed;
}

uint64_t draw(uint64_t choices)
{
    if (!all.random) all.random = 88172645463325252ull ^ (uint64_t)order_of_streams() * 0x9e3779b97f4a7c15ull;
    all.random ^= all.random << 13;
    all.random ^= all.random >> 7;
    all.random ^= all.random << 17;
    return all.random % choices;
}

void do_first(emu_stream *s)
{
    operation now = std::move(s->queue.front());
    s->queue.pop_front();
    if (now.touches) open_memory();
    if (now.work) now.work();
    if (now.touches) close_memory();
}

bool ready(const emu_stream *s)
{
    return !s->queue.empty() && (!s->queue.front().needs || s->queue.front().needs->done());
}

/* Do one thing that brings this stream forward. False if there is none: it waits for another process. */
bool advance(emu_stream *s)
{
    while (!s->queue.empty() && !ready(s)) {
        record *needed = s->queue.front().needs.get();
        if (!needed->stream) {
            if (needed->shared->wanted < needed->ticket) needed->shared->wanted = needed->ticket;
            return false;
        }
        s = needed->stream;
    }
    if (s->queue.empty()) return false;
    do_first(s);
    return true;
}

bool advance_any()
{
    std::vector<emu_stream *> can;
    for (emu_stream *s : all.streams)
        if (ready(s)) can.push_back(s);
    if (can.empty()) return false;
    do_first(can[draw(can.size())]);
    return true;
}

/* The exported functions that led to a call, from the inside out: "vj_sync < vj_step_run". */
std::string callers()
{
    void *frame[40];
    const int count = backtrace(frame, 40);
    char **name = backtrace_symbols(frame, count);
    std::string text;
    for (int i = 0; i < count && name; i++) { /* "PROGRAM(FUNCTION+0x12) [0x55..]" */
        const char *begin = strchr(name[i], '('), *end = begin ? strpbrk(begin, "+)") : nullptr;
        if (!end || end <= begin + 1 || strncmp(begin + 1, "vj_", 3) != 0) continue;
        text += (text.empty() ? "" : " < ") + std::string(begin + 1, end);
    }
    free(name);
    return text;
}

/* EMU_TRACE=FILE: write a line of what the host asks of its GPUs, "launch vj_adamw < vj_optimizer_update", to FILE.PID.
 */
void trace(const char *what)
{
    static FILE *const file = [] {
        const char *name = getenv("EMU_TRACE");
        FILE *opened = name ? fopen((std::string(name) + "." + std::to_string(getpid())).c_str(), "w") : nullptr;
        if (name && !opened) report("EMU_TRACE=%s: %s", name, strerror(errno));
        return opened;
    }();
    if (file) fprintf(file, "%s %s\n", what, callers().c_str());
}

/* The host waits for something that is not done. */
void count_wait()
{
    trace("wait");
    all.used.waits++;
    if (setting("EMU_REPORT", 0) > 1) all.waits_of[callers()]++;
}

/* Do work until it is done. Other threads may call in between. */
template <class F> void run_until(lock &held, emu_stream *s, F done)
{
    open_memory();
    while (!done()) {
        const bool moved = (order_of_streams() && advance_any()) || advance(s);
        if (moved && done()) break;
        held.unlock();
        if (!moved) usleep(100);
        held.lock();
    }
    close_memory();
}

void run_stream(lock &held, emu_stream *s)
{
    /* What is added meanwhile by others is not waited for. */
    if (s->queue.empty()) return;
    auto end = std::make_shared<bool>(false);
    s->queue.push_back({[end] { *end = true; }, nullptr, false});
    run_until(held, s, [end] { return *end; });
}

/* The thread that does what other processes wait for. */
void serve()
{
    for (;;) {
        usleep(200);
        lock held(gate);
        for (size_t i = 0; i < all.owed.size();) {
            const std::shared_ptr<record> r = all.owed[i];
            if (r->reached) {
                all.owed.erase(all.owed.begin() + (long)i);
                continue;
            }
            i++;
            if (r->shared->wanted < r->ticket) continue;
            while (!r->reached && advance(r->stream)) {
            }
        }
    }
}

void start_serving()
{
    if (all.serving) return;
    all.serving = true;
    std::thread(serve).detach();
}

emu_stream *stream_of(cudaStream_t s)
{
    if (s) return s;
    emu_stream *&null_stream = all.null_streams[device_now];
    if (!null_stream) {
        null_stream = new emu_stream{device_now, {}};
        all.streams.push_back(null_stream);
    }
    return null_stream;
}

void put(emu_stream *s, bool touches, std::function<void()> work, std::shared_ptr<record> needs = nullptr)
{
    s->queue.push_back({std::move(work), std::move(needs), touches});
    if (order_of_streams() && draw(4) == 0)
        for (uint64_t n = draw(8); n > 0 && advance_any(); n--) {
        }
}

/* A kernel's name, from the text of its launch: what stands before the first comma that no bracket holds. */
const char *name_of(const char *call)
{
    static std::set<std::string> names; /* kept: reports point there */
    int depth = 0;
    const char *p = call;
    for (; *p && (depth > 0 || *p != ','); p++) depth += *p == '<' || *p == '(' ? 1 : *p == '>' || *p == ')' ? -1 : 0;
    return names.emplace("kernel " + std::string(call, (size_t)(p - call))).first->c_str();
}

/* ---------------------------------------------------------------------------------------------- copies */

uint64_t checksum(const void *memory, size_t bytes)
{
    const char *p = (const char *)memory;
    uint64_t sum = 14695981039346656037ull;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        sum = (sum ^ word) * 1099511628211ull;
        sum ^= sum >> 29;
    }
    for (; bytes > 0; p++, bytes--) sum = (sum ^ (unsigned char)*p) * 1099511628211ull;
    return sum;
}

bool touched(const void *memory, size_t bytes, bool only_written)
{
    for (const host_range &r : all.on_the_way)
        if (r.from < (const char *)memory + bytes && (const char *)memory < r.to && (r.written || !only_written))
            return true;
    return false;
}

cudaError_t wrong_copy(const char *what, const void *memory, size_t bytes)
{
    fprintf(stderr, "emu: a copy of %zu bytes %s: %s\n", bytes, what, describe(memory));
    return keep(cudaErrorInvalidValue);
}

cudaError_t copy(lock &held, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, emu_stream *s)
{
    if (bytes == 0) return cudaSuccess;
    const place source = place_of(from, bytes), target = place_of(to, bytes);
    if (source == BEYOND) return wrong_copy("reads past the end of a block", from, bytes);
    if (target == BEYOND) return wrong_copy("writes past the end of a block", to, bytes);
    const bool from_device = kind == cudaMemcpyDefault ? source == DEVICE : kind >= cudaMemcpyDeviceToHost;
    const bool to_device = kind == cudaMemcpyDefault
                               ? target == DEVICE
                               : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    if (from_device != (source == DEVICE)) return wrong_copy("does not begin where its kind says", from, bytes);
    if (to_device != (target == DEVICE)) return wrong_copy("does not end where its kind says", to, bytes);
    if ((const char *)to < (const char *)from + bytes && (const char *)from < (const char *)to + bytes)
        report("a copy of %zu bytes overlaps itself, from %p to %p", bytes, from, to);
    trace("copy");
    all.used.copies++;

    std::vector<std::list<host_range>::iterator> ranges;
    const bool keeps = source == PINNED && !touched(from, bytes, true);
    const uint64_t sum = keeps ? checksum(from, bytes) : 0;
    std::shared_ptr<std::vector<char>> taken;
    if (source == PAGEABLE) taken = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
    if (target == PINNED && !touched(to, bytes, false)) memset(to, 0xff, bytes);
    if (source == PINNED)
        ranges.push_back(
            all.on_the_way.insert(all.on_the_way.end(), {(const char *)from, (const char *)from + bytes, false}));
    if (target == PINNED)
        ranges.push_back(
            all.on_the_way.insert(all.on_the_way.end(), {(const char *)to, (const char *)to + bytes, true}));
    put(s, true, [=] {
        if (keeps && checksum(from, bytes) != sum)
            report("pinned memory was overwritten before the copy that reads it was made: %zu bytes at %p", bytes,
                   from);
        if (from_device && !to_device) check_written(from, bytes);
        memcpy(to, taken ? taken->data() : from, bytes);
        for (const auto &r : ranges) all.on_the_way.erase(r);
    });
    if (target == PAGEABLE) {
        count_wait();
        run_stream(held, s);
    }
    return cudaSuccess;
}

} /* namespace */

long long setting(const char *name, long long otherwise)
{
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (*end || errno || value < 0) report("%s=%s is no whole number", name, text);
    return value;
}

int devices()
{
    static const int given = (int)setting("EMU_DEVICES", 1);
    if (given > 64) report("EMU_DEVICES=%d: at most 64", given);
    return given;
}

cudaError_t missing()
{
    static const cudaError_t found = setting("EMU_NO_DRIVER", 0) ? cudaErrorInsufficientDriver
                                     : devices()                 ? cudaSuccess
                                                                 : cudaErrorNoDevice;
    return found;
}

void report(const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    fprintf(stderr, "emu: %s%s", running, *running ? " " : "");
    vfprintf(stderr, format, rest);
    fputc('\n', stderr);
    va_end(rest);
    abort();
}

cudaError_t keep(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

int current_device()
{
    return device_now;
}

void finish_all(lock &held)
{
    for (bool waits = false;; waits = true) {
        emu_stream *busy = nullptr;
        for (emu_stream *s : all.streams)
            if (!s->queue.empty()) busy = s;
        if (!busy) return;
        if (!waits) count_wait();
        run_stream(held, busy);
    }
}

static cudaError_t put_kernel(cudaStream_t stream, dim3 grid, dim3 block, size_t bytes, const char *call,
                              std::function<void()> thread)
{
    if (missing()) return keep(missing());
    lock held(gate);
    emu_stream *s = stream_of(stream);
    if (s->device != device_now) return keep(cudaErrorInvalidResourceHandle);
    if (!valid(grid, block, bytes)) return keep(cudaErrorInvalidConfiguration);
    const char *name = name_of(call);
    trace("launch");
    all.used.launches++;
    if (setting("EMU_REPORT", 0) > 1) all.launches_of[callers()]++;
    put(s, true, [=] {
        running = name;
        run(grid, block, bytes, thread);
        check_ends();
        running = "";
    });
    return cudaSuccess;
}

/* A launch returns nothing by itself, so launch() of device.h returns the thread's last error: also that of an earlier
 * call which nobody has taken back by cudaGetLastError(). */
cudaError_t enqueue(cudaStream_t stream, dim3 grid, dim3 block, size_t bytes, const char *call,
                    std::function<void()> thread)
{
    (void)put_kernel(stream, grid, block, bytes, call, std::move(thread));
    return cudaGetLastError();
}

} /* namespace emu */

using namespace emu;

extern "C" {

void emu_used(emu_usage *usage)
{
    lock held(gate);
    *usage = all.used;
}

cudaError_t emu_enqueue(cudaStream_t stream, const char *name, void (*work)(void *data), void *data)
{
    lock held(gate);
    emu_stream *s = stream_of(stream);
    if (s->device != device_now) return keep(cudaErrorInvalidResourceHandle);
    trace("launch");
    all.used.launches++;
    put(s, true, [=] {
        running = name;
        work(data);
        check_ends();
        running = "";
    });
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------- errors, devices */

static const struct {
    cudaError_t error;
    const char *text;
} texts[] = {
    {cudaSuccess, "no error"},
    {cudaErrorInvalidValue, "invalid argument"},
    {cudaErrorMemoryAllocation, "out of memory"},
    {cudaErrorInvalidConfiguration, "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "invalid device ordinal"},
    {cudaErrorDeviceUninitialized, "invalid device context"},
    {cudaErrorMapBufferObjectFailed, "mapping of buffer object failed"},
    {cudaErrorPeerAccessUnsupported, "peer access is not supported between these two devices"},
    {cudaErrorInvalidResourceHandle, "invalid resource handle"},
    {cudaErrorNotReady, "device not ready"},
    {cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region"},
    {cudaErrorLaunchFailure, "unspecified launch failure"},
    {cudaErrorNotSupported, "operation not supported"},
};

const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &one : texts)
        if (one.error == error) return one.text;
    return "unrecognized error code";
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = missing() == cudaErrorInsufficientDriver ? 0 : 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = missing() ? 0 : devices();
    return keep(missing());
}

cudaError_t cudaSetDevice(int device)
{
    if (missing()) return keep(missing());
    if (device < 0 || device >= devices()) return keep(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = device_now;
    return keep(missing());
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    if (missing()) return keep(missing());
    if (device < 0 || device >= devices()) return keep(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    strcpy(p->name, "Emulated GPU");
    const int capability = compute_capability();
    p->major = capability / 10;
    p->minor = capability % 10;
    p->multiProcessorCount = (int)setting("EMU_PROCESSORS", 132);
    p->totalGlobalMem = (size_t)setting("EMU_MEMORY", (long long)8 << 30);
    p->memoryBusWidth = 5120;
    p->l2CacheSize = 50 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int bytes, int device)
{
    if (missing()) return keep(missing());
    if (device < 0 || device >= devices()) return keep(cudaErrorInvalidDevice);
    snprintf(id, (size_t)bytes, "0000:%02X:00.0", device + 1);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    if (missing()) return keep(missing());
    lock held(gate);
    finish_all(held);
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------- copies */

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    if (missing()) return keep(missing());
    lock held(gate);
    return copy(held, to, from, bytes, kind, stream_of(stream));
}

/* In the null stream, which waits for no other: they are all non-blocking. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    if (missing()) return keep(missing());
    lock held(gate);
    emu_stream *s = stream_of(nullptr);
    const cudaError_t error = copy(held, to, from, bytes, kind, s);
    if (error == cudaSuccess) {
        count_wait();
        run_stream(held, s);
    }
    return error;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    if (missing()) return keep(missing());
    if (bytes == 0) return cudaSuccess;
    lock held(gate);
    const place where = place_of(memory, bytes);
    if (where != DEVICE) return wrong_copy("fills what is no block of device memory", memory, bytes);
    put(stream_of(stream), true, [=] { memset(memory, value, bytes); });
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------- streams, events */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    if (missing()) return keep(missing());
    if (flags != cudaStreamNonBlocking) return keep(cudaErrorNotSupported); /* those that wait for the null stream */
    lock held(gate);
    *stream = new emu_stream{device_now, {}};
    all.streams.push_back(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    lock held(gate);
    run_stream(held, stream);
    all.streams.remove(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (missing()) return keep(missing());
    lock held(gate);
    if (!stream_of(stream)->queue.empty()) count_wait();
    run_stream(held, stream_of(stream));
    return cudaSuccess;
}

/* Those who ask again and again see it done some time. Where only another process can bring it forward they leave the
 * lock to the thread that does what others wait for. */
static cudaError_t ask(lock &held, emu_stream *s, const record *r)
{
    const auto done = [=] { return r ? r->done() : s->queue.empty(); };
    if (!done()) {
        const bool moved = (order_of_streams() && advance_any()) || (s && advance(s));
        if (!moved) {
            held.unlock();
            usleep(100);
            held.lock();
        }
    }
    if (done()) return cudaSuccess;
    trace("ask");
    return keep(cudaErrorNotReady);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    if (missing()) return keep(missing());
    lock held(gate);
    return ask(held, stream_of(stream), nullptr);
}

/* What is waited for is the newest record of the event, also if another process made it. */
static std::shared_ptr<record> newest(const emu_event *event)
{
    if (!event->shared) return event->last;
    const long ticket = event->shared->recorded;
    if (event->last && event->last->ticket == ticket) return event->last;
    return ticket ? std::make_shared<record>(record{nullptr, false, 0, event->shared, ticket}) : nullptr;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    if (missing()) return keep(missing());
    lock held(gate);
    const std::shared_ptr<record> needed = newest(event);
    if (needed && !needed->done()) put(stream_of(stream), false, nullptr, needed);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (missing()) return keep(missing());
    lock held(gate);
    *event = new emu_event{flags, device_now, nullptr, {}, nullptr};
    if (!(flags & cudaEventInterprocess)) return cudaSuccess;
    if (flags & cudaEventDisableTiming) (*event)->shared = new_counters(&(*event)->handle);
    if ((*event)->shared) {
        start_serving();
        return cudaSuccess;
    }
    delete *event;
    *event = nullptr;
    return keep(flags & cudaEventDisableTiming ? cudaErrorNotSupported : cudaErrorInvalidValue);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    lock held(gate);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (missing()) return keep(missing());
    lock held(gate);
    emu_stream *s = stream_of(stream);
    if (event->device != s->device) return keep(cudaErrorInvalidResourceHandle);
    const long ticket = event->shared ? ++event->shared->recorded : 0;
    const auto made = std::make_shared<record>(record{s, false, 0, event->shared, ticket});
    event->last = made;
    if (event->shared) all.owed.push_back(made);
    put(s, false, [made] {
        made->reached = true;
        made->time = seconds();
        if (made->shared && made->shared->done < made->ticket) made->shared->done = made->ticket;
    });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (missing()) return keep(missing());
    lock held(gate);
    const std::shared_ptr<record> needed = newest(event);
    if (!needed || needed->done()) return cudaSuccess;
    count_wait();
    if (needed->stream) {
        run_until(held, needed->stream, [needed] { return needed->done(); });
        return cudaSuccess;
    }
    if (needed->shared->wanted < needed->ticket) needed->shared->wanted = needed->ticket;
    while (!needed->done()) {
        held.unlock();
        usleep(100);
        held.lock();
    }
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    if (missing()) return keep(missing());
    lock held(gate);
    const std::shared_ptr<record> asked = newest(event);
    if (!asked) return cudaSuccess;
    if (!asked->stream && asked->shared->wanted < asked->ticket) asked->shared->wanted = asked->ticket;
    return ask(held, asked->stream, asked.get());
}

/* The host's time. */
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    if (missing()) return keep(missing());
    lock held(gate);
    if ((from->flags | to->flags) & cudaEventDisableTiming || !from->last || !to->last)
        return keep(cudaErrorInvalidResourceHandle);
    if (!from->last->done() || !to->last->done()) return keep(cudaErrorNotReady);
    *ms = (float)(1e3 * (to->last->time - from->last->time));
    return cudaSuccess;
}

cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *handle, cudaEvent_t event)
{
    lock held(gate);
    if (!event->shared) return keep(cudaErrorInvalidResourceHandle);
    *handle = event->handle;
    return cudaSuccess;
}

cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *event, cudaIpcEventHandle_t handle)
{
    if (missing()) return keep(missing());
    lock held(gate);
    counters *shared = open_counters(&handle);
    if (!shared) return keep(cudaErrorMapBufferObjectFailed);
    *event = new emu_event{cudaEventInterprocess | cudaEventDisableTiming, device_now, shared, handle, nullptr};
    start_serving();
    return cudaSuccess;
}
}

/* EMU_REPORT=1: what the program asked of its GPUs, at its end; 2: also who launched and who waited. */
__attribute__((destructor)) static void at_end()
{
    if (!setting("EMU_REPORT", 0) || all.used.launches + all.used.copies == 0) return;
    fprintf(stderr, "emu: %ld launches, %ld copies, %ld waits of the host\n", all.used.launches, all.used.copies,
            all.used.waits);
    for (const auto &one : all.launches_of) fprintf(stderr, "emu: %ld launches by %s\n", one.second, one.first.c_str());
    for (const auto &one : all.waits_of) fprintf(stderr, "emu: %ld waits of %s\n", one.second, one.first.c_str());
    for (int d = 0; d < devices(); d++) {
        size_t now, peak;
        emu_memory(d, &now, &peak);
        fprintf(stderr, "emu: device %d: %zu bytes taken at most, %zu at the end\n", d, peak, now);
    }
}
