/*
 * A GPU as a device: its memory, streams, events, and the copies between host and device. One thread issues all work of
 * a backend. Each lane is a stream, so that kernels and copies of a lane run in the order of the calls.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/products.h"

struct vj_event {
    cudaEvent_t event;
    vj_event *next; /* in the list of events that are kept until the backend is closed */
};

/* Memory of vj_host_alloc(). Loaders allocate it on their own threads, before the backend's thread uploads from it. */
struct vj_cuda_pinned {
    struct vj_cuda_pinned *next;
    char *memory;
    int64_t bytes;
};
enum { EVENT_CHUNK = 256, EVENT_CHUNKS = VJ_CUDA_EVENT_CHUNKS };
enum { STAMPS = 256 }; /* at first */

bool vj_cuda_check(vj_backend *be, cudaError_t error, const char *what)
{
    if (!vj_cuda_failed(error)) return true;
    vj_keep_failure(be, vj_raise(VJ_ERR_LIBRARY, "cuda: %s: %s", what, cudaGetErrorString(error)));
    return false;
}

/* Wait for a stream, unless it is idle, as most streams are. */
static void finish_stream(vj_backend *be, cudaStream_t stream, const char *what)
{
    if (vj_cuda_failed(cudaStreamQuery(stream))) /* not ready, or an error that waiting returns again */
        (void)vj_cuda_check(be, cudaStreamSynchronize(stream), what);
}

/* ------------------------------------------------------------------------------------------------ opening */

