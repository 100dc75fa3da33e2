/*
 * The part of NVIDIA's cuBLASLt that products.c uses, declared here so that compiling needs no copy of that library
 * (half a gigabyte) and one program runs with and without it. The library is loaded when a backend is opened. Values
 * and layouts are those of cublasLt.h; tests/cuda_on_cpu/cublaslt_header.c compares the two if that file is installed.
 *
 * Its matrices are column-major. Handles and descriptors are pointers to structs that only the library defines.
 */
#ifndef VJ_KERNELS_CUBLASLT_H
#define VJ_KERNELS_CUBLASLT_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

enum { VJ_LT_SUCCESS = 0, VJ_LT_NOT_INITIALIZED = 1, VJ_LT_INVALID_VALUE = 7, VJ_LT_NOT_SUPPORTED = 15 }; /* status */
enum { VJ_LT_F32 = 0, VJ_LT_BF16 = 14 };                                                                  /* types */
enum { VJ_LT_COMPUTE_F32 = 68 }; /* products and sums of floats, never TF32 */
enum { VJ_LT_OP_N = 0, VJ_LT_OP_T = 1 };
enum { VJ_LT_EPILOGUE_DEFAULT = 1, VJ_LT_EPILOGUE_BIAS = 4 }; /* uint32_t. Bias: a value for each row of D */
enum { VJ_LT_REDUCTION_NONE = 0 };                            /* uint32_t mask: the depth is not split */

/* Attributes of a product, of 4 bytes each (BIAS_POINTER: a pointer). */
enum {
    VJ_LT_DESC_TRANSA = 3,
    VJ_LT_DESC_TRANSB = 4,
    VJ_LT_DESC_EPILOGUE = 7,
    VJ_LT_DESC_BIAS_POINTER = 8,
    VJ_LT_DESC_BIAS_DATA_TYPE = 26
};

/* What the algorithms that the library proposes may use and assume: uint32_t, except the workspace's size, uint64_t. */
enum {
    VJ_LT_PREF_WORKSPACE_BYTES = 1,
    VJ_LT_PREF_REDUCTION_MASK = 3,
    VJ_LT_PREF_ALIGNMENT_A = 5,
    VJ_LT_PREF_ALIGNMENT_B = 6,
    VJ_LT_PREF_ALIGNMENT_C = 7,
    VJ_LT_PREF_ALIGNMENT_D = 8
};

typedef struct {
    uint64_t data[8];
} vj_lt_algorithm;
typedef struct {
    vj_lt_algorithm algorithm;
    size_t workspace_bytes; /* that it needs */
    int state;              /* VJ_LT_SUCCESS: the rest is valid */
    float waves;
    int reserved[4];
} vj_lt_heuristic;

/*
 * The functions: ROW(result, name behind "cublasLt", arguments...). All but two return a status.
 * D = alpha op(A) op(B) + beta C [+ bias]; alpha and beta point to floats of the host.
 */
#define VJ_LT_FUNCTIONS(ROW)                                                                                           \
    ROW(size_t, GetVersion, void)                                                                                      \
    ROW(const char *, GetStatusString, int status)                                                                     \
    ROW(int, Create, void **handle)                                                                                    \
    ROW(int, Destroy, void *handle)                                                                                    \
    ROW(int, MatmulDescCreate, void **desc, int compute_type, int scale_type)                                          \
    ROW(int, MatmulDescDestroy, void *desc)                                                                            \
    ROW(int, MatmulDescSetAttribute, void *desc, int attribute, const void *value, size_t bytes)                       \
    ROW(int, MatrixLayoutCreate, void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading)            \
    ROW(int, MatrixLayoutDestroy, void *layout)                                                                        \
    ROW(int, MatmulPreferenceCreate, void **preference)                                                                \
    ROW(int, MatmulPreferenceDestroy, void *preference)                                                                \
    ROW(int, MatmulPreferenceSetAttribute, void *preference, int attribute, const void *value, size_t bytes)           \
    ROW(int, MatmulAlgoGetHeuristic, void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,   \
        int capacity, vj_lt_heuristic *results, int *count)                                                            \
    ROW(int, Matmul, void *handle, void *desc, const void *alpha, const void *A, void *a, const void *B, void *b,      \
        const void *beta, const void *C, void *c, void *D, void *d, const vj_lt_algorithm *algorithm, void *workspace, \
        size_t workspace_bytes, cudaStream_t stream)

typedef struct {
#define VJ_LT_ROW(result, name, ...) result (*name)(__VA_ARGS__);
    VJ_LT_FUNCTIONS(VJ_LT_ROW)
#undef VJ_LT_ROW
} vj_lt_functions;

#endif
