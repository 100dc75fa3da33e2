/*
 * The choice of what computes products on a GPU: own kernels, by instructions of all GPUs (product.cu) or of compute
 * capability 9.0 (product_wgmma.cu), or NVIDIA's cuBLASLt, which is loaded if it is installed.
 *
 *   own       large products by wgmma if the device has it, or by the library if it can do the whole product; the
 *             others by mma
 *   mma       only own kernels that run on all GPUs
 *   wgmma     only own kernels, by wgmma for products that fill its tiles
 *   cublaslt  the library for all products that it can do
 *
 * But with mma, attention too is computed by wgmma if the device has it (attention.cu asks for the choice).
 *
 * Own kernels give a row the same bits whatever the other rows are. The library chooses an algorithm by the number of
 * rows, and `own` chooses a kernel by it, so with these a row's bits depend on the number of rows. If a result must not
 * depend on how rows are divided (over ranks, for example), choose mma or wgmma. The same shapes always give the same
 * bits: the library may not split the depth, and its workspace has a fixed size. The library never computes GELU,
 * because its GELU is the approximation by tanh.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/products.h"

enum { WORKSPACE_BYTES = 32 << 20 }; /* as recommended for Hopper; another size changes algorithms, and so bits */
enum { ALIGNMENT = 16, WHOLE = 8 };  /* of the library's pointers in bytes, of its rows in elements */
/* Sums that are finished in a second pass are computed in pieces of this size, so that they are mostly read from the
 * cache. */
enum { SUMS_BYTES = 64 << 20 };
/*
 * The library is used where it is faster, by measurements on an H100: for products that fill the GPU and, if a second
 * pass over the sums is needed, whose depth is long enough to pay for it.
 */
enum { LARGE_FLOPS = 1 << 30, LONG_DEPTH = 1024 };
/* Least sizes for wgmma, whose tiles would be mostly empty with fewer columns or less depth. */
enum { WGMMA_COLUMNS = 128, WGMMA_DEPTH = 64 };

/* The product for which an algorithm was requested from the library. */
typedef struct {
    int64_t M, N, K; /* the number of rows rounded up: see nominal() */
    int32_t operands, result, form;
} question;

typedef struct {
    question asked;
    enum { EMPTY, NONE, FOUND } state; /* NONE: the library has no algorithm for it */
    vj_lt_algorithm algorithm;
} answer;
enum { ANSWERS = 1024 };

struct vj_cuda_products {
    enum { OWN, MMA, WGMMA, CUBLASLT } who;
    bool forced; /* by VJ_PRODUCTS */
    /* wgmma multiplies bf16, so it is tried when it is first needed in bf16. */
    enum { NOT_ASKED, NO_WGMMA, NOT_TRIED, HAS_WGMMA } has_wgmma;
    vj_cuda_wgmma wgmma;
    char no_wgmma[256]; /* why not */
    void *library;
    char failure[160]; /* why there is no library */
    vj_lt_functions lt;
    void *handle, *preference, *workspace; /* workspace: device, owned */
    answer answers[ANSWERS];               /* a hash table */
    int answered;
};

static const char *const names[] = {"own", "mma", "wgmma", "cublaslt"};

static vj_cuda_products *products_of(const vj_backend *be)
{
    return vj_cuda_of(be)->products;
}

/* ------------------------------------------------------------------------------------------------ the library */

