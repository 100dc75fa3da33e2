/* Whether there are GPUs, and who can multiply on them. Internal to src/kernels; needs no header of CUDA. */
#ifndef VJ_KERNELS_CUDA_DEVICES_H
#define VJ_KERNELS_CUDA_DEVICES_H

#include <stdbool.h>

/** How many CUDA devices this process sees; 0 where there is no driver. */
int vj_cuda_devices(void);

/** Could this process multiply on a GPU with `name`: mma, wgmma (on one that has it), cublaslt (where it is installed)?
 */
bool vj_cuda_products_present(const char *name);

#endif
