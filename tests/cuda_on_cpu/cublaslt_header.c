/*
 * Checks that src/kernels/cuda/cublaslt.h agrees with NVIDIA's cublasLt.h, where that is installed. It is compiled and
 * never run: a different value or size, or a call with arguments of other kinds, is a compile error.
 */
#include <cublasLt.h>

#include "kernels/cuda/cublaslt.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is not " #theirs)
SAME(VJ_LT_SUCCESS, CUBLAS_STATUS_SUCCESS);
SAME(VJ_LT_NOT_INITIALIZED, CUBLAS_STATUS_NOT_INITIALIZED);
SAME(VJ_LT_INVALID_VALUE, CUBLAS_STATUS_INVALID_VALUE);
SAME(VJ_LT_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(VJ_LT_F32, CUDA_R_32F);
SAME(VJ_LT_BF16, CUDA_R_16BF);
SAME(VJ_LT_COMPUTE_F32, CUBLAS_COMPUTE_32F);
SAME(VJ_LT_OP_N, CUBLAS_OP_N);
SAME(VJ_LT_OP_T, CUBLAS_OP_T);
SAME(VJ_LT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_DEFAULT);
SAME(VJ_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BIAS);
SAME(VJ_LT_REDUCTION_NONE, CUBLASLT_REDUCTION_SCHEME_NONE);
SAME(VJ_LT_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(VJ_LT_DESC_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(VJ_LT_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE);
SAME(VJ_LT_DESC_BIAS_POINTER, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
SAME(VJ_LT_DESC_BIAS_DATA_TYPE, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
SAME(VJ_LT_PREF_WORKSPACE_BYTES, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(VJ_LT_PREF_REDUCTION_MASK, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(VJ_LT_PREF_ALIGNMENT_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(VJ_LT_PREF_ALIGNMENT_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(VJ_LT_PREF_ALIGNMENT_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(VJ_LT_PREF_ALIGNMENT_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);

SAME(sizeof(vj_lt_algorithm), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(vj_lt_heuristic), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(vj_lt_heuristic, workspace_bytes), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
SAME(offsetof(vj_lt_heuristic, state), offsetof(cublasLtMatmulHeuristicResult_t, state));
SAME(offsetof(vj_lt_heuristic, waves), offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));
SAME(sizeof(int), sizeof(cublasStatus_t));
SAME(sizeof(int), sizeof(cudaDataType));
SAME(sizeof(int), sizeof(cublasLtMatmulDescAttributes_t));

/* Check that the library's functions accept arguments of our types: pointers for pointers, numbers for numbers. */
#define TAKES(call) _Static_assert(sizeof(call) > 0, "")
void vj_cublaslt_calls(void *p, const void *in, int n, uint64_t u, int64_t i, size_t bytes, cudaStream_t stream);
void vj_cublaslt_calls(void *p, const void *in, int n, uint64_t u, int64_t i, size_t bytes, cudaStream_t stream)
{
    TAKES(cublasLtGetVersion());
    TAKES(cublasLtGetStatusString(n));
    TAKES(cublasLtCreate(p));
    TAKES(cublasLtDestroy(p));
    TAKES(cublasLtMatmulDescCreate(p, n, n));
    TAKES(cublasLtMatmulDescDestroy(p));
    TAKES(cublasLtMatmulDescSetAttribute(p, n, in, bytes));
    TAKES(cublasLtMatrixLayoutCreate(p, n, u, u, i));
    TAKES(cublasLtMatrixLayoutDestroy(p));
    TAKES(cublasLtMatmulPreferenceCreate(p));
    TAKES(cublasLtMatmulPreferenceDestroy(p));
    TAKES(cublasLtMatmulPreferenceSetAttribute(p, n, in, bytes));
    TAKES(cublasLtMatmulAlgoGetHeuristic(p, p, p, p, p, p, p, n, p, p));
    TAKES(cublasLtMatmul(p, p, in, in, p, in, p, in, in, p, p, p, in, p, bytes, stream));
}
