/*
 * One source, several instruction sets: everything in this folder is compiled once per variant with VJ_ISA naming it,
 * with vectors of the width defined here. Intrinsics appear here, in neon.h and in sve.h only. Read vector.h next.
 */
#ifndef VJ_CPU_ISA_H
#define VJ_CPU_ISA_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

#if defined(VJ_ISA_amx)
#define VJ_HAS_AMX 1
#endif
#if defined(VJ_ISA_avx512bf16) || defined(VJ_ISA_amx)
#define VJ_HAS_AVX512BF16 1
#endif
#if defined(VJ_ISA_avx512) || defined(VJ_HAS_AVX512BF16)
#define VJ_HAS_AVX512 1
#endif
#if defined(VJ_ISA_neon) || defined(VJ_ISA_neonbf16)
#define VJ_HAS_NEON 1
#endif
#if defined(VJ_ISA_sve512)
#define VJ_HAS_SVE 1
#endif
#if defined(VJ_HAS_AVX512BF16) || defined(VJ_ISA_neonbf16)
#define VJ_HAS_BF16 1 /* products of bf16 in pairs */
#endif
#if defined(VJ_HAS_AVX512) || defined(VJ_ISA_avx2)
#include <immintrin.h>
#endif

/* External names carry the variant: VJ_CPU(product) is vj_cpu_avx512_product. */
#define VJ_CPU(name)               VJ_CPU_EXPANDED(VJ_ISA, name)
#define VJ_CPU_EXPANDED(isa, name) VJ_CPU_JOINED(isa, name)
#define VJ_CPU_JOINED(isa, name)   vj_cpu_##isa##_##name

#define VJ_INLINE static inline __attribute__((always_inline, unused))

/*
 * LANES floats in a vector. The register tile of a product is MR rows by NV vectors: MR * NV accumulators, NV operands
 * and one broadcast must fit the registers; MR is a multiple of 4, because there are tiles of 4 and 8 rows too. PAIR
 * bf16 values share a lane where the processor multiplies them in pairs; products of pairs have a tile of their own,
 * PAIR_MR by PAIR_NV, and a depth in multiples of PAIR_DEPTH lanes.
 */
#if defined(VJ_HAS_AVX512) || defined(VJ_HAS_SVE)
enum { LANES = 16, MR = 12, NV = 2 };
#elif defined(VJ_ISA_avx2)
enum { LANES = 8, MR = 4, NV = 3 };
#elif defined(VJ_HAS_NEON)
enum { LANES = 4, MR = 4, NV = 6 };
#else
enum { LANES = 4, MR = 4, NV = 2 };
#endif
#if defined(VJ_HAS_AMX)
enum { PAIR = 2, PAIR_MR = 32, PAIR_NV = 2, PAIR_DEPTH = 16 };
#elif defined(VJ_HAS_BF16)
enum { PAIR = 2, PAIR_MR = MR, PAIR_NV = NV, PAIR_DEPTH = 1 };
#else
enum { PAIR = 1, PAIR_MR = MR, PAIR_NV = NV, PAIR_DEPTH = 1 };
#endif
enum { NR = NV * LANES, PAIR_NR = PAIR_NV * LANES };
/*
 * Where tiles multiply bf16 many times as fast as vectors multiply floats, a product of floats is computed from PARTS
 * bf16 parts of each operand (vsplit()), which hold all its bits. Products of parts that are larger than the rounding
 * of a float are summed, the others left out.
 */
#if defined(VJ_HAS_AMX)
enum { PARTS = 3 };
#else
enum { PARTS = 1 };
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef float vf_memory __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint16_t vh_memory __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef float vpairs_memory __attribute__((vector_size(LANES * 4), aligned(2), may_alias));

