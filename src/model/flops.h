/* Count the floating-point operations of a training step, as the published method defines them, to relate times to. */
#ifndef VJ_MODEL_FLOPS_H
#define VJ_MODEL_FLOPS_H

#include "model/masks.h"
#include "model/network.h"

/** The encoder forward on one whole clip, counted as below. Not collective. */
double vj_encoder_flops(const vj_network *net);

/**
 * Floating-point operations (2 a multiply-add) of one forward and backward pass over the clips of `lists`, a
 * microbatch: matrix products only, backward counted as twice forward. A block of width D and hidden width H on a
 * sequence of n tokens is n (8 D^2 + 4 D H + 4 n D), which is n (24 D^2 + 4 n D) where H = 4 D; patch embedding 2 P D a
 * token, the predictor's embedding 2 D Dp a context token, its projection 2 Dp out a target.
 *
 * The patch embedding counts twice per clip, once for the target encoder and once for the context encoder, whatever the
 * number of masks: the contexts of all masks are picked from one embedding. Recomputation (blocks, attention scores in
 * the backward pass) is not counted. The patch embedding's backward counts in full, although the gradient with respect
 * to pixels is never computed. Without a target encoder (pixel objective) there is no target pass. Each rank of a
 * tensor group counts total / group size, although replicated work is computed by every rank. Not collective.
 */
double vj_step_flops(const vj_network *net, const vj_mask_lists *lists);

/** The operations that the backward pass repeats in the blocks of a stack for a sequence of n tokens, counted as above.
 */
double vj_recomputed_flops(const vj_stack *stack, double n, vj_recompute recompute);

/**
 * The operations of the same microbatch as vj_backend_flops() counts them: with recomputation, with the attention
 * scores that the backward pass computes again, and without the gradient of the pixels. Exact on a rank without a
 * tensor group. To tell which part of a microbatch is done.
 */
double vj_step_work(const vj_network *net, const vj_mask_lists *lists, vj_recompute recompute);

#endif
