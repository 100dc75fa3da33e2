/*
 * The front door: opens backends, keeps the list of their memory, checks every kernel's arguments and counts its
 * products, then calls through the device's and the kernels' tables. What a kernel means is in kernels.h; how the cpu
 * does it, in cpu/.
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

/* NULL: there is none of this name. */
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

vj_precision vj_backend_precision(const vj_backend *be)
{
    return be->precision;
}
int vj_backend_threads(const vj_backend *be)
{
    return be->threads;
}
double vj_backend_flops(const vj_backend *be)
{
    return be->flops;
}

void vj_backend_set_precision(vj_backend *be, vj_precision precision)
{
    VJ_ASSERT(precision == VJ_FP32 || precision == VJ_BF16);
    be->precision = precision;
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
    be->accounts.phase_began_s += vj_now() - began_s; /* as if no time had passed */
    return status;
}

/* The device was waited for: hand out what it has copied meanwhile. */
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

void vj_event_record_again(vj_backend *be, vj_event *event)
{
    be->device->record_again(be, event);
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

static void enter(vj_backend *be)
{
    if (be->device->enter) be->device->enter(be);
}

static void leave(vj_backend *be)
{
    if (be->device->leave) be->device->leave(be);
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

/* One of the device's copies, booked. */
static void transfer(vj_backend *be, void (*copy)(vj_backend *be, void *to, const void *from, int64_t bytes), void *to,
                     const void *from, int64_t bytes)
{
    VJ_ASSERT(bytes >= 0 && (bytes == 0 || (to && from)));
    if (bytes == 0) return;
    enter(be);
    const double began_s = vj_now();
    copy(be, to, from, bytes);
    be->accounts.bytes = 2.0 * (double)bytes;
    vj_account(be, VJ_OP_transfer, began_s);
    leave(be);
}

void vj_upload(vj_backend *be, void *device, const void *host, int64_t bytes)
{
    transfer(be, be->device->upload, device, host, bytes);
}

void vj_download(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    transfer(be, be->device->download, host, device, bytes);
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

/* ------------------------------------------------------------------------------------------------ kernels */

/* Launch row `op` of the table and book it as `account`. */
#define LAUNCH_AS(be, account, op, ...)                                                                                \
    do {                                                                                                               \
        enter(be);                                                                                                     \
        const double began_s = vj_now();                                                                               \
        (be)->ops->op((be), __VA_ARGS__);                                                                              \
        vj_account((be), (account), began_s);                                                                          \
        leave(be);                                                                                                     \
    } while (0)
#define LAUNCH(be, op, ...) LAUNCH_AS(be, VJ_OP_##op, op, __VA_ARGS__)

/* Floats that the launch to come must move at least. */
static void moves(vj_backend *be, double floats)
{
    be->accounts.bytes = floats * (double)sizeof(float);
}

void vj_fill(vj_backend *be, float *x, float value, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || x));
    moves(be, (double)n);
    LAUNCH(be, fill, x, value, n);
}

void vj_copy(vj_backend *be, float *dst, const float *src, int64_t n)
{
    transfer(be, be->device->copy, dst, src, n * (int64_t)sizeof(float));
}

void vj_round_bf16(vj_backend *be, uint16_t *y, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (y && x)));
    moves(be, 1.5 * (double)n);
    LAUNCH(be, round_bf16, y, x, n);
}

void vj_add(vj_backend *be, float *y, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (y && x)));
    moves(be, 3.0 * (double)n);
    LAUNCH(be, add, y, x, n);
}

void vj_gelu_forward(vj_backend *be, float *y, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (y && x)));
    moves(be, 2.0 * (double)n);
    LAUNCH(be, gelu_forward, y, x, n);
}

void vj_gelu_backward(vj_backend *be, float *dx, const float *dy, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (dx && dy && x)));
    moves(be, 3.0 * (double)n);
    LAUNCH(be, gelu_backward, dx, dy, x, n);
}

void vj_gather_rows(vj_backend *be, float *y, const float *x, const int32_t *index, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && (R == 0 || (y && x && index && y != x)));
    moves(be, 2.0 * (double)R * D);
    LAUNCH(be, gather_rows, y, x, index, R, D);
}

void vj_scatter_add_rows(vj_backend *be, float *dx, const float *dy, const int32_t *index, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && (R == 0 || (dx && dy && index && dx != dy)));
    moves(be, 3.0 * (double)R * D);
    LAUNCH(be, scatter_add_rows, dx, dy, index, R, D);
}

