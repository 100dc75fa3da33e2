/*
 * Asks the backend whether products and attention by wgmma are right on this GPU. It tries them when it is opened, and
 * warns of those that are wrong, which are then computed by other kernels.
 */
#include <stdio.h>

#include "gpu_check.h"
#include "kernels/cuda/products.h"

int gpu_trial(void)
{
    static const int widths[] = {64, 80, 128};
    vj_backend *be;
    bool good = true;
    if (vj_backend_open(&be, "cuda", VJ_BF16, 0) != VJ_OK) return GPU_LOST;
    printf("%s\n", vj_backend_describe(be));
    if (vj_products_present("wgmma")) {
        const bool multiplies = vj_backend_set_products(be, "wgmma") == VJ_OK;
        const vj_cuda_wgmma *how = vj_cuda_attention_wgmma(be);
        printf("products by wgmma: %s\n", multiplies ? "right" : "WRONG");
        good = multiplies;
        for (int i = 0; i < 3 && vj_cuda_wgmma_wanted() == VJ_WGMMA_ALL; i++) {
            const bool right = how && (how->attends >> widths[i] / 16 & 1);
            printf("attention by wgmma, heads %d wide: %s\n", widths[i], right ? "right" : "WRONG");
            good = good && right;
        }
    } else {
        printf("wgmma: not on this GPU, or left out by VJ_WGMMA\n");
    }
    const bool lost = vj_sync(be) != VJ_OK;
    vj_backend_close(be);
    return lost ? GPU_LOST : good ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}
