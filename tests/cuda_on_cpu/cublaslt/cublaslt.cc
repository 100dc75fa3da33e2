/*
 * The part of cuBLASLt's interface that the backend uses, by plain loops, as a library that is loaded like the real
 * one. It demands what the real one demands (types that go together, alignment, leading dimensions, workspace as
 * promised, memory on the device) and says on stderr what a refused call lacks. What the real one leaves open shows
 * here:
 *
 *   - Algorithms differ by the shape that the heuristic was asked for, and add up in different orders: rows have the
 *     same bits in products of other sizes only if they use the same algorithm.
 *   - If the preference allows split sums, each product may have another order.
 *   - An algorithm counts on the alignment that the preference promised, or 256 bytes; for the bias, on that of the
 *     address with which the heuristic was asked, up to 256 bytes.
 *   - The workspace is written.
 *   - EMU_BROKEN=cublaslt: an algorithm computes no number of columns but multiples of 64, whatever it was proposed
 * for.
 *
 * Not emulated: everything else, which is refused.
 */
#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "emulated.h"

namespace
{

/* As in cublas_api.h, library_types.h and cublasLt.h; values.cc compares them where those are there. */
#include "values.h"

enum status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };

status refuse(status s, const char *format, ...) __attribute__((format(printf, 2, 3)));
status refuse(status s, const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    fputs("emulated cuBLASLt: ", stderr);
    vfprintf(stderr, format, rest);
    fputc('\n', stderr);
    va_end(rest);
    return s;
}

struct layout {
    int32_t type, order;
    uint64_t rows, cols;
    int64_t ld;
    int32_t batch;
    int64_t stride;

    size_t element() const { return type == TYPE_BF16 ? 2 : 4; }
    int64_t at(uint64_t r, uint64_t c) const
    {
        return order == ORDER_COL ? (int64_t)r + (int64_t)c * ld : (int64_t)r * ld + (int64_t)c;
    }
    size_t bytes() const /* from the first element to the last */
    {
        return (size_t)(at(rows - 1, cols - 1) + 1 + (batch - 1) * stride) * element();
    }
};

struct operation {
    int32_t compute, scale, pointer_mode, transposed_a, transposed_b, epilogue, bias_type;
    const void *bias;
    int64_t bias_stride;
};

struct preference {
    uint64_t workspace;
    uint32_t reduction;
    uint32_t alignment[4]; /* of A, B, C, D */
};

/* In the 64 bytes that the caller keeps. */
struct algorithm {
    uint32_t magic;
    int32_t chunk; /* k is added up in pieces of so many */
    uint32_t splits;
    uint32_t alignment[4], bias_alignment;
    uint64_t workspace;
    int8_t types[4], transposed_a, transposed_b, epilogue;
};
const uint32_t ALGORITHM = 0x414c474f;
static_assert(sizeof(algorithm) <= 64, "fits");

