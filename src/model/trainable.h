/*
 * A network as the optimizer, checkpoints and digests see it: flat vectors of weights and gradients, and the table of
 * the tensors in them. Independent of the network's architecture.
 */
#ifndef VJ_MODEL_TRAINABLE_H
#define VJ_MODEL_TRAINABLE_H

#include "model/params.h"
#include "model/tensor.h"

/*
 * Callback of the backward pass: once `event` has completed (vj_event_wait()), a microbatch's gradient is complete at
 * flat offsets >= `offset`. `offset` decreases from call to call. `call` NULL: no callback.
 */
typedef struct {
    void (*call)(void *user, int64_t offset, vj_event *event);
    void *user; /* borrowed */
} vj_gradient_hook;

static inline void vj_gradient_made(const vj_gradient_hook *hook, vj_backend *be, int64_t offset)
{
    if (hook->call) hook->call(hook->user, offset, vj_event_record(be));
}

/* The vectors are device memory. The optimizer may move `gradient` to other memory between backward passes. */
typedef struct {
    vj_backend *be;            /* borrowed */
    vj_params *params;         /* borrowed */
    vj_tensor *tensor;         /* borrowed; whose ranks share the network; NULL: this rank has all of it */
    float *weights, *gradient; /* [params->total] */
    float *target;             /* [params->encoder_total] the encoder's moving average; NULL: there is none */
    vj_gradient_hook hook;     /* called in each backward pass, after each layer */
} vj_trainable;

#endif