VJ_INLINE vf vload(const float *p)
{
    return *(const vf_memory *)p;
}
/* Load 2 * LANES consecutive bf16 values, unaligned, as lanes of pairs; and store them. */
VJ_INLINE vf vload_pairs(const uint16_t *p)
{
    return *(const vpairs_memory *)p;
}
VJ_INLINE void vstore_pairs(uint16_t *p, vf v)
{
    *(vpairs_memory *)p = v;
}
VJ_INLINE void vstore(float *p, vf v)
{
    *(vf_memory *)p = v;
}
VJ_INLINE vf vset(float x)
{
    return x - (vf){0};
}
/* Return the same pointer, but hide that from the compiler, so that it does not keep addresses derived from it in
 * registers. */
VJ_INLINE float *vagain(float *p)
{
    __asm__("" : "+r"(p));
    return p;
}
/* Select each lane by the result of a comparison. */
VJ_INLINE vf vselect(vi mask, vf yes, vf no)
{
#if defined(VJ_ISA_avx2)
    return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
#else
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
#endif
}
/* `yes` where the sign of x is plus, else `no`. */
VJ_INLINE vf vselect_plus(vf x, vf yes, vf no)
{
#if defined(VJ_ISA_avx2)
    return (vf)_mm256_blendv_ps((__m256)yes, (__m256)no, (__m256)x); /* looks at the sign only */
#elif defined(VJ_HAS_AVX512)
    return (vf)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)x), (__m512)yes, (__m512)no);
#else
    return vselect((vi)x >= 0, yes, no);
#endif
}
VJ_INLINE vf vabs(vf x)
{
    return (vf)((vi)x & INT32_MAX);
}
/* The sum of all lanes: halves are added, then their halves. */
VJ_INLINE float vsum(vf v)
{
#if defined(VJ_HAS_AVX512)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float lane[LANES];
    memcpy(lane, &v, sizeof lane);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
#endif
}

#if defined(VJ_HAS_NEON)
#include "neon.h"
#elif defined(VJ_HAS_SVE)
#include "sve.h"
#endif

/* ------------------------------------------------------------------------------------------------ parts of vectors */

#if defined(VJ_HAS_AVX512)