void vj_predictor_input_forward(vj_backend *be, float *s, const float *u, const float *mask_tokens, const float *table,
                                const int32_t *source, const int32_t *position, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && (R == 0 || (s && u && mask_tokens && table && source && position)));
    moves(be, 3.0 * (double)R * D);
    LAUNCH(be, predictor_input_forward, s, u, mask_tokens, table, source, position, R, D);
}

void vj_predictor_input_backward(vj_backend *be, float *du, float *dmask_tokens, const float *ds, const int32_t *source,
                                 int64_t R, int D, int tokens, int accumulate)
{
    VJ_ASSERT(R >= 0 && D > 0 && tokens > 0 && dmask_tokens && (R == 0 || (du && ds && source)));
    moves(be, 2.0 * (double)R * D);
    LAUNCH(be, predictor_input_backward, du, dmask_tokens, ds, source, R, D, tokens, accumulate);
}

void vj_crop_clips(vj_backend *be, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B, int T,
                   int size, const double mean[3], const double std[3])
{
    VJ_ASSERT(B >= 0 && T > 0 && size > 0 && (B == 0 || (pixels && frames && views)));
    double pixels_seen = 0.0;
    for (int64_t b = 0; b < B; b++) pixels_seen += (double)views[b].crop.height * views[b].crop.width;
    moves(be, 3.0 * T * ((double)B * size * size + pixels_seen / (double)sizeof(float)));
    LAUNCH(be, crop_clips, pixels, frames, views, B, T, size, mean, std);
}

void vj_patchify(vj_backend *be, float *patches, const float *clips, int64_t B, int C, int T, int H, int W, int tubelet,
                 int patch)
{
    VJ_ASSERT(B >= 0 && C > 0 && tubelet > 0 && patch > 0 && (B == 0 || (patches && clips)));
    VJ_ASSERT(T >= tubelet && H >= patch && W >= patch && T % tubelet == 0 && H % patch == 0 && W % patch == 0);
    moves(be, 2.0 * (double)B * C * T * H * W);
    LAUNCH(be, patchify, patches, clips, B, C, T, H, W, tubelet, patch);
}

void vj_normalise_rows(vj_backend *be, float *y, const float *x, int64_t R, int P, float eps)
{
    VJ_ASSERT(R >= 0 && P > 1 && eps >= 0 && (R == 0 || (y && x)));
    moves(be, 2.0 * (double)R * P);
    LAUNCH(be, normalise_rows, y, x, R, P, eps);
}

/* Elements of an array, in floats. */
static double floats_of(vj_array array, int64_t n)
{
    return array.data ? (double)n * (double)vj_type_bytes(array.type) / sizeof(float) : 0;
}

/* What must move at least: the operands, the result, what is added to it, what the finish reads or keeps. */
static double product_floats(const vj_product *p)
{
    const int64_t result = p->M * p->N;
    return floats_of(p->a, p->M * p->K) + floats_of(p->b, p->N * p->K) + floats_of(p->c, result) +
           (p->accumulate ? floats_of(p->c, result) : 0) + (p->residual ? (double)result : 0) +
           floats_of(p->pre, result) + floats_of(p->hidden, result);
}

static vj_op product_account(const vj_product *p)
{
    if (p->a_transposed) return VJ_OP_linear_backward_weight;
    if (p->b_transposed) return p->finish == VJ_FINISH_PLAIN ? VJ_OP_linear_forward : VJ_OP_linear_gelu_forward;
    return p->finish == VJ_FINISH_PLAIN ? VJ_OP_linear_backward_input : VJ_OP_linear_gelu_backward_input;
}

static void launch_product(vj_backend *be, const vj_product *product)
{
    VJ_ASSERT(product->M >= 0 && product->N > 0 && product->K >= 0);
    VJ_ASSERT(!product->residual || product->residual_rows > 0);
    if (product->M == 0) return;
    if (product->K == 0) { /* the weight gradient of no rows: an empty sum */
        if (!product->accumulate) LAUNCH(be, fill, product->c.data, 0.0f, product->M * product->N);
        return;
    }
    be->flops += 2.0 * (double)product->M * (double)product->N * (double)product->K;
    moves(be, product_floats(product));
    LAUNCH_AS(be, product_account(product), product, product);
}

void vj_linear_forward(vj_backend *be, vj_array y, vj_array x, vj_array w, const float *bias, const float *residual,
                       int64_t residual_rows, int64_t R, int N, int K)
{
    VJ_ASSERT(K > 0 && w.data && (R == 0 || (y.data && x.data && y.data != x.data)));
    launch_product(be, &(vj_product){.M = R,
                                     .N = N,
                                     .K = K,
                                     .a = x,
                                     .b = w,
                                     .b_transposed = true,
                                     .c = y,
                                     .bias = bias,
                                     .residual = residual,
                                     .residual_rows = residual_rows});
}

