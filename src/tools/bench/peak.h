/*
 * Measures the processor's peak arithmetic rate and memory bandwidth, in the same run as the benchmarks, because a data
 * sheet says little about a shared or throttled machine.
 */
#ifndef VJ_BENCH_PEAK_H
#define VJ_BENCH_PEAK_H

typedef struct {
    double fp32_gflops, bf16_gflops; /* all threads together; 2 a multiply-add */
    double bf16_vector_gflops;       /* without matrix tiles: the better of vdpbf16ps and fp32 */
    const char *bf16_name;           /* instruction that reached bf16_gflops; static */
} vj_peak;

/**
 * Measure the rate of multiply-adds on operands in registers, on `threads` OpenMP threads at once, as the best of
 * several bursts of about 20 ms. fp32 uses the widest vectors; bf16 uses the faster of vdpbf16ps and tdpbf16ps (AMX),
 * and is the fp32 peak if the processor has neither. Takes a fifth of a second. Not collective.
 */
vj_peak vj_measure_peak(int threads);

/** Measure the same in double precision with the widest vectors. Returns GFLOP/s of all threads together. Takes a fifth
 * of a second. */
double vj_measure_double_peak(int threads);

/** Return the GB/s of reading one array and writing another, both larger than the caches, on `threads` threads; the
 * best of several. */
double vj_measure_bandwidth(int threads);

#endif
