/* What a training step has to compute, to compare times with: the products of the published method, however we do it.
 */
#ifndef VJ_MODEL_FLOPS_H
#define VJ_MODEL_FLOPS_H

#include "model/masks.h"
#include "model/network.h"

/**
 * Floating-point operations (2 a multiply-add) of one forward and backward pass over the clips of `lists`, a
 * microbatch: matrix products only, backward counted as twice forward. A block of width D and hidden width H on a
 * sequence of n tokens is n (8 D^2 + 4 D H + 4 n D), which is n (24 D^2 + 4 n D) where H = 4 D; patch embedding 2 P D a
 * token, the predictor's embedding 2 D Dp a context token, its projection 2 Dp out a target.
 *
 * The patch embedding counts twice a clip, once for the target encoder and once for the context, though the masks are
 * several: all their contexts are picked from one embedding. Work that is done again (recomputed blocks, scores of
 * attention in its backward pass) does not count, nor does the gradient with respect to pixels count less. Without a
 * target encoder (pixel objective) there is no target pass. A rank of a tensor group counts its share of that: one over
 * the group's size, though what is not divided is computed by all. Not collective.
 */
double vj_step_flops(const vj_network *net, const vj_mask_lists *lists);

#endif