VJ_INLINE __mmask16 vfirst(int64_t n)
{
    return n >= LANES ? 0xffff : (__mmask16)((1u << n) - 1);
}
/* Load the first n >= 0 lanes; the others are 0. */
VJ_INLINE vf vload_part(const float *p, int64_t n)
{
    return (vf)_mm512_maskz_loadu_ps(vfirst(n), p);
}
VJ_INLINE void vstore_part(float *p, vf v, int64_t n)
{
    _mm512_mask_storeu_ps(p, vfirst(n), (__m512)v);
}
VJ_INLINE vh vload_half_part(const uint16_t *p, int64_t n)
{
    return (vh)_mm256_maskz_loadu_epi16(vfirst(n), p);
}
VJ_INLINE void vstore_half_part(uint16_t *p, vh v, int64_t n)
{
    _mm256_mask_storeu_epi16(p, vfirst(n), (__m256i)v);
}
/* The larger; NaN where b is NaN. */
VJ_INLINE vf vmax(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}
/* Adding it rounds to the nearest whole number: 1.5 * 2^23. */
#define VJ_WHOLE 12582912.0f
/* p * 2^n for a whole number n; `sum` is n + VJ_WHOLE. */
VJ_INLINE vf vscale2(vf p, vf n, vf sum)
{
    return (void)sum, (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
}
/* 1 / d for 1 <= d, at least to the rounding of a float; beyond 1e30 some tiny number. A fifth of a division's time. */
VJ_INLINE vf vreciprocal(vf d)
{
    d = (vf)_mm512_min_ps((__m512)vset(1e30f), (__m512)d); /* in this order NaN passes */
    vf r = (vf)_mm512_rcp14_ps((__m512)d);
    return r + r * (1.0f - d * r);
}

#elif defined(VJ_ISA_avx2)

VJ_INLINE __m256i vfirst(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > LANES ? LANES : (int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/* Masked stores are about twenty times as slow as others on AMD's processors: use them only at the ends of rows. */
VJ_INLINE vf vload_part(const float *p, int64_t n)
{
    if (n >= LANES) return vload(p);
    if (n == LANES / 2) return (vf)_mm256_zextps128_ps256(_mm_loadu_ps(p));
    return (vf)_mm256_maskload_ps(p, vfirst(n));
}
VJ_INLINE void vstore_part(float *p, vf v, int64_t n)
{
    if (n >= LANES)
        vstore(p, v);
    else if (n == LANES / 2)
        _mm_storeu_ps(p, _mm256_castps256_ps128((__m256)v));
    else
        _mm256_maskstore_ps(p, vfirst(n), (__m256)v);
}
VJ_INLINE vf vmax(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}

#elif !defined(VJ_HAS_SVE)

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
#if !defined(VJ_HAS_NEON)
VJ_INLINE vf vmax(vf a, vf b)
{
    return vselect(a > b, a, b);
}
#endif

#endif
#if !defined(VJ_HAS_AVX512)

VJ_INLINE vh vload_half_part(const uint16_t *p, int64_t n)
{
    vh v = {0};
    if (n >= LANES) return *(const vh_memory *)p;
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
VJ_INLINE void vstore_half_part(uint16_t *p, vh v, int64_t n)
{
    if (n >= LANES)
        *(vh_memory *)p = v;
    else
        memcpy(p, &v, (size_t)n * sizeof *p);
}
#if !defined(VJ_HAS_NEON) && !defined(VJ_HAS_SVE)
VJ_INLINE vf vreciprocal(vf d)
{
    return 1.0f / d;
}
#endif
/* 1.5 * 2^23 + 127: the low bits of n + VJ_WHOLE are the exponent field of the float 2^n, for whole |n| < 127. p is
 * multiplied by 2^n, not changed in its bits, so that NaN stays NaN. */
#define VJ_WHOLE 12583039.0f
VJ_INLINE vf vscale2(vf p, vf n, vf sum)
{
    return (void)n, p * (vf)((vu)sum << 23);
}

#endif

/* ------------------------------------------------------------------------------------------------ bf16 */

VJ_INLINE vf vwiden(vh x)
{
#if defined(VJ_ISA_avx2) /* gcc needs four instructions for what is one */
    return (vf)((vu)_mm256_cvtepu16_epi32((__m128i)x) << 16);
#elif defined(VJ_HAS_AVX512)
    return (vf)((vu)_mm512_cvtepu16_epi32((__m256i)x) << 16);
#else
    return (vf)(__builtin_convertvector(x, vu) << 16);
#endif
}

#if defined(VJ_HAS_AVX512BF16)

/* Round to bf16, nearest even. */
VJ_INLINE vh vnarrow(vf x)
{
    return (vh)(__m256i)_mm512_cvtneps_pbh((__m512)x);
}
/* Two vectors of bf16 as lanes of pairs (even[i], odd[i]), even in the low half. */
VJ_INLINE vf vzip(vh even, vh odd)
{
    return (vf)_mm512_or_si512(_mm512_cvtepu16_epi32((__m256i)even),
                               _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)odd), 16));
}
/* Put elements i and i + LANES of a run of 2 * LANES bf16 into lane i. */
VJ_INLINE vu vfold(vf run)
{
    const __m512i fold = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                          21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vu)_mm512_permutexvar_epi16(fold, (__m512i)run);
}
/* Round the 2 * LANES floats first, second to bf16; neighbours form pairs. */
VJ_INLINE vf vpairs_along(vf first, vf second)
{
    return (vf)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
/* Round to bf16: the pair (even[i], odd[i]) in lane i. */
VJ_INLINE vf vpairs_across(vf even, vf odd)
{
    return (vf)vfold(vpairs_along(even, odd));
}
/* Widen a run of 2 * LANES bf16 to floats. */
VJ_INLINE void vwiden_run(vf run, vf v[2])
{
    const vu folded = vfold(run);
    v[0] = (vf)(folded << 16);
    v[1] = (vf)(folded & 0xffff0000);
}
/* Split the 2 * LANES floats first, second into those at even and at odd places. */
VJ_INLINE void vunzip(vf first, vf second, vf *even, vf *odd)
{
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    *even = (vf)_mm512_permutex2var_ps((__m512)first, evens, (__m512)second);
    *odd = (vf)_mm512_permutex2var_ps((__m512)first, odds, (__m512)second);
}
/*
 * Split each float of the pairs (even[i], odd[i]) into three bf16 values whose sum it is: part[0] is the float rounded
 * to 8 bits, part[1] the remainder rounded to 8 bits, part[2] the last 8 bits. Exact for normal numbers up to 3.38e38;
 * below 2^-110 the last parts are denormal, which tiles treat as zero. Infinity becomes NaN.
 */
VJ_INLINE void vsplit(vf even, vf odd, vf part[3])
{
    const vu top = (vu){0} + 0xffff0000;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        const uint32_t half = i < 2 ? 0x8000 : 0; /* the last part needs no rounding; without it NaN stays NaN */
        const vu e = ((vu)even + half) & top, o = ((vu)odd + half) & top;
        part[i] = (vf)(e >> 16 | o);
        even -= (vf)e;
        odd -= (vf)o;
    }
}
/* sum + both products of each lane's pair of the column with the pair of the row (vrow()). */
VJ_INLINE vf vdot_pairs(vf sum, vf row, int lane, vf column)
{
    (void)lane;
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)row, (__m512bh)(__m512i)column);
}
/* 2^x, relative error 3e-6, for results that are rounded to bf16 next (4e-3). Results below 2^-126 become 0; NaN stays
 * NaN. */
