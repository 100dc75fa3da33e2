/*
 * Whether a device can multiply by wgmma (product_wgmma.cu). The kernel is tried before it is used: on small integers,
 * whose products and sums are exact in any order, so that its results must have the bits of the kernel that all GPUs
 * have. What it gets wrong then costs speed, and not a run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/cuda/products.h"

/*
 * Two tiles that one block makes, in six steps: the ring of four is used again, and the second tile, the last step and
 * the columns are not full. One width for each width of tiles.
 */
enum { ROWS = 136, DEPTH = 136, MOST_COLUMNS = 248, LARGEST = 8 };
static const int columns[] = {MOST_COLUMNS, 184};

/* Elements of device memory. */
enum { OPERAND = ROWS * MOST_COLUMNS, SUMS = ROWS * MOST_COLUMNS };
typedef struct {
    uint16_t a[OPERAND], b[OPERAND];
    float got[SUMS], want[SUMS];
    uint32_t late;
} trial;

static bool failed(cudaError_t error, const char *what, char *why, size_t bytes)
{
    if (error == cudaSuccess) return false;
    snprintf(why, bytes, "%s: %s", what, cudaGetErrorString(error));
    return true;
}

static void draw_integers(uint16_t *to, int64_t n, uint32_t which)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, which);
    for (int64_t i = 0; i < n; i++) {
        const float x = (float)(vj_rng_below(&rng, 2 * LARGEST + 1) - LARGEST);
        uint32_t bits;
        memcpy(&bits, &x, 4);
        to[i] = (uint16_t)(bits >> 16); /* exact */
    }
}

/* The product of one form by both kernels, and its results to the host. */
static cudaError_t run_form(vj_backend *be, const vj_cuda_wgmma *how, const vj_product *form, trial *device,
                            trial *host)
{
    const cudaStream_t stream = vj_cuda_stream(be);
    const int64_t a_width = form->a_transposed ? form->M : form->K, b_width = form->b_transposed ? form->K : form->N;
    vj_product got = *form, want = *form;
    got.c = vj_f32(device->got);
    want.c = vj_f32(device->want);
    cudaError_t error = cudaMemsetAsync(device->got, 0xff, sizeof device->got + sizeof device->want, stream);
    if (error == cudaSuccess) error = cudaMemsetAsync(&device->late, 0, sizeof device->late, stream);
    if (error == cudaSuccess) error = vj_cuda_wgmma_product(stream, &got, a_width, b_width, NULL, how);
    if (error == cudaSuccess) error = vj_cuda_tile_product(stream, &want, a_width, b_width, NULL);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(host->got, device->got, sizeof *host - offsetof(trial, got), cudaMemcpyDeviceToHost,
                                stream);
    return error == cudaSuccess ? cudaStreamSynchronize(stream) : error;
}

static bool same_results(const vj_product *form, const trial *host, char *why, size_t bytes)
{
    const char *name = form->a_transposed   ? form->b_transposed ? "A^T B^T" : "A^T B"
                       : form->b_transposed ? "A B^T"
                                            : "A B";
    if (host->late) {
        snprintf(why, bytes, "%s: a load of operands did not end", name);
        return false;
    }
    for (int64_t i = 0; i < form->M * form->N; i++) {
        if (memcmp(&host->got[i], &host->want[i], sizeof(float)) == 0) continue;
        snprintf(why, bytes, "%s of %lld x %lld over %lld, row %lld, column %lld: %g instead of %g", name,
                 (long long)form->M, (long long)form->N, (long long)form->K, (long long)(i / form->N),
                 (long long)(i % form->N), (double)host->got[i], (double)host->want[i]);
        return false;
    }
    return true;
}

/* All forms with all widths of tiles. */
static bool try_forms(vj_backend *be, const vj_cuda_wgmma *how, trial *device, trial *host, char *why, size_t bytes)
{
    draw_integers(host->a, OPERAND, 0);
    draw_integers(host->b, OPERAND, 1);
    const cudaError_t error = cudaMemcpyAsync(device->a, host->a, sizeof host->a + sizeof host->b,
                                              cudaMemcpyHostToDevice, vj_cuda_stream(be));
    if (failed(error, "upload", why, bytes)) return false;
    vj_cuda_wgmma alone = *how;
    alone.processors = 1;
    alone.late = &device->late;
    for (int i = 0; i < 8; i++) {
        const vj_product form = {.M = ROWS,
                                 .N = columns[i / 4],
                                 .K = DEPTH,
                                 .a = {device->a, VJ_TYPE_BF16},
                                 .b = {device->b, VJ_TYPE_BF16},
                                 .a_transposed = i & 1,
                                 .b_transposed = i & 2};
        if (failed(run_form(be, &alone, &form, device, host), "the kernel", why, bytes) ||
            !same_results(&form, host, why, bytes))
            return false;
    }
    return true;
}

static bool works(vj_backend *be, const vj_cuda_wgmma *how, char *why, size_t bytes)
{
    trial *host = vj_calloc(1, sizeof *host);
    void *device = NULL;
    bool good = false;
    if (!host)
        snprintf(why, bytes, "out of memory");
    else if (!failed(cudaMalloc(&device, sizeof(trial)), "cudaMalloc", why, bytes))
        good = try_forms(be, how, device, host, why, bytes);
    if (device) (void)cudaFree(device);
    free(host);
    return good;
}

bool vj_cuda_wgmma_open(vj_backend *be, vj_cuda_wgmma *how, char *why, size_t bytes)
{
    const vj_cuda *cuda = vj_cuda_of(be);
    void *encode = NULL;
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    why[0] = '\0';
    if (cuda->major != 9) {
        snprintf(why, bytes, "this device has compute capability %d, wgmma is an instruction of 9.0 alone",
                 cuda->major);
        return false;
    }
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found);
    if (error != cudaSuccess || found != cudaDriverEntryPointSuccess || !encode) {
        (void)cudaGetLastError();
        snprintf(why, bytes, "the driver has no cuTensorMapEncodeTiled");
        return false;
    }
    *how = (vj_cuda_wgmma){.processors = cuda->processors};
    memcpy(&how->encode, &encode, sizeof encode);
    if (be->precision != VJ_BF16 || works(be, how, why, bytes)) return true;
    vj_warn("products by wgmma are wrong on %s (%s): mma.sync multiplies instead, which is slower", cuda->name, why);
    return false;
}
