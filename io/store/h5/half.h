/*
 * Converts to and from floats of two bytes, IEEE half precision and bf16, mostly by integer arithmetic: exact, rounding
 * to nearest even, the same with every compiler. vj_h5_short_float() creates the HDF5 types of both.
 */
#ifndef VJ_HALF_H
#define VJ_HALF_H

#include <stdint.h>
#include <string.h>

static inline float vj_half_to_float(uint16_t h)
{
    uint32_t bits = (uint32_t)(h & 0x7fffu) << 13, sign = (uint32_t)(h & 0x8000u) << 16;
    float f;
    memcpy(&f, &bits, 4);
    f *= 0x1p112f; /* the exponents' biases are 15 and 127; also makes subnormal halves right */
    memcpy(&bits, &f, 4);
    if ((h & 0x7c00u) == 0x7c00u) bits |= 0x7f800000u;
    bits |= sign;
    memcpy(&f, &bits, 4);
    return f;
}

static inline uint16_t vj_half_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more round to infinity */
    if (bits < 0x38800000u) {                                   /* subnormal: numbers near 0.5 are 2^-24 apart too */
        float shifted;
        memcpy(&shifted, &bits, 4);
        shifted += 0.5f;
        memcpy(&bits, &shifted, 4);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

/* bf16 is the upper half of fp32: 1 sign, 8 exponent and 7 fraction bits. */
static inline float vj_bf16_to_float(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* A NaN stays a NaN. */
static inline uint16_t vj_bf16_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    const int nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return (uint16_t)(nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
