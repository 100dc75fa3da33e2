/*
 * The device's half of kernels.h: opens backends, keeps the list of their memory, counts the time of copies, hands out
 * events, and calls through the device's table. The other half is kernels.c.
 */
#include "kernels/kernels.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#ifdef VJ_CUDA
#include "kernels/cuda/devices.h"
#endif

/* ------------------------------------------------------------------------------------------------ opening */

static const vj_device_ops *const devices[] = {&vj_cpu_device, &vj_strict_device,
#ifdef VJ_CUDA
                                               &vj_cuda_device
#endif
};
enum { DEVICES = sizeof devices / sizeof devices[0] };

static void describe(vj_backend *be)
{
    char how[64];
    be->device->describe(be, how, sizeof how);
    snprintf(be->description, sizeof be->description, "%s (%s, %s)", be->device->name, how,
             be->precision == VJ_BF16 ? "bf16" : "fp32");
}

/* Return the device of this name, or NULL. */
static const vj_device_ops *find_device(const char *name)
{
#ifdef VJ_CUDA
    if (strcmp(name, "auto") == 0) return vj_cuda_devices() > 0 ? &vj_cuda_device : &vj_cpu_device;
#else
    if (strcmp(name, "auto") == 0) return &vj_cpu_device;
#endif
    for (int i = 0; i < DEVICES; i++)
        if (strcmp(name, devices[i]->name) == 0) return devices[i];
    return NULL;
}

bool vj_backend_is_host(const char *name)
{
    const vj_device_ops *device = find_device(name);
    return device && device->host;
}

static vj_status set_up(vj_backend *be, const char *name, vj_precision precision, int threads)
{
    be->device = find_device(name);
    if (!be->device && strcmp(name, "cuda") == 0)
        return vj_raise(VJ_ERR_USAGE, "train.backend cuda: this build has no CUDA; configure it with -D VJEPA_CUDA=ON "
                                      "(INSTALL says what that needs), or set train.backend=cpu");
    if (!be->device) return vj_raise(VJ_ERR_USAGE, "backend %s: expected auto, cpu, cuda or strict", name);
    if (threads < 0) return vj_raise(VJ_ERR_USAGE, "backend %s: %d threads", name, threads);
    be->threads = threads > 0 ? threads : omp_get_max_threads();
    be->accounts.phase = VJ_PHASE_OTHER;
    vj_phase_reset(be);
    be->precision = precision;
    VJ_TRY(be->device->open(be));
    describe(be);
    if (be->device->host) return VJ_OK;
    be->view = be->device->host_alloc(be, VJ_MAP_BYTES);
    be->later_room = be->device->host_alloc(be, VJ_LATER_BYTES);
    if (be->view && be->later_room) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "backend %s: no %d bytes for host views", name, VJ_MAP_BYTES + VJ_LATER_BYTES);
}

vj_status vj_backend_open(vj_backend **be, const char *name, vj_precision precision, int threads)
{
    return vj_backend_open_at(be, name, precision, threads, 0);
}

vj_status vj_backend_open_at(vj_backend **be, const char *name, vj_precision precision, int threads, int local_rank)
{
    VJ_ASSERT(local_rank >= 0);
    VJ_ASSERT(be && name && (precision == VJ_FP32 || precision == VJ_BF16));
    *be = vj_calloc(1, sizeof **be);
    if (!*be) return vj_raise(VJ_ERR_MEMORY, "backend %s: out of memory", name);
    (*be)->local_rank = local_rank;
    vj_status status = set_up(*be, name, precision, threads);
    if (status != VJ_OK) {
        vj_backend_close(*be);
        *be = NULL;
    }
    return status;
}

void vj_backend_close(vj_backend *be)
{
    if (!be) return;
    while (be->blocks) vj_device_free(be, be->blocks->memory);
    if (be->view) be->device->host_free(be, be->view);
    if (be->later_room) be->device->host_free(be, be->later_room);
    if (be->device) be->device->close(be);
    free(be);
}

const char *vj_backend_describe(const vj_backend *be)
{
    return be->description;
}

void vj_backend_kernels(const vj_backend *be, vj_kernels *kernels)
{
    *kernels = (vj_kernels){.precision = be->precision};
    be->device->kernels(be, kernels);
}

int vj_backend_threads(const vj_backend *be)
{
    return be->threads;
}

vj_precision vj_backend_precision(const vj_backend *be)
{
    return be->precision;
}
bool vj_backend_multiplies_bf16(const vj_backend *be)
{
    return be->device->multiplies_bf16(be);
}
double vj_backend_flops(const vj_backend *be)
{
    return be->flops;
}