void vj_linear_gelu_forward(vj_backend *be, vj_array y, vj_array pre, vj_array x, vj_array w, const float *bias,
                            int64_t R, int N, int K)
{
    VJ_ASSERT(K > 0 && w.data);
    VJ_ASSERT(R == 0 || (y.data && x.data && y.data != x.data && pre.data != x.data && y.data != pre.data));
    launch_product(be, &(vj_product){.M = R,
                                     .N = N,
                                     .K = K,
                                     .a = x,
                                     .b = w,
                                     .b_transposed = true,
                                     .c = y,
                                     .bias = bias,
                                     .finish = VJ_FINISH_GELU,
                                     .pre = pre});
}

void vj_linear_backward_input(vj_backend *be, vj_array dx, vj_array dy, vj_array w, int64_t R, int N, int K)
{
    VJ_ASSERT(N > 0 && w.data && (R == 0 || (dx.data && dy.data && dx.data != dy.data)));
    launch_product(be, &(vj_product){.M = R, .N = K, .K = N, .a = dy, .b = w, .c = dx});
}

void vj_linear_gelu_backward_input(vj_backend *be, vj_array dpre, vj_array hidden, vj_array dy, vj_array w,
                                   vj_array pre, int64_t R, int N, int K)
{
    VJ_ASSERT(N > 0 && w.data && (R == 0 || (dpre.data && dy.data && pre.data && dpre.data != dy.data)));
    VJ_ASSERT(dpre.data != pre.data || dpre.type == pre.type);
    launch_product(be, &(vj_product){.M = R,
                                     .N = K,
                                     .K = N,
                                     .a = dy,
                                     .b = w,
                                     .c = dpre,
                                     .finish = VJ_FINISH_GELU_GRADIENT,
                                     .pre = pre,
                                     .hidden = hidden});
}

void vj_linear_backward_weight(vj_backend *be, float *dw, float *dbias, vj_array dy, vj_array x, int accumulate,
                               int64_t R, int N, int K)
{
    VJ_ASSERT(R >= 0 && N > 0 && K > 0 && dw && (R == 0 || (dy.data && x.data)));
    launch_product(be, &(vj_product){.M = N,
                                     .N = K,
                                     .K = R,
                                     .a = dy,
                                     .a_transposed = true,
                                     .b = x,
                                     .c = vj_f32(dw),
                                     .accumulate = accumulate != 0});
    if (!dbias) return;
    moves(be, floats_of(dy, R * N));
    LAUNCH(be, column_sums, dbias, dy, accumulate, R, N);
}

void vj_layernorm_forward(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x, const float *weight,
                          const float *bias, int64_t R, int D, float eps)
{
    VJ_ASSERT(R >= 0 && D > 0 && eps >= 0 && !mean == !rstd && !weight == !bias && (R == 0 || (y.data && x)));
    VJ_ASSERT(y.data != x || y.type == VJ_TYPE_F32);
    moves(be, (double)R * D + floats_of(y, R * D));
    LAUNCH(be, layernorm_forward, y, mean, rstd, x, weight, bias, R, D, eps);
}

void vj_layernorm_backward(vj_backend *be, float *dx, vj_array y, float *dweight, float *dbias, const float *dy,
                           const float *x, const float *mean, const float *rstd, const float *weight, const float *bias,
                           int accumulate_dx, int accumulate_dw, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && !dweight == !dbias && (R == 0 || (dx && dy && x && mean && rstd && dx != dy)));
    VJ_ASSERT(!y.data || !weight == !bias);
    moves(be, (accumulate_dx ? 4.0 : 3.0) * (double)R * D + floats_of(y, R * D));
    LAUNCH(be, layernorm_backward, dx, y, dweight, dbias, dy, x, mean, rstd, weight, bias, accumulate_dx, accumulate_dw,
           R, D);
}

vj_rows vj_rows_from(const int32_t *host_offset, const int32_t *offset, int segments)
{
    vj_rows rows = {.segments = segments, .offset = offset};
    VJ_ASSERT(segments >= 0 && host_offset[0] == 0);
    for (int i = 0; i < segments; i++) {
        const int64_t length = (int64_t)host_offset[i + 1] - host_offset[i];
        VJ_ASSERT(length >= 0);
        rows.squares += (double)length * (double)length;
        if (length > rows.longest) rows.longest = length;
    }
    rows.rows = host_offset[segments];
    return rows;
}