VJ_INLINE vf vexp2_rough(vf x)
{
    vf r = (vf)_mm512_reduce_ps((__m512)x, 1); /* x - floor(x) */
    vf p = vset(0.0135341706f);
    p = p * r + 0.0520114633f;
    p = p * r + 0.2414427490f;
    p = p * r + 0.6930038381f;
    p = p * r + 1.0000025930f;
    return vscale2(p, x, x); /* scalef uses floor(x) itself */
}

#elif !defined(VJ_HAS_BF16)

/*
 * Round to nearest even in the upper half. NaN must stay NaN: the addition could carry its mantissa into the sign. This
 * cannot happen if the lower half is zero, as in a NaN that is bf16, is computed from bf16 values (`of_bf16`) or was
 * produced by the processor.
 */
VJ_INLINE vu vrounded_number(vf x, bool of_bf16)
{
    const vu bits = (vu)x, rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return of_bf16 ? rounded : rounded | (vu)(x != x);
}
VJ_INLINE vu vrounded(vf x)
{
    return vrounded_number(x, false);
}
/* Round to bf16. */
VJ_INLINE vh vnarrow(vf x)
{
    const vu upper = vrounded(x) >> 16;
#if defined(VJ_ISA_avx2)
    const __m256i packed = _mm256_packus_epi32((__m256i)upper, (__m256i)upper); /* in each half of the vector */
    return (vh)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
    return __builtin_convertvector(upper, vh);
#endif
}
/* Round to bf16, kept as floats. */
VJ_INLINE vf vround_bf16(vf x)
{
    return (vf)(vrounded(x) & 0xffff0000);
}

/* No products of pairs: bf16 operands are rounded floats. */
VJ_INLINE vf vzip(vh even, vh odd)
{
    return (void)odd, vwiden(even);
}
VJ_INLINE vf vpairs_across(vf even, vf odd)
{
    return (void)odd, vround_bf16(even);
}
VJ_INLINE vf vpairs_along(vf first, vf second)
{
    return (void)second, vround_bf16(first);
}

