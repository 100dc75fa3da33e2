/* Whether there are GPUs, and what can compute products on them. Internal to src/kernels; needs no header of CUDA. */
#ifndef VJ_KERNELS_CUDA_DEVICES_H
#define VJ_KERNELS_CUDA_DEVICES_H

#include <stdbool.h>

/** Return how many CUDA devices this process sees; 0 without a driver. */
int vj_cuda_devices(void);

/** Return whether this process can compute products on a GPU with `name`: mma, wgmma (on a GPU that has it) or cublaslt
 * (if it is installed).
 */
bool vj_cuda_products_present(const char *name);

#endif
