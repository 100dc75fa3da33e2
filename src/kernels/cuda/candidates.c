/*
 * Finds what computes products fastest on this GPU: times all candidates on the same two products, a linear layer's
 * forward and its weight's gradient, by events in the stream.
 */
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/products.h"
#include "kernels/product_rates.h"

/* The size of the products. It grows until they take long enough to be timed, or are those of a large model. */
typedef struct {
    int64_t rows;
    int width;
} size;
static const size sizes[] = {{64, 64}, {512, 256}, {4096, 1024}, {16384, 1024}};
enum { SIZES = sizeof sizes / sizeof sizes[0], ROUNDS = 3 };
#define LONG_MS 1.0

typedef struct {
    vj_backend *be;
    cudaEvent_t from, to;
    vj_array x, y, w; /* device */
    float *dw;
} bench;

static void list(vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    char version[24], all[64];
    const bool library = vj_cuda_library_version(be, version, sizeof version);
    const bool wgmma = be->precision == VJ_BF16 && vj_cuda_has_wgmma(be);
    const bool alone = strcmp(vj_cuda_products_name(be), "mma") == 0;
    snprintf(all, sizeof all, "mma%s%s%s", wgmma ? " + wgmma" : "", library ? " + cublaslt " : ", no cublaslt",
             version);
    vj_product_rates_add(rates, capacity, count, "own", all);
    if (library || wgmma || alone) vj_product_rates_add(rates, capacity, count, "mma", "mma");
    if (wgmma) vj_product_rates_add(rates, capacity, count, "wgmma", "wgmma");
    if (library) vj_product_rates_add(rates, capacity, count, "cublaslt", version);
}

/*
 * Measure the milliseconds of the two products of this size, after a first run that is not timed. The operands are
 * constants, but not zeros: a GPU multiplies zeros faster, since they need less power.
 */
static vj_status time_size(const bench *b, const size *s, double *ms)
{
    vj_backend *be = b->be;
    const cudaStream_t stream = vj_cuda_stream(be);
    const int64_t in_float = 4 / vj_type_bytes(b->x.type), width = s->width;
    float took = 0;
    vj_fill(be, b->x.data, 0.7f, s->rows * width / in_float); /* with bf16, two elements at a time */
    vj_fill(be, b->w.data, 0.01f, width * width / in_float);
    for (int timed = 0; timed < 2; timed++) {
        (void)vj_cuda_check(be, cudaEventRecord(b->from, stream), "cudaEventRecord");
        vj_linear_forward(be, b->y, b->x, b->w, NULL, NULL, 0, s->rows, s->width, s->width);
        vj_linear_backward_weight(be, b->dw, NULL, b->y, b->x, 0, s->rows, s->width, s->width);
        (void)vj_cuda_check(be, cudaEventRecord(b->to, stream), "cudaEventRecord");
    }
    VJ_TRY(vj_sync(be));
    (void)vj_cuda_check(be, cudaEventElapsedTime(&took, b->from, b->to), "cudaEventElapsedTime");
    *ms = took > 1e-3f ? (double)took : 1e-3; /* the resolution of events */
    return VJ_OK;
}

static vj_status time_all(const bench *b, vj_product_rate *rates, int count)
{
    double ms = 0;
    int s = 0;
    VJ_TRY(vj_cuda_use_products(b->be, rates[0].name));
    VJ_TRY(time_size(b, &sizes[s], &ms));
    while (s + 1 < SIZES && ms < LONG_MS) VJ_TRY(time_size(b, &sizes[++s], &ms));
    const double flops = 4.0 * (double)sizes[s].rows * sizes[s].width * sizes[s].width;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            VJ_TRY(vj_cuda_use_products(b->be, rates[i].name));
            VJ_TRY(time_size(b, &sizes[s], &ms));
            const double gflops = 1e-6 * flops / ms;
            if (gflops > rates[i].gflops) rates[i].gflops = gflops;
        }
    return VJ_OK;
}

/* Allocate operands of the types that a model uses. */
static vj_status set_up(bench *b)
{
    vj_backend *be = b->be;
    const size *largest = &sizes[SIZES - 1];
    const int64_t x = largest->rows * largest->width, w = (int64_t)largest->width * largest->width;
    const vj_type type = be->precision == VJ_BF16 ? VJ_TYPE_BF16 : VJ_TYPE_F32;
    if (!vj_cuda_check(be, cudaEventCreateWithFlags(&b->from, cudaEventDefault), "cudaEventCreate") ||
        !vj_cuda_check(be, cudaEventCreateWithFlags(&b->to, cudaEventDefault), "cudaEventCreate"))
        return vj_sync(be);
    b->x = (vj_array){vj_device_alloc(be, x * vj_type_bytes(type)), type};
    b->y = (vj_array){vj_device_alloc(be, x * vj_type_bytes(type)), type};
    b->w = (vj_array){vj_device_alloc(be, w * vj_type_bytes(type)), type};
    b->dw = vj_device_alloc(be, w * (int64_t)sizeof(float));
    if (!b->x.data || !b->y.data || !b->w.data || !b->dw) return VJ_ERR_MEMORY; /* reported by the device */
    return vj_sync(be);
}

vj_status vj_cuda_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    const char *products = vj_cuda_products_name(be);
    bench b = {.be = be};
    *count = 0;
    list(be, rates, capacity < VJ_PRODUCT_CANDIDATES ? capacity : VJ_PRODUCT_CANDIDATES, count);
    vj_status status = set_up(&b);
    if (status == VJ_OK) status = time_all(&b, rates, *count);
    vj_device_free(be, b.x.data);
    vj_device_free(be, b.y.data);
    vj_device_free(be, b.w.data);
    vj_device_free(be, b.dw);
    if (b.from) (void)cudaEventDestroy(b.from);
    if (b.to) (void)cudaEventDestroy(b.to);
    const vj_status back = vj_cuda_use_products(be, products);
    VJ_ASSERT(back == VJ_OK); /* it was in use before */
    return status;
}
