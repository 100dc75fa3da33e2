/*
 * Shared by the kernel tests: running a test on every backend in turn, arrays on host and device with a guard after
 * them, and the comparison with a reference in double.
 */
#ifndef VJ_TESTS_KERNEL_TEST_H
#define VJ_TESTS_KERNEL_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kernels/kernels.h"

/* Macros that tell valgrind what a kernel must not touch; they do nothing without valgrind or its headers. */
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_NOACCESS(at, bytes) ((void)(at), (void)(bytes))
#define VALGRIND_MAKE_MEM_DEFINED(at, bytes)  ((void)(at), (void)(bytes))
#endif

#define KT_INLINE static inline __attribute__((unused))

/* Return whether this is a slow run (valgrind), which skips the large shapes. */
KT_INLINE bool slow_run(void)
{
    return getenv("VJ_TEST_SLOW");
}

/* ------------------------------------------------------------------------------------------------ backends */

typedef void backend_test(vj_backend *be, bool bf16);

/* Return the only variant to test, or NULL for all. Set for tools without AVX-512 (valgrind). */
KT_INLINE const char *only_isa(void)
{
    return getenv("VJ_TEST_ISA");
}

KT_INLINE void on_backend(const char *isa, const char *name, vj_precision precision, int threads, backend_test *test)
{
    vj_backend *be;
    if (!isa) isa = only_isa();
    if (isa)
        setenv("VJ_ISA", isa, 1);
    else
        unsetenv("VJ_ISA");
    assert_int_equal(vj_backend_open(&be, name, precision, threads), VJ_OK);
    test(be, precision == VJ_BF16);
    assert_int_equal(vj_sync(be), VJ_OK);
    vj_backend_close(be);
    unsetenv("VJ_ISA");
}

/* Run a test on "cpu" with each instruction set of this processor, and on "strict"; or only on VJ_TEST_BACKEND. */
KT_INLINE void on_each_backend(vj_precision precision, backend_test *test)
{
    if (getenv("VJ_TEST_BACKEND")) {
        on_backend(NULL, getenv("VJ_TEST_BACKEND"), precision, 1, test);
        return;
    }
    const char *isas[] = {VJ_ISAS};
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (only_isa() ? strcmp(isas[i], only_isa()) == 0 : vj_backend_isa_present(isas[i]))
            on_backend(isas[i], "cpu", precision, 1, test);
    on_backend(NULL, "strict", precision, 2, test);
}

/* ------------------------------------------------------------------------------------------------ arrays */

enum { GUARD = 16 };
#define GUARD_VALUE 12345.0f

typedef struct {
    float *host, *device;
    int64_t n;
} array;

/*
 * Under valgrind, reading the guard is an error too: open it for the test, close it for the kernels. A device works
 * asynchronously, so wait for it before either (settle()).
 */
KT_INLINE void open_guard(vj_array device, int64_t n)
{
    const int64_t size = vj_type_bytes(device.type);
    (void)VALGRIND_MAKE_MEM_DEFINED((char *)device.data + n * size, GUARD * size);
}
KT_INLINE void close_guard(vj_array device, int64_t n)
{
    const int64_t size = vj_type_bytes(device.type);
    (void)VALGRIND_MAKE_MEM_NOACCESS((char *)device.data + n * size, GUARD * size);
}
KT_INLINE void settle(vj_backend *be)
{
    assert_int_equal(vj_sync(be), VJ_OK);
}

/* Copy the host's values and the guard after them to the device. */
KT_INLINE void push(vj_backend *be, const array *a)
{
    settle(be);
    open_guard(vj_f32(a->device), a->n);
    vj_upload(be, a->device, a->host, (a->n + GUARD) * 4);
    settle(be);
    close_guard(vj_f32(a->device), a->n);
}

/* Copy the device's values to the host; fails if a kernel wrote past the end. */
KT_INLINE void pull(vj_backend *be, const array *a)
{
    settle(be);
    open_guard(vj_f32(a->device), a->n);
    vj_download(be, a->host, a->device, (a->n + GUARD) * 4);
    settle(be);
    close_guard(vj_f32(a->device), a->n);
    for (int i = 0; i < GUARD; i++) assert_true(a->host[a->n + i] == GUARD_VALUE);
}

KT_INLINE array array_of(vj_backend *be, int64_t n, float value)
{
    array a = {.host = malloc((size_t)(n + GUARD) * 4), .device = vj_device_alloc(be, (n + GUARD) * 4), .n = n};
    assert_true(a.host && a.device);
    for (int64_t i = 0; i < n + GUARD; i++) a.host[i] = i < n ? value : GUARD_VALUE;
    push(be, &a);
    return a;
}

