/*
 * What isa.h asks of an instruction set, for SVE with vectors of 512 bits (A64FX): where a compiler that is told their
 * length leaves something to ask for by name. Included by isa.h, behind the types of vectors.
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
