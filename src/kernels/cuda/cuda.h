/*
 * Shared by the parts of the CUDA backend: the state of the device, working memory of kernels, small tables that are
 * copied to the device before a launch, and the check of each call to CUDA. Internal to src/kernels/cuda; included by C
 * (device.c, products.c) and by kernels (.cu). docs/cuda.md describes the backend.
 *
 * Kernels of the table (backend.h, VJ_KERNELS) are the functions vj_cuda_NAME. Each launches on vj_cuda_stream(), never
 * waits for the device, and passes the status of a launch to vj_cuda_check().
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
 * One lane (kernels.h): its stream; page-locked host memory that uploads pass through, in slots used in turn; and
 * working memory of kernels. All owned. What is created on first use is NULL until then.
 */
enum { VJ_CUDA_SLOTS = 4, VJ_CUDA_SLOT_BYTES = 4 << 20 };
typedef struct {
    cudaStream_t stream;
    char *staging;                     /* pinned; VJ_CUDA_SLOTS of VJ_CUDA_SLOT_BYTES */
    char *tables;                      /* device, of the same size: tables of vj_cuda_table() */
    cudaEvent_t copied[VJ_CUDA_SLOTS]; /* recorded behind the copies out of a slot */
    int slot;                          /* the slot in use */
    int64_t used;                      /* bytes used of this slot */
    void *scratch;                     /* device; see vj_cuda_scratch() */
    int64_t scratch_bytes;
} vj_cuda_lane;

typedef struct vj_cuda_products vj_cuda_products; /* products.c */
enum { VJ_CUDA_EVENT_CHUNKS = 256 };

/* Where a phase ended in the compute lane. */
typedef struct {
    cudaEvent_t event;
    vj_phase ended;
} vj_cuda_stamp;

/* The private data of this device: be->impl. */
typedef struct {
    int ordinal;    /* number among the devices that this process sees */
    int major;      /* compute capability */
    int processors; /* streaming multiprocessors; no sum's order depends on it */
    char name[64];
    vj_cuda_lane lane[VJ_LANES];
    struct vj_cuda_pinned *pinned;                       /* owned; the memory of vj_host_alloc(), device.c */
    vj_cuda_products *products;                          /* owned */
    struct vj_event *event_chunks[VJ_CUDA_EVENT_CHUNKS]; /* owned; device.c */
    vj_cuda_stamp *stamp; /* [stamp_capacity] owned; element 0 is the last stamp that was counted */
    int stamps, stamp_capacity;
    bool profile;                    /* wait for each launch: VJ_PROFILE */
    struct vj_event *kept_events;    /* owned, a list: those that stay valid after vj_sync() */
    int event_count, event_capacity; /* handed out since vj_sync(); allocated */
} vj_cuda;

static inline vj_cuda *vj_cuda_of(const vj_backend *be)
{
    return (vj_cuda *)be->impl;
}
/** Return the stream of the lane that was entered last. */
static inline cudaStream_t vj_cuda_stream(const vj_backend *be)
{
    return vj_cuda_of(be)->lane[be->lane].stream;
}

/**
 * Return whether a call to CUDA failed. Every call whose failure is not the end goes through here: CUDA also keeps the
 * error, and cudaGetLastError() behind the next launch would return it as that launch's.
 */
static inline bool vj_cuda_failed(cudaError_t error)
{
    if (error != cudaSuccess) (void)cudaGetLastError();
    return error != cudaSuccess;
}

/** Return whether `error` is success; if not, report a failure of `what` ("layernorm_forward") and keep it for
 * vj_sync(). */
bool vj_cuda_check(vj_backend *be, cudaError_t error, const char *what);

/**
 * Return working memory on the device for the kernels of one function of the table. It is valid until the next call, so
 * call it once and divide the memory. 256-byte aligned, contents undefined. NULL, reported, when out of memory.
 */
void *vj_cuda_scratch(vj_backend *be, int64_t bytes);

/**
 * Copy a small table (at most VJ_CUDA_SLOT_BYTES) to the device for kernels launched after this call, and return its
 * device address. `host` is read before it returns. The table stays valid for these kernels until a few more tables
 * have been copied. NULL after a failure.
 */
const void *vj_cuda_table(vj_backend *be, const void *host, int64_t bytes);

/* Products (products.c): opened with the device; the rows for products in the device table of backend.h. */
vj_status vj_cuda_products_open(vj_backend *be);
void vj_cuda_products_close(vj_backend *be);
void vj_cuda_set_precision(vj_backend *be);
vj_status vj_cuda_set_products(vj_backend *be, const char *name);
const char *vj_cuda_products_name(const vj_backend *be);
int vj_cuda_parts_products(const vj_backend *be);
bool vj_cuda_multiplies_bf16(const vj_backend *be);
vj_status vj_cuda_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count);
/** Write the library in use, "cuBLASLt 13.1.0", or "" if own kernels compute products. */
void vj_cuda_products_library(const vj_backend *be, char *text, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