/* Return an array for results, filled with NaN, so that elements that a kernel does not write are noticed. */
KT_INLINE array array_empty(vj_backend *be, int64_t n)
{
    return array_of(be, n, NAN);
}

/* Return an array of normal random numbers times `scale`; the same for the same seed. */
KT_INLINE array array_random(vj_backend *be, int64_t n, double scale, uint64_t seed)
{
    array a = array_of(be, n, 0);
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, seed);
    for (int64_t i = 0; i < n; i++) a.host[i] = (float)(scale * vj_rng_normal(&rng));
    push(be, &a);
    return a;
}

KT_INLINE void drop(vj_backend *be, array *a)
{
    free(a->host);
    vj_device_free(be, a->device);
    *a = (array){0};
}

KT_INLINE int32_t *ints_on_device(vj_backend *be, const int32_t *host, int64_t n)
{
    int32_t *device = vj_device_alloc(be, n * 4);
    vj_upload(be, device, host, n * 4);
    return device;
}

KT_INLINE double *doubles(int64_t n)
{
    double *x = calloc((size_t)(n > 0 ? n : 1), sizeof *x);
    assert_non_null(x);
    return x;
}

KT_INLINE double *widened(const float *x, int64_t n)
{
    double *y = doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

/* Round to the nearest bf16, ties to even. */
KT_INLINE double bf16(double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    memcpy(&f, &bits, 4);
    return f;
}

/* ------------------------------------------------------------------------------------------------ bf16 arrays */

/* An array of floats or bf16 on the device, with its guard; on the host always floats. */
typedef struct {
    float *host;
    vj_array device;
    int64_t n;
} stored;

KT_INLINE void push_stored(vj_backend *be, const stored *a)
{
    const int64_t all = a->n + GUARD;
    uint16_t *half = malloc((size_t)all * 2);
    assert_non_null(half);
    for (int64_t i = 0; i < all; i++) {
        const float rounded = (float)bf16(a->host[i]);
        uint32_t bits;
        memcpy(&bits, &rounded, 4);
        half[i] = (uint16_t)(bits >> 16);
    }
    settle(be);
    open_guard(a->device, a->n);
    vj_upload(be, a->device.data, a->device.type == VJ_TYPE_F32 ? (void *)a->host : (void *)half,
              all * vj_type_bytes(a->device.type));
    settle(be);
    close_guard(a->device, a->n);
    free(half);
}

KT_INLINE void pull_stored(vj_backend *be, const stored *a)
{
    const int64_t all = a->n + GUARD;
    const bool floats = a->device.type == VJ_TYPE_F32;
    const float guard = floats ? GUARD_VALUE : (float)bf16(GUARD_VALUE);
    uint16_t *half = malloc((size_t)all * 2);
    assert_non_null(half);
    settle(be);
    open_guard(a->device, a->n);
    vj_download(be, floats ? (void *)a->host : (void *)half, a->device.data, all * vj_type_bytes(a->device.type));
    settle(be);
    close_guard(a->device, a->n);
    for (int64_t i = 0; i < all && !floats; i++) {
        const uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&a->host[i], &bits, 4);
    }
    free(half);
    for (int i = 0; i < GUARD; i++) assert_true(a->host[a->n + i] == guard);
}

/* Like array_empty() and array_random(). The random values on the host are rounded like those on the device. */
KT_INLINE stored stored_empty(vj_backend *be, vj_type type, int64_t n)
{
    stored a = {.host = malloc((size_t)(n + GUARD) * 4),
                .device = {vj_device_alloc(be, (n + GUARD) * vj_type_bytes(type)), type},
                .n = n};
    assert_true(a.host && a.device.data);
    for (int64_t i = 0; i < n + GUARD; i++) a.host[i] = i < n ? NAN : GUARD_VALUE;
    push_stored(be, &a);
    return a;
}

KT_INLINE stored stored_random(vj_backend *be, vj_type type, int64_t n, double scale, uint64_t seed)
{
    stored a = stored_empty(be, type, n);
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, seed);
    for (int64_t i = 0; i < n; i++) a.host[i] = (float)(scale * vj_rng_normal(&rng));
    push_stored(be, &a);
    pull_stored(be, &a);
    return a;
}

