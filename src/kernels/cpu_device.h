/*
 * The processor as a device: its memory, its instruction sets, and the choice of what computes products. Private to
 * src/kernels. The strict device is this one with protected memory.
 */
#ifndef VJ_KERNELS_CPU_DEVICE_H
#define VJ_KERNELS_CPU_DEVICE_H

#include "kernels/backend.h"
#include "kernels/library.h"

/* One instruction set of this build. */
typedef struct {
    const char *name;
    const vj_ops *ops;
    void (*download)(vj_backend *be, float *host, const float *device, int64_t n); /* bypasses the caches */
    bool pairs;                                                                    /* multiplies bf16 in pairs */
    bool parts; /* multiplies floats as sums of bf16 parts, on tiles */
    int (*present)(void);
} vj_variant;

/* Declares the kernel table and the download function of one instruction set. */
#define VJ_VARIANT_SYMBOLS(isa)                                                                                        \
    extern const vj_ops vj_cpu_##isa##_ops;                                                                            \
    void vj_cpu_##isa##_download(vj_backend *be, float *host, const float *device, int64_t n);
VJ_VARIANT_SYMBOLS(portable)
VJ_VARIANT_SYMBOLS(avx2)
VJ_VARIANT_SYMBOLS(avx512)
VJ_VARIANT_SYMBOLS(avx512bf16)
VJ_VARIANT_SYMBOLS(amx)
VJ_VARIANT_SYMBOLS(neon)
VJ_VARIANT_SYMBOLS(neonbf16)
VJ_VARIANT_SYMBOLS(sve512)

/* Kernels that all instruction sets share: vj_cpu_NAME. */
#define VJ_ROW(name, ...) void vj_cpu_##name(vj_backend *be, __VA_ARGS__);
VJ_PLAIN_KERNELS(VJ_ROW)
#undef VJ_ROW

/** Return instruction set number i of this build, best first; NULL after the last. */
const vj_variant *vj_variant_at(int i);

/* The private data of this device: be->impl. */
typedef struct {
    const vj_variant *best;    /* borrowed; best of this processor, or the one VJ_ISA names */
    const vj_variant *variant; /* borrowed; whose kernels are in use */
    bool isa_forced;           /* by VJ_ISA */
    bool products_forced;      /* by VJ_PRODUCTS */
    const char *products;      /* borrowed; "own", or what vj_backend_set_products() was given */
    const vj_library *library; /* borrowed; computes fp32 products; NULL: own kernels */
    int64_t
        cache_floats; /* size of a core's second-level cache in floats, from which products choose their block sizes */
    bool rows_in_place;      /* tiles of many rows read them as fast where they are as from a packed panel */
    vj_memory_block scratch; /* owned; see vj_scratch() */
} vj_cpu;

static inline vj_cpu *vj_cpu_of(const vj_backend *be)
{
    return be->impl;
}

/**
 * Working memory of a kernel: `floats` floats, aligned to 64 bytes, contents undefined, valid until the next call. It
 * grows when a kernel asks for more than any before, so a training loop allocates in its first step only. NULL when out
 * of memory: reported, kept for vj_sync(), and the kernel returns at once.
 */
float *vj_scratch(vj_backend *be, int64_t floats);

/** The same as vj_backend_set_products(), but ignores VJ_PRODUCTS. */
vj_status vj_cpu_use_products(vj_backend *be, const char *name);

/* Rows of the device's table. */
vj_status vj_cpu_open(vj_backend *be);
void vj_cpu_close(vj_backend *be);
bool vj_cpu_alloc(vj_backend *be, vj_memory_block *block, int64_t bytes);
void vj_cpu_free(vj_backend *be, vj_memory_block *block);
void *vj_cpu_host_alloc(vj_backend *be, int64_t bytes);
void vj_cpu_host_free(vj_backend *be, void *memory);
void vj_cpu_upload(vj_backend *be, void *device, const void *host, int64_t bytes);
void vj_cpu_download(vj_backend *be, void *host, const void *device, int64_t bytes);
void vj_cpu_copy(vj_backend *be, void *to, const void *from, int64_t bytes);
void vj_cpu_kernels(const vj_backend *be, vj_kernels *kernels);
void vj_cpu_describe(const vj_backend *be, char *text, size_t bytes);
vj_status vj_cpu_set_products(vj_backend *be, const char *name);
const char *vj_cpu_products(const vj_backend *be);
int vj_cpu_parts_products(const vj_backend *be);
bool vj_cpu_multiplies_bf16(const vj_backend *be);
vj_status vj_cpu_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count);

#endif