struct heuristic_result {
    uint64_t algo[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

float widened(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

uint16_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return 0x7fff;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float get(const layout &l, const void *memory, int64_t at)
{
    return l.type == TYPE_BF16 ? widened(((const uint16_t *)memory)[at]) : ((const float *)memory)[at];
}

/* ---------------------------------------------------------------------------------------------- is it allowed? */

status check_layout(const char *name, const layout &l)
{
    if (l.order != ORDER_COL && l.order != ORDER_ROW) return refuse(NOT_SUPPORTED, "%s: order %d", name, l.order);
    if (l.type != TYPE_F32 && l.type != TYPE_BF16) return refuse(NOT_SUPPORTED, "%s: type %d", name, l.type);
    const uint64_t least = l.order == ORDER_COL ? l.rows : l.cols;
    if (l.rows == 0 || l.cols == 0) return refuse(INVALID_VALUE, "%s: empty", name);
    if (l.ld < (int64_t)least)
        return refuse(INVALID_VALUE, "%s: the leading dimension %lld is less than %llu", name, (long long)l.ld,
                      (unsigned long long)least);
    if (l.batch < 1) return refuse(INVALID_VALUE, "%s: %d matrices", name, l.batch);
    return SUCCESS;
}

/* What the heuristic and the product both check. m, n, k are those of D = op(A) op(B). */
status check(const operation &o, const layout l[4], uint64_t *m, uint64_t *n, uint64_t *k)
{
    static const char *const names[] = {"A", "B", "C", "D"};
    for (int i = 0; i < 4; i++)
        if (const status s = check_layout(names[i], l[i])) return s;
    if ((o.compute != COMPUTE_32F && o.compute != COMPUTE_32F_PEDANTIC) || o.scale != TYPE_F32)
        return refuse(NOT_SUPPORTED, "compute type %d with scale type %d", o.compute, o.scale);
    if (o.pointer_mode != 0) return refuse(NOT_SUPPORTED, "pointer mode %d", o.pointer_mode);
    if (o.transposed_a < 0 || o.transposed_a > 1 || o.transposed_b < 0 || o.transposed_b > 1)
        return refuse(INVALID_VALUE, "transposed: %d and %d", o.transposed_a, o.transposed_b);
    if (l[0].type != l[1].type || l[2].type != l[3].type || (l[0].type == TYPE_F32 && l[3].type == TYPE_BF16))
        return refuse(NOT_SUPPORTED, "types %d %d %d %d of A, B, C, D do not go together", l[0].type, l[1].type,
                      l[2].type, l[3].type);
    *m = o.transposed_a ? l[0].cols : l[0].rows;
    *k = o.transposed_a ? l[0].rows : l[0].cols;
    *n = o.transposed_b ? l[1].rows : l[1].cols;
    const uint64_t inner = o.transposed_b ? l[1].cols : l[1].rows;
    if (*k != inner || l[3].rows != *m || l[3].cols != *n || l[2].rows != *m || l[2].cols != *n)
        return refuse(INVALID_VALUE, "op(A) is %llu x %llu, op(B) %llu x %llu, C %llu x %llu, D %llu x %llu",
                      (unsigned long long)*m, (unsigned long long)*k, (unsigned long long)inner, (unsigned long long)*n,
                      (unsigned long long)l[2].rows, (unsigned long long)l[2].cols, (unsigned long long)l[3].rows,
                      (unsigned long long)l[3].cols);
    if (l[0].batch != l[1].batch || l[0].batch != l[2].batch || l[0].batch != l[3].batch)
        return refuse(INVALID_VALUE, "%d, %d, %d, %d matrices A, B, C, D", l[0].batch, l[1].batch, l[2].batch,
                      l[3].batch);
    if (l[2].order != l[3].order) return refuse(NOT_SUPPORTED, "C and D are kept in different orders");
    if (o.epilogue != EPILOGUE_DEFAULT && o.epilogue != EPILOGUE_BIAS)
        return refuse(NOT_SUPPORTED, "epilogue %d is not emulated", o.epilogue);
    if (o.epilogue == EPILOGUE_BIAS) {
        if (!o.bias) return refuse(INVALID_VALUE, "the epilogue adds a bias, and there is no pointer to it");
        if ((uintptr_t)o.bias % 16) return refuse(NOT_SUPPORTED, "the bias at %p is not aligned to 16 bytes", o.bias);
        if (o.bias_type != -1 && o.bias_type != l[3].type)
            return refuse(NOT_SUPPORTED, "a bias of type %d for D of type %d", o.bias_type, l[3].type);
        if (l[3].order != ORDER_COL) return refuse(NOT_SUPPORTED, "a bias with D in order of rows");
    }
    return SUCCESS;
}

/* ---------------------------------------------------------------------------------------------- the product */

struct product {
    operation o;
    layout l[4];
    const void *A, *B, *C;
    void *D, *workspace;
    float alpha, beta;
    algorithm how;
    uint64_t m, n, k;
};

enum { TILE = 256 };

#if defined __x86_64__ && !defined __SANITIZE_THREAD__
__attribute__((target_clones("avx2", "default")))
#endif
void add_column(float *sum, const float *column, float by)
{
    for (int i = 0; i < TILE; i++) sum[i] += column[i] * by;
}

void multiply_one(const product &p, int batch)
{
    const char *A = (const char *)p.A + (size_t)(batch * p.l[0].stride) * p.l[0].element();
    const char *B = (const char *)p.B + (size_t)(batch * p.l[1].stride) * p.l[1].element();
    const char *C = (const char *)p.C + (size_t)(batch * p.l[2].stride) * p.l[2].element();
    char *D = (char *)p.D + (size_t)(batch * p.l[3].stride) * p.l[3].element();
    const char *bias = (const char *)p.o.bias + (size_t)(batch * p.o.bias_stride) * p.l[3].element();
    std::vector<float> a(p.k * TILE), b(p.k);
    for (uint64_t m0 = 0; m0 < p.m; m0 += TILE) {
        const uint64_t rows = std::min<uint64_t>(p.m - m0, TILE);
        for (uint64_t k = 0; k < p.k; k++)
            for (uint64_t i = 0; i < TILE; i++)
                a[k * TILE + i] =
                    i >= rows ? 0 : get(p.l[0], A, p.o.transposed_a ? p.l[0].at(k, m0 + i) : p.l[0].at(m0 + i, k));
        for (uint64_t n = 0; n < p.n; n++) {
            for (uint64_t k = 0; k < p.k; k++)
                b[k] = get(p.l[1], B, p.o.transposed_b ? p.l[1].at(n, k) : p.l[1].at(k, n));
            float sum[TILE] = {}, part[TILE];
            for (uint64_t k0 = 0; k0 < p.k; k0 += (uint64_t)p.how.chunk) {
                memset(part, 0, sizeof part);
                for (uint64_t k = k0; k < p.k && k < k0 + (uint64_t)p.how.chunk; k++)
                    add_column(part, &a[k * TILE], b[k]);
                for (int i = 0; i < TILE; i++) sum[i] += part[i];
            }
            for (uint64_t i = 0; i < rows; i++) {
                float x = p.alpha * sum[i];
                if (p.beta != 0) x += p.beta * get(p.l[2], C, p.l[2].at(m0 + i, n));
                if (p.o.epilogue == EPILOGUE_BIAS) x += get(p.l[3], bias, (int64_t)(m0 + i));
                const int64_t at = p.l[3].at(m0 + i, n);
                if (p.l[3].type == TYPE_BF16)
                    ((uint16_t *)D)[at] = rounded(x);
                else
                    ((float *)D)[at] = x;
            }
        }
    }
}

void multiply(void *data)
{
    const std::unique_ptr<product> p((product *)data);
    if (p->how.workspace) memset(p->workspace, 0xff, p->how.workspace);
    for (int batch = 0; batch < p->l[0].batch; batch++) multiply_one(*p, batch);
}

bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return (const char *)a < (const char *)b + b_bytes && (const char *)b < (const char *)a + a_bytes;
}

bool copy_attribute(void *to, size_t size, const void *from, size_t given)
{
    if (size == given) memcpy(to, from, size);
    return size == given;
}

} /* namespace */

/* ---------------------------------------------------------------------------------------------- the interface */

#define EXPORT __attribute__((visibility("default")))

extern "C" {

EXPORT size_t cublasLtGetVersion(void)
{
    return 130100;
}

EXPORT const char *cublasLtGetStatusString(int s)
{
    switch (s) {
    case SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_<unknown>";
    }
}

EXPORT int cublasLtCreate(void **handle)
{
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return NOT_INITIALIZED;
    *handle = new int(1);
    return SUCCESS;
}

EXPORT int cublasLtDestroy(void *handle)
{
    delete (int *)handle;
    return SUCCESS;
}

EXPORT int cublasLtMatmulDescCreate(operation **made, int compute, int scale)
{
    *made = new operation{compute, scale, 0, 0, 0, EPILOGUE_DEFAULT, -1, nullptr, 0};
    return SUCCESS;
}

EXPORT int cublasLtMatmulDescDestroy(operation *o)
{
    delete o;
    return SUCCESS;
}

EXPORT int cublasLtMatmulDescSetAttribute(operation *o, int attribute, const void *value, size_t bytes)
{
    bool fits = false;
    switch (attribute) {
    case DESC_SCALE_TYPE:
        fits = copy_attribute(&o->scale, 4, value, bytes);
        break;
    case DESC_POINTER_MODE:
        fits = copy_attribute(&o->pointer_mode, 4, value, bytes);
        break;
    case DESC_TRANSA:
        fits = copy_attribute(&o->transposed_a, 4, value, bytes);
        break;
    case DESC_TRANSB:
        fits = copy_attribute(&o->transposed_b, 4, value, bytes);
        break;
    case DESC_EPILOGUE:
        fits = copy_attribute(&o->epilogue, 4, value, bytes);
        break;
    case DESC_BIAS_POINTER:
        fits = copy_attribute(&o->bias, 8, value, bytes);
        break;
    case DESC_BIAS_BATCH_STRIDE:
        fits = copy_attribute(&o->bias_stride, 8, value, bytes);
        break;
    case DESC_BIAS_DATA_TYPE:
        fits = copy_attribute(&o->bias_type, 4, value, bytes);
        break;
    default:
        return refuse(NOT_SUPPORTED, "attribute %d of a product is not emulated", attribute);
    }
    return fits ? SUCCESS : refuse(INVALID_VALUE, "attribute %d of a product has not %zu bytes", attribute, bytes);
}

EXPORT int cublasLtMatrixLayoutCreate(layout **made, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    *made = new layout{type, ORDER_COL, rows, cols, ld, 1, 0};
    return SUCCESS;
}

EXPORT int cublasLtMatrixLayoutDestroy(layout *l)
{
    delete l;
    return SUCCESS;
}

EXPORT int cublasLtMatrixLayoutSetAttribute(layout *l, int attribute, const void *value, size_t bytes)
{
    bool fits = false;
    switch (attribute) {
    case LAYOUT_TYPE:
        fits = copy_attribute(&l->type, 4, value, bytes);
        break;
    case LAYOUT_ORDER:
        fits = copy_attribute(&l->order, 4, value, bytes);
        break;
    case LAYOUT_ROWS:
        fits = copy_attribute(&l->rows, 8, value, bytes);
        break;
    case LAYOUT_COLS:
        fits = copy_attribute(&l->cols, 8, value, bytes);
        break;
    case LAYOUT_LD:
        fits = copy_attribute(&l->ld, 8, value, bytes);
        break;
    case LAYOUT_BATCH_COUNT:
        fits = copy_attribute(&l->batch, 4, value, bytes);
        break;
    case LAYOUT_STRIDED_BATCH_OFFSET:
        fits = copy_attribute(&l->stride, 8, value, bytes);
        break;
    default:
        return refuse(NOT_SUPPORTED, "attribute %d of a layout is not emulated", attribute);
    }
    return fits ? SUCCESS : refuse(INVALID_VALUE, "attribute %d of a layout has not %zu bytes", attribute, bytes);
}

EXPORT int cublasLtMatmulPreferenceCreate(preference **made)
{
    *made = new preference{0, REDUCTION_ANY, {256, 256, 256, 256}};
    return SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceDestroy(preference *p)
{
    delete p;
    return SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceSetAttribute(preference *p, int attribute, const void *value, size_t bytes)
{
    bool fits = false;
    switch (attribute) {
    case PREF_MAX_WORKSPACE_BYTES:
        fits = copy_attribute(&p->workspace, 8, value, bytes);
        break;
    case PREF_REDUCTION_SCHEME_MASK:
        fits = copy_attribute(&p->reduction, 4, value, bytes);
        break;
    case PREF_MIN_ALIGNMENT_A_BYTES:
    case PREF_MIN_ALIGNMENT_B_BYTES:
    case PREF_MIN_ALIGNMENT_C_BYTES:
    case PREF_MIN_ALIGNMENT_D_BYTES:
        fits = copy_attribute(&p->alignment[attribute - PREF_MIN_ALIGNMENT_A_BYTES], 4, value, bytes);
        break;
    default:
        return refuse(NOT_SUPPORTED, "attribute %d of a preference is not emulated", attribute);
    }
    return fits ? SUCCESS : refuse(INVALID_VALUE, "attribute %d of a preference has not %zu bytes", attribute, bytes);
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, const operation *o, const layout *a, const layout *b,
                                          const layout *c, const layout *d, const preference *p, int wanted,
                                          heuristic_result *results, int *found)
{
    *found = 0;
    if (!handle) return NOT_INITIALIZED;
    if (wanted < 1) return refuse(INVALID_VALUE, "%d algorithms are wanted", wanted);
    const layout l[4] = {*a, *b, *c, *d};
    uint64_t m, n, k;
    if (const status s = check(*o, l, &m, &n, &k)) return s;
    for (int i = 0; i < 4; i++)
        if (p->alignment[i] < l[i].element()) return refuse(NOT_SUPPORTED, "elements that are not aligned");
    static const int chunks[] = {1 << 30, 512, 192};
    for (; *found < wanted && *found < 3; ++*found) {
        algorithm how = {};
        how.magic = ALGORITHM;
        how.chunk = chunks[(m / 64 + n / 64 + k / 64 + (uint64_t)*found) % 3];
        how.splits = p->reduction & REDUCTION_ANY ? 1 : 0;
        memcpy(how.alignment, p->alignment, sizeof how.alignment);
        const uintptr_t bias = (uintptr_t)o->bias;
        how.bias_alignment = (uint32_t)std::min<uintptr_t>(bias & -bias, 256);
        how.workspace = p->workspace < 65536 ? p->workspace : 65536;
        for (int i = 0; i < 4; i++) how.types[i] = (int8_t)l[i].type;
        how.transposed_a = (int8_t)o->transposed_a;
        how.transposed_b = (int8_t)o->transposed_b;
        how.epilogue = (int8_t)o->epilogue;
        heuristic_result *r = &results[*found];
        memset(r, 0, sizeof *r);
        memcpy(r->algo, &how, sizeof how);
        r->workspace = how.workspace;
        r->state = SUCCESS;
        r->waves = 1;
    }
    return SUCCESS;
}

EXPORT int cublasLtMatmul(void *handle, const operation *o, const float *alpha, const void *A, const layout *a,
                          const void *B, const layout *b, const float *beta, const void *C, const layout *c, void *D,
                          const layout *d, const void *algo, void *workspace, size_t workspace_bytes,
                          cudaStream_t stream)
{
    if (!handle) return NOT_INITIALIZED;
    if (!algo)
        return refuse(NOT_SUPPORTED,
                      "without an algorithm the library chooses one by itself, by what is free just now");
    product p = {*o, {*a, *b, *c, *d}, A, B, C, D, workspace, *alpha, *beta, {}, 0, 0, 0};
    memcpy(&p.how, algo, sizeof p.how);
    if (const status s = check(*o, p.l, &p.m, &p.n, &p.k)) return s;
    const char *broken = getenv("EMU_BROKEN");
    if (broken && strcmp(broken, "cublaslt") == 0 && p.n % 64 != 0)
        return refuse(NOT_SUPPORTED, "no algorithm for %llu columns (EMU_BROKEN)", (unsigned long long)p.n);
    if (p.how.magic != ALGORITHM) return refuse(INVALID_VALUE, "the algorithm is not one of the heuristic's");
    bool same =
        p.how.transposed_a == o->transposed_a && p.how.transposed_b == o->transposed_b && p.how.epilogue == o->epilogue;
    for (int i = 0; i < 4; i++) same &= p.how.types[i] == p.l[i].type;
    if (!same) return refuse(INVALID_VALUE, "the algorithm was found for other types, transposes or another epilogue");

    static const char *const names[] = {"A", "B", "C", "D"};
    const void *const memory[] = {A, B, C, D};
    for (int i = 0; i < 4; i++) {
        if (!emu_on_device(memory[i], p.l[i].bytes()))
            return refuse(INVALID_VALUE, "%s, %zu bytes at %p, is not in one block of device memory", names[i],
                          p.l[i].bytes(), memory[i]);
        if ((uintptr_t)memory[i] % p.how.alignment[i])
            return refuse(INVALID_VALUE, "%s at %p is not aligned to the %u bytes that the algorithm counts on",
                          names[i], memory[i], p.how.alignment[i]);
    }
    if (o->epilogue == EPILOGUE_BIAS) {
        const size_t bytes = (size_t)((int64_t)p.m + (d->batch - 1) * o->bias_stride) * d->element();
        if (!emu_on_device(o->bias, bytes))
            return refuse(INVALID_VALUE, "the bias, %zu bytes, is not in one block of device memory", bytes);
        if ((uintptr_t)o->bias % p.how.bias_alignment)
            return refuse(INVALID_VALUE, "the bias at %p is not aligned to the %u bytes of that of the heuristic",
                          o->bias, p.how.bias_alignment);
    }
    for (int i = 0; i < 2; i++)
        if (overlap(memory[i], p.l[i].bytes(), D, d->bytes())) return refuse(INVALID_VALUE, "D overlaps %s", names[i]);
    if (*beta != 0 && overlap(C, c->bytes(), D, d->bytes()) && (C != D || c->ld != d->ld || c->stride != d->stride))
        return refuse(INVALID_VALUE, "C and D overlap and are not the same");
    if (workspace_bytes < p.how.workspace || (p.how.workspace && !emu_on_device(workspace, workspace_bytes)))
        return refuse(INVALID_VALUE, "a workspace of %zu bytes at %p; the algorithm needs %llu on the device",
                      workspace_bytes, workspace, (unsigned long long)p.how.workspace);
    if (p.how.workspace && (uintptr_t)workspace % 16) return refuse(INVALID_VALUE, "the workspace is not aligned");
    if (p.how.splits) {
        static uint64_t calls;
        p.how.chunk = (int32_t)(p.k / (2 + calls++ % 3) + 1);
    }
    return emu_enqueue(stream, "a product of cuBLASLt", multiply, new product(p)) == cudaSuccess ? SUCCESS
                                                                                                 : INVALID_VALUE;
}
}
