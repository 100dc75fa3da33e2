/*
 * Finds out whether a device can multiply by wgmma (product_wgmma.cu) and compute attention by it (attention_wgmma.cu).
 * The kernels are tried before they are used, and kernels with wrong results are not used. Products are tried on small
 * integers, whose products and sums are exact in any order: the results must have the bits of the kernel for all GPUs.
 * Attention must agree within the rounding of probabilities.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/cuda/products.h"

static bool failed(cudaError_t error, const char *what, char *why, size_t bytes)
{
    if (!vj_cuda_failed(error)) return false;
    snprintf(why, bytes, "%s: %s", what, cudaGetErrorString(error));
    return true;
}

/* Elements of a result that are wrong: how many, the rows and columns between which they lie, and the first of them. */
typedef struct {
    int64_t count, first_row, last_row, first_column, last_column;
    int64_t row, column;
    double got, want;
} wrong_elements;

static void add_wrong(wrong_elements *w, int64_t row, int64_t column, double got, double want)
{
    if (w->count++ == 0) *w = (wrong_elements){1, row, row, column, column, row, column, got, want};
    w->last_row = row; /* rows are compared in ascending order */
    if (column < w->first_column) w->first_column = column;
    if (column > w->last_column) w->last_column = column;
}

/* Append to `why`, behind the name of the result, which of its `all` elements are wrong. */
static void describe_wrong(const wrong_elements *w, int64_t all, char *why, size_t bytes)
{
    const size_t used = strlen(why);
    snprintf(
        why + used, bytes - used,
        ": %lld of %lld elements, in rows %lld to %lld, columns %lld to %lld; row %lld, column %lld: %g instead of %g",
        (long long)w->count, (long long)all, (long long)w->first_row, (long long)w->last_row,
        (long long)w->first_column, (long long)w->last_column, (long long)w->row, (long long)w->column, w->got,
        w->want);
}

/* ------------------------------------------------------------------------------------------------ products */

/*
 * One block computes two or four tiles, in three steps each, so that places of the ring are reused, warp groups that
 * take turns have one or two tiles each, and there are partial tiles, a partial last step and partial columns. Each
 * form has both widths: tiles of 256, then of 192; or in turn of 192 and of 64, then of 128.
 */
enum { ROWS = 136, DEPTH = 136, MAX_COLUMNS = 248, LARGEST = 8 };
static const int columns[] = {MAX_COLUMNS, 120};

/* Sizes of device arrays, in elements. Results: floats, or two arrays of bf16. */
enum { OPERAND = ROWS * MAX_COLUMNS, SUMS = ROWS * MAX_COLUMNS };
typedef union {
    float sums[SUMS];
    uint16_t rounded[2][SUMS];
} trial_results;
/* Kernels read and write arrays 16 bytes at a time. Behind `late` the compiler pads: that is never written, so it is
 * not copied either, and compute-sanitizer's initcheck has nothing to report. */
typedef struct {
    _Alignas(16) uint16_t a[OPERAND], b[OPERAND];
    _Alignas(16) float bias[MAX_COLUMNS];
    _Alignas(16) trial_results got, want;
    uint32_t late;
} trial;

#define TO_DOWNLOAD(type) (offsetof(type, late) + sizeof(uint32_t) - offsetof(type, got))

static void draw_integers(uint16_t *to, int64_t n, int largest, uint32_t which)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, which);
    for (int64_t i = 0; i < n; i++) {
        const float x = (float)(vj_rng_below(&rng, 2 * largest + 1) - largest);
        uint32_t bits;
        memcpy(&bits, &x, 4);
        to[i] = (uint16_t)(bits >> 16); /* exact */
    }
}

/*
 * Return what to multiply, without results: results of floats, with A transposed or not, then of bf16, plain and with
 * GELU (forward and backward, where its argument is the operand B); each with B transposed or not.
 */
