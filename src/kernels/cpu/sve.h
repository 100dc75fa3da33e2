/*
 * The functions that isa.h needs from an instruction set, for SVE with vectors of 512 bits (A64FX): only those that the
 * compiler, which is told the length, does not generate well from plain vector code. Included by isa.h after the vector
 * types.
 */
#ifndef VJ_CPU_SVE_H
#define VJ_CPU_SVE_H

#include <arm_sve.h>

VJ_INLINE vf vload_part(const float *p, int64_t n)
{
    return svld1_f32(svwhilelt_b32_s64(0, n), p);
}
VJ_INLINE void vstore_part(float *p, vf v, int64_t n)
{
    svst1_f32(svwhilelt_b32_s64(0, n), p, v);
}
/* The larger; NaN where either is NaN. */
VJ_INLINE vf vmax(vf a, vf b)
{
    return svmax_f32_x(svptrue_b32(), a, b);
}
/* 1 / d for 1 <= d, to the rounding of a float: an estimate of 8 bits, doubled twice. */
VJ_INLINE vf vreciprocal(vf d)
{
    vf r = svrecpe_f32(d);
    r *= (vf)svrecps_f32(d, r);
    return r * (vf)svrecps_f32(d, r);
}

#endif