static bool load_functions(vj_cuda_products *p)
{
#define VJ_LT_ROW(result, name, ...)                                                                                   \
    *(void **)&p->lt.name = dlsym(p->library, "cublasLt" #name);                                                       \
    if (!p->lt.name) return false;
    VJ_LT_FUNCTIONS(VJ_LT_ROW)
#undef VJ_LT_ROW
    return true;
}

/* Return the name of the library's file number i, or NULL: the one that the environment names, or else those of all
 * versions that have the same functions, first the one to prefer. */
static const char *library_file(int i)
{
    static const char *const files[] = {VJ_CUBLASLT_FILES};
    const char *wanted = getenv("VJEPA_CUBLASLT");
    if (wanted) return i == 0 ? wanted : NULL;
    return i < (int)(sizeof files / sizeof files[0]) ? files[i] : NULL;
}

/* The library stays in memory when it is closed: loading half a gigabyte takes longer than most tests. */
static void *load_library(const char *file)
{
    return dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

static bool library_failed(vj_cuda_products *p, int status, const char *what)
{
    if (status == VJ_LT_SUCCESS) return false;
    snprintf(p->failure, sizeof p->failure, "%s: %s", what, p->lt.GetStatusString(status));
    return true;
}

static void set_preference(vj_cuda_products *p)
{
    const uint64_t workspace = WORKSPACE_BYTES;
    const uint32_t alignment = ALIGNMENT, reduction = VJ_LT_REDUCTION_NONE;
    const int alignments[] = {VJ_LT_PREF_ALIGNMENT_A, VJ_LT_PREF_ALIGNMENT_B, VJ_LT_PREF_ALIGNMENT_C,
                              VJ_LT_PREF_ALIGNMENT_D};
    int status = p->lt.MatmulPreferenceSetAttribute(p->preference, VJ_LT_PREF_WORKSPACE_BYTES, &workspace, 8);
    if (status == VJ_LT_SUCCESS)
        status = p->lt.MatmulPreferenceSetAttribute(p->preference, VJ_LT_PREF_REDUCTION_MASK, &reduction, 4);
    for (int i = 0; i < 4 && status == VJ_LT_SUCCESS; i++)
        status = p->lt.MatmulPreferenceSetAttribute(p->preference, alignments[i], &alignment, 4);
    (void)library_failed(p, status, "cublasLtMatmulPreferenceSetAttribute");
}

static void close_library(vj_cuda_products *p)
{
    if (p->preference) (void)p->lt.MatmulPreferenceDestroy(p->preference);
    if (p->handle) (void)p->lt.Destroy(p->handle);
    if (p->library) (void)dlclose(p->library);
    p->preference = p->handle = p->library = NULL;
}

/* Load and open the library of this file; p->failure stays empty on success. */
static void open_file(vj_cuda_products *p, const char *file)
{
    p->library = load_library(file);
    if (!p->library)
        snprintf(p->failure, sizeof p->failure, "%s", dlerror());
    else if (!load_functions(p))
        snprintf(p->failure, sizeof p->failure, "%s lacks functions of cuBLASLt 13", file);
    else if (!library_failed(p, p->lt.Create(&p->handle), "cublasLtCreate") &&
             !library_failed(p, p->lt.MatmulPreferenceCreate(&p->preference), "cublasLtMatmulPreferenceCreate"))
        set_preference(p);
}

/* Open the first library that can be opened. If there is none, p->failure is that of the first file. */
static void open_library(vj_cuda_products *p)
{
    char first[sizeof p->failure] = "";
    const char *file;
    for (int i = 0; (file = library_file(i)); i++) {
        p->failure[0] = '\0';
        open_file(p, file);
        if (!p->failure[0]) return;
        if (i == 0) memcpy(first, p->failure, sizeof first);
        close_library(p);
    }
    memcpy(p->failure, first, sizeof first);
}

bool vj_cuda_products_present(const char *name)
{
    const char *file;
    struct cudaDeviceProp properties;
    if (vj_cuda_devices() == 0) return false;
    if (strcmp(name, "wgmma") == 0)
        return vj_cuda_wgmma_wanted() != VJ_WGMMA_NONE && !vj_cuda_failed(cudaGetDeviceProperties(&properties, 0)) &&
               properties.major == 9;
    if (strcmp(name, "cublaslt") != 0) return strcmp(name, "mma") == 0;
    for (int i = 0; (file = library_file(i)); i++) {
        void *library = load_library(file);
        if (!library) continue;
        (void)dlclose(library);
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------ choosing */

bool vj_cuda_has_wgmma(vj_backend *be)
{
    vj_cuda_products *p = products_of(be);
    const size_t bytes = sizeof p->no_wgmma;
    if (p->has_wgmma == NOT_ASKED)
        p->has_wgmma = vj_cuda_wgmma_open(be, &p->wgmma, p->no_wgmma, bytes) ? NOT_TRIED : NO_WGMMA;
    if (p->has_wgmma == NOT_TRIED && be->precision == VJ_BF16)
        p->has_wgmma = vj_cuda_wgmma_try(be, &p->wgmma, p->no_wgmma, bytes) ? HAS_WGMMA : NO_WGMMA;
    return p->has_wgmma != NO_WGMMA;
}

void vj_cuda_set_precision(vj_backend *be)
{
    vj_cuda_products *p = products_of(be);
    if (p->who != MMA && !vj_cuda_has_wgmma(be) && p->who == WGMMA) p->who = MMA; /* a warning has told why */
}

const vj_cuda_wgmma *vj_cuda_attention_wgmma(const vj_backend *be)
{
    const vj_cuda_products *p = products_of(be);
    return p->who != MMA && p->wgmma.attends ? &p->wgmma : NULL;
}

vj_status vj_cuda_use_products(vj_backend *be, const char *name)
{
    vj_cuda_products *p = products_of(be);
    for (int who = OWN; who <= CUBLASLT; who++) {
        if (strcmp(name, names[who]) != 0) continue;
        if (who == CUBLASLT && p->failure[0])
            return vj_raise(VJ_ERR_USAGE,
                            "products by cublaslt: %s. Load the module of CUDA 13, name the file in VJEPA_CUBLASLT, or "
                            "let own kernels multiply (train.products=own)",
                            p->failure);
        if (who != MMA && !vj_cuda_has_wgmma(be) && who == WGMMA)
            return vj_raise(VJ_ERR_USAGE, "products by wgmma: %s. Let others multiply (train.products=own, or mma)",
                            p->no_wgmma);
        p->who = (int)who;
        return VJ_OK;
    }
    return vj_raise(VJ_ERR_USAGE, "products by %s: on a GPU there are own, mma, wgmma, cublaslt", name);
}

vj_status vj_cuda_products_open(vj_backend *be)
{
    vj_cuda_products *p = vj_cuda_of(be)->products = vj_calloc(1, sizeof *p);
    if (!p) return vj_raise(VJ_ERR_MEMORY, "backend cuda: out of memory");
    open_library(p);
    if (!p->failure[0] && vj_cuda_failed(cudaMalloc(&p->workspace, WORKSPACE_BYTES)))
        return vj_raise(VJ_ERR_MEMORY, "backend cuda: no memory for the %d MiB in which cuBLASLt works",
                        WORKSPACE_BYTES >> 20);
    if (p->failure[0] && getenv("VJEPA_CUBLASLT"))
        return vj_raise(VJ_ERR_USAGE, "VJEPA_CUBLASLT=%s: %s", getenv("VJEPA_CUBLASLT"), p->failure);
    if (vj_cuda_wgmma_wanted() == VJ_WGMMA_UNKNOWN)
        return vj_raise(VJ_ERR_USAGE, "VJ_WGMMA=%s: it is none or products, or not set", getenv("VJ_WGMMA"));
    const char *products = getenv("VJ_PRODUCTS");
    p->forced = products != NULL;
    return vj_cuda_use_products(be, products ? products : "own");
}

void vj_cuda_products_close(vj_backend *be)
{
    vj_cuda_products *p = products_of(be);
    if (p) close_library(p);
    if (p && p->workspace) (void)cudaFree(p->workspace);
    free(p);
    vj_cuda_of(be)->products = NULL;
}

vj_status vj_cuda_set_products(vj_backend *be, const char *name)
{
    return products_of(be)->forced ? VJ_OK : vj_cuda_use_products(be, name);
}

const char *vj_cuda_products_name(const vj_backend *be)
{
    return names[products_of(be)->who];
}

int vj_cuda_parts_products(const vj_backend *be)
{
    (void)be;
    return 0;
}

bool vj_cuda_multiplies_bf16(const vj_backend *be)
{
    (void)be;
    return true; /* from sm_80 on, the first that is supported */
}

bool vj_cuda_library_version(const vj_backend *be, char *text, size_t bytes)
{
    const vj_cuda_products *p = products_of(be);
    text[0] = '\0';
    if (p->failure[0]) return false;
    const size_t version = p->lt.GetVersion(); /* 130100: 13.1.0 */
    snprintf(text, bytes, "%zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    return true;
}

void vj_cuda_products_library(const vj_backend *be, char *text, size_t bytes)
{
    char version[24];
    const bool present = vj_cuda_library_version(be, version, sizeof version);
    const bool used = products_of(be)->who == OWN || products_of(be)->who == CUBLASLT;
    snprintf(text, bytes, "%s%s", present && used ? "cuBLASLt " : "", used ? version : "");
}

/* ------------------------------------------------------------------------------------------------ operands */

/* An operand as it is stored, rows of `width` elements: the array, or in products of bf16 a rounded copy of it. */
typedef struct {
    vj_array array;
    int64_t rows, width;
    int64_t copy_bytes; /* 0: no copy is needed */
} operand;

static int64_t whole(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static bool aligned(const void *data)
{
    return (uintptr_t)data % ALIGNMENT == 0;
}

static operand operand_of(vj_array array, bool transposed, int64_t width, int64_t depth)
{
    operand o = {.array = array, .rows = transposed ? depth : width, .width = transposed ? width : depth};
    if (array.type != VJ_TYPE_BF16 || o.width % WHOLE != 0 || !aligned(array.data))
        o.copy_bytes = whole(o.rows * whole(o.width, WHOLE) * vj_type_bytes(VJ_TYPE_BF16), 256);
    return o;
}

/* Make the copy, if one is needed, and use it from now on. */
static bool round_operand(vj_backend *be, operand *o, void *copy)
{
    if (o->copy_bytes == 0) return true;
    const int64_t padded = whole(o->width, WHOLE);
    const cudaError_t error = vj_cuda_round_rows(vj_cuda_stream(be), copy, o->array, o->rows, o->width, padded);
    o->array = (vj_array){copy, VJ_TYPE_BF16};
    o->width = padded;
    return vj_cuda_check(be, error, "product: operand to bf16");
}

/* ------------------------------------------------------------------------------------------------ by the library */

/* How the work of a product is divided between the library and vj_cuda_finish(). */
typedef struct {
    bool finishes;  /* the library writes sums to separate memory, and vj_cuda_finish() does the rest */
    const float *c; /* what the library adds: the residual, or the result; NULL: nothing */
} division;

/* Divide the work. If the result is floats, the library itself adds a bias and one array of the result's shape. */
static division divide(const vj_product *g)
{
    division d = {0};
    const bool bare = !g->bias && !g->residual && !g->accumulate;
    const bool adds = g->c.type == VJ_TYPE_F32 && !(g->residual && g->accumulate) &&
                      (!g->residual || (g->residual_rows == g->M && aligned(g->residual))) && aligned(g->bias);
    d.finishes = g->finish != VJ_FINISH_PLAIN || !aligned(g->c.data) || !(bare || adds);
    if (!d.finishes && g->residual) d.c = g->residual;
    if (!d.finishes && g->accumulate) d.c = g->c.data;
    return d;
}

/* Return whether the library can compute this product and should. */
static bool library_takes(const vj_backend *be, const vj_product *g)
{
    const vj_cuda_products *p = products_of(be);
    if (p->failure[0] || p->who == MMA || p->who == WGMMA) return false;
    const int64_t a_width = g->a_transposed ? g->M : g->K, b_width = g->b_transposed ? g->K : g->N;
    if (a_width % WHOLE != 0 || b_width % WHOLE != 0 || g->N % WHOLE != 0) return false;
    if (be->precision == VJ_FP32 &&
        (g->a.type != VJ_TYPE_F32 || g->b.type != VJ_TYPE_F32 || !aligned(g->a.data) || !aligned(g->b.data)))
        return false;
    if (p->who == CUBLASLT) return true;
    if (be->precision == VJ_BF16 && vj_cuda_tile_parts(g) > 1) return false; /* the library may not split the depth */
    const double flops = 2.0 * (double)g->M * (double)g->N * (double)g->K;
    return flops >= LARGE_FLOPS && (be->precision == VJ_FP32 || !divide(g).finishes || g->K >= LONG_DEPTH);
}

/*
 * Return whether to compute a product of bf16 by wgmma. With the choice wgmma, for any number of rows, since a row's
 * bits do not depend on it. With `own`, if the product fills the GPU, unless the library can do all of it, without a
 * second pass over the sums, and wgmma's tiles would leave a part of the GPU idle.
 */
static bool wgmma_takes(const vj_backend *be, const vj_product *g)
{
    const vj_cuda_products *p = products_of(be);
    const int64_t rows = g->a_transposed ? g->M : WGMMA_COLUMNS;
    if (p->has_wgmma != HAS_WGMMA || g->N < WGMMA_COLUMNS || rows < WGMMA_COLUMNS || g->K < WGMMA_DEPTH) return false;
    if (p->who != OWN) return p->who == WGMMA;
    const bool large = 2.0 * (double)g->M * (double)g->N * (double)g->K >= LARGE_FLOPS;
    return large && (p->failure[0] || divide(g).finishes || vj_cuda_wgmma_parts(g) > 1 || vj_cuda_wgmma_fills(g));
}

/*
 * Return the number of rows for which an algorithm is requested. New masks in each step change the number of rows, so
 * it is rounded up: then there are few requests, and each is made once.
 */
static int64_t nominal(int64_t rows)
{
    int64_t n = 64;
    while (n < rows && n < 1024) n *= 2;
    return n < rows ? whole(rows, 1024) : n;
}

static uint64_t hash_of(const question *q)
{
    const uint64_t words[] = {(uint64_t)q->M,        (uint64_t)q->N,      (uint64_t)q->K,
                              (uint64_t)q->operands, (uint64_t)q->result, (uint64_t)q->form};
    uint64_t hash = 0;
    for (int i = 0; i < 6; i++) hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u;
    return hash >> 32;
}

static bool same_question(const question *a, const question *b)
{
    return a->M == b->M && a->N == b->N && a->K == b->K && a->operands == b->operands && a->result == b->result &&
           a->form == b->form;
}

/* Return the answer to q, or an empty place for it. A table that is nearly full is cleared, and questions are asked
 * again. */
static answer *find_answer(vj_cuda_products *p, const question *q)
{
    if (p->answered > ANSWERS * 3 / 4) {
        memset(p->answers, 0, sizeof p->answers);
        p->answered = 0;
    }
    uint64_t at = hash_of(q) % ANSWERS;
    while (p->answers[at].state != EMPTY && !same_question(&p->answers[at].asked, q)) at = (at + 1) % ANSWERS;
    return &p->answers[at];
}

/*
 * The descriptors of a product for the library. The library's matrices are column-major, so it computes the transposed
 * result, B^T A^T, from our row-major arrays.
 */
typedef struct {
    void *desc, *a, *b, *d;
} descriptors;

static void release_descriptors(const vj_cuda_products *p, const descriptors *x)
{
    if (x->desc) (void)p->lt.MatmulDescDestroy(x->desc);
    if (x->a) (void)p->lt.MatrixLayoutDestroy(x->a);
    if (x->b) (void)p->lt.MatrixLayoutDestroy(x->b);
    if (x->d) (void)p->lt.MatrixLayoutDestroy(x->d);
}

static int lt_type(vj_type type)
{
    return type == VJ_TYPE_BF16 ? VJ_LT_BF16 : VJ_LT_F32;
}

static int make_layout(const vj_cuda_products *p, void **layout, vj_type type, bool transposed, int64_t width,
                       int64_t depth)
{
    const int64_t rows = transposed ? depth : width, columns = transposed ? width : depth; /* as they are stored */
    return p->lt.MatrixLayoutCreate(layout, lt_type(type), (uint64_t)columns, (uint64_t)rows, columns);
}

#define LT_TRY(call)                                                                                                   \
    do {                                                                                                               \
        const int lt_status = (call);                                                                                  \
        if (lt_status != VJ_LT_SUCCESS) return lt_status;                                                              \
    } while (0)

static int describe_product(const vj_cuda_products *p, descriptors *x, const vj_product *g, vj_type result,
                            const float *bias)
{
    const int32_t op_a = g->b_transposed ? VJ_LT_OP_T : VJ_LT_OP_N, op_b = g->a_transposed ? VJ_LT_OP_T : VJ_LT_OP_N;
    const uint32_t epilogue = bias ? VJ_LT_EPILOGUE_BIAS : VJ_LT_EPILOGUE_DEFAULT;
    const int32_t bias_type = VJ_LT_F32;
    LT_TRY(p->lt.MatmulDescCreate(&x->desc, VJ_LT_COMPUTE_F32, VJ_LT_F32));
    LT_TRY(p->lt.MatmulDescSetAttribute(x->desc, VJ_LT_DESC_TRANSA, &op_a, sizeof op_a));
    LT_TRY(p->lt.MatmulDescSetAttribute(x->desc, VJ_LT_DESC_TRANSB, &op_b, sizeof op_b));
    LT_TRY(p->lt.MatmulDescSetAttribute(x->desc, VJ_LT_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (bias) {
        LT_TRY(p->lt.MatmulDescSetAttribute(x->desc, VJ_LT_DESC_BIAS_POINTER, &bias, sizeof bias));
        LT_TRY(p->lt.MatmulDescSetAttribute(x->desc, VJ_LT_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type));
    }
    LT_TRY(make_layout(p, &x->a, g->b.type, !g->b_transposed, g->N, g->K));
    LT_TRY(make_layout(p, &x->b, g->a.type, g->a_transposed, g->M, g->K));
    return make_layout(p, &x->d, result, false, g->M, g->N);
}

/* Return the library's answer for g, requested for the rounded number of rows, or NULL after a failure, which goes to
 * *status. */
static answer *answer_for(vj_cuda_products *p, const vj_product *g, vj_type result, const float *bias, int *status)
{
    vj_product asked = *g;
    if (g->a_transposed)
        asked.K = nominal(g->K);
    else
        asked.M = nominal(g->M);
    const question q = {.M = asked.M,
                        .N = asked.N,
                        .K = asked.K,
                        .operands = g->a.type,
                        .result = result,
                        .form = g->a_transposed | g->b_transposed << 1 | (bias != NULL) << 2};
    answer *found = find_answer(p, &q);
    if (found->state == EMPTY) {
        descriptors x = {0};
        vj_lt_heuristic heuristic = {0};
        int count = 0;
        /* The library takes the bias's alignment from its address, and later ones may have only the least. */
        const float *least = bias ? (const float *)(uintptr_t)ALIGNMENT : NULL;
        *status = describe_product(p, &x, &asked, result, least);
        if (*status == VJ_LT_SUCCESS) {
            const int answered = p->lt.MatmulAlgoGetHeuristic(p->handle, x.desc, x.a, x.b, x.d, x.d, p->preference, 1,
                                                              &heuristic, &count);
            if (answered != VJ_LT_NOT_SUPPORTED) *status = answered;
        }
        release_descriptors(p, &x);
        if (*status != VJ_LT_SUCCESS) return NULL;
        const bool some = count > 0 && heuristic.state == VJ_LT_SUCCESS;
        *found = (answer){.asked = q, .state = some ? FOUND : NONE, .algorithm = heuristic.algorithm};
        p->answered++;
    }
    return found;
}

/* d [M, N] = A B [+ c] [+ bias] by the library. Returns false if it has no algorithm for that. */
static bool multiply(vj_backend *be, const vj_product *g, vj_array d, const float *c, const float *bias)
{
    vj_cuda_products *p = products_of(be);
    const float one = 1, beta = c ? 1 : 0;
    descriptors x = {0};
    int status = VJ_LT_SUCCESS;
    answer *found = answer_for(p, g, d.type, bias, &status);
    if (found && found->state == NONE) return false;
    if (found) status = describe_product(p, &x, g, d.type, bias);
    if (status == VJ_LT_SUCCESS)
        status = p->lt.Matmul(p->handle, x.desc, &one, g->b.data, x.a, g->a.data, x.b, &beta, c ? c : d.data, x.d,
                              d.data, x.d, &found->algorithm, p->workspace, WORKSPACE_BYTES, vj_cuda_stream(be));
    release_descriptors(p, &x);
    if (found && (status == VJ_LT_NOT_SUPPORTED || status == VJ_LT_INVALID_VALUE)) {
        /* Nothing was launched. The algorithm was proposed for another number of rows. */
        vj_warn("cuBLASLt does not compute a product of %lld x %lld over %lld by the algorithm that it proposed (%s): "
                "products of this kind are computed by mma.sync instead",
                (long long)g->M, (long long)g->N, (long long)g->K, p->lt.GetStatusString(status));
        found->state = NONE;
        return false;
    }
    if (status != VJ_LT_SUCCESS)
        vj_keep_failure(be, vj_raise(VJ_ERR_LIBRARY,
                                     "cuBLASLt, product of %lld x %lld over %lld: %s. train.products=mma does without "
                                     "that library",
                                     (long long)g->M, (long long)g->N, (long long)g->K, p->lt.GetStatusString(status)));
    return true;
}

/* Return how many rows of sums are computed before they are finished. */
static int64_t rows_in_piece(const vj_product *g)
{
    const int64_t fit = SUMS_BYTES / (g->N * (int64_t)sizeof(float)) / 128 * 128;
    return g->a_transposed || g->M <= fit ? g->M : fit > 0 ? fit : 128;
}

/* Compute a product by the own kernels for all GPUs. Rows of operands have no padding, and the depth is not divided. */
static cudaError_t own_product(vj_backend *be, const vj_product *g)
{
    if (be->precision != VJ_BF16) return vj_cuda_float_product(vj_cuda_stream(be), g);
    return vj_cuda_tile_product(vj_cuda_stream(be), g, g->a_transposed ? g->M : g->K, g->b_transposed ? g->K : g->N,
                                NULL);
}

/* Compute a product by the library; its operands are ready. Returns false if it has no algorithm for that. */
static bool library_product(vj_backend *be, const vj_product *g, float *sums)
{
    const division d = divide(g);
    if (!d.finishes) return multiply(be, g, g->c, d.c, g->bias);
    const int64_t piece = rows_in_piece(g);
    for (int64_t first = 0; first < g->M; first += piece) {
        vj_product part = {.M = g->M - first < piece ? g->M - first : piece,
                           .N = g->N,
                           .K = g->K,
                           .a = g->a,
                           .b = g->b,
                           .c = vj_f32(sums),
                           .a_transposed = g->a_transposed,
                           .b_transposed = g->b_transposed};
        part.a.data = (char *)g->a.data + first * g->K * vj_type_bytes(g->a.type); /* not transposed, or first is 0 */
        if (!multiply(be, &part, part.c, NULL, NULL)) {
            if (first == 0) return false;
            /* Rows before this piece are finished, so they cannot be computed again. */
            if (!vj_cuda_check(be, own_product(be, &part), "product of a piece")) return true;
        }
        if (!vj_cuda_check(be, vj_cuda_finish(vj_cuda_stream(be), g, sums, 1, first, part.M), "product: finish"))
            return true;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ products */

static void product_of_floats(vj_backend *be, const vj_product *g)
{
    if (library_takes(be, g)) {
        const int64_t bytes = divide(g).finishes ? rows_in_piece(g) * g->N * (int64_t)sizeof(float) : 0;
        float *sums = bytes ? vj_cuda_scratch(be, bytes) : NULL;
        if (bytes && !sums) return;
        if (library_product(be, g, sums)) return;
    }
    (void)vj_cuda_check(be, vj_cuda_float_product(vj_cuda_stream(be), g), "product of floats");
}

/* Returns whether the sums of columns were made with it. */
static bool product_of_bf16(vj_backend *be, const vj_product *product)
{
    vj_product g = *product;
    operand a = operand_of(g.a, g.a_transposed, g.M, g.K), b = operand_of(g.b, !g.b_transposed, g.N, g.K);
    const bool wgmma = wgmma_takes(be, &g), library = !wgmma && library_takes(be, &g);
    const int parts = wgmma ? 1 : vj_cuda_tile_parts(&g);
    int64_t sums = wgmma                            ? vj_cuda_wgmma_scratch_rows(&g)
                   : library && divide(&g).finishes ? rows_in_piece(&g)
                                                    : 0; /* rows of sums */
    if (parts > 1 && parts * g.M > sums) sums = parts * g.M;
    char *scratch = NULL;
    if (a.copy_bytes + b.copy_bytes + sums > 0) {
        scratch = vj_cuda_scratch(be, a.copy_bytes + b.copy_bytes + sums * g.N * (int64_t)sizeof(float));
        if (!scratch) return false;
    }
    if (!round_operand(be, &a, scratch) || !round_operand(be, &b, scratch + a.copy_bytes)) return false;
    float *sums_at = sums ? (float *)(scratch + a.copy_bytes + b.copy_bytes) : NULL;
    g.a = a.array;
    g.b = b.array;
    if (library && library_product(be, &g, sums_at)) return false;
    const cudaStream_t stream = vj_cuda_stream(be);
    const cudaError_t error =
        wgmma ? vj_cuda_wgmma_product(stream, &g, a.width, b.width, sums_at, &products_of(be)->wgmma)
              : vj_cuda_tile_product(stream, &g, a.width, b.width, sums_at);
    return vj_cuda_check(be, error, "product") && wgmma && vj_cuda_wgmma_sums(&g);
}

void vj_cuda_product(vj_backend *be, const vj_product *product)
{
    bool summed = false;
    if (be->precision == VJ_BF16)
        summed = product_of_bf16(be, product);
    else
        product_of_floats(be, product);
    if (product->sums && !summed)
        vj_cuda_column_sums(be, product->sums, product->c, product->add_to_sums, product->M, product->N);
}
