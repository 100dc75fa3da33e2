/*
 * What is trained, whatever network it is: flat vectors and the table that says what lies where in them. Optimizer,
 * checkpoints and digests know no more of a network than this.
 */
#ifndef VJ_MODEL_TRAINABLE_H
#define VJ_MODEL_TRAINABLE_H

#include "model/params.h"
#include "model/tensor.h"

/*
 * Who is told, on the way back, that a microbatch's gradient will be complete at flat offsets >= `offset`, which falls
 * from call to call: it is when `event` has come (vj_event_wait()). NULL: nobody.
 */
typedef struct {
    void (*call)(void *user, int64_t offset, vj_event *event);
    void *user; /* borrowed */
} vj_gradient_hook;

static inline void vj_gradient_made(const vj_gradient_hook *hook, vj_backend *be, int64_t offset)
{
    if (hook->call) hook->call(hook->user, offset, vj_event_record(be));
}

/* The vectors are device memory; who trains may move the gradient while nobody computes it. */
typedef struct {
    vj_backend *be;            /* borrowed */
    vj_params *params;         /* borrowed */
    vj_tensor *tensor;         /* borrowed; whose ranks share the network; NULL: this rank has all of it */
    float *weights, *gradient; /* [params->total] */
    float *target;             /* [params->encoder_total] the encoder's moving average; NULL: there is none */
    vj_gradient_hook hook;     /* told in each backward pass, layer by layer */
} vj_trainable;

#endif
