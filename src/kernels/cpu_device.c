/* The processor as a device: memory from the system, kernels of one of its instruction sets. */
#include "kernels/cpu_device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef VJ_X86
#include <cpuid.h>
#endif
#ifdef VJ_AARCH64
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

#ifdef VJ_CUDA
#include "kernels/cuda/devices.h"
#endif

/* ------------------------------------------------------------------------------------------------ variants */

static int always(void)
{
    return 1;
}

#ifdef VJ_X86
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static int has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
/* Return whether the processor has AMX and the system permits this process to use the tiles, whose state takes 8 KB. */
static int has_amx(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d = 0;
    if (!has_avx512bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (d & AMX_BF16) && (d & AMX_TILE) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif
#ifdef VJ_AARCH64
/* Bits of Linux's asm/hwcap.h and linux/prctl.h, some of which older headers lack. */
enum { CPU_SVE = 1 << 22, CPU2_BF16 = 1 << 14, GET_VECTOR_LENGTH = 51, LENGTH_BYTES = 0xffff };

static int has_neonbf16(void)
{
    return (getauxval(AT_HWCAP2) & CPU2_BF16) != 0;
}
/* Vectors must have exactly 512 bits, because the kernels are compiled for that length. */
static int has_sve512(void)
{
    if (!(getauxval(AT_HWCAP) & CPU_SVE)) return 0;
    const int length = prctl(GET_VECTOR_LENGTH);
    return length >= 0 && (length & LENGTH_BYTES) == 512 / 8;
}
#endif

#define VARIANT(isa, pairs, parts, present)                                                                            \
    {                                                                                                                  \
#isa, &vj_cpu_##isa##_ops, vj_cpu_##isa##_download, pairs, parts, present                                      \
    }
static const vj_variant variants[] = {
#ifdef VJ_X86
    VARIANT(amx, true, true, has_amx),         VARIANT(avx512bf16, true, false, has_avx512bf16),
    VARIANT(avx512, false, false, has_avx512), VARIANT(avx2, false, false, has_avx2),
#endif
#ifdef VJ_AARCH64
    VARIANT(sve512, false, false, has_sve512), VARIANT(neonbf16, true, false, has_neonbf16),
    VARIANT(neon, false, false, always),
#endif
    VARIANT(portable, false, false, always),
};

const vj_variant *vj_variant_at(int i)
{
    return i < (int)(sizeof variants / sizeof variants[0]) ? &variants[i] : NULL;
}

static const vj_variant *find_variant(const char *isa)
{
    const vj_variant *variant;
    for (int i = 0; (variant = vj_variant_at(i)) != NULL; i++)
        if (strcmp(isa, variant->name) == 0) return variant;
    return NULL;
}

bool vj_backend_isa_present(const char *isa)
{
    const vj_variant *variant = find_variant(isa);
    return variant && variant->present();
}

/* Write the names of all variants of this build, "amx, avx512bf16, ...". */
static const char *variants_here(char *text, size_t bytes)
{
    const vj_variant *variant;
    int used = 0;
    for (int i = 0; (variant = vj_variant_at(i)) != NULL; i++)
        used += snprintf(text + used, bytes - (size_t)used, "%s%s", i > 0 ? ", " : "", variant->name);
    VJ_ASSERT((size_t)used < bytes);
    return text;
}

static vj_status choose_variant(const vj_variant **best)
{
    char here[160];
    const char *wanted = getenv("VJ_ISA");
    *best = wanted ? find_variant(wanted) : variants;
    if (!*best)
        return vj_raise(VJ_ERR_USAGE, "VJ_ISA=%s: expected one of those that this build has: %s", wanted,
                        variants_here(here, sizeof here));
    if (wanted && !(*best)->present())
        return vj_raise(VJ_ERR_USAGE, "VJ_ISA=%s, but this processor does not have it", wanted);
    while (!(*best)->present()) (*best)++; /* the last variant is always present */
    return VJ_OK;
}

vj_status vj_backend_isa(const char **isa)
{
    const vj_variant *best;
    VJ_TRY(choose_variant(&best));
    *isa = best->name;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ products */

/* Write the names that vj_cpu_use_products() accepts here, "own, onednn, avx512, ...". */
static const char *products_here(const vj_cpu *cpu, char *text, size_t bytes)
{
    const vj_library *library;
    const vj_variant *variant;
    int used = snprintf(text, bytes, "own");
    for (int i = 0; (library = vj_library_at(i)) != NULL; i++)
        used += snprintf(text + used, bytes - (size_t)used, ", %s", library->name);
    for (int i = 0; (variant = vj_variant_at(i)) != NULL; i++)
        if (variant->present() && (!cpu->isa_forced || variant == cpu->best))
            used += snprintf(text + used, bytes - (size_t)used, ", %s", variant->name);
    VJ_ASSERT((size_t)used < bytes);
    return text;
}

vj_status vj_cpu_use_products(vj_backend *be, const char *name)
{
    vj_cpu *cpu = vj_cpu_of(be);
    const vj_library *library = NULL;
    const vj_variant *variant = cpu->best;
    if (vj_library_known(name)) {
        VJ_TRY(vj_library_find(&library, name));
        library->prepare();
    } else if (strcmp(name, "own") != 0) {
        char here[160];
        variant = find_variant(name);
        if (!variant || !variant->present() || (cpu->isa_forced && variant != cpu->best))
            return vj_raise(VJ_ERR_USAGE, "products by %s: %s; there are %s", name,
                            !variant             ? "unknown"
                            : variant->present() ? "VJ_ISA wants another"
                                                 : "this processor does not have it",
                            products_here(cpu, here, sizeof here));
    }
    cpu->products = library ? library->name : strcmp(name, "own") == 0 ? "own" : variant->name;
    cpu->library = library;
    cpu->variant = variant;
    be->ops = variant->ops;
    return VJ_OK;
}

vj_status vj_cpu_set_products(vj_backend *be, const char *name)
{
    return vj_cpu_of(be)->products_forced ? VJ_OK : vj_cpu_use_products(be, name);
}

const char *vj_cpu_products(const vj_backend *be)
{
    return vj_cpu_of(be)->products;
}

int vj_cpu_parts_products(const vj_backend *be)
{
    const vj_cpu *cpu = vj_cpu_of(be);
    return cpu->variant->parts && be->precision == VJ_FP32 && !cpu->library ? 6 : 0;
}

bool vj_cpu_multiplies_bf16(const vj_backend *be)
{
    return vj_cpu_of(be)->variant->pairs;
}

bool vj_products_present(const char *name)
{
    const vj_library *library;
    for (int i = 0; (library = vj_library_at(i)) != NULL; i++)
        if (strcmp(name, library->name) == 0) return true;
#ifdef VJ_CUDA
    if (vj_cuda_products_present(name)) return true;
#endif
    return strcmp(name, "own") == 0 || vj_backend_isa_present(name);
}

/* ------------------------------------------------------------------------------------------------ opening */

/* Return how many processors share a second-level cache: the bits of a map like "00000000,00000fff". 1: unknown. */
static long second_level_sharers(void)
{
    char map[1024] = "";
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cache/index2/shared_cpu_map", "r");
    if (!file) return 1;
    const bool read = fgets(map, sizeof map, file) != NULL;
    fclose(file);
    long bits = 0;
    for (const char *at = map; read && *at; at++)
        if (isxdigit((unsigned char)*at)) bits += __builtin_popcountl(strtoul((char[]){*at, 0}, NULL, 16));
    return bits > 0 ? bits : 1;
}

/* Return a core's share of the second-level cache in KiB, 0 if unknown. On x86 glibc asks the processor; for others the
 * size is in files, and the cache may be shared: A64FX has 8 MiB for twelve cores. */
static long second_level_kib(void)
{
    long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE), kib = 0;
    if (bytes > 0) return bytes >> 10;
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cache/index2/size", "r"); /* "1024K" */
    if (!file) return 0;
    if (fscanf(file, "%ldK", &kib) != 1) kib = 0;
    fclose(file);
    return kib / second_level_sharers();
}

static vj_status measure_cache(vj_cpu *cpu)
{
    enum { USUAL_KIB = 1024, MAX_KIB = 1 << 20 };
    const char *told = getenv("VJ_CACHE_KIB");
    char *end = NULL;
    long kib = told ? strtol(told, &end, 10) : second_level_kib();
    if (told && (end == told || *end || kib < 1 || kib > MAX_KIB))
        return vj_raise(VJ_ERR_USAGE,
                        "VJ_CACHE_KIB=%s: expected the size of a core's second-level cache in KiB, 1 to %d", told,
                        MAX_KIB);
    cpu->cache_floats = (kib > 0 && kib <= MAX_KIB ? kib : USUAL_KIB) * (1024 / (int64_t)sizeof(float));
    return VJ_OK;
}

/* Zen 4 multiplies twelve rows in place as fast as a packed panel; Intel's Sapphire Rapids takes a tenth longer. */
static vj_status choose_rows_in_place(vj_cpu *cpu)
{
    const char *told = getenv("VJ_ROWS_IN_PLACE");
    if (told && strcmp(told, "0") != 0 && strcmp(told, "1") != 0)
        return vj_raise(VJ_ERR_USAGE,
                        "VJ_ROWS_IN_PLACE=%s: expected 1 (products read rows where they are) or 0 (they pack them)",
                        told);
#if defined(__x86_64__)
    __builtin_cpu_init();
    cpu->rows_in_place = __builtin_cpu_is("amd");
#endif
    if (told) cpu->rows_in_place = strcmp(told, "1") == 0;
    return VJ_OK;
}

vj_status vj_cpu_open(vj_backend *be)
{
    vj_cpu *cpu = be->impl = vj_calloc(1, sizeof *cpu);
    if (!cpu) return vj_raise(VJ_ERR_MEMORY, "backend %s: out of memory", be->device->name);
    cpu->isa_forced = getenv("VJ_ISA") != NULL;
    VJ_TRY(choose_variant(&cpu->best));
    VJ_TRY(measure_cache(cpu));
    VJ_TRY(choose_rows_in_place(cpu));
    const char *products = getenv("VJ_PRODUCTS");
    cpu->products_forced = products != NULL;
    return vj_cpu_use_products(be, products ? products : "own");
}

void vj_cpu_kernels(const vj_backend *be, vj_kernels *kernels)
{
    const vj_cpu *cpu = vj_cpu_of(be);
    snprintf(kernels->isa, sizeof kernels->isa, "%s", cpu->variant->name);
    if (!cpu->library || be->precision != VJ_FP32) return;
    char version[48];
    const vj_variant *processor = variants; /* a library looks at the processor, not at VJ_ISA */
    while (!processor->present()) processor++;
    cpu->library->describe(version, sizeof version);
    snprintf(kernels->library, sizeof kernels->library, "%s %s on %s processors", cpu->library->name, version,
             processor->name);
}

void vj_cpu_describe(const vj_backend *be, char *text, size_t bytes)
{
    const vj_cpu *cpu = vj_cpu_of(be);
    const bool library = cpu->library && be->precision == VJ_FP32;
    snprintf(text, bytes, "%s%s%s, %d thread%s", cpu->variant->name, library ? " + " : "",
             library ? cpu->library->name : "", be->threads, be->threads == 1 ? "" : "s");
}

/* ------------------------------------------------------------------------------------------------ memory */

enum { HUGE_PAGE = 2 << 20 };

/* Get zeroed pages from the system; large blocks on huge pages, whose first touch takes far less time. */
static bool map_block(vj_memory_block *block, int64_t bytes)
{
    int64_t page = sysconf(_SC_PAGESIZE), align = bytes >= HUGE_PAGE ? HUGE_PAGE : page;
    block->bytes = bytes > 0 ? (bytes + page - 1) / page * page : page;
    block->mapped = (size_t)(block->bytes + (align > page ? align : 0));
    block->mapping = mmap(NULL, block->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block->mapping == MAP_FAILED) {
        block->mapping = NULL;
        return false;
    }
    block->memory = (void *)(((uintptr_t)block->mapping + (uintptr_t)align - 1) / (uintptr_t)align * (uintptr_t)align);
    /* Only advice: a system without huge pages refuses it and works all the same. */
    if (align > page) (void)madvise(block->memory, (size_t)block->bytes, MADV_HUGEPAGE);
    return true;
}

static void unmap_block(vj_memory_block *block)
{
    if (block->mapping) munmap(block->mapping, block->mapped);
}

void vj_cpu_close(vj_backend *be)
{
    vj_cpu *cpu = vj_cpu_of(be);
    if (cpu) unmap_block(&cpu->scratch);
    free(cpu);
}

bool vj_cpu_alloc(vj_backend *be, vj_memory_block *block, int64_t bytes)
{
    (void)be;
    return map_block(block, bytes);
}

void vj_cpu_free(vj_backend *be, vj_memory_block *block)
{
    (void)be;
    unmap_block(block);
}

void *vj_cpu_host_alloc(vj_backend *be, int64_t bytes)
{
    (void)be;
    return vj_calloc(bytes > 0 ? bytes : 1, 1);
}

void vj_cpu_host_free(vj_backend *be, void *memory)
{
    (void)be;
    free(memory);
}

bool vj_device_huge_pages(const vj_backend *be)
{
    char text[64] = "";
    if (be->device->open != vj_cpu_open) return false; /* not the cpu's memory */
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (!f) return false;
    const bool read = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    return read && !strstr(text, "[never]");
}

float *vj_scratch(vj_backend *be, int64_t floats)
{
    vj_memory_block *scratch = &vj_cpu_of(be)->scratch;
    int64_t bytes = floats * (int64_t)sizeof(float);
    if (!scratch->memory || bytes > scratch->bytes) { /* NULL means failure, so 0 floats have an address too */
        unmap_block(scratch);
        *scratch = (vj_memory_block){0};
        if (!map_block(scratch, bytes)) {
            vj_keep_failure(be, vj_raise(VJ_ERR_MEMORY, "%s: no %lld bytes for a kernel to work in", be->device->name,
                                         (long long)bytes));
            *scratch = (vj_memory_block){0};
        }
    }
    return scratch->memory;
}

/* ------------------------------------------------------------------------------------------------ copies */

enum { STREAMED_BYTES = 1 << 20 }; /* smallest download past the caches; shorter ones are read at once */

void vj_cpu_upload(vj_backend *be, void *device, const void *host, int64_t bytes)
{
    vj_cpu_copy(be, device, host, bytes); /* through the caches: kernels read it at once */
}

void vj_cpu_download(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    const bool floats = bytes % (int64_t)sizeof(float) == 0 && (uintptr_t)host % sizeof(float) == 0;
    if (floats && bytes >= STREAMED_BYTES)
        vj_cpu_of(be)->variant->download(be, host, device, bytes / (int64_t)sizeof(float));
    else
        vj_cpu_copy(be, host, device, bytes);
}

void vj_cpu_copy(vj_backend *be, void *to, const void *from, int64_t bytes)
{
    (void)be;
    memcpy(to, from, (size_t)bytes);
}

const vj_device_ops vj_cpu_device = {.name = "cpu",
                                     .host = true,
                                     .open = vj_cpu_open,
                                     .close = vj_cpu_close,
                                     .alloc = vj_cpu_alloc,
                                     .free = vj_cpu_free,
                                     .host_alloc = vj_cpu_host_alloc,
                                     .host_free = vj_cpu_host_free,
                                     .upload = vj_cpu_upload,
                                     .download = vj_cpu_download,
                                     .copy = vj_cpu_copy,
                                     .kernels = vj_cpu_kernels,
                                     .describe = vj_cpu_describe,
                                     .set_products = vj_cpu_set_products,
                                     .products = vj_cpu_products,
                                     .parts_products = vj_cpu_parts_products,
                                     .multiplies_bf16 = vj_cpu_multiplies_bf16,
                                     .time_products = vj_cpu_time_products};
