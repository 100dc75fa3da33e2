/*
 * Mathematics on vectors: 2^x, the normal distribution, transposition. Accurate to about the rounding of a float. NaN
 * in always gives NaN out: the trainer detects a diverged run by it.
 */
#ifndef VJ_CPU_VECTOR_H
#define VJ_CPU_VECTOR_H

#include "isa.h"

#define VJ_LOG2E 1.44269504088896341f

/* 2^x for -126 <= x <= 126, relative error 2e-7, by a fitted minimax polynomial of degree 5. */
VJ_INLINE vf vexp2_in_range(vf x)
{
    vf sum = x + VJ_WHOLE, n = sum - VJ_WHOLE;
    vf r = x - n;
    vf p = vset(0.001326472619f);
    p = p * r + 0.00967151271f;
    p = p * r + 0.05550733747f;
    p = p * r + 0.2402224208f;
    p = p * r + 0.6931469776f;
    p = p * r + 1.0f;
    return vscale2(p, n, sum);
}
/* The same, 2^-126 below -126. */
VJ_INLINE vf vexp2(vf x)
{
    return vexp2_in_range(vmax(vset(-126.0f), x)); /* in this order NaN passes */
}

/*
 * Return the density of the standard normal distribution at x; *below gets the probability below x. The tail beyond |x|
 * is density times a polynomial in 1/(1 + |x|/4) (the form of Abramowitz and Stegun 7.1.26), refitted with degree 7:
 * absolute error 3e-9 before rounding.
 */
VJ_INLINE vf vnormal(vf x, vf *below)
{
    vf a = vabs(x);
    vf t = vreciprocal(a * 0.25f + 1.0f);
    vf p = vset(-0.08858768539f);
    p = p * t + 0.3261324582f;
    p = p * t - 0.2340398051f;
    p = p * t + 0.2439512117f;
    p = p * t + 0.04829782207f;
    p = p * t + 0.1043420601f;
    p = p * t + 0.09990393566f;
    /* At least 2^-110: products with it then are not denormals, which are slow. */
    vf bell = vexp2_in_range(vmax(vset(-110.0f), x * x * (-0.5f * VJ_LOG2E)));
    vf tail = bell * (p * t);
    *below = vselect_plus(x, 1.0f - tail, tail);
    return bell * 0.398942280401432678f;
}

/* Return GELU, x Phi(x); *slope gets its gradient. */
VJ_INLINE vf vgelu(vf x, vf *slope)
{
    vf below, density = vnormal(x, &below);
    *slope = below + x * density;
    return x * below;
}

/*
 * The same at half the cost, for results stored as bf16: errors below 2e-6 and 5e-6; that of GELU also at most 1e-5 of
 * its value above -4.5. With n = -|x| the probability beyond |x| is the 32nd power of a fitted polynomial of degree 6,
 * and GELU is max(0, x) + n times it. For negative x the gradient is that probability times a polynomial, for other x
 * it is 1 minus that product. Below -6 GELU stays at -6e-9.
 */
VJ_INLINE vf vgelu_rough(vf x, vf *slope)
{
    const vf n = vmax(vset(-6.0f), (vf)((vi)x | INT32_MIN)); /* -|x| */
    vf p = vset(3.02230292e-07f);
    p = p * n + 1.59807038e-05f;
    p = p * n + 0.00026013123f;
    p = p * n + 0.000913963244f;
    p = p * n - 0.0094061294f;
    p = p * n + 0.0244047944f;
    p = p * n + 0.978572251f;
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) p *= p;
    vf q = vset(0.00168399502f);
    q = q * n + 0.019890603f;
    q = q * n + 0.108237784f;
    q = q * n - 0.637358492f;
    q = q * n + 0.797726003f;
    q = q * n + 0.999995279f;
    const vf below = p * q;
    *slope = vselect_plus(x, 1.0f - below, below);
    return vmax(vset(0.0f), x) + n * p;
}

/* Alternate the lanes of the lower (upper) halves of a and b: a perfect shuffle. */
#if defined(VJ_HAS_AVX512) || defined(VJ_HAS_SVE)
#define VJ_ZIP_LOW  0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define VJ_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(VJ_ISA_avx2)
#define VJ_ZIP_LOW  0, 8, 1, 9, 2, 10, 3, 11
#define VJ_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define VJ_ZIP_LOW  0, 4, 1, 5
#define VJ_ZIP_HIGH 2, 6, 3, 7
#endif

/* Move the upper half of a vector to the lower half. */
VJ_INLINE vf vhigh(vf v)
{
#if defined(VJ_ISA_avx2)
    return __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7);
#else
    return v; /* not needed: no panel of A is half as wide as a vector */
#endif
}

/* Transpose the LANES x LANES matrix of rows r: log2(LANES) rounds of perfect shuffles. */
VJ_INLINE void vtranspose(vf r[LANES])
{
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
        vf t[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shufflevector(r[i], r[i + LANES / 2], VJ_ZIP_LOW);
            t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + LANES / 2], VJ_ZIP_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) r[i] = t[i];
    }
}

#endif
