/* Interface to the sum of gradients over the ranks during the backward pass; one implementation for gradients in host
 * memory (optimizer.c), one for device memory (peers.h). */
#ifndef VJ_TRAIN_GRADIENT_SUM_OPS_H
#define VJ_TRAIN_GRADIENT_SUM_OPS_H

#include "kernels/kernels.h"

typedef struct {
    /* Declare this rank's gradient at flat offsets >= `offset` final once `event` has completed. Never waits for other
     * ranks. */
    void (*made)(void *sum, vj_backend *be, int64_t offset, vj_event *event);
    /* Declare the whole gradient final; device work that is called afterwards reads the sums. Returns the seconds that
     * the sum took beyond the end of the backward pass. Collective. */
    double (*end)(void *sum);
    void (*close)(void *sum);
} vj_gradient_sum_ops;

#endif