#endif
#if defined(VJ_HAS_BF16)

VJ_INLINE vf vround_bf16(vf x)
{
    return vwiden(vnarrow(x));
}

#endif

/* Load n elements of a device array from element `at` on, as floats. */
VJ_INLINE vf vload_of(const void *base, vj_type type, int64_t at, int64_t n)
{
    if (type == VJ_TYPE_F32) return vload_part((const float *)base + at, n);
    return vwiden(vload_half_part((const uint16_t *)base + at, n));
}
VJ_INLINE void vstore_to(void *base, vj_type type, int64_t at, vf v, int64_t n)
{
    if (type == VJ_TYPE_F32)
        vstore_part((float *)base + at, v, n);
    else
        vstore_half_part((uint16_t *)base + at, vnarrow(v), n);
}

/*
 * Store PAIRED consecutive vectors, rounded together. of_bf16: they were computed from bf16 values only, so no check
 * for NaN is needed.
 */
enum { PAIRED = 2 };
VJ_INLINE void vstore_pair_to(void *base, vj_type type, int64_t at, const vf v[PAIRED], bool of_bf16)
{
    (void)of_bf16;
#if defined(VJ_ISA_avx2)
    if (type == VJ_TYPE_BF16) {
        const vu low = vrounded_number(v[0], of_bf16) >> 16, high = vrounded_number(v[1], of_bf16) >> 16;
        const __m256i packed = _mm256_packus_epi32((__m256i)low, (__m256i)high); /* in each half of the vector */
        _mm256_storeu_si256((__m256i *)((uint16_t *)base + at), _mm256_permute4x64_epi64(packed, 0xd8));
        return;
    }
#elif defined(VJ_HAS_AVX512BF16)
    if (type == VJ_TYPE_BF16) {
        vstore_pairs((uint16_t *)base + at, vpairs_along(v[0], v[1]));
        return;
    }
#endif
    for (int i = 0; i < PAIRED; i++) vstore_to(base, type, at + i * LANES, v[i], LANES);
}
VJ_INLINE void vload_pair_of(const void *base, vj_type type, int64_t at, vf v[PAIRED])
{
#if defined(VJ_HAS_AVX512BF16)
    if (type == VJ_TYPE_BF16) {
        vwiden_run(vload_pairs((const uint16_t *)base + at), v);
        return;
    }
#endif
    for (int i = 0; i < PAIRED; i++) v[i] = vload_of(base, type, at + i * LANES, LANES);
}
/* Round to bf16, kept as floats. */
VJ_INLINE void vround_pair(vf v[PAIRED])
{
#if defined(VJ_HAS_AVX512BF16)
    vwiden_run(vpairs_along(v[0], v[1]), v);
#else
    for (int i = 0; i < PAIRED; i++) v[i] = vround_bf16(v[i]);
#endif
}

/*
 * Store a whole vector past the caches, for results too large to stay in them. The address must be aligned to the
 * vector. Other threads see it after vstreamed().
 */