/* Return a copy with the values stored in another type. */
KT_INLINE stored stored_copy(vj_backend *be, vj_type type, const stored *from)
{
    stored a = stored_empty(be, type, from->n);
    memcpy(a.host, from->host, (size_t)from->n * 4);
    for (int i = 0; i < GUARD; i++) a.host[a.n + i] = GUARD_VALUE;
    push_stored(be, &a);
    return a;
}

KT_INLINE void drop_stored(vj_backend *be, stored *a)
{
    free(a->host);
    vj_device_free(be, a->device.data);
    *a = (stored){0};
}

/* Check that results stored as bf16 are the float results rounded once. */
KT_INLINE void assert_rounded(const char *what, const stored *got, const stored *floats)
{
    assert_true(got->device.type == VJ_TYPE_BF16 && floats->device.type == VJ_TYPE_F32 && got->n == floats->n);
    for (int64_t i = 0; i < got->n; i++)
        if (!(got->host[i] == (float)bf16(floats->host[i])))
            fail_msg("%s[%lld of %lld]: kept as %.9g, computed as %.9g", what, (long long)i, (long long)got->n,
                     (double)got->host[i], (double)floats->host[i]);
}

KT_INLINE void assert_same(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s[%lld of %lld]: got %.9g, wanted these bits: %.9g", what, (long long)i, (long long)n,
                     (double)got[i], (double)want[i]);
}

/* ------------------------------------------------------------------------------------------------ comparison */

/* Fails on NaN too, and names the worst element. */
KT_INLINE void assert_close(const char *what, const float *got, const double *want, int64_t n, double absolute,
                            double relative)
{
    int64_t worst = -1;
    double excess = 1;
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(got[i] - want[i]) / (absolute + relative * fabs(want[i]));
        if (!(error <= excess)) {
            worst = i;
            excess = error;
            if (isnan(error)) break;
        }
    }
    if (worst >= 0)
        fail_msg("%s[%lld of %lld]: got %.9g, wanted %.9g, %.3g times the tolerance", what, (long long)worst,
                 (long long)n, (double)got[worst], want[worst], excess);
}

/* Check a reference's gradient of sum(weight * f) against central differences of the reference itself, in double. */
typedef void reference(double *out, const double *in, const void *context);
KT_INLINE void assert_gradient(const char *what, reference *f, const void *context, double *in, int64_t n_in,
                               int64_t n_out, const double *weight, const double *gradient, double tolerance)
{
    double *out = doubles(n_out);
    const double h = 1e-5;
    for (int64_t i = 0; i < n_in; i++) {
        double keep = in[i], difference = 0;
        for (int side = -1; side <= 1; side += 2) {
            in[i] = keep + side * h;
            f(out, in, context);
            for (int64_t j = 0; j < n_out; j++) difference += side * weight[j] * out[j] / (2 * h);
        }
        in[i] = keep;
        if (!(fabs(difference - gradient[i]) <= tolerance * (1 + fabs(difference))))
            fail_msg("%s[%lld]: differences give %.12g, the reference's backward %.12g", what, (long long)i, difference,
                     gradient[i]);
    }
    free(out);
}

KT_INLINE double *operand_of(const float *x, int64_t n, bool rounded)
{
    double *y = doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = rounded ? bf16(x[i]) : x[i];
    return y;
}

/* Compute out[m, n] = sum_k a b, and in `size` the sum of absolute values, the scale of rounding errors. */
KT_INLINE void product(double *out, double *size, const double *a, const double *b, int M, int N, int K, int64_t am,
                       int64_t ak, int64_t bk, int64_t bn)
{
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = 0, absolute = 0;
            for (int k = 0; k < K; k++) {
                double term = a[m * am + k * ak] * b[k * bk + n * bn];
                sum += term;
                absolute += fabs(term);
            }
            out[(int64_t)m * N + n] = sum;
            size[(int64_t)m * N + n] = absolute;
        }
}

/* Check sums of K float terms added in any order. The tolerance is a few roundings of the sum of absolute values: K/4
 * are possible in the worst case, but far fewer occur. */
KT_INLINE void assert_product(const char *what, const float *got, const double *want, const double *size, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-6 + 1e-6 * (size[i] + fabs(want[i]))))
            fail_msg("%s[%lld]: got %.9g, wanted %.9g", what, (long long)i, (double)got[i], want[i]);
}

KT_INLINE double gelu_of(double x)
{
    return x * 0.5 * erfc(-x * M_SQRT1_2);
}
KT_INLINE double gelu_slope_of(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
}

#endif
