/*
 * Measures the peak of each instruction. Each burst keeps twelve independent sums in registers, which covers the
 * latency of two multiply-add units. Functions for an instruction set are compiled only for it, and called only if the
 * processor has it.
 */
#include "bench/peak.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/status.h"

/* Runs `rounds` rounds and returns a value that depends on all of them. */
typedef float (*burst)(int64_t rounds);

enum { SUMS = 12, BURSTS = 4 };
static const double burst_s = 0.02;

/* The compiler may not know the operands, or it would compute the sums itself. They keep every sum near 2. */
static volatile float factor = 0.5F, term = 1.0F, sink;

/* ------------------------------------------------------------------------------------------------ fp32 and fp64 */

#define EACH_SUM(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* A burst on vectors of `lanes` numbers, 2 * SUMS * lanes operations a round. */
#define BURST(name, type, lanes, attributes)                                                                           \
    attributes static float name(int64_t rounds)                                                                       \
    {                                                                                                                  \
        typedef type vector __attribute__((vector_size(sizeof(type) * (lanes))));                                      \
        const vector f = (vector){0} + (type)factor, t = (vector){0} + (type)term;                                     \
        EACH_SUM(DECLARE_SUM)                                                                                          \
        for (int64_t i = 0; i < rounds; i++) {                                                                         \
            EACH_SUM(MULTIPLY_ADD)                                                                                     \
        }                                                                                                              \
        vector all = {0};                                                                                              \
        EACH_SUM(GATHER)                                                                                               \
        return (float)(all[0] + all[(lanes)-1]);                                                                       \
    }
#define DECLARE_SUM(n)  vector s##n = t + n;
#define MULTIPLY_ADD(n) s##n = s##n * f + t;
#define GATHER(n)       all += s##n;

#ifndef __aarch64__
BURST(fp32_portable, float, 4, )
BURST(fp64_portable, double, 2, )
#endif
#ifdef __x86_64__
BURST(fp32_avx2, float, 8, __attribute__((target("avx2,fma"))))
BURST(fp64_avx2, double, 4, __attribute__((target("avx2,fma"))))
BURST(fp32_avx512, float, 16, __attribute__((target("avx512f"))))
BURST(fp64_avx512, double, 8, __attribute__((target("avx512f"))))
#endif

/* ------------------------------------------------------------------------------------------------ ARM */

#ifdef __aarch64__
#include <arm_neon.h>
#include <arm_sve.h>
#include <sys/auxv.h>

#define BF16 __attribute__((target("arch=armv8.2-a+bf16")))
#define SVE  __attribute__((target("arch=armv8.2-a+sve")))

enum { ARM_SUMS = 24, CPU_SVE = 1 << 22, CPU2_BF16 = 1 << 14 };

/* Twice as many sums, for four multiply-add units. The ARM instructions add to one of their operands, here zero. */
#define EACH_ARM_SUM(DO)                                                                                               \
    EACH_SUM(DO) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23)
#define ARM_BURST(name, operand, fill, zero, add, first, attributes)                                                   \
    attributes static float name(int64_t rounds)                                                                       \
    {                                                                                                                  \
        const operand a = zero;                                                                                        \
        EACH_ARM_SUM(fill)                                                                                             \
        for (int64_t i = 0; i < rounds; i++) {                                                                         \
            EACH_ARM_SUM(add)                                                                                          \
        }                                                                                                              \
        float all = 0;                                                                                                 \
        EACH_ARM_SUM(first)                                                                                            \
        return all;                                                                                                    \
    }
