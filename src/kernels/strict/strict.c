/*
 * The device "strict": the cpu, but with memory that the host cannot access between kernels and that is filled with NaN
 * at first. A program that reads a result without vj_download(), or expects new memory to be zero, works on "cpu" but
 * fails here, as it would on a GPU.
 */
#include <math.h>
#include <sys/mman.h>

#include "kernels/cpu_device.h"

static void protect(const vj_memory_block *block, int access)
{
    VJ_ASSERT(mprotect(block->memory, (size_t)block->bytes, access) == 0);
}

static bool alloc(vj_backend *be, vj_memory_block *block, int64_t bytes)
{
    if (!vj_cpu_alloc(be, block, bytes)) return false;
    float *x = block->memory;
    for (int64_t i = 0; i < block->bytes / (int64_t)sizeof *x; i++) x[i] = NAN;
    protect(block, PROT_NONE);
    return true;
}

static void enter(vj_backend *be)
{
    for (const vj_memory_block *block = be->blocks; block; block = block->next) protect(block, PROT_READ | PROT_WRITE);
}

static void leave(vj_backend *be)
{
    for (const vj_memory_block *block = be->blocks; block; block = block->next) protect(block, PROT_NONE);
}

const vj_device_ops vj_strict_device = {.name = "strict",
                                        .open = vj_cpu_open,
                                        .close = vj_cpu_close,
                                        .alloc = alloc,
                                        .free = vj_cpu_free,
                                        .host_alloc = vj_cpu_host_alloc,
                                        .host_free = vj_cpu_host_free,
                                        .enter = enter,
                                        .leave = leave,
                                        .upload = vj_cpu_upload,
                                        .download = vj_cpu_download,
                                        .download_start = vj_cpu_download,
                                        .copy = vj_cpu_copy,
                                        .kernels = vj_cpu_kernels,
                                        .describe = vj_cpu_describe,
                                        .set_products = vj_cpu_set_products,
                                        .products = vj_cpu_products,
                                        .parts_products = vj_cpu_parts_products,
                                        .multiplies_bf16 = vj_cpu_multiplies_bf16,
                                        .time_products = vj_cpu_time_products};