#define CUDA_TRY(call)                                                                                                 \
    do {                                                                                                               \
        const cudaError_t cuda_error = (call);                                                                         \
        if (vj_cuda_failed(cuda_error))                                                                                \
            return vj_raise(VJ_ERR_LIBRARY, "cuda: %s: %s", #call, cudaGetErrorString(cuda_error));                    \
    } while (0)

int vj_cuda_devices(void)
{
    int count = 0;
    return vj_cuda_failed(cudaGetDeviceCount(&count)) ? 0 : count;
}

/* Write "the driver knows CUDA 12.4, needed is 13.0": a driver runs all programs of its major version. */
static void describe_driver(char *text, size_t bytes)
{
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    const int needed = runtime / 1000;
    if (driver == 0)
        snprintf(text, bytes, "there is no driver, one for CUDA %d is needed", needed);
    else
        snprintf(text, bytes, "the driver knows CUDA %d.%d, needed is %d.0", driver / 1000, driver % 1000 / 10, needed);
}

static vj_status choose_device(vj_backend *be, vj_cuda *cuda)
{
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (vj_cuda_failed(error) || count == 0) {
        char driver[64];
        describe_driver(driver, sizeof driver);
        return vj_raise(VJ_ERR_USAGE,
                        "train.backend cuda: there is no CUDA device here (%s; %s). Start on a node with a GPU, look "
                        "at CUDA_VISIBLE_DEVICES and nvidia-smi, or set train.backend=cpu",
                        error != cudaSuccess ? cudaGetErrorString(error) : "no device is visible", driver);
    }
    cuda->ordinal = be->local_rank % count;
    CUDA_TRY(cudaSetDevice(cuda->ordinal));
    struct cudaDeviceProp properties;
    CUDA_TRY(cudaGetDeviceProperties(&properties, cuda->ordinal));
    cuda->major = properties.major;
    cuda->processors = properties.multiProcessorCount;
    snprintf(cuda->name, sizeof cuda->name, "%.63s", properties.name);
    if (properties.major < 8)
        return vj_raise(VJ_ERR_USAGE,
                        "train.backend cuda: device %d, %s, has compute capability %d.%d; needed is 8.0 "
                        "(A100) or newer",
                        cuda->ordinal, cuda->name, properties.major, properties.minor);
    return VJ_OK;
}

static vj_status open_device(vj_backend *be)
{
    vj_cuda *cuda = vj_calloc(1, sizeof *cuda);
    if (!cuda) return vj_raise(VJ_ERR_MEMORY, "backend cuda: out of memory");
    be->impl = cuda;
    be->ops = &vj_cuda_ops;
    cuda->profile = getenv("VJ_PROFILE") && strcmp(getenv("VJ_PROFILE"), "1") == 0;
    VJ_TRY(choose_device(be, cuda));
    for (int i = 0; i < VJ_LANES; i++)
        CUDA_TRY(cudaStreamCreateWithFlags(&cuda->lane[i].stream, cudaStreamNonBlocking));
    return vj_cuda_products_open(be);
}

static void close_lane(vj_cuda_lane *lane)
{
    for (int i = 0; i < VJ_CUDA_SLOTS; i++)
        if (lane->copied[i]) (void)cudaEventDestroy(lane->copied[i]);
    if (lane->tables) (void)cudaFree(lane->tables);
    if (lane->staging) (void)cudaFreeHost(lane->staging);
    if (lane->scratch) (void)cudaFree(lane->scratch);
    if (lane->stream) (void)cudaStreamDestroy(lane->stream);
}

static void host_free(vj_backend *be, void *memory);

static void close_device(vj_backend *be)
{
    vj_cuda *cuda = vj_cuda_of(be);
    if (!cuda) return;
    for (int i = 0; i < VJ_LANES; i++)
        if (cuda->lane[i].stream) (void)cudaStreamSynchronize(cuda->lane[i].stream);
    vj_cuda_products_close(be);
    for (int chunk = 0; chunk < cuda->event_capacity / EVENT_CHUNK; chunk++) {
        for (int i = 0; i < EVENT_CHUNK; i++)
            if (cuda->event_chunks[chunk][i].event) (void)cudaEventDestroy(cuda->event_chunks[chunk][i].event);
        free(cuda->event_chunks[chunk]);
    }
    while (cuda->kept_events) {
        vj_event *next = cuda->kept_events->next;
        (void)cudaEventDestroy(cuda->kept_events->event);
        free(cuda->kept_events);
        cuda->kept_events = next;
    }
    while (cuda->pinned) host_free(be, cuda->pinned->memory);
    for (int i = 0; i < cuda->stamp_capacity; i++)
        if (cuda->stamp[i].event) (void)cudaEventDestroy(cuda->stamp[i].event);
    free(cuda->stamp);
    for (int i = 0; i < VJ_LANES; i++) close_lane(&cuda->lane[i]);
    free(cuda);
}

/* ------------------------------------------------------------------------------------------------ memory */

static bool alloc(vj_backend *be, vj_memory_block *block, int64_t bytes)
{
    (void)be;
    block->bytes = bytes > 0 ? bytes : 1;
    return !vj_cuda_failed(cudaMalloc(&block->memory, (size_t)block->bytes)); /* kernels/device.c reports it */
}

static void free_block(vj_backend *be, vj_memory_block *block)
{
    if (block->shared)
        (void)vj_cuda_check(be, cudaIpcCloseMemHandle(block->memory), "cudaIpcCloseMemHandle");
    else
        (void)vj_cuda_check(be, cudaFree(block->memory), "cudaFree"); /* waits for the kernels that use it */
}

static void *host_alloc(vj_backend *be, int64_t bytes)
{
    vj_cuda *cuda = vj_cuda_of(be);
    struct vj_cuda_pinned *block = vj_calloc(1, sizeof *block);
    void *memory = NULL;
    const int64_t size = bytes > 0 ? bytes : 1;
    /* This may be a new thread, which has no device yet. */
    if (!block || vj_cuda_failed(cudaSetDevice(cuda->ordinal)) ||
        vj_cuda_failed(cudaHostAlloc(&memory, (size_t)size, 0))) {
        free(block);
        return NULL;
    }
    *block = (struct vj_cuda_pinned){.memory = memory, .bytes = size};
#pragma omp critical(vj_cuda_pinned)
    {
        block->next = cuda->pinned;
        cuda->pinned = block;
    }
    return memset(memory, 0, (size_t)size);
}

static void host_free(vj_backend *be, void *memory)
{
#pragma omp critical(vj_cuda_pinned)
    for (struct vj_cuda_pinned **at = &vj_cuda_of(be)->pinned; *at; at = &(*at)->next)
        if ((*at)->memory == memory) {
            struct vj_cuda_pinned *block = *at;
            *at = block->next;
            free(block);
            break;
        }
    (void)cudaFreeHost(memory);
}

static bool is_pinned(const vj_backend *be, const void *host, int64_t bytes)
{
    bool pinned = false;
#pragma omp critical(vj_cuda_pinned)
    for (const struct vj_cuda_pinned *block = vj_cuda_of(be)->pinned; block; block = block->next)
        pinned |= (const char *)host >= block->memory && (const char *)host + bytes <= block->memory + block->bytes;
    return pinned;
}

void *vj_cuda_scratch(vj_backend *be, int64_t bytes)
{
    vj_cuda_lane *lane = &vj_cuda_of(be)->lane[be->lane];
    if (bytes <= lane->scratch_bytes && lane->scratch) return lane->scratch;
    /* The number of rows changes with each step, and growing makes the host wait: so allocate more than requested. */
    const int64_t more = lane->scratch ? bytes / 16 : 0, size = bytes > 0 ? bytes + more : 1;
    if (lane->scratch) (void)vj_cuda_check(be, cudaFree(lane->scratch), "cudaFree");
    be->bytes -= lane->scratch_bytes;
    lane->scratch = NULL;
    lane->scratch_bytes = 0;
    if (vj_cuda_failed(cudaMalloc(&lane->scratch, (size_t)size))) {
        lane->scratch = NULL;
        vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "cuda: no %lld bytes for a kernel to work in; %lld are in use",
                                     (long long)bytes, (long long)be->bytes));
        return NULL;
    }
    lane->scratch_bytes = size;
    be->bytes += size;
    return lane->scratch;
}