void vj_backend_set_precision(vj_backend *be, vj_precision precision)
{
    VJ_ASSERT(precision == VJ_FP32 || precision == VJ_BF16);
    be->precision = precision;
    if (be->device->set_precision) be->device->set_precision(be);
    describe(be);
}

vj_status vj_backend_set_products(vj_backend *be, const char *name)
{
    VJ_TRY(be->device->set_products(be, name));
    describe(be);
    return VJ_OK;
}
int vj_backend_parts_products(const vj_backend *be)
{
    return be->device->parts_products(be);
}
const char *vj_backend_products(const vj_backend *be)
{
    return be->device->products(be);
}

vj_status vj_backend_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    VJ_ASSERT(capacity >= 1);
    const double began_s = vj_now(), flops = be->flops;
    const vj_accounts accounts = be->accounts;
    const vj_status status = be->device->time_products(be, rates, capacity, count);
    be->flops = flops;
    be->accounts = accounts;
    be->accounts.phase_began_s += vj_now() - began_s; /* the time spent here is in no phase */
    return status;
}

/* After a wait for the device: complete the downloads of vj_download_later(). */
static void hand_out(vj_backend *be)
{
    for (int i = 0; i < be->later_count; i++)
        memcpy(be->later[i].host, be->later[i].copied, (size_t)be->later[i].bytes);
    be->later_count = 0;
    be->later_bytes = 0;
}

vj_status vj_sync(vj_backend *be)
{
    if (be->device->sync) be->device->sync(be);
    hand_out(be);
    vj_status first = be->failure;
    be->failure = VJ_OK;
    return first;
}

vj_event *vj_event_record(vj_backend *be)
{
    return be->device->record ? be->device->record(be) : NULL;
}

void vj_event_wait(vj_backend *be, vj_event *event)
{
    if (event) be->device->wait(be, event);
}

bool vj_event_done(vj_backend *be, vj_event *event)
{
    return !event || be->device->done(be, event);
}

void vj_event_follow(vj_backend *be, vj_event *event)
{
    if (event) be->device->follow(be, event);
}

vj_lane vj_lane_enter(vj_backend *be, vj_lane lane)
{
    const vj_lane before = be->lane;
    VJ_ASSERT(lane >= 0 && lane < VJ_LANES);
    be->lane = lane;
    return before;
}

bool vj_device_shares(const vj_backend *be)
{
    return be->device->share != NULL;
}

vj_status vj_device_share(vj_backend *be, void *memory, vj_device_handle *handle)
{
    VJ_ASSERT(vj_device_shares(be) && memory);
    return be->device->share(be, memory, handle);
}

vj_status vj_event_share(vj_backend *be, vj_event **event, vj_device_handle *handle)
{
    VJ_ASSERT(vj_device_shares(be));
    return be->device->share_event(be, event, handle);
}

vj_status vj_event_open(vj_backend *be, const vj_device_handle *handle, vj_event **event)
{
    VJ_ASSERT(vj_device_shares(be));
    return be->device->open_event(be, handle, event);
}

vj_event *vj_event_create(vj_backend *be)
{
    return be->device->create_event ? be->device->create_event(be) : NULL;
}

void vj_event_record_again(vj_backend *be, vj_event *event)
{
    if (event) be->device->record_again(be, event);
}

/* ------------------------------------------------------------------------------------------------ memory */

static void *keep_block(vj_backend *be, vj_memory_block *block)
{
    block->next = be->blocks;
    be->blocks = block;
    be->bytes += block->bytes;
    return block->memory;
}

void *vj_device_alloc(vj_backend *be, int64_t bytes)
{
    VJ_ASSERT(bytes >= 0);
    vj_memory_block *block = vj_calloc(1, sizeof *block);
    if (!block || !be->device->alloc(be, block, bytes)) {
        free(block);
        vj_raise(VJ_ERR_MEMORY, "%s: no %lld bytes of device memory; %lld are in use", be->device->name,
                 (long long)bytes, (long long)be->bytes);
        return NULL;
    }
    return keep_block(be, block);
}

bool vj_device_is_host(const vj_backend *be)
{
    return be->device->host;
}

