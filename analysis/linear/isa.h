/*
 * The instruction sets for which the loops of this folder are compiled, and their vectors. A loop has one body, a macro
 * that VJ_EACH_ISA() expands for each of them, and vj_isa_here() chooses one at run time. Private to this folder.
 */
#ifndef VJ_LINEAR_ISA_H
#define VJ_LINEAR_ISA_H

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* DO(isa, lanes, attributes) for each instruction set: its name, the doubles in its vectors, and the attributes of
 * functions that use it. */
#define VJ_EACH_ISA(DO) DO(portable, 2, ) VJ_EACH_X86_ISA(DO)
#ifdef __x86_64__
#define VJ_EACH_X86_ISA(DO)                                                                                            \
    DO(avx2, 4, __attribute__((target("avx2,fma"))))                                                                   \
    DO(avx512, 8, __attribute__((target("avx512f"))))
#else
#define VJ_EACH_X86_ISA(DO)
#endif

/**
 * Return the number, among those of VJ_EACH_ISA(), of the instruction set that this processor's kernels have, or of the
 * one that VJ_ISA names (vj_backend_isa()). vj_ranks_open() has refused a VJ_ISA that cannot be used.
 */
int vj_isa_here(void);

/* Declare two types: `lanes` doubles and as many floats, anywhere in memory. */
#define VJ_VECTORS(lanes)                                                                                              \
    typedef double doubles __attribute__((vector_size(sizeof(double) * (lanes)), aligned(8), may_alias));              \
    typedef float floats __attribute__((vector_size(sizeof(float) * (lanes)), aligned(4), may_alias));

/* Convert a vector of floats. By intrinsics, because the compiler would convert each half of it. */
#define VJ_DOUBLES_portable(vector) __builtin_convertvector(vector, doubles)
#define VJ_DOUBLES_avx2(vector)     ((doubles)_mm256_cvtps_pd((__m128)(vector)))
#define VJ_DOUBLES_avx512(vector)   ((doubles)_mm512_cvtps_pd((__m256)(vector)))

#endif