enum { WAYS = 8, FORMS = 2 * WAYS };
static vj_product form_of(const trial *device, int i)
{
    enum { FLOATS, WEIGHTS, ROUNDED, GELU };
    const int way = i % WAYS / 2;
    vj_product form = {.M = ROWS,
                       .N = columns[i / WAYS],
                       .K = DEPTH,
                       .a = {(void *)device->a, VJ_TYPE_BF16},
                       .b = {(void *)device->b, VJ_TYPE_BF16},
                       .a_transposed = way == WEIGHTS,
                       .b_transposed = i % 2 == 1};
    if (way >= ROUNDED) form.c.type = VJ_TYPE_BF16;
    if (way == GELU) form.finish = form.b_transposed ? VJ_FINISH_GELU : VJ_FINISH_GELU_GRADIENT;
    if (form.c.type == VJ_TYPE_BF16 && form.finish != VJ_FINISH_GELU_GRADIENT) form.bias = device->bias;
    return form;
}

/* Let `form` write its results to `to`. */
static vj_product to_results(vj_product form, const trial *device, trial_results *to)
{
    const vj_array beside = {to->rounded[1], VJ_TYPE_BF16};
    form.c.data = to;
    if (form.finish == VJ_FINISH_GELU) form.pre = beside;
    if (form.finish == VJ_FINISH_GELU_GRADIENT) {
        form.pre = (vj_array){(void *)device->b, VJ_TYPE_BF16};
        form.hidden = beside;
    }
    return form;
}

static void name_form(const vj_product *form, char *name, size_t bytes)
{
    static const char *const finishes[] = {"", ", GELU", ", GELU's gradient"};
    snprintf(name, bytes, "A%s B%s%s, %s, of %lld x %lld over %lld", form->a_transposed ? "^T" : "",
             form->b_transposed ? "^T" : "", finishes[form->finish], form->c.type == VJ_TYPE_F32 ? "fp32" : "bf16",
             (long long)form->M, (long long)form->N, (long long)form->K);
}

/*
 * Compute the product of one form by both kernels, and copy the results to the host. It is waited for after each, so
 * that a failure tells whose it is.
 */