/* ------------------------------------------------------------------------------------------------ copies */

/* Allocate the memory of a lane that uploads pass through, on first use. */
static bool open_staging(vj_backend *be, vj_cuda_lane *lane)
{
    const size_t bytes = (size_t)VJ_CUDA_SLOTS * VJ_CUDA_SLOT_BYTES;
    if (!vj_cuda_check(be, cudaHostAlloc((void **)&lane->staging, bytes, 0), "memory to upload from") ||
        !vj_cuda_check(be, cudaMalloc((void **)&lane->tables, bytes), "memory for tables"))
        return false;
    be->bytes += (int64_t)bytes;
    for (int i = 0; i < VJ_CUDA_SLOTS; i++)
        if (!vj_cuda_check(be, cudaEventCreateWithFlags(&lane->copied[i], cudaEventDisableTiming), "cudaEventCreate"))
            return false;
    return true;
}

static bool wait_unless_done(vj_backend *be, cudaEvent_t event)
{
    if (!vj_cuda_failed(cudaEventQuery(event)))
        return true; /* else not ready, or an error that waiting returns again */
    return vj_cuda_check(be, cudaEventSynchronize(event), "cudaEventSynchronize");
}

/*
 * Return room for `bytes` in pinned memory, which is not reused before copies from it are done. Waits for the device
 * only when it is VJ_CUDA_SLOTS slots behind.
 */
static char *stage(vj_backend *be, int64_t bytes)
{
    vj_cuda_lane *l = &vj_cuda_of(be)->lane[be->lane];
    VJ_ASSERT(bytes <= VJ_CUDA_SLOT_BYTES);
    if (!l->tables && !open_staging(be, l)) return NULL;
    if (l->used + bytes > VJ_CUDA_SLOT_BYTES) {
        (void)vj_cuda_check(be, cudaEventRecord(l->copied[l->slot], l->stream), "cudaEventRecord");
        l->slot = (l->slot + 1) % VJ_CUDA_SLOTS;
        l->used = 0;
        if (!wait_unless_done(be, l->copied[l->slot])) return NULL;
    }
    char *room = l->staging + (int64_t)l->slot * VJ_CUDA_SLOT_BYTES + l->used;
    l->used += (bytes + 255) / 256 * 256;
    return room;
}

