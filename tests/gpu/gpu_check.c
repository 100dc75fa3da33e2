/*
 * Checks and measures the CUDA backend on a GPU without MPI, HDF5 or FFmpeg: rates, all kernels against those of the
 * CPU, and the training step. tests/gpu/run.sh builds and runs it. The exit code is 0, 1 if a check failed, 2 without a
 * GPU or with wrong arguments, or GPU_LOST.
 */
#include "gpu_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/devices.h"

static int usage(void)
{
    fprintf(
        stderr,
        "usage: gpu-check [--small] (ceilings | products | kernels [NAME]) | trial | model | (step | profile | work) "
        "(L224 | H224 | H384 | tiny) [none | attention | block]\n");
    return VJ_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const bool small = argc > 1 && strcmp(argv[1], "--small") == 0;
    if (small) argc--, argv++;
    const char *command = argc > 1 ? argv[1] : "";
    const bool profile = strcmp(command, "profile") == 0, work = strcmp(command, "work") == 0;
    const bool step = profile || work || strcmp(command, "step") == 0;
    const bool model = strcmp(command, "model") == 0, trial = strcmp(command, "trial") == 0;
    const bool ceilings = strcmp(command, "ceilings") == 0, kernels = strcmp(command, "kernels") == 0;
    const bool products = strcmp(command, "products") == 0;
    if (!(step || ceilings || products || kernels || model || trial)) return usage();
    if (step ? argc < 3 || argc > 4 : argc > 2 + kernels) return usage();
    if (small && (step || model || trial)) return usage();

    setvbuf(stdout, NULL, _IOLBF, 0);          /* each result is on disk as soon as it is known */
    if (profile) setenv("VJ_PROFILE", "1", 1); /* the backend waits for each launch, so that its time is measured */
    if (vj_cuda_devices() == 0) {
        vj_backend *be;
        (void)vj_backend_open(&be, "cuda", VJ_BF16, 0); /* says what is missing */
        fprintf(stderr, "gpu-check: needs an NVIDIA GPU and its driver (nvidia-smi -L lists GPUs)\n");
        return VJ_EXIT_USAGE;
    }
    if (work) return gpu_work(argv[2], argc > 3 ? argv[3] : NULL);
    if (step) return gpu_step(argv[2], argc > 3 ? argv[3] : NULL, profile);
    if (model) return gpu_model();
    if (trial) return gpu_trial();
    if (products) return gpu_products(small);
    return ceilings ? gpu_ceilings(small) : gpu_kernels(argc > 2 ? argv[2] : NULL, small);
}
