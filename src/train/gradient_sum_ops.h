/* Who sums the gradient over the ranks while backward makes it: memory of the host, or devices. */
#ifndef VJ_TRAIN_GRADIENT_SUM_OPS_H
#define VJ_TRAIN_GRADIENT_SUM_OPS_H

#include "kernels/kernels.h"

typedef struct {
    /* Of this rank, what is at flat offsets >= `offset` will not be touched after `event`. Never waits for other ranks.
     */
    void (*made)(void *sum, vj_backend *be, int64_t offset, vj_event *event);
    /* All is made: what is called after it finds all summed. Returns the seconds that this took beyond the making of
     * the gradient. Collective. */
    double (*end)(void *sum);
    void (*close)(void *sum);
} vj_gradient_sum_ops;

#endif