void vj_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D, int heads)
{
    const int64_t R = rows->rows;
    VJ_ASSERT(rows->segments >= 0 && heads > 0 && D > 0 && D % heads == 0 && rows->offset);
    VJ_ASSERT(R == 0 || (out.data && qkv.data));
    be->flops += 4.0 * rows->squares * D;
    moves(be, floats_of(qkv, 3 * R * D) + floats_of(out, R * D));
    LAUNCH(be, attention_forward, out, lse, qkv, rows, D, heads);
}

void vj_attention_backward(vj_backend *be, vj_array dqkv, vj_array dout, vj_array qkv, vj_array out, const float *lse,
                           const vj_rows *rows, int D, int heads)
{
    const int64_t R = rows->rows;
    VJ_ASSERT(rows->segments >= 0 && heads > 0 && D > 0 && D % heads == 0 && rows->offset);
    VJ_ASSERT(R == 0 || (dqkv.data && dout.data && qkv.data && out.data && lse && dqkv.data != qkv.data));
    be->flops += 10.0 * rows->squares * D; /* five products, one of them the scores once more */
    moves(be, floats_of(qkv, 3 * R * D) + floats_of(out, R * D) + floats_of(dout, R * D) + floats_of(dqkv, 3 * R * D));
    LAUNCH(be, attention_backward, dqkv, dout, qkv, out, lse, rows, D, heads);
}

void vj_pool_forward(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                     int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && query && (B == 0 || (pooled && prob && x)));
    be->flops += 4.0 * (double)B * (double)N * D * heads;
    moves(be, (double)B * (double)(N * D + heads * D + N * heads));
    LAUNCH(be, pool_forward, pooled, prob, x, query, B, N, D, heads);
}

void vj_pool_backward(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                      const float *x, int64_t B, int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && dquery && (B == 0 || (dpooled && pooled && prob && x)));
    be->flops += 4.0 * (double)B * (double)N * D * heads;
    moves(be, (double)B * (double)(N * D + heads * D + N * heads));
    LAUNCH(be, pool_backward, dquery, dpooled, pooled, prob, x, B, N, D, heads);
}

void vj_scale(vj_backend *be, float *x, float factor, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || x));
    moves(be, 2.0 * (double)n);
    LAUNCH(be, scale, x, factor, n);
}

void vj_softmax_loss(vj_backend *be, double *loss, float *dlogits, const float *logits, const int32_t *labels,
                     int64_t B, int classes)
{
    VJ_ASSERT(B > 0 && classes > 0 && loss && dlogits && logits && labels);
    moves(be, 2.0 * (double)B * classes);
    LAUNCH(be, softmax_loss, loss, dlogits, logits, labels, B, classes);
}

void vj_mean_tokens(vj_backend *be, float *mean, const float *x, int64_t B, int64_t N, int D)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && (B == 0 || (mean && x)));
    moves(be, (double)B * (double)(N + 1) * D);
    LAUNCH(be, mean_tokens, mean, x, B, N, D);
}

void vj_mean_tokens_backward(vj_backend *be, float *dx, const float *dmean, int64_t B, int64_t N, int D)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && (B == 0 || (dx && dmean)));
    moves(be, (double)B * (double)(N + 1) * D);
    LAUNCH(be, mean_tokens_backward, dx, dmean, B, N, D);
}

void vj_split_heads(vj_backend *be, float *heads_apart, const float *x, int64_t B, int D, int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 2.0 * (double)B * D);
    LAUNCH(be, split_heads, heads_apart, x, B, D, heads);
}

void vj_join_heads(vj_backend *be, float *y, const float *heads_apart, const float *row, int64_t B, int D, int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 2.0 * (double)B * D);
    LAUNCH(be, join_heads, y, heads_apart, row, B, D, heads);
}

void vj_fold_gain(vj_backend *be, float *y, const float *x, const float *gain, int R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && y && x && gain);
    moves(be, 2.0 * R * D);
    LAUNCH(be, fold_gain, y, x, gain, R, D);
}

void vj_fold_gain_backward(vj_backend *be, float *dx, float *dgain, const float *dy, const float *x, const float *gain,
                           int R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && dx && dgain && dy && x && gain);
    moves(be, 3.0 * R * D);
    LAUNCH(be, fold_gain_backward, dx, dgain, dy, x, gain, R, D);
}

