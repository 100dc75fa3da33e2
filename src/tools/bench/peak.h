/*
 * Measure the processor's peak arithmetic rate and memory bandwidth in the same run as the benchmarks: a data sheet's
 * peak says little on a shared or throttled machine.
 */
#ifndef VJ_BENCH_PEAK_H
#define VJ_BENCH_PEAK_H

typedef struct {
    double fp32_gflops, bf16_gflops; /* all threads together; 2 a multiply-add */
    double bf16_vector_gflops;       /* the same without matrix tiles: the better of vdpbf16ps and fp32 */
    const char *bf16_name;           /* instruction behind bf16_gflops; static */
} vj_peak;

/**
 * Multiply-adds on operands in registers, on `threads` OpenMP threads at once, the best of several bursts of some 20
 * ms: fp32 with the widest vectors, bf16 with the fastest of vdpbf16ps and tdpbf16ps (AMX) that the processor has, or
 * the fp32 peak where it has neither. Takes a fifth of a second. Not collective.
 */
vj_peak vj_measure_peak(int threads);

/** The same in double precision, with the widest vectors: GFLOP/s of all threads together. A fifth of a second. */
double vj_measure_double_peak(int threads);

/** GB/s of reading one array and writing another, both larger than caches, on `threads` threads: best of several. */
double vj_measure_bandwidth(int threads);

#endif