/* Upload through staging memory, so that `host` may change at once; in the copy lane directly from pinned memory. */
static void upload(vj_backend *be, void *device, const void *host, int64_t bytes)
{
    const cudaStream_t stream = vj_cuda_stream(be);
    if (be->lane == VJ_LANE_COPY && is_pinned(be, host, bytes)) {
        (void)vj_cuda_check(be, cudaMemcpyAsync(device, host, (size_t)bytes, cudaMemcpyHostToDevice, stream), "upload");
        return;
    }
    for (int64_t at = 0; at < bytes; at += VJ_CUDA_SLOT_BYTES) {
        const int64_t n = bytes - at < VJ_CUDA_SLOT_BYTES ? bytes - at : VJ_CUDA_SLOT_BYTES;
        char *room = stage(be, n);
        if (!room) return;
        memcpy(room, (const char *)host + at, (size_t)n);
        const cudaError_t error = cudaMemcpyAsync((char *)device + at, room, (size_t)n, cudaMemcpyHostToDevice, stream);
        if (!vj_cuda_check(be, error, "upload")) return;
    }
}

const void *vj_cuda_table(vj_backend *be, const void *host, int64_t bytes)
{
    const vj_cuda_lane *lane = &vj_cuda_of(be)->lane[be->lane];
    char *room = stage(be, bytes);
    if (!room) return NULL;
    memcpy(room, host, (size_t)bytes);
    char *table = lane->tables + (room - lane->staging);
    const cudaError_t error = cudaMemcpyAsync(table, room, (size_t)bytes, cudaMemcpyHostToDevice, lane->stream);
    return vj_cuda_check(be, error, "upload of a table") ? table : NULL;
}

static void download(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    const cudaStream_t stream = vj_cuda_stream(be);
    if (vj_cuda_check(be, cudaMemcpyAsync(host, device, (size_t)bytes, cudaMemcpyDeviceToHost, stream), "download"))
        finish_stream(be, stream, "download");
}

static void download_start(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    (void)vj_cuda_check(be, cudaMemcpyAsync(host, device, (size_t)bytes, cudaMemcpyDeviceToHost, vj_cuda_stream(be)),
                        "download");
}

static void copy(vj_backend *be, void *to, const void *from, int64_t bytes)
{
    (void)vj_cuda_check(be, cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToDevice, vj_cuda_stream(be)),
                        "copy");
}

/* ------------------------------------------------------------------------------------------------ events */

/* Create another chunk of events; events handed out before keep their addresses. */
static bool more_events(vj_backend *be, vj_cuda *cuda)
{
    const int chunks = cuda->event_capacity / EVENT_CHUNK;
    vj_event *chunk = chunks < EVENT_CHUNKS ? vj_calloc(EVENT_CHUNK, sizeof *chunk) : NULL;
    if (!chunk) {
        vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY,
                                     "cuda: no memory for more than %d events between two waits for the "
                                     "device",
                                     cuda->event_capacity));
        return false;
    }
    cuda->event_chunks[chunks] = chunk;
    cuda->event_capacity += EVENT_CHUNK;
    for (int i = 0; i < EVENT_CHUNK; i++)
        if (!vj_cuda_check(be, cudaEventCreateWithFlags(&chunk[i].event, cudaEventDisableTiming), "cudaEventCreate"))
            return false;
    return true;
}

/* Record the next event of the chunks; after vj_sync() the first is used again. */
static vj_event *record(vj_backend *be)
{
    vj_cuda *cuda = vj_cuda_of(be);
    if (cuda->event_count == cuda->event_capacity && !more_events(be, cuda)) return NULL;
    vj_event *event = &cuda->event_chunks[cuda->event_count / EVENT_CHUNK][cuda->event_count % EVENT_CHUNK];
    cuda->event_count++;
    return vj_cuda_check(be, cudaEventRecord(event->event, vj_cuda_stream(be)), "cudaEventRecord") ? event : NULL;
}

static void wait(vj_backend *be, vj_event *event)
{
    (void)vj_cuda_check(be, cudaEventSynchronize(event->event), "cudaEventSynchronize");
}

/* After a failure an event counts as done, so that nothing waits for ever. */
static bool done(vj_backend *be, vj_event *event)
{
    const cudaError_t state = cudaEventQuery(event->event);
    if (vj_cuda_failed(state) && state == cudaErrorNotReady) return false;
    (void)vj_cuda_check(be, state, "cudaEventQuery");
    return true;
}

