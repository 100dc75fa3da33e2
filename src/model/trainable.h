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

/*
 * The vectors are device memory. The optimizer may move `gradient` to other memory between backward passes. If
 * parallel.zero exchanges bf16 copies instead of weights (train/weight_gather.h), the matrices in `weights` and
 * `target` are up to date only in the slice that this rank updates; the copies, and tensors that are not matrices, are
 * up to date everywhere.
 */
typedef struct {
    vj_backend *be;            /* borrowed */
    vj_params *params;         /* borrowed */
    vj_tensor *tensor;         /* borrowed; whose ranks share the network; NULL: this rank has all of it */
    float *weights, *gradient; /* [params->total] */
    float *target;             /* [params->encoder_total] the encoder's moving average; NULL: there is none */
    uint16_t *rounded_weights, *rounded_target; /* bf16 copies for products (params.h); NULL: none */
    bool copies_updated; /* the copies are those of the weights; else vj_trainable_round() must make them before they
                            are read */
    bool gradient_is_shared; /* `gradient` is memory that several processes of the host share */
    vj_gradient_hook hook;   /* called in each backward pass, after each layer */
} vj_trainable;

/** Make the bf16 copies from the weights, unless the optimizer keeps them up to date. */
static inline void vj_trainable_round(const vj_trainable *t)
{
    if (t->copies_updated) return;
    if (t->rounded_weights) vj_round_bf16(t->be, t->rounded_weights, t->weights, t->params->total);
    if (t->rounded_target) vj_round_bf16(t->be, t->rounded_target, t->target, t->params->encoder_total);
}

#endif