#define FILL_F32(n)  float32x4_t s##n = vdupq_n_f32(n);
#define FILL_F64(n)  float64x2_t s##n = vdupq_n_f64(n);
#define FILL_S32(n)  svfloat32_t s##n = svdup_f32(n);
#define FILL_S64(n)  svfloat64_t s##n = svdup_f64(n);
#define ADD_F32(n)   s##n = vfmaq_f32(s##n, a, a);
#define ADD_F64(n)   s##n = vfmaq_f64(s##n, a, a);
#define ADD_BF16(n)  s##n = vbfdotq_f32(s##n, a, a);
#define ADD_S32(n)   s##n = svmla_f32_x(svptrue_b32(), s##n, a, a);
#define ADD_S64(n)   s##n = svmla_f64_x(svptrue_b64(), s##n, a, a);
#define FIRST_F32(n) all += vgetq_lane_f32(s##n, 0);
#define FIRST_F64(n) all += (float)vgetq_lane_f64(s##n, 0);
#define FIRST_S32(n) all += svlastb_f32(svptrue_b32(), s##n);
#define FIRST_S64(n) all += (float)svlastb_f64(svptrue_b64(), s##n);
static volatile uint16_t zero_bits = 0;
ARM_BURST(fp32_neon, float32x4_t, FILL_F32, vdupq_n_f32(zero_bits), ADD_F32, FIRST_F32, )
ARM_BURST(fp64_neon, float64x2_t, FILL_F64, vdupq_n_f64(zero_bits), ADD_F64, FIRST_F64, )
ARM_BURST(bf16_neon, bfloat16x8_t, FILL_F32, vreinterpretq_bf16_u16(vdupq_n_u16(zero_bits)), ADD_BF16, FIRST_F32, BF16)
ARM_BURST(fp32_sve, svfloat32_t, FILL_S32, svdup_f32(zero_bits), ADD_S32, FIRST_S32, SVE)
ARM_BURST(fp64_sve, svfloat64_t, FILL_S64, svdup_f64(zero_bits), ADD_S64, FIRST_S64, SVE)

SVE static int sve_lanes(void)
{
    return (int)svcntw();
}
static bool has_sve(void)
{
    return (getauxval(AT_HWCAP) & CPU_SVE) != 0;
}
static bool has_bfdot(void)
{
    return (getauxval(AT_HWCAP2) & CPU2_BF16) != 0;
}
#endif

/* ------------------------------------------------------------------------------------------------ bf16 */

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile short bf16_zero = 0, bf16_one = 0x3f80;

#define DECLARE_DOT(n) __m512 s##n = _mm512_set1_ps((float)(n));
#define DOT(n)         s##n = _mm512_dpbf16_ps(s##n, a, b);
#define GATHER_DOT(n)  all = _mm512_add_ps(all, s##n);

/* 64 operations an instruction: 16 lanes of two multiply-adds. The products are zero, which costs the same. */
__attribute__((target("avx512f,avx512bf16"))) static float bf16_avx512(int64_t rounds)
{
    const __m512bh a = (__m512bh)_mm512_set1_epi16(bf16_zero), b = (__m512bh)_mm512_set1_epi16(bf16_one);
    EACH_SUM(DECLARE_DOT)
    for (int64_t i = 0; i < rounds; i++) {
        EACH_SUM(DOT)
    }
    __m512 all = _mm512_setzero_ps();
    EACH_SUM(GATHER_DOT)
    return _mm512_cvtss_f32(all);
}

enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_SUMS = 6 };

/* 16 x 16 results of 32 multiply-adds an instruction; six of the eight tiles are sums, the others operands. */
__attribute__((target("amx-tile,amx-bf16"))) static float bf16_amx(int64_t rounds)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((packed)) shape = {.palette = 1};
    float result[TILE_ROWS * TILE_BYTES / sizeof(float)];
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = TILE_BYTES;
        shape.rows[i] = TILE_ROWS;
    }
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    _tile_stored(0, result, TILE_BYTES);
    _tile_release();
    return result[0];
}

static bool has_avx512_bf16(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
}

/* CPUID leaf 7 tells of tiles and their bf16 products. Linux enables the state of tiles only for processes that ask. */
static bool has_amx_bf16(void)
{
    enum { LEAF = 7, AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, ASK_FOR_STATE = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) && (d & AMX_BF16) && (d & AMX_TILE) &&
           syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
}
#endif

/* ------------------------------------------------------------------------------------------------ timing */