static void follow(vj_backend *be, vj_event *event)
{
    (void)vj_cuda_check(be, cudaStreamWaitEvent(vj_cuda_stream(be), event->event, 0), "cudaStreamWaitEvent");
}

/* Put an event into the list of those that are kept. NULL, reported, when out of memory. */
static vj_event *keep_event(vj_backend *be, cudaEvent_t made)
{
    vj_cuda *cuda = vj_cuda_of(be);
    vj_event *event = vj_calloc(1, sizeof *event);
    if (!event) {
        (void)cudaEventDestroy(made);
        vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "cuda: no memory for an event"));
        return NULL;
    }
    *event = (vj_event){made, cuda->kept_events};
    return cuda->kept_events = event;
}

static vj_event *create_event(vj_backend *be)
{
    cudaEvent_t made;
    const bool there = vj_cuda_check(be, cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "cudaEventCreate");
    return there ? keep_event(be, made) : NULL;
}

static void record_again(vj_backend *be, vj_event *event)
{
    (void)vj_cuda_check(be, cudaEventRecord(event->event, vj_cuda_stream(be)), "cudaEventRecord");
}

/* Count the time between stamps that the device has passed. The last one becomes the first of the next interval. */
static void book_stamps(vj_backend *be)
{
    vj_cuda *cuda = vj_cuda_of(be);
    for (int i = 1; i < cuda->stamps; i++) {
        float ms = 0;
        if (vj_cuda_check(be, cudaEventElapsedTime(&ms, cuda->stamp[i - 1].event, cuda->stamp[i].event), "times"))
            be->accounts.seconds[cuda->stamp[i].ended] += 1e-3 * (double)ms;
    }
    if (cuda->stamps < 2) return;
    const vj_cuda_stamp last = cuda->stamp[cuda->stamps - 1];
    cuda->stamp[cuda->stamps - 1] = cuda->stamp[0];
    cuda->stamp[0] = last;
    cuda->stamps = 1;
}

/* Twice the room: the number of phases between two waits grows with the microbatches and sums of a step. */
static bool more_stamps(vj_backend *be, vj_cuda *cuda)
{
    const int capacity = cuda->stamp_capacity ? 2 * cuda->stamp_capacity : STAMPS;
    vj_cuda_stamp *more = vj_calloc(capacity, sizeof *more);
    if (!more) {
        vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY,
                                     "cuda: no memory to time more than %d phases between two waits "
                                     "for the device",
                                     cuda->stamp_capacity));
        return false;
    }
    if (cuda->stamp) memcpy(more, cuda->stamp, (size_t)cuda->stamp_capacity * sizeof *more);
    free(cuda->stamp);
    cuda->stamp = more;
    cuda->stamp_capacity = capacity;
    return true;
}

static void stamp(vj_backend *be, vj_phase ended)
{
    vj_cuda *cuda = vj_cuda_of(be);
    if (cuda->stamps == cuda->stamp_capacity && !more_stamps(be, cuda)) return;
    vj_cuda_stamp *s = &cuda->stamp[cuda->stamps];
    if (!s->event && !vj_cuda_check(be, cudaEventCreateWithFlags(&s->event, cudaEventDefault), "cudaEventCreate"))
        return;
    s->ended = ended;
    cuda->stamps += vj_cuda_check(be, cudaEventRecord(s->event, cuda->lane[VJ_LANE_COMPUTE].stream), "cudaEventRecord");
}

static void settle(vj_backend *be)
{
    if (vj_cuda_of(be)->profile) (void)vj_cuda_check(be, cudaStreamSynchronize(vj_cuda_stream(be)), "a kernel");
}

static void sync_device(vj_backend *be)
{
    vj_cuda *cuda = vj_cuda_of(be);
    for (int i = 0; i < VJ_LANES; i++) finish_stream(be, cuda->lane[i].stream, "kernels");
    cuda->event_count = 0;
    book_stamps(be);
}

/* ------------------------------------------------------------------------------------------------ other processes */

static_assert(sizeof(vj_device_handle) == sizeof(cudaIpcMemHandle_t), "one kind of handle for memory");
static_assert(sizeof(vj_device_handle) == sizeof(cudaIpcEventHandle_t), "and for events");

