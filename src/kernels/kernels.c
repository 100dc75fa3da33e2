/*
 * The front door: opens backends, owns device memory, checks every kernel's arguments and counts its products, then
 * calls through the backend's table. What a kernel means is in kernels.h; how the cpu does it, in cpu/.
 */
#include "kernels/kernels.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef VJ_X86
#include <cpuid.h>
#endif

#include "kernels/backend.h"

/* ------------------------------------------------------------------------------------------------ opening */

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
/* The processor's word, and the system's leave to use the tiles' eight kilobytes of state in this process. */
static int has_amx(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d = 0;
    if (!has_avx512bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (d & AMX_BF16) && (d & AMX_TILE) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

static const vj_variant variants[] = {
#ifdef VJ_X86
    {"amx", &vj_cpu_amx_ops, true, true, has_amx},
    {"avx512bf16", &vj_cpu_avx512bf16_ops, true, false, has_avx512bf16},
    {"avx512", &vj_cpu_avx512_ops, false, false, has_avx512},
    {"avx2", &vj_cpu_avx2_ops, false, false, has_avx2},
#endif
    {"portable", &vj_cpu_portable_ops, false, false, always},
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

static vj_status choose_variant(vj_backend *be)
{
    const char *wanted = getenv("VJ_ISA");
    be->isa_forced = wanted != NULL;
    for (int i = 0; !wanted && !be->best; i++) /* the last is always there */
        if (variants[i].present()) be->best = &variants[i];
    if (wanted && !(be->best = find_variant(wanted)))
        return vj_raise(VJ_ERR_USAGE,
                        "VJ_ISA=%s: expected amx, avx512bf16, avx512, avx2 or portable, as far as this build has them",
                        wanted);
    if (wanted && !be->best->present())
        return vj_raise(VJ_ERR_USAGE, "VJ_ISA=%s, but this processor does not have it", wanted);
    return VJ_OK;
}

static void describe(vj_backend *be)
{
    const bool library = be->library && be->precision == VJ_FP32;
    snprintf(be->description, sizeof be->description, "%s (%s%s%s, %d thread%s, %s)", be->name, be->isa,
             library ? " + " : "", library ? be->library->name : "", be->threads, be->threads == 1 ? "" : "s",
             be->precision == VJ_BF16 ? "bf16" : "fp32");
}

/* What vj_use_products() would take here, "own, onednn, avx512, ...". */
static const char *products_here(const vj_backend *be, char *text, size_t bytes)
{
    const vj_library *library;
    const vj_variant *variant;
    int used = snprintf(text, bytes, "own");
    for (int i = 0; (library = vj_library_at(i)) != NULL; i++)
        used += snprintf(text + used, bytes - (size_t)used, ", %s", library->name);
    for (int i = 0; (variant = vj_variant_at(i)) != NULL; i++)
        if (variant->present() && (!be->isa_forced || variant == be->best))
            used += snprintf(text + used, bytes - (size_t)used, ", %s", variant->name);
    VJ_ASSERT((size_t)used < bytes);
    return text;
}

vj_status vj_use_products(vj_backend *be, const char *name)
{
    const vj_library *library = NULL;
    const vj_variant *variant = be->best;
    if (vj_library_known(name)) {
        VJ_TRY(vj_library_find(&library, name));
        library->prepare();
    } else if (strcmp(name, "own") != 0) {
        char here[160];
        variant = find_variant(name);
        if (!variant || !variant->present() || (be->isa_forced && variant != be->best))
            return vj_raise(VJ_ERR_USAGE, "products by %s: %s; there are %s", name,
                            !variant             ? "unknown"
                            : variant->present() ? "VJ_ISA wants another"
                                                 : "this processor does not have it",
                            products_here(be, here, sizeof here));
    }
    be->products = library ? library->name : strcmp(name, "own") == 0 ? "own" : variant->name;
    be->library = library;
    be->isa = variant->name;
    be->ops = variant->ops;
    describe(be);
    return VJ_OK;
}

static vj_status set_up(vj_backend *be, const char *name, vj_precision precision, int threads)
{
    if (strcmp(name, "cpu") == 0)
        be->name = "cpu";
    else if (strcmp(name, "strict") == 0)
        be->name = "strict", be->guard = &vj_strict_guard;
    else
        return vj_raise(VJ_ERR_USAGE, "backend %s: expected cpu or strict", name);
    if (threads < 0) return vj_raise(VJ_ERR_USAGE, "backend %s: %d threads", name, threads);
    VJ_TRY(choose_variant(be));
    be->threads = threads > 0 ? threads : omp_get_max_threads();
    be->accounts.phase = VJ_PHASE_OTHER;
    vj_phase_reset(be);
    be->precision = precision;
    const char *products = getenv("VJ_PRODUCTS");
    be->products_forced = products != NULL;
    VJ_TRY(vj_use_products(be, products ? products : "own"));
    if (be->guard && !(be->view = vj_calloc(1, VJ_MAP_BYTES)))
        return vj_raise(VJ_ERR_MEMORY, "backend %s: no %d bytes for host views", name, VJ_MAP_BYTES);
    return VJ_OK;
}

vj_status vj_backend_open(vj_backend **be, const char *name, vj_precision precision, int threads)
{
    VJ_ASSERT(be && name && (precision == VJ_FP32 || precision == VJ_BF16));
    *be = vj_calloc(1, sizeof **be);
    if (!*be) return vj_raise(VJ_ERR_MEMORY, "backend %s: out of memory", name);
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
    if (be->scratch.mapping) munmap(be->scratch.mapping, be->scratch.mapped);
    free(be->view);
    free(be);
}

const char *vj_backend_describe(const vj_backend *be)
{
    return be->description;
}

void vj_backend_kernels(const vj_backend *be, vj_kernels *kernels)
{
    *kernels = (vj_kernels){.precision = be->precision};
    snprintf(kernels->isa, sizeof kernels->isa, "%s", be->isa);
    if (!be->library || be->precision != VJ_FP32) return;
    char version[48];
    const vj_variant *processor = variants; /* whatever VJ_ISA says, a library looks at the processor */
    while (!processor->present()) processor++;
    be->library->describe(version, sizeof version);
    snprintf(kernels->library, sizeof kernels->library, "%s %s on %s processors", be->library->name, version,
             processor->name);
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
    return be->products_forced ? VJ_OK : vj_use_products(be, name);
}
int vj_backend_parts_products(const vj_backend *be)
{
    const vj_variant *variant = find_variant(be->isa);
    return variant->parts && be->precision == VJ_FP32 && !be->library ? 6 : 0;
}

const char *vj_backend_products(const vj_backend *be)
{
    return be->products;
}

bool vj_products_present(const char *name)
{
    const vj_library *library;
    for (int i = 0; (library = vj_library_at(i)) != NULL; i++)
        if (strcmp(name, library->name) == 0) return true;
    return strcmp(name, "own") == 0 || vj_backend_isa_present(name);
}

vj_status vj_sync(vj_backend *be)
{
    vj_status first = be->failure;
    be->failure = VJ_OK;
    return first;
}

/* ------------------------------------------------------------------------------------------------ memory */

enum { HUGE_PAGE = 2 << 20 };

/* Zeroed pages from the system; large ones on huge pages, whose first touch is far cheaper. */
static bool map_block(vj_block *block, int64_t bytes)
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

static void *keep_block(vj_backend *be, vj_block *block)
{
    block->next = be->blocks;
    be->blocks = block;
    be->bytes += block->bytes;
    return block->memory;
}

void *vj_device_alloc(vj_backend *be, int64_t bytes)
{
    VJ_ASSERT(bytes >= 0);
    vj_block *block = vj_calloc(1, sizeof *block);
    if (!block || !map_block(block, bytes)) {
        free(block);
        vj_raise(VJ_ERR_MEMORY, "%s: no %lld bytes of device memory; %lld are in use", be->name, (long long)bytes,
                 (long long)be->bytes);
        return NULL;
    }
    if (be->guard) be->guard->fresh(block);
    return keep_block(be, block);
}

bool vj_device_is_host(const vj_backend *be)
{
    return !be->guard;
}

void *vj_device_adopt(vj_backend *be, void *memory, int64_t bytes)
{
    VJ_ASSERT(memory && bytes >= 0 && vj_device_is_host(be));
    vj_block *block = vj_calloc(1, sizeof *block);
    if (!block) {
        vj_raise(VJ_ERR_MEMORY, "%s: no memory for a block of device memory", be->name);
        return NULL;
    }
    *block = (vj_block){.memory = memory, .bytes = bytes};
    return keep_block(be, block);
}

void vj_device_free(vj_backend *be, void *memory)
{
    if (!memory) return;
    for (vj_block **at = &be->blocks; *at; at = &(*at)->next) {
        vj_block *block = *at;
        if (block->memory != memory) continue;
        *at = block->next;
        be->bytes -= block->bytes;
        if (block->mapping) munmap(block->mapping, block->mapped);
        free(block);
        return;
    }
    VJ_ASSERT(!"vj_device_free: memory of this backend");
}

int64_t vj_device_bytes(const vj_backend *be)
{
    return be->bytes;
}

bool vj_device_huge_pages(const vj_backend *be)
{
    char text[64] = "";
    (void)be; /* the cpu's memory, whatever guards it */
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (!f) return false;
    const bool read = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    return read && !strstr(text, "[never]");
}

float *vj_scratch(vj_backend *be, int64_t floats)
{
    int64_t bytes = floats * (int64_t)sizeof(float);
    if (!be->scratch.memory || bytes > be->scratch.bytes) { /* NULL means failure, so 0 floats have an address too */
        if (be->scratch.mapping) munmap(be->scratch.mapping, be->scratch.mapped);
        be->scratch = (vj_block){0};
        if (!map_block(&be->scratch, bytes)) {
            vj_status status =
                vj_raise(VJ_ERR_MEMORY, "%s: no %lld bytes for a kernel to work in", be->name, (long long)bytes);
            if (be->failure == VJ_OK) be->failure = status;
            be->scratch = (vj_block){0};
        }
    }
    return be->scratch.memory;
}

/* Between open_device and shut_device the device's memory may be touched. */
static void open_device(vj_backend *be)
{
    if (!be->guard) return;
    for (const vj_block *block = be->blocks; block; block = block->next) be->guard->open(block);
}

static void shut_device(vj_backend *be)
{
    if (!be->guard) return;
    for (const vj_block *block = be->blocks; block; block = block->next) be->guard->shut(block);
}

enum { STREAMED_BYTES = 1 << 20 }; /* of a download, at least: results to keep; what is read at once is shorter */

static void transfer(vj_backend *be, void *to, const void *from, int64_t bytes, bool past_caches)
{
    VJ_ASSERT(bytes >= 0 && (bytes == 0 || (to && from)));
    if (bytes == 0) return;
    open_device(be);
    const double began_s = vj_now();
    if (past_caches)
        be->ops->download(be, to, from, bytes / (int64_t)sizeof(float));
    else
        memcpy(to, from, (size_t)bytes);
    be->accounts.bytes = 2.0 * (double)bytes;
    vj_account(be, VJ_OP_transfer, began_s);
    shut_device(be);
}

void vj_upload(vj_backend *be, void *device, const void *host, int64_t bytes)
{
    transfer(be, device, host, bytes, false); /* for kernels to read at once */
}

void vj_download(vj_backend *be, void *host, const void *device, int64_t bytes)
{
    const bool floats = bytes % (int64_t)sizeof(float) == 0 && (uintptr_t)host % sizeof(float) == 0;
    transfer(be, host, device, bytes, floats && bytes >= STREAMED_BYTES);
}

void *vj_map(vj_backend *be, void *device, int64_t bytes, int mode)
{
    VJ_ASSERT(device && bytes >= 0 && (bytes <= VJ_MAP_BYTES || !be->guard) && !be->view_device);
    VJ_ASSERT(mode & (VJ_MAP_READ | VJ_MAP_WRITE));
    be->view_device = device;
    be->view_bytes = bytes;
    be->view_mode = mode;
    if (!be->guard) return device;
    if (mode & VJ_MAP_READ) vj_download(be, be->view, device, bytes);
    return be->view;
}

void vj_unmap(vj_backend *be, void *host)
{
    VJ_ASSERT(be->view_device && host == (be->guard ? be->view : be->view_device));
    if (be->guard && be->view_mode & VJ_MAP_WRITE) vj_upload(be, be->view_device, be->view, be->view_bytes);
    be->view_device = NULL;
}

/* ------------------------------------------------------------------------------------------------ kernels */

/* Launch row `op` of the table and book it as `account`. */
#define LAUNCH_AS(be, account, op, ...)                                                                                \
    do {                                                                                                               \
        open_device(be);                                                                                               \
        const double began_s = vj_now();                                                                               \
        (be)->ops->op((be), __VA_ARGS__);                                                                              \
        vj_account((be), (account), began_s);                                                                          \
        shut_device(be);                                                                                               \
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
    vj_upload(be, dst, src, n * (int64_t)sizeof(float)); /* both ends are open in there */
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

void vj_linear_forward(vj_backend *be, vj_array y, vj_array x, const float *w, const float *bias, const float *residual,
                       int64_t residual_rows, int64_t R, int N, int K)
{
    VJ_ASSERT(K > 0 && w && (R == 0 || (y.data && x.data && y.data != x.data)));
    launch_product(be, &(vj_product){.M = R,
                                     .N = N,
                                     .K = K,
                                     .a = x,
                                     .b = vj_f32(w),
                                     .b_transposed = true,
                                     .c = y,
                                     .bias = bias,
                                     .residual = residual,
                                     .residual_rows = residual_rows});
}

void vj_linear_gelu_forward(vj_backend *be, vj_array y, vj_array pre, vj_array x, const float *w, const float *bias,
                            int64_t R, int N, int K)
{
    VJ_ASSERT(K > 0 && w);
    VJ_ASSERT(R == 0 || (y.data && x.data && y.data != x.data && pre.data != x.data && y.data != pre.data));
    launch_product(be, &(vj_product){.M = R,
                                     .N = N,
                                     .K = K,
                                     .a = x,
                                     .b = vj_f32(w),
                                     .b_transposed = true,
                                     .c = y,
                                     .bias = bias,
                                     .finish = VJ_FINISH_GELU,
                                     .pre = pre});
}

void vj_linear_backward_input(vj_backend *be, vj_array dx, vj_array dy, const float *w, int64_t R, int N, int K)
{
    VJ_ASSERT(N > 0 && w && (R == 0 || (dx.data && dy.data && dx.data != dy.data)));
    launch_product(be, &(vj_product){.M = R, .N = K, .K = N, .a = dy, .b = vj_f32(w), .c = dx});
}

void vj_linear_gelu_backward_input(vj_backend *be, vj_array dpre, vj_array hidden, vj_array dy, const float *w,
                                   vj_array pre, int64_t R, int N, int K)
{
    VJ_ASSERT(N > 0 && w && (R == 0 || (dpre.data && dy.data && pre.data && dpre.data != dy.data)));
    VJ_ASSERT(dpre.data != pre.data || dpre.type == pre.type);
    launch_product(be, &(vj_product){.M = R,
                                     .N = K,
                                     .K = N,
                                     .a = dy,
                                     .b = vj_f32(w),
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

/* Sum of the squared lengths of the segments, and that the offsets are what the caller says. */
static double squared_lengths(vj_backend *be, const int32_t *offset, int segments, int64_t longest, int64_t R)
{
    enum { CHUNK = 256 };
    int32_t host[CHUNK];
    double squares = 0;
    int64_t last = 0;
    for (int s = 0; s <= segments; s += CHUNK) {
        int n = segments + 1 - s < CHUNK ? segments + 1 - s : CHUNK;
        vj_download(be, host, offset + s, n * (int64_t)sizeof *host);
        for (int i = 0; i < n; i++) {
            int64_t length = host[i] - last;
            VJ_ASSERT(length >= 0 && length <= longest && (s + i > 0 || length == 0));
            squares += (double)length * (double)length;
            last = host[i];
        }
    }
    VJ_ASSERT(last == R);
    return squares;
}

void vj_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const int32_t *offset, int segments,
                          int64_t longest, int64_t R, int D, int heads)
{
    VJ_ASSERT(segments >= 0 && heads > 0 && D > 0 && D % heads == 0 && offset && (R == 0 || (out.data && qkv.data)));
    const double squares = squared_lengths(be, offset, segments, longest, R); /* looks at the offsets: a transfer */
    be->flops += 4.0 * squares * D;
    moves(be, floats_of(qkv, 3 * R * D) + floats_of(out, R * D));
    LAUNCH(be, attention_forward, out, lse, qkv, offset, segments, longest, D, heads);
}

void vj_attention_backward(vj_backend *be, vj_array dqkv, vj_array dout, vj_array qkv, vj_array out, const float *lse,
                           const int32_t *offset, int segments, int64_t longest, int64_t R, int D, int heads)
{
    VJ_ASSERT(segments >= 0 && heads > 0 && D > 0 && D % heads == 0 && offset);
    VJ_ASSERT(R == 0 || (dqkv.data && dout.data && qkv.data && out.data && lse && dqkv.data != qkv.data));
    const double squares = squared_lengths(be, offset, segments, longest, R);
    be->flops += 10.0 * squares * D; /* five products, one of them the scores once more */
    moves(be, floats_of(qkv, 3 * R * D) + floats_of(out, R * D) + floats_of(dout, R * D) + floats_of(dqkv, 3 * R * D));
    LAUNCH(be, attention_backward, dqkv, dout, qkv, out, lse, offset, segments, longest, D, heads);
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

void vj_sum_squares(vj_backend *be, double *sum, const float *x, int64_t n)
{
    VJ_ASSERT(sum && n >= 0 && (n == 0 || x));
    moves(be, (double)n);
    LAUNCH(be, sum_squares, sum, x, n);
}

void vj_column_moments(vj_backend *be, double *sums, const float *x, int64_t R, int D)
{
    VJ_ASSERT(sums && R >= 0 && D > 0 && (R == 0 || x));
    moves(be, (double)R * D);
    LAUNCH(be, column_moments, sums, x, R, D);
}

void vj_adamw(vj_backend *be, float *w, float *first_moment, float *second_moment, float *target, const float *gradient,
              int64_t n, const vj_adamw_step *step)
{
    VJ_ASSERT(n >= 0 && step && (n == 0 || (w && first_moment && second_moment && gradient)));
    VJ_ASSERT(step->correction1 > 0 && step->correction2 > 0);
    moves(be, (target ? 9.0 : 7.0) * (double)n);
    LAUNCH(be, adamw, w, first_moment, second_moment, target, gradient, n, step);
}