void vj_affine_heads(vj_backend *be, float *y, const float *x, const float *gain, const float *bias, int64_t B, int D,
                     int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && y && x && gain && bias);
    moves(be, 2.0 * (double)B * heads * D);
    LAUNCH(be, affine_heads, y, x, gain, bias, B, D, heads);
}

void vj_affine_heads_backward(vj_backend *be, float *dx, float *dgain, float *dbias, const float *dy, const float *x,
                              const float *gain, int64_t B, int D, int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && dx && dgain && dbias && dy && x && gain);
    moves(be, 3.0 * (double)B * heads * D);
    LAUNCH(be, affine_heads_backward, dx, dgain, dbias, dy, x, gain, B, D, heads);
}

void vj_query_attention_forward(vj_backend *be, float *y, float *prob, const float *q, const float *kv,
                                const float *row, int64_t B, int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 2.0 * (double)B * (double)N * D);
    LAUNCH(be, query_attention_forward, y, prob, q, kv, row, B, N, D, heads);
}

void vj_query_attention_backward(vj_backend *be, float *dq, float *dkv, const float *dy, const float *prob,
                                 const float *q, const float *kv, int64_t B, int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 4.0 * (double)B * (double)N * D);
    LAUNCH(be, query_attention_backward, dq, dkv, dy, prob, q, kv, B, N, D, heads);
}

void vj_prediction_loss(vj_backend *be, double *loss, float *dpred, const float *pred, const float *target,
                        const int32_t *target_row, const float *weight, const int32_t *group, int64_t R, int D,
                        double exponent)
{
    VJ_ASSERT(R >= 0 && D > 0 && exponent >= 1 && loss);
    VJ_ASSERT(R == 0 || (pred && target && target_row && weight && group && dpred != pred));
    moves(be, (dpred ? 3.0 : 2.0) * (double)R * D);
    LAUNCH(be, prediction_loss, loss, dpred, pred, target, target_row, weight, group, R, D, exponent);
}

void vj_spread_penalty(vj_backend *be, double *penalty, float *dpred, const float *pred, const int32_t *offset,
                       int masks, int64_t B, int D, double scale)
{
    VJ_ASSERT(masks > 0 && B >= 0 && D > 0 && penalty && offset && (B == 0 || (pred && dpred != pred)));
    LAUNCH(be, spread_penalty, penalty, dpred, pred, offset, masks, B, D, scale);
}

void vj_sum_squares_many(vj_backend *be, double *sums, const float *x, const vj_span *spans, int64_t count)
{
    double n = 0;
    VJ_ASSERT(sums && count >= 0);
    for (int64_t i = 0; i < count; i++) {
        VJ_ASSERT(spans[i].offset >= 0 && spans[i].count >= 0 && (spans[i].count == 0 || x));
        n += (double)spans[i].count;
    }
    moves(be, n);
    LAUNCH(be, sum_squares_many, sums, x, spans, count);
}

void vj_sum_squares(vj_backend *be, double *sum, const float *x, int64_t n)
{
    vj_sum_squares_many(be, sum, x, &(vj_span){0, n}, 1);
}

void vj_sum_arrays(vj_backend *be, float *out, const float *const *in, int count, int64_t n)
{
    VJ_ASSERT(count > 0 && n >= 0 && (n == 0 || out));
    moves(be, (count + 1.0) * (double)n);
    LAUNCH(be, sum_arrays, out, in, count, n);
}

void vj_column_moments(vj_backend *be, double *sums, const float *x, int64_t R, int D)
{
    VJ_ASSERT(sums && R >= 0 && D > 0 && (R == 0 || x));
    moves(be, (double)R * D);
    LAUNCH(be, column_moments, sums, x, R, D);
}

void vj_adamw(vj_backend *be, const vj_adamw_vectors *v, const vj_segment *segments, int count,
              const vj_adamw_step *step)
{
    double n = 0;
    VJ_ASSERT(count >= 0 && step && step->correction1 > 0 && step->correction2 > 0);
    VJ_ASSERT(!v->rounded_target || v->target);
    for (int i = 0; i < count; i++) {
        VJ_ASSERT(segments[i].offset >= 0 && segments[i].count >= 0);
        n += (double)segments[i].count;
    }
    VJ_ASSERT(n == 0 || (v->w && v->first_moment && v->second_moment && v->gradient));
    moves(be, ((v->target ? 9.0 : 7.0) + (v->rounded_w ? 0.5 : 0.0) + (v->rounded_target ? 0.5 : 0.0)) * n);
    LAUNCH(be, adamw, v, segments, count, step);
}