static vj_status share(vj_backend *be, void *memory, vj_device_handle *handle)
{
    (void)be;
    cudaIpcMemHandle_t ipc;
    CUDA_TRY(cudaIpcGetMemHandle(&ipc, memory));
    memcpy(handle, &ipc, sizeof ipc);
    return VJ_OK;
}

static vj_status open_shared(vj_backend *be, const vj_device_handle *handle, vj_memory_block *block)
{
    (void)be;
    cudaIpcMemHandle_t ipc;
    memcpy(&ipc, handle, sizeof ipc);
    CUDA_TRY(cudaIpcOpenMemHandle(&block->memory, ipc, cudaIpcMemLazyEnablePeerAccess));
    return VJ_OK;
}

static vj_status share_event(vj_backend *be, vj_event **event, vj_device_handle *handle)
{
    cudaIpcEventHandle_t ipc;
    cudaEvent_t made;
    CUDA_TRY(cudaEventCreateWithFlags(&made, cudaEventDisableTiming | cudaEventInterprocess));
    if (!(*event = keep_event(be, made))) return VJ_ERR_MEMORY;
    CUDA_TRY(cudaIpcGetEventHandle(&ipc, made));
    memcpy(handle, &ipc, sizeof ipc);
    return VJ_OK;
}

static vj_status open_event(vj_backend *be, const vj_device_handle *handle, vj_event **event)
{
    cudaIpcEventHandle_t ipc;
    cudaEvent_t made;
    memcpy(&ipc, handle, sizeof ipc);
    CUDA_TRY(cudaIpcOpenEventHandle(&made, ipc));
    *event = keep_event(be, made);
    return *event ? VJ_OK : VJ_ERR_MEMORY;
}

/* ------------------------------------------------------------------------------------------------ who it is */

static void kernels_of(const vj_backend *be, vj_kernels *kernels)
{
    const vj_cuda *cuda = vj_cuda_of(be);
    char library[32];
    vj_cuda_products_library(be, library, sizeof library);
    snprintf(kernels->isa, sizeof kernels->isa, "cuda");
    const vj_cuda_wgmma *wgmma = be->precision == VJ_BF16 ? vj_cuda_attention_wgmma(be) : NULL;
    const int n = snprintf(kernels->library, sizeof kernels->library, "%s%s%.32s with %d SMs%s", library,
                           library[0] ? " on " : "", cuda->name, cuda->processors, wgmma ? ", wgmma attention" : "");
    for (int d = 16, at = n; wgmma && d <= 128 && at < (int)sizeof kernels->library;
         d += 16) /* ranks must not differ in the widths either */
        if (wgmma->attends >> d / 16 & 1)
            at += snprintf(kernels->library + at, sizeof kernels->library - (size_t)at, " %d", d);
}

static void describe(const vj_backend *be, char *text, size_t bytes)
{
    char library[32];
    vj_cuda_products_library(be, library, sizeof library);
    snprintf(text, bytes, "%.40s%s%s", vj_cuda_of(be)->name, library[0] ? ", " : "", library);
}

const vj_device_ops vj_cuda_device = {.name = "cuda",
                                      .open = open_device,
                                      .close = close_device,
                                      .alloc = alloc,
                                      .free = free_block,
                                      .host_alloc = host_alloc,
                                      .host_free = host_free,
                                      .upload = upload,
                                      .download = download,
                                      .download_start = download_start,
                                      .copy = copy,
                                      .record = record,
                                      .wait = wait,
                                      .done = done,
                                      .follow = follow,
                                      .create_event = create_event,
                                      .record_again = record_again,
                                      .share = share,
                                      .open_shared = open_shared,
                                      .share_event = share_event,
                                      .open_event = open_event,
                                      .sync = sync_device,
                                      .stamp = stamp,
                                      .settle = settle,
                                      .kernels = kernels_of,
                                      .describe = describe,
                                      .set_precision = vj_cuda_set_precision,
                                      .set_products = vj_cuda_set_products,
                                      .products = vj_cuda_products_name,
                                      .parts_products = vj_cuda_parts_products,
                                      .multiplies_bf16 = vj_cuda_multiplies_bf16,
                                      .time_products = vj_cuda_time_products};
