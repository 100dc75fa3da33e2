/*
 * The table of tolerances.
 *
 * fp32: the fixtures' README. Gradients of tensors, where it offers two bounds, have both.
 *
 * bf16 has 8 significant bits: rounding a number is off by up to 2^-8 of its size, 4e-3, and by 1.6e-3 in the root mean
 * square. A product of two rounded operands is off by 2.3e-3 of its norm, a network of some layers by up to twice that.
 * So errors are relative to the norm of a tensor, never to one element. Beside each bound stands the worst error
 * measured on the fixtures and on others of odd sizes, over all variants of the kernels, and the bound is about twice
 * that. Variants differ by little, except where a sign decides:
 *   - the gradient of |d| is the sign of d. With few predictions, a sign that flips changes a gradient by percents
 *     (the pixel loss, smooth, shows what products alone do: a fifth of that);
 *   - Adam's first updates move each weight by lr in the direction of its gradient's sign: among 24 weights one
 *     that goes the other way is 2 lr / sqrt(24) = 0.41 lr in the root mean square. Unrelated gradients give 1.4 lr.
 */
#include "parity/tolerance.h"

static const vj_tolerance table[VJ_TOL_QUANTITIES][2] = {
    /* quantity                   fp32                                  bf16, and what was measured */
    [VJ_TOL_FEATURES] = {{.absolute = 1e-5}, {.of_norm = 8e-3}},                                    /* 3.8e-3 */
    [VJ_TOL_PREDICTION] = {{.absolute = 2e-6}, {.of_norm = 1.5e-2}},                                /* 8.8e-3 */
    [VJ_TOL_LOSS] = {{.absolute = 5e-7}, {.of_norm = 2e-3}},                                        /* 9.4e-4 */
    [VJ_TOL_LOSS_SQUARE] = {{.absolute = 1e-6}, {.of_norm = 2e-3}},                                 /* 9.7e-4 */
    [VJ_TOL_PENALTY] = {{.absolute = 1e-6}, {.of_norm = 3e-3}},                                     /* 1.6e-3 */
    [VJ_TOL_GRADIENT] = {{.absolute = 3e-8, .of_norm = 2e-5}, {.absolute = 3e-8, .of_norm = 8e-2}}, /* 4.5e-2 */
    [VJ_TOL_GRADIENT_SQUARE] = {{.absolute = 3e-8, .of_norm = 2e-5},
                                {.absolute = 3e-8, .of_norm = 1.3e-2}}, /* 6.7e-3 */
    [VJ_TOL_GRADIENT_NORM] = {{.absolute = 1e-6, .of_norm = 2e-6},
                              {.of_norm = 2.5e-2}},                /* 8.4e-3; of few predictions 1.8e-2 */
    [VJ_TOL_STEP_LOSS] = {{.absolute = 1e-6}, {.of_norm = 2e-3}},  /* 7.6e-4 */
    [VJ_TOL_WEIGHT] = {{.absolute = 4e-6}, {.rms = 0.8}},          /* 0.49 */
    [VJ_TOL_WEIGHT_QKV_BIAS] = {{.absolute = 2e-5}, {.rms = 0.5}}, /* 0.24 */
    [VJ_TOL_TARGET_WEIGHT] = {{.absolute = 1e-6}, {.rms = 0.8}},   /* 0.49 */
    [VJ_TOL_FIRST_MOMENT] = {{.absolute = 1e-8, .of_norm = 2e-5},
                             {.absolute = 1e-8, .of_norm = 8e-2}}, /* as gradients */
    [VJ_TOL_SECOND_MOMENT] = {{.absolute = 1e-10, .of_norm = 2e-5},
                              {.absolute = 1e-10, .of_norm = 1.6e-1}}, /* twice that of gradients, being squares */
    [VJ_TOL_LINEAR] = {{.absolute = 5e-6}, {.of_norm = 5e-3}},         /* 2.6e-3 */
    [VJ_TOL_ATTENTION] = {{.absolute = 2e-6}, {.of_norm = 7e-3}},      /* 3.3e-3 */
    [VJ_TOL_ATTENTION_GRADIENT] = {{.absolute = 2e-6}, {.absolute = 2e-6, .of_norm = 1e-2}}, /* 4.8e-3 */
    [VJ_TOL_SHARP_ATTENTION] = {{.absolute = 1e-5}, {.of_norm = 7e-3}},                      /* 3.5e-3 */
    [VJ_TOL_SHARP_ATTENTION_GRADIENT] = {{.absolute = 1e-4},
                                         {.absolute = 2e-6,
                                          .of_norm = 6.5e-2}},         /* 1.1e-2; with scores of 9 in the mean 3.3e-2 */
    [VJ_TOL_PROBE] = {{.absolute = 2e-6}, {.of_norm = 1.7e-2}},        /* 2.9e-3; with seven blocks 8.6e-3 */
    [VJ_TOL_PROBE_GRADIENT] = {{.absolute = 1e-6}, {.of_norm = 6e-2}}, /* 5.1e-3; with five blocks 3.0e-2 */
};

vj_tolerance vj_tolerance_of(vj_quantity quantity, vj_precision precision)
{
    return table[quantity][precision == VJ_BF16];
}