VJ_INLINE void vstream_to(void *base, vj_type type, int64_t at, vf v)
{
#if defined(VJ_HAS_AVX512BF16)
    if (type == VJ_TYPE_BF16) {
        _mm256_stream_si256((__m256i *)((uint16_t *)base + at), (__m256i)vnarrow(v));
        return;
    }
#endif
#if defined(VJ_HAS_AVX512)
    if (type == VJ_TYPE_F32) {
        _mm512_stream_ps((float *)base + at, (__m512)v);
        return;
    }
#elif defined(VJ_ISA_avx2)
    if (type == VJ_TYPE_F32) {
        _mm256_stream_ps((float *)base + at, (__m256)v);
        return;
    }
#endif
    vstore_to(base, type, at, v, LANES);
}
/* The same for PAIRED vectors; the address must be aligned to their size. */
VJ_INLINE void vstream_pair_to(void *base, vj_type type, int64_t at, const vf v[PAIRED])
{
#if defined(VJ_HAS_AVX512BF16)
    if (type == VJ_TYPE_BF16) { /* a whole line */
        _mm512_stream_si512((__m512i *)((uint16_t *)base + at), (__m512i)vpairs_along(v[0], v[1]));
        return;
    }
#endif
    for (int i = 0; i < PAIRED; i++) vstream_to(base, type, at + i * LANES, v[i]);
}
/* Return whether stores bypass the caches here; if not, vstream_to() is a plain store. */
VJ_INLINE bool vstreams(vj_type type)
{
#if defined(VJ_HAS_AVX512BF16)
    return (void)type, true;
#elif defined(VJ_HAS_AVX512) || defined(VJ_ISA_avx2)
    return type == VJ_TYPE_F32;
#else
    return (void)type, false;
#endif
}
VJ_INLINE void vstreamed(void)
{
#if defined(VJ_HAS_AVX512) || defined(VJ_ISA_avx2)
    _mm_sfence();
#endif
}

/* ------------------------------------------------------------------------------------------------ register tiles */

#if !defined(VJ_HAS_NEON)

/* Load the value of row i of operand A at this step of the depth, into lane i % LANES; here into all lanes. */
VJ_INLINE vf vrow(const float *a, int i, int64_t a_row, int a_step)
{
    return (void)a_step, vset(a[i * a_row]);
}
/* Copy that lane to all lanes. */
VJ_INLINE vf vlane(vf row, int lane)
{
    return (void)lane, row;
}

#endif
#if !defined(VJ_HAS_BF16)

VJ_INLINE vf vdot_pairs(vf sum, vf row, int lane, vf column)
{
    return sum + vlane(row, lane) * column;
}

#endif

/* ------------------------------------------------------------------------------------------------ matrix tiles */

enum { LINE = 16 }; /* floats of a cache line */

/* Return how many floats to prefetch in each of `steps` steps so that all `ahead` are prefetched; whole lines. */
VJ_INLINE int64_t vahead(int64_t ahead, int64_t steps)
{
    return (ahead + steps * LINE - 1) / (steps * LINE) * LINE;
}
/* Prefetch `ahead` floats into the second-level cache; returns the address behind them. */
VJ_INLINE const float *vprefetch(const float *next, int64_t ahead)
{
    for (int64_t i = 0; i < ahead; i += LINE) __builtin_prefetch(next + i, 0, 2);
    return next + ahead;
}

#if defined(VJ_HAS_AMX)

/* Each thread sets up the eight tiles (16 rows of 64 bytes) before its first product and gives them back at the end. */
VJ_INLINE void vtiles_begin(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } layout __attribute__((aligned(64))) = {
        .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&layout);
}
VJ_INLINE void vtiles_end(void)
{
    _tile_release();
}