/* Return the seconds that `rounds` rounds take on all threads, from the first start to the last end. */
static double time_burst(burst run, int64_t rounds, int threads)
{
    double begin = INFINITY, end = 0;
    float results = 0;
#pragma omp parallel num_threads(threads) reduction(min : begin) reduction(max : end) reduction(+ : results)
    {
#pragma omp barrier
        begin = vj_now();
        results += run(rounds);
        end = vj_now();
    }
    sink = results;
    return end - begin;
}

static double best_gflops(burst run, double flops_a_round, int threads)
{
    int64_t rounds = 1000;
    double best = 0, seconds = time_burst(run, rounds, threads);
    while (seconds < burst_s / 4) {
        rounds *= 4;
        seconds = time_burst(run, rounds, threads);
    }
    rounds = (int64_t)((double)rounds * burst_s / seconds) + 1;
    for (int i = 0; i < BURSTS; i++) {
        const double rate = flops_a_round * (double)rounds * threads / time_burst(run, rounds, threads) / 1e9;
        if (rate > best) best = rate;
    }
    return best;
}

#if defined(__x86_64__) || defined(__aarch64__)
static void consider(vj_peak *peak, const char *name, burst run, double flops_a_round, int threads)
{
    const double rate = best_gflops(run, flops_a_round, threads);
    if (rate <= peak->bf16_gflops) return;
    peak->bf16_gflops = rate;
    peak->bf16_name = name;
}
#endif

/* Bursts on the widest vectors of this processor. */
typedef struct {
    burst fp32, fp64;
    int lanes, sums; /* floats in a vector, vectors that are summed */
} bursts;

static bursts widest(void)
{
#if defined(__aarch64__)
    if (has_sve()) return (bursts){fp32_sve, fp64_sve, sve_lanes(), ARM_SUMS};
    return (bursts){fp32_neon, fp64_neon, 4, ARM_SUMS};
#else
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) return (bursts){fp32_avx512, fp64_avx512, 16, SUMS};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (bursts){fp32_avx2, fp64_avx2, 8, SUMS};
#endif
    return (bursts){fp32_portable, fp64_portable, 4, SUMS};
#endif
}

vj_peak vj_measure_peak(int threads)
{
    const bursts b = widest();
    vj_peak peak = {.fp32_gflops = best_gflops(b.fp32, 2.0 * b.sums * b.lanes, threads), .bf16_name = "none, fp32"};
#if defined(__x86_64__)
    if (has_avx512_bf16()) consider(&peak, "vdpbf16ps", bf16_avx512, 64.0 * SUMS, threads);
    peak.bf16_vector_gflops = peak.bf16_gflops;
    if (has_amx_bf16()) consider(&peak, "tdpbf16ps", bf16_amx, 2.0 * 16 * 16 * 32 * TILE_SUMS, threads);
#elif defined(__aarch64__)
    if (has_bfdot()) consider(&peak, "bfdot", bf16_neon, 16.0 * ARM_SUMS, threads);
    peak.bf16_vector_gflops = peak.bf16_gflops;
#endif
    if (peak.bf16_gflops == 0) peak.bf16_gflops = peak.fp32_gflops;
    if (peak.bf16_vector_gflops < peak.fp32_gflops) peak.bf16_vector_gflops = peak.fp32_gflops;
    return peak;
}

double vj_measure_double_peak(int threads)
{
    const bursts b = widest();
    return best_gflops(b.fp64, 2.0 * b.sums * (b.lanes / 2), threads);
}

double vj_measure_bandwidth(int threads)
{
    enum { FLOATS = 24 << 20 }; /* 96 MiB each way */
    float *from = vj_calloc(FLOATS, sizeof *from), *to = vj_calloc(FLOATS, sizeof *to);
    double best = 0;
    for (int i = 0; from && to && i <= BURSTS; i++) { /* the first touches the pages */
        const double begin = vj_now();
#pragma omp parallel for simd num_threads(threads) schedule(static)
        for (int64_t j = 0; j < FLOATS; j++) to[j] = from[j] * 0.5F + 1.0F;
        const double rate = 2.0 * FLOATS * sizeof(float) / (vj_now() - begin) / 1e9;
        if (i > 0 && rate > best) best = rate;
    }
    free(from);
    free(to);
    return best;
}