void *vj_device_adopt(vj_backend *be, void *memory, int64_t bytes)
{
    VJ_ASSERT(memory && bytes >= 0 && vj_device_is_host(be));
    vj_memory_block *block = vj_calloc(1, sizeof *block);
    if (!block) {
        vj_raise(VJ_ERR_MEMORY, "%s: no memory for a block of device memory", be->device->name);
        return NULL;
    }
    *block = (vj_memory_block){.memory = memory, .bytes = bytes, .adopted = true};
    return keep_block(be, block);
}

vj_status vj_device_open(vj_backend *be, const vj_device_handle *handle, void **memory)
{
    VJ_ASSERT(vj_device_shares(be));
    vj_memory_block *block = vj_calloc(1, sizeof *block);
    if (!block) return vj_raise(VJ_ERR_MEMORY, "%s: no memory for a block of device memory", be->device->name);
    block->shared = true;
    const vj_status status = be->device->open_shared(be, handle, block);
    if (status == VJ_OK)
        *memory = keep_block(be, block);
    else
        free(block);
    return status;
}

void vj_device_free(vj_backend *be, void *memory)
{
    if (!memory) return;
    for (vj_memory_block **at = &be->blocks; *at; at = &(*at)->next) {
        vj_memory_block *block = *at;
        if (block->memory != memory) continue;
        *at = block->next;
        be->bytes -= block->bytes;
        if (!block->adopted) be->device->free(be, block);
        free(block);
        return;
    }
    VJ_ASSERT(!"vj_device_free: memory of this backend");
}

int64_t vj_device_bytes(const vj_backend *be)
{
    return be->bytes;
}

void *vj_host_alloc(vj_backend *be, int64_t bytes)
{
    VJ_ASSERT(bytes >= 0);
    void *memory = be->device->host_alloc(be, bytes);
    if (!memory)
        vj_raise(VJ_ERR_MEMORY, "%s: no %lld bytes of host memory to upload from", be->device->name, (long long)bytes);
    return memory;
}

void vj_host_free(vj_backend *be, void *memory)
{
    if (memory) be->device->host_free(be, memory);
}

/* Run a copy of the device and count its time. */
static void transfer(vj_backend *be, void (*copy)(vj_backend *be, void *to, const void *from, int64_t bytes), void *to,
                     const void *from, int64_t bytes)
{
    VJ_ASSERT(bytes >= 0 && (bytes == 0 || (to && from)));
    if (bytes == 0) return;
    vj_device_enter(be);
    const double began_s = vj_now();
    copy(be, to, from, bytes);
    be->accounts.bytes = 2.0 * (double)bytes;
    vj_account(be, VJ_OP_transfer, began_s);
    vj_device_leave(be);
}

void vj_upload(vj_backend *be, void *device, const void *host, int64_t bytes)
{
    transfer(be, be->device->upload, device, host, bytes);
}

void vj_download(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    transfer(be, be->device->download, host, device, bytes);
}

void vj_copy(vj_backend *be, float *dst, const float *src, int64_t n)
{
    vj_copy_bytes(be, dst, src, n * (int64_t)sizeof *dst);
}

void vj_copy_bytes(vj_backend *be, void *dst, const void *src, int64_t bytes)
{
    transfer(be, be->device->copy, dst, src, bytes);
}

void vj_download_later(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    const bool room = be->later_count < VJ_LATER && be->later_bytes + bytes <= VJ_LATER_BYTES;
    if (be->device->host || !room) {
        vj_download(be, host, device, bytes);
        return;
    }
    char *copied = be->later_room + be->later_bytes;
    transfer(be, be->device->download_start, copied, device, bytes);
    be->later[be->later_count++] = (vj_later){host, copied, bytes};
    be->later_bytes += bytes;
}

void vj_download_begin(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    transfer(be, be->device->host ? be->device->download : be->device->download_start, host, device, bytes);
}

void *vj_map(vj_backend *be, void *device, int64_t bytes, int mode)
{
    VJ_ASSERT(device && bytes >= 0 && (bytes <= VJ_MAP_BYTES || be->device->host) && !be->view_device);
    VJ_ASSERT(mode & (VJ_MAP_READ | VJ_MAP_WRITE));
    be->view_device = device;
    be->view_bytes = bytes;
    be->view_mode = mode;
    if (be->device->host) return device;
    if (mode & VJ_MAP_READ) vj_download(be, be->view, device, bytes);
    return be->view;
}

void vj_unmap(vj_backend *be, void *host)
{
    VJ_ASSERT(be->view_device && host == (be->device->host ? be->view_device : be->view));
    if (!be->device->host && be->view_mode & VJ_MAP_WRITE) vj_upload(be, be->view_device, be->view, be->view_bytes);
    be->view_device = NULL;
}