/* Load the sums into tiles 0 to 3: `halves` x 16 rows by nv x 16 columns of t, or zeros. */
VJ_INLINE void vtiles_take(int halves, int nv, const float *t, int64_t ldt, bool accumulate)
{
    const int row = (int)ldt * 4;
    if (accumulate) {
        _tile_loadd(0, t, row);
        if (nv > 1) _tile_loadd(1, t + 16, row);
        if (halves > 1) _tile_loadd(2, t + 16 * ldt, row);
        if (halves > 1 && nv > 1) _tile_loadd(3, t + 16 * ldt + 16, row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
}
VJ_INLINE void vtiles_give(int halves, int nv, float *t, int64_t ldt)
{
    const int row = (int)ldt * 4;
    _tile_stored(0, t, row);
    if (nv > 1) _tile_stored(1, t + 16, row);
    if (halves > 1) _tile_stored(2, t + 16 * ldt, row);
    if (halves > 1 && nv > 1) _tile_stored(3, t + 16 * ldt + 16, row);
}

/*
 * t[i * ldt + j] (+)= products of pairs, `halves` x 16 rows by nv x 16 columns: a[p / PAIR_DEPTH * a_step + i * a_row +
 * p % PAIR_DEPTH] and b[p * PAIR_NR + j] are lanes of pairs; depth is a multiple of PAIR_DEPTH.
 */
VJ_INLINE void vtiles(int halves, int nv, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b,
                      float *t, int64_t ldt, bool accumulate, const float *next, int64_t ahead)
{
    const int a_bytes = (int)a_row * 4, b_bytes = PAIR_NR * 4;
    vtiles_take(halves, nv, t, ldt, accumulate);
    const int64_t step = vahead(ahead, depth / PAIR_DEPTH);
    for (int64_t p = 0; p < depth; p += PAIR_DEPTH, a += a_step) {
        next = vprefetch(next, step);
        _tile_loadd(4, a, a_bytes);
        _tile_loadd(6, b + p * PAIR_NR, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (nv > 1) {
            _tile_loadd(7, b + p * PAIR_NR + 16, b_bytes);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (halves > 1) {
            _tile_loadd(5, a + 16 * a_row, a_bytes);
            _tile_dpbf16ps(2, 5, 6);
            if (nv > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    vtiles_give(halves, nv, t, ldt);
}

/*
 * The same for floats in three parts of `depth` lanes each: element (i, p) of A's part j is at a[j * a_part + p /
 * PAIR_DEPTH * a_step + i * a_row + p % PAIR_DEPTH], of B's at b[(j * depth + p) * PAIR_NR + column]. The products left
 * out are below 2^-23 of the product.
 */
VJ_INLINE void vtiles_parts(int halves, int nv, int64_t depth, const float *a, int64_t a_row, int64_t a_step,
                            int64_t a_part, const float *b, float *t, int64_t ldt, bool accumulate)
{
    const int64_t b_part = depth * PAIR_NR;
    const int a_bytes = (int)a_row * 4, b_bytes = PAIR_NR * 4;
    vtiles_take(halves, nv, t, ldt, accumulate);
#define LOAD_A(part)                                                                                                   \
    _tile_loadd(4, a + (part)*a_part, a_bytes);                                                                        \
    if (halves > 1) _tile_loadd(5, a + (part)*a_part + 16 * a_row, a_bytes)
#define LOAD_B(part)                                                                                                   \
    _tile_loadd(6, b + (part)*b_part, b_bytes);                                                                        \
    if (nv > 1) _tile_loadd(7, b + (part)*b_part + 16, b_bytes)
#define MULTIPLY()                                                                                                     \
    _tile_dpbf16ps(0, 4, 6);                                                                                           \
    if (nv > 1) _tile_dpbf16ps(1, 4, 7);                                                                               \
    if (halves > 1) _tile_dpbf16ps(2, 5, 6);                                                                           \
    if (halves > 1 && nv > 1) _tile_dpbf16ps(3, 5, 7)
    for (int64_t p = 0; p < depth; p += PAIR_DEPTH, a += a_step, b += PAIR_DEPTH * PAIR_NR) {
        /* Small products first; from one to the next, one operand stays loaded. */
        LOAD_A(2);
        LOAD_B(0);
        MULTIPLY();
        LOAD_A(1);
        MULTIPLY();
        LOAD_B(1);
        MULTIPLY();
        LOAD_A(0);
        MULTIPLY();
        LOAD_B(2);
        MULTIPLY();
        LOAD_B(0);
        MULTIPLY();
    }
#undef LOAD_A
#undef LOAD_B
#undef MULTIPLY
    vtiles_give(halves, nv, t, ldt);
}

#else

VJ_INLINE void vtiles_begin(void) {}
VJ_INLINE void vtiles_end(void) {}

#endif
#endif
