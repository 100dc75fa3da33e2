/*
 * What the parts of the CUDA backend share: the state of the device, memory for a kernel to work in, tables that travel
 * with a launch, and the check of every call to CUDA. Internal to src/kernels/cuda; included by C (device.c,
 * products.c) and by kernels (.cu). docs/cuda.md describes the backend.
 *
 * Kernels of the table (backend.h, VJ_KERNELS) are the functions vj_cuda_NAME. Each launches on vj_cuda_stream(), never
 * waits for the device, and hands what a launch returns to vj_cuda_check().
 */
#ifndef VJ_KERNELS_CUDA_H
#define VJ_KERNELS_CUDA_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/backend.h"
#include "kernels/cuda/devices.h"

#define VJ_ROW(name, ...) void vj_cuda_##name(vj_backend *be, __VA_ARGS__);
VJ_KERNELS(VJ_ROW)
#undef VJ_ROW
extern const vj_ops vj_cuda_ops;

/*
 * One lane (kernels.h): its stream; host memory that does not move, through which uploads go, in slots that are used in
 * turn; and memory for kernels to work in. All owned. What is only made when it is needed is NULL until then.
 */
enum { VJ_CUDA_SLOTS = 4, VJ_CUDA_SLOT_BYTES = 4 << 20 };
typedef struct {
    cudaStream_t stream;
    char *staging;                     /* pinned; VJ_CUDA_SLOTS of VJ_CUDA_SLOT_BYTES */
    char *tables;                      /* device, of the same size: where tables are */
    cudaEvent_t copied[VJ_CUDA_SLOTS]; /* the copies out of a slot are done */
    int slot;                          /* in use */
    int64_t used;                      /* bytes of it */
    void *scratch;                     /* device; see vj_cuda_scratch() */
    int64_t scratch_bytes;
} vj_cuda_lane;

typedef struct vj_cuda_products vj_cuda_products; /* products.c */
enum { VJ_CUDA_EVENT_CHUNKS = 256, VJ_CUDA_STAMPS = 1024 };

/* Where a phase ended in the compute lane. */
typedef struct {
    cudaEvent_t event;
    vj_phase ended;
} vj_cuda_stamp;

/* The device's own: be->impl. */
typedef struct {
    int ordinal;    /* of the devices that this process sees */
    int major;      /* compute capability */
    int processors; /* streaming multiprocessors; for describing, never for the order of a sum */
    char name[64];
    vj_cuda_lane lane[VJ_LANES];
    struct vj_cuda_pinned *pinned;                       /* owned; the memory of vj_host_alloc(), device.c */
    vj_cuda_products *products;                          /* owned */
    struct vj_event *event_chunks[VJ_CUDA_EVENT_CHUNKS]; /* owned; device.c */
    vj_cuda_stamp stamp[VJ_CUDA_STAMPS];                 /* owned; the first is the last that was booked */
    int stamps;
    bool profile;                    /* wait for every launch: VJ_PROFILE */
    struct vj_event *kept_events;    /* owned, a list: those that are not given out in turn */
    int event_count, event_capacity; /* given out since vj_sync(), and there */
} vj_cuda;

static inline vj_cuda *vj_cuda_of(const vj_backend *be)
{
    return (vj_cuda *)be->impl;
}
/** The stream of the lane that was entered last. */
static inline cudaStream_t vj_cuda_stream(const vj_backend *be)
{
    return vj_cuda_of(be)->lane[be->lane].stream;
}

/** Report a failure of `what` ("layernorm_forward") and keep it for vj_sync(). True if there was none. */
bool vj_cuda_check(vj_backend *be, cudaError_t error, const char *what);

/**
 * Device memory for the kernels of one function of the table: valid until the next function asks, so ask once and
 * divide it. 256-byte aligned, contents undefined. NULL, reported, when there is none.
 */
void *vj_cuda_scratch(vj_backend *be, int64_t bytes);

/**
 * Copy a small table (at most VJ_CUDA_SLOT_BYTES) to the device, before the kernels launched after this call. `host` is
 * read before it returns. Valid for these kernels, until a few more tables have been copied. NULL after a failure.
 */
const void *vj_cuda_table(vj_backend *be, const void *host, int64_t bytes);

/* Products (products.c): opened with the device; what backend.h's device table asks of products. */
vj_status vj_cuda_products_open(vj_backend *be);
void vj_cuda_products_close(vj_backend *be);
void vj_cuda_set_precision(vj_backend *be);
vj_status vj_cuda_set_products(vj_backend *be, const char *name);
const char *vj_cuda_products_name(const vj_backend *be);
int vj_cuda_parts_products(const vj_backend *be);
bool vj_cuda_multiplies_bf16(const vj_backend *be);
vj_status vj_cuda_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count);
/** "cuBLASLt 13.1.0" or "" if own kernels multiply. */
void vj_cuda_products_library(const vj_backend *be, char *text, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
