/*
 * One source, several instruction sets: everything in this folder is compiled once per variant with VJ_ISA naming it,
 * on vectors of the width given here. Intrinsics appear in this file only. Read vector.h next.
 */
#ifndef VJ_CPU_ISA_H
#define VJ_CPU_ISA_H

#include <stdint.h>
#include <string.h>

#if defined(VJ_ISA_avx512) || defined(VJ_ISA_avx2)
#include <immintrin.h>
#endif

/* External names carry the variant: VJ_CPU(product) is vj_cpu_avx512_product. */
#define VJ_CPU(name)               VJ_CPU_EXPANDED(VJ_ISA, name)
#define VJ_CPU_EXPANDED(isa, name) VJ_CPU_JOINED(isa, name)
#define VJ_CPU_JOINED(isa, name)   vj_cpu_##isa##_##name

#define VJ_INLINE static inline __attribute__((always_inline, unused))

/*
 * LANES floats in a vector. The register tile of a product is MR rows by NV vectors: MR * NV accumulators, NV operands
 * and one broadcast must fit the registers. PAIR bf16 values share a lane where the processor multiplies them in pairs.
 */
#if defined(VJ_ISA_avx512)
enum { LANES = 16, MR = 8, NV = 3, PAIR = 2 };
#elif defined(VJ_ISA_avx2)
enum { LANES = 8, MR = 4, NV = 3, PAIR = 1 };
#else
enum { LANES = 4, MR = 4, NV = 2, PAIR = 1 };
#endif
enum { NR = NV * LANES };

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef float vf_memory __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

VJ_INLINE vf vload(const float *p)
{
    return *(const vf_memory *)p;
}
VJ_INLINE void vstore(float *p, vf v)
{
    *(vf_memory *)p = v;
}
VJ_INLINE vf vset(float x)
{
    return x - (vf){0};
}
VJ_INLINE vf vselect(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
VJ_INLINE vf vabs(vf x)
{
    return (vf)((vi)x & INT32_MAX);
}

#if defined(VJ_ISA_avx512)

VJ_INLINE __mmask16 vfirst(int64_t n)
{
    return n >= LANES ? 0xffff : (__mmask16)((1u << n) - 1);
}
/* The first n >= 0 lanes, the others 0. */
VJ_INLINE vf vload_part(const float *p, int64_t n)
{
    return (vf)_mm512_maskz_loadu_ps(vfirst(n), p);
}
VJ_INLINE void vstore_part(float *p, vf v, int64_t n)
{
    _mm512_mask_storeu_ps(p, vfirst(n), (__m512)v);
}
/* The larger; b where either is NaN. */
VJ_INLINE vf vmax(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}
/* p * 2^n, n a whole number. */
VJ_INLINE vf vscale2(vf p, vf n)
{
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
}

/* Round to bf16, nearest even, kept as floats. */
VJ_INLINE vf vround_bf16(vf x)
{
    __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16);
}

/* bf16 pairs (even[i], odd[i]) in lane i, even in the low half. */
VJ_INLINE vf vpairs_across(vf even, vf odd)
{
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vf)_mm512_permutexvar_epi16(zip, both);
}
/* bf16 pairs of neighbours of the run first, second. */
VJ_INLINE vf vpairs_along(vf first, vf second)
{
    return (vf)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
/* sum + the two products of each lane's pairs. */
VJ_INLINE vf vdot_pairs(vf sum, vf a, vf b)
{
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)a, (__m512bh)(__m512i)b);
}

#else

/* Round to bf16, nearest even, kept as floats; a NaN stays one (adding could carry its mantissa into the sign). */
VJ_INLINE vf vround_bf16(vf x)
{
    vu bits = (vu)x;
    vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    return vselect(x == x, (vf)rounded, (vf)(bits | 0x7fc00000u));
}

#if defined(VJ_ISA_avx2)
VJ_INLINE __m256i vfirst(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > LANES ? LANES : (int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
VJ_INLINE vf vload_part(const float *p, int64_t n)
{
    return (vf)_mm256_maskload_ps(p, vfirst(n));
}
VJ_INLINE void vstore_part(float *p, vf v, int64_t n)
{
    _mm256_maskstore_ps(p, vfirst(n), (__m256)v);
}
VJ_INLINE vf vmax(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}
#else
VJ_INLINE vf vload_part(const float *p, int64_t n)
{
    vf v = {0};
    memcpy(&v, p, (size_t)(n > LANES ? LANES : n) * sizeof(float));
    return v;
}
VJ_INLINE void vstore_part(float *p, vf v, int64_t n)
{
    memcpy(p, &v, (size_t)(n > LANES ? LANES : n) * sizeof(float));
}
VJ_INLINE vf vmax(vf a, vf b)
{
    return vselect(a > b, a, b);
}
#endif

/* n + 1.5 * 2^23 has n in its low bits; |n| < 127. Multiplied rather than added to the bits, so that NaN stays NaN. */
VJ_INLINE vf vscale2(vf p, vf n)
{
    return p * (vf)((((vi)(n + 12582912.0f)) << 23) + 0x3f800000);
}

/* No products of pairs: bf16 operands are rounded floats. */
VJ_INLINE vf vpairs_across(vf even, vf odd)
{
    return (void)odd, vround_bf16(even);
}
VJ_INLINE vf vpairs_along(vf first, vf second)
{
    return (void)second, vround_bf16(first);
}
VJ_INLINE vf vdot_pairs(vf sum, vf a, vf b)
{
    return sum + a * b;
}

#endif
#endif
