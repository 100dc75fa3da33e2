/*
 * Matrix products by external libraries. Private to src/kernels. Each library of this build is one row, made
 * in a folder of its own (onednn/, cblas/) that CMake adds when the library is asked for; cpu/library.c calls them.
 */
#ifndef VJ_KERNELS_LIBRARY_H
#define VJ_KERNELS_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/**
 * c (+)= op(a) op(b) in fp32, row-major: c [M, N]; a [M, K], or [K, M] if a_transposed; b [K, N], or [N, K] if
 * b_transposed; ld*: floats from row to row. Several threads may call it at once. Returns false if the library refused.
 */
typedef bool (*vj_sgemm)(bool a_transposed, bool b_transposed, int M, int N, int K, const float *a, int lda,
                         const float *b, int ldb, bool accumulate, float *c, int ldc);

typedef struct {
    const char *name; /* as train.products has it */
    vj_sgemm sgemm;
    void (*prepare)(void); /* once, outside parallel regions, before the first product */
    void (*quieten)(void); /* called by each thread at the start of a parallel region, so that the library starts no
                              threads of its own */
    void (*describe)(char *text, size_t bytes); /* version, and the processor that it chose its kernels for */
} vj_library;

/** Return library number i of this build, in a fixed order; NULL after the last. */
const vj_library *vj_library_at(int i);

/** Find a library by name. VJ_ERR_USAGE, with a message that says how to build it, if this build lacks it. */
vj_status vj_library_find(const vj_library **library, const char *name);

/** Return whether `name` is the name of a library, in this build or not. */
bool vj_library_known(const char *name);

extern const vj_library vj_onednn, vj_cblas;

#endif
