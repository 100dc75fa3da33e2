/*
 * What the kernel tests share: every backend in turn, arrays that live on both sides with a guard behind them, and the
 * comparison with a reference in double.
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

#define KT_INLINE static inline __attribute__((unused))

/* ------------------------------------------------------------------------------------------------ backends */

typedef void backend_test(vj_backend *be, bool bf16);

KT_INLINE void on_backend(const char *isa, const char *name, vj_precision precision, int threads, backend_test *test)
{
    vj_backend *be;
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

/* "cpu" with each instruction set of this processor, and "strict". */
KT_INLINE void on_each_backend(vj_precision precision, backend_test *test)
{
    const char *isas[] = {"amx", "avx512bf16", "avx512", "avx2", "portable"};
    for (int i = 0; i < 5; i++)
        if (vj_backend_isa_present(isas[i])) on_backend(isas[i], "cpu", precision, 1, test);
    on_backend(NULL, "strict", precision, 2, test);
}

/* ------------------------------------------------------------------------------------------------ arrays */

enum { GUARD = 16 };
#define GUARD_VALUE 12345.0f

typedef struct {
    float *host, *device;
    int64_t n;
} array;

/* Send the host's side, and the guard behind it. */
KT_INLINE void push(vj_backend *be, const array *a)
{
    vj_upload(be, a->device, a->host, (a->n + GUARD) * 4);
}

/* Fetch the device's side; a kernel that wrote past the end fails. */
KT_INLINE void pull(vj_backend *be, const array *a)
{
    vj_download(be, a->host, a->device, (a->n + GUARD) * 4);
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

/* Results start as NaN: an element that a kernel forgets shows. */
KT_INLINE array array_empty(vj_backend *be, int64_t n)
{
    return array_of(be, n, NAN);
}

/* Normal numbers times `scale`; the same for the same seed. */
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

/* A reference's gradient of sum(weight * f) against central differences of the reference itself, in double. */
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

/* Nearest bf16, ties to even. */
KT_INLINE double bf16(double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    memcpy(&f, &bits, 4);
    return f;
}

KT_INLINE double *operand_of(const float *x, int64_t n, bool rounded)
{
    double *y = doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = rounded ? bf16(x[i]) : x[i];
    return y;
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
