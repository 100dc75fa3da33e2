/*
 * The functions that isa.h needs from an instruction set, for 64-bit ARM: NEON, which every such processor has, and its
 * products of bf16 (Neoverse V1, V2 and N2, Graviton 3, Grace). Included by isa.h after the vector types.
 */
#ifndef VJ_CPU_NEON_H
#define VJ_CPU_NEON_H

#include <arm_neon.h>

/* The larger; NaN where either is NaN. */
VJ_INLINE vf vmax(vf a, vf b)
{
    return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
}
/* 1 / d for 1 <= d, to the rounding of a float: an estimate of 8 bits, doubled twice. Takes half the time of a
 * division. */
VJ_INLINE vf vreciprocal(vf d)
{
    float32x4_t r = vrecpeq_f32((float32x4_t)d);
    r = vmulq_f32(r, vrecpsq_f32((float32x4_t)d, r));
    return (vf)vmulq_f32(r, vrecpsq_f32((float32x4_t)d, r));
}

#if defined(VJ_HAS_BF16)

VJ_INLINE vh vnarrow(vf x)
{
    return (vh)vcvt_bf16_f32((float32x4_t)x);
}
VJ_INLINE vf vzip(vh even, vh odd)
{
    return (vf)__builtin_shufflevector(even, odd, 0, 4, 1, 5, 2, 6, 3, 7);
}
VJ_INLINE vf vpairs_across(vf even, vf odd)
{
    return vzip(vnarrow(even), vnarrow(odd));
}
VJ_INLINE vf vpairs_along(vf first, vf second)
{
    return (vf)vcvtq_high_bf16_f32(vcvtq_low_bf16_f32((float32x4_t)first), (float32x4_t)second);
}

#endif

/* The four rows of a step of an A panel (a_step > 1) are loaded together, because products multiply by one lane of a
 * vector.
 */
VJ_INLINE vf vrow(const float *a, int i, int64_t a_row, int a_step)
{
    return a_step > 1 ? vload(a + i / LANES * LANES) : vset(a[i * a_row]);
}
VJ_INLINE vf vlane(vf row, int lane)
{
    return (vf)vdupq_laneq_f32((float32x4_t)row, lane);
}
#if defined(VJ_HAS_BF16)
VJ_INLINE vf vdot_pairs(vf sum, vf row, int lane, vf column)
{
    return (vf)vbfdotq_laneq_f32((float32x4_t)sum, (bfloat16x8_t)column, (bfloat16x8_t)row, lane);
}
#endif

#endif
