/*
 * The exact GELU, x Phi(x), and its gradient, for kernels. Multiply-adds are written explicitly, so that all kernels
 * round alike: the hidden layer that a backward pass recomputes has forward's bits.
 */
#ifndef VJ_KERNELS_CUDA_GELU_H
#define VJ_KERNELS_CUDA_GELU_H

#include "kernels/cuda/device.h"

/*
 * Return Phi(x); *density gets the density of the normal distribution. Phi(-a) is exp(-a^2/2) times a polynomial in 1 /
 * (1 + a/4), the same as in the cpu's kernels (cpu/vector.h): the absolute error of x Phi(x) is below 1e-6. Both take
 * one exponential and no branch. Beyond |x| = 13.3 the density is 0, so that its product with any x is 0.
 */
VJ_DEVICE float normal(float x, float *density)
{
    const float t = reciprocal(fmaf(fabsf(x), 0.25f, 1.0f));
    float p = -0.08858768539f;
    p = fmaf(p, t, 0.3261324582f);
    p = fmaf(p, t, -0.2340398051f);
    p = fmaf(p, t, 0.2439512117f);
    p = fmaf(p, t, 0.04829782207f);
    p = fmaf(p, t, 0.1043420601f);
    p = fmaf(p, t, 0.09990393566f);
    p *= t;
    const float bell = power_of_two(fmaxf(-127.0f, x * x * (-0.5f * 1.44269504088896341f)));
    *density = bell * 0.398942280401432678f;
    return x > 0.0f ? fmaf(-bell, p, 1.0f) : bell * p;
}

/* x Phi(x). */
VJ_DEVICE float gelu(float x)
{
    float density;
    return x * normal(x, &density);
}

/* Return its derivative, Phi(x) + x phi(x); *value gets gelu(x), with the bits of gelu(). */
VJ_DEVICE float gelu_slope(float x, float *value)
{
    float density;
    const float below = normal(x, &density);
    *value = x * below;
    return fmaf(x, density, below);
}

#endif