static bool run_form(vj_backend *be, const vj_cuda_wgmma *how, const vj_product *form, trial *device, trial *host,
                     char *why, size_t bytes)
{
    const cudaStream_t stream = vj_cuda_stream(be);
    const int64_t a_width = form->a_transposed ? form->M : form->K, b_width = form->b_transposed ? form->K : form->N;
    const vj_product got = to_results(*form, device, &device->got), want = to_results(*form, device, &device->want);
    char name[80], what[120];
    name_form(form, name, sizeof name);
    cudaError_t error = cudaMemsetAsync(&device->got, 0xff, sizeof device->got + sizeof device->want, stream);
    if (error == cudaSuccess) error = cudaMemsetAsync(&device->late, 0, sizeof device->late, stream);
    if (error == cudaSuccess) error = vj_cuda_wgmma_product(stream, &got, a_width, b_width, NULL, how);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    snprintf(what, sizeof what, "%s, by wgmma", name);
    if (failed(error, what, why, bytes)) return false;
    error = vj_cuda_tile_product(stream, &want, a_width, b_width, NULL);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(&host->got, &device->got, TO_DOWNLOAD(trial), cudaMemcpyDeviceToHost, stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    snprintf(what, sizeof what, "%s, by mma", name);
    return !failed(error, what, why, bytes);
}

/* Return element i of results, and of the array beside the results. */
static double result_at(const vj_product *form, const trial_results *r, int beside, int64_t i)
{
    if (form->c.type == VJ_TYPE_F32) return (double)r->sums[i];
    const uint32_t bits = (uint32_t)r->rounded[beside][i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return (double)x;
}

static bool same_results(const vj_product *form, const trial *host, char *why, size_t bytes)
{
    name_form(form, why, bytes);
    const size_t used = strlen(why);
    for (int beside = 0; beside < (form->finish == VJ_FINISH_PLAIN ? 1 : 2); beside++) {
        wrong_elements wrong = {0};
        for (int64_t i = 0; i < form->M * form->N; i++) {
            const double got = result_at(form, &host->got, beside, i), want = result_at(form, &host->want, beside, i);
            /* The sign of a zero may differ; a NaN was not written. */
            if (got != want) add_wrong(&wrong, i / form->N, i % form->N, got, want);
        }
        if (wrong.count == 0) continue;
        snprintf(why + used, bytes - used, "%s%s", host->late ? ", where a load of operands did not end" : "",
                 beside ? ", the array beside" : "");
        describe_wrong(&wrong, form->M * form->N, why, bytes);
        return false;
    }
    if (host->late) snprintf(why + used, bytes - used, ": a load of operands did not end");
    return !host->late;
}

static void warn_of_products(const vj_backend *be, const char *why)
{
    vj_warn("products by wgmma are wrong on %s (%s): mma.sync multiplies instead, which is slower",
            vj_cuda_of(be)->name, why);
}

/* Try all forms with all widths of tiles, and all ways of finishing sums. Reports those that are wrong as warnings. */
static bool try_forms(vj_backend *be, const vj_cuda_wgmma *how, trial *device, trial *host, char *why, size_t bytes)
{
    bool good = true;
    draw_integers(host->a, OPERAND, LARGEST, 0);
    draw_integers(host->b, OPERAND, LARGEST, 1);
    for (int i = 0; i < MAX_COLUMNS; i++) host->bias[i] = (float)(i % (2 * LARGEST) - LARGEST);
    const cudaError_t error =
        cudaMemcpyAsync(device, host, offsetof(trial, got), cudaMemcpyHostToDevice, vj_cuda_stream(be));
    bool alive = !failed(error, "upload", why, bytes);
    if (!alive) warn_of_products(be, why);
    vj_cuda_wgmma alone = *how;
    alone.processors = 1;
    alone.late = &device->late;
    for (int i = 0; i < FORMS && alive; i++) {
        const vj_product form = form_of(device, i);
        alive = run_form(be, &alone, &form, device, host, why, bytes);
        if (alive && same_results(&form, host, why, bytes)) continue;
        good = false;
        warn_of_products(be, why);
        if (host->late) break; /* trying the others would take long */
    }
    return good && alive;
}

static bool multiplies(vj_backend *be, const vj_cuda_wgmma *how, char *why, size_t bytes)
{
    trial *host = vj_calloc(1, sizeof *host);
    void *device = NULL;
    bool good = false;
    if (!host)
        snprintf(why, bytes, "out of memory");
    else if (!failed(cudaMalloc(&device, sizeof(trial)), "cudaMalloc", why, bytes))
        good = try_forms(be, how, device, host, why, bytes);
    if (!device) warn_of_products(be, why);
    if (device) (void)cudaFree(device);
    free(host);
    return good;
}

/* ------------------------------------------------------------------------------------------------ attention */

/*
 * One block has three tiles: one of a segment that leaves a warp group without rows, and two of a segment that ends in
 * the middle of a tile of either side. It takes eight or seven steps, so that places of rings of three and four are
 * reused.
 */
enum { SEGMENTS = 2, LENGTH = 133, TOKENS = 3 + LENGTH, MAX_WIDTH = 128, LARGEST_ENTRY = 2 };
static const int32_t offsets[] = {0, 3, TOKENS};
static const int widths[] = {64, 80, 128};

/*
 * Largest differences, relative to the largest result. The two kernels round probabilities and gradients of scores to
 * bf16 relative to different largest scores, each by at most 2^-9; 0.0013 was measured. lse has only the rounding of
 * floats.
 */
#define FURTHEST     0.008f
#define FURTHEST_LSE 1e-5f

enum { OUT = TOKENS * MAX_WIDTH, RESULTS = 4 * OUT + TOKENS };
typedef struct {
    _Alignas(16) uint16_t qkv[3 * OUT], dout[OUT];
    int32_t offset[SEGMENTS + 1];
    _Alignas(16) float terms[2 * TOKENS];
    _Alignas(16) float got[RESULTS], want[RESULTS]; /* out, dqkv, lse, one after the other */
    uint32_t late;
} attention_trial;

static cudaError_t attend(vj_backend *be, const vj_cuda_wgmma *how, int width, attention_trial *device, float *to)
{
    const int64_t n = (int64_t)TOKENS * width;
    const vj_rows rows = vj_rows_from(offsets, device->offset, SEGMENTS);
    const vj_cuda_attention arrays = {.qkv = {device->qkv, VJ_TYPE_BF16},
                                      .dout = {device->dout, VJ_TYPE_BF16},
                                      .out = to,
                                      .dqkv = to + n,
                                      .lse = to + 4 * n,
                                      .terms = device->terms};
    return vj_cuda_try_attention(vj_cuda_stream(be), how, &rows, width, 1, &arrays);
}

/* Compute attention by both kernels for heads of this width, and copy the results to the host; waits as run_form(). */
static bool run_width(vj_backend *be, const vj_cuda_wgmma *how, int width, attention_trial *device,
                      attention_trial *host, char *why, size_t bytes)
{
    const cudaStream_t stream = vj_cuda_stream(be);
    char what[80];
    cudaError_t error = cudaMemsetAsync(device->got, 0xff, sizeof device->got + sizeof device->want, stream);
    if (error == cudaSuccess) error = cudaMemsetAsync(&device->late, 0, sizeof device->late, stream);
    if (error == cudaSuccess) error = attend(be, how, width, device, device->got);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    snprintf(what, sizeof what, "heads of width %d, by wgmma", width);
    if (failed(error, what, why, bytes)) return false;
    error = attend(be, NULL, width, device, device->want);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(host->got, device->got, TO_DOWNLOAD(attention_trial), cudaMemcpyDeviceToHost, stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    snprintf(what, sizeof what, "heads of width %d, by mma", width);
    return !failed(error, what, why, bytes);
}

static void warn_of_attention(const vj_backend *be, const char *why)
{
    vj_warn("attention by wgmma is wrong on %s (%s): it is computed by mma.sync instead, which is slower",
            vj_cuda_of(be)->name, why);
}

/*
 * Compare columns first .. first + wide - 1 of results at `at`, of `stride` columns and a row for each token. If
 * they are wrong, write why and report it as a warning.
 */
static bool near(const vj_backend *be, const char *name, int width, const attention_trial *host, int64_t at, int stride,
                 int first, int wide, float furthest, char *why, size_t bytes)
{
    const float *got = host->got + at + first, *want = host->want + at + first;
    float largest = 0;
    wrong_elements wrong = {0};
    for (int i = 0; i < TOKENS * stride; i++) largest = fmaxf(largest, fabsf(host->want[at + i]));
    for (int row = 0; row < TOKENS; row++)
        for (int i = 0; i < wide; i++) {
            const float x = got[row * stride + i], y = want[row * stride + i];
            if (!(fabsf(x - y) <= furthest * largest)) add_wrong(&wrong, row, i, (double)x, (double)y);
        }
    if (wrong.count == 0) return true;
    snprintf(why, bytes, "heads of width %d, %s", width, name);
    describe_wrong(&wrong, (int64_t)TOKENS * wide, why, bytes);
    warn_of_attention(be, why);
    return false;
}

static bool same_attention(const vj_backend *be, int width, const attention_trial *host, char *why, size_t bytes)
{
    static const char *const gradients[] = {"gradient of queries", "gradient of keys", "gradient of values"};
    const int64_t n = (int64_t)TOKENS * width;
    if (host->late) {
        snprintf(why, bytes, "heads of width %d: a copy of operands did not end", width);
        warn_of_attention(be, why);
    }
    bool good = !host->late;
    good &= near(be, "result", width, host, 0, width, 0, width, FURTHEST, why, bytes);
    good &= near(be, "lse", width, host, 4 * n, 1, 0, 1, FURTHEST_LSE, why, bytes);
    for (int i = 0; i < 3; i++)
        good &= near(be, gradients[i], width, host, n, 3 * width, i * width, width, FURTHEST, why, bytes);
    return good;
}

/* Try each width, and return the bits of those whose results are correct. The others are reported as warnings. */
static unsigned try_widths(vj_backend *be, const vj_cuda_wgmma *how, attention_trial *device, attention_trial *host,
                           char *why, size_t bytes)
{
    unsigned correct = 0;
    draw_integers(host->qkv, 3 * OUT, LARGEST_ENTRY, 2);
    draw_integers(host->dout, OUT, LARGEST_ENTRY, 3);
    memcpy(host->offset, offsets, sizeof offsets);
    const cudaError_t error =
        cudaMemcpyAsync(device, host, offsetof(attention_trial, terms), cudaMemcpyHostToDevice, vj_cuda_stream(be));
    bool alive = !failed(error, "upload", why, bytes);
    if (!alive) warn_of_attention(be, why);
    vj_cuda_wgmma alone = *how;
    alone.processors = 1;
    alone.attends = ~0u;
    alone.late = &device->late;
    for (size_t i = 0; i < sizeof widths / sizeof *widths && alive; i++) {
        alive = run_width(be, &alone, widths[i], device, host, why, bytes);
        if (!alive) warn_of_attention(be, why);
        if (alive && same_attention(be, widths[i], host, why, bytes)) correct |= 1u << widths[i] / 16;
    }
    return correct;
}

/* Return the bits of the widths of heads for which attention is correct. */
static unsigned attends(vj_backend *be, const vj_cuda_wgmma *how, char *why, size_t bytes)
{
    attention_trial *host = vj_calloc(1, sizeof *host);
    void *device = NULL;
    unsigned correct = 0;
    if (!host)
        snprintf(why, bytes, "out of memory");
    else if (!failed(cudaMalloc(&device, sizeof(attention_trial)), "cudaMalloc", why, bytes))
        correct = try_widths(be, how, device, host, why, bytes);
    if (!device) warn_of_attention(be, why);
    if (device) (void)cudaFree(device);
    free(host);
    return correct;
}

/* ------------------------------------------------------------------------------------------------ open */

vj_cuda_wgmma_wish vj_cuda_wgmma_wanted(void)
{
    static const char *const names[] = {[VJ_WGMMA_PRODUCTS] = "products", [VJ_WGMMA_NONE] = "none"};
    const char *name = getenv("VJ_WGMMA");
    if (!name) return VJ_WGMMA_ALL;
    for (int i = VJ_WGMMA_PRODUCTS; i <= VJ_WGMMA_NONE; i++)
        if (strcmp(name, names[i]) == 0) return (vj_cuda_wgmma_wish)i;
    return VJ_WGMMA_UNKNOWN;
}

/* Look up cuTensorMapEncodeTiled(), which is new in CUDA 12.0. */
static cudaError_t find_encode(void **encode, enum cudaDriverEntryPointQueryResult *found)
{
#if CUDART_VERSION >= 12050
    return cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", encode, 12000, cudaEnableDefault, found);
#else
    return cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", encode, cudaEnableDefault, found);
#endif
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
    if (vj_cuda_wgmma_wanted() == VJ_WGMMA_NONE) {
        snprintf(why, bytes, "it is left out by VJ_WGMMA=none");
        return false;
    }
    const cudaError_t error = find_encode(&encode, &found);
    if (vj_cuda_failed(error) || found != cudaDriverEntryPointSuccess || !encode) {
        snprintf(why, bytes, "the driver has no cuTensorMapEncodeTiled");
        return false;
    }
    *how = (vj_cuda_wgmma){.processors = cuda->processors};
    memcpy(&how->encode, &encode, sizeof encode);
    return true;
}

bool vj_cuda_wgmma_try(vj_backend *be, vj_cuda_wgmma *how, char *why, size_t bytes)
{
    const bool good = multiplies(be, how, why, bytes);
    const bool alive = !vj_cuda_failed(cudaStreamSynchronize(vj_cuda_stream(be)));
    char other[256];
    if (alive && vj_cuda_wgmma_wanted() == VJ_WGMMA_ALL) how->attends = attends(be, how, other, sizeof other);
    return good;
}
