/* The table of the CUDA backend's kernels. */
#include "kernels/cuda/cuda.h"

const vj_ops vj_cuda_ops = {
#define VJ_ROW(name, ...) .name = vj_cuda_##name,
    VJ_KERNELS(VJ_ROW)
#undef VJ_ROW
};
