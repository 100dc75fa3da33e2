/*
 * How far results may be from expected ones, by quantity and by the precision of matrix products: all numbers that
 * involve a product, in one table (tolerance.c). What involves none (masks, positions, schedules, data) is compared
 * where it is made, with the same bound in both precisions.
 */
#ifndef VJ_PARITY_TOLERANCE_H
#define VJ_PARITY_TOLERANCE_H

#include "kernels/kernels.h"

/*
 * An error is allowed if it is within any of these. A float run within four times the deviation that the file records
 * for float arithmetic is as good as it can be, so that is always allowed too.
 */
typedef struct {
    double absolute;   /* each element */
    double of_largest; /* each element, times the largest magnitude expected */
    double of_norm;    /* norm of the differences, times the norm expected */
    double rms;        /* root of the mean square of the differences */
} vj_tolerance;

static inline vj_tolerance vj_within(double absolute)
{
    return (vj_tolerance){.absolute = absolute};
}

typedef enum {
    VJ_TOL_FEATURES, /* tokens, the streams of both networks, features of encoder and target */
    VJ_TOL_PREDICTION,
    VJ_TOL_LOSS,
    VJ_TOL_LOSS_SQUARE, /* pixel losses, and the features' with exponent 2 */
    VJ_TOL_PENALTY,
    VJ_TOL_GRADIENT, /* of one tensor, exponent 1; of the keys' bias, exactly zero, `absolute` alone */
    VJ_TOL_GRADIENT_SQUARE,
    VJ_TOL_GRADIENT_NORM, /* of a network */
    VJ_TOL_STEP_LOSS,     /* before each update */
    VJ_TOL_WEIGHT,        /* of one tensor after updates; `rms` times the way that a weight can have gone */
    VJ_TOL_WEIGHT_QKV_BIAS,
    VJ_TOL_TARGET_WEIGHT,
    VJ_TOL_FIRST_MOMENT, /* as VJ_TOL_GRADIENT */
    VJ_TOL_SECOND_MOMENT,
    VJ_TOL_LINEAR, /* one layer, forward and backward */
    VJ_TOL_ATTENTION,
    VJ_TOL_ATTENTION_GRADIENT,
    VJ_TOL_SHARP_ATTENTION, /* a very peaked softmax */
    VJ_TOL_SHARP_ATTENTION_GRADIENT,
    VJ_TOL_PROBE,
    VJ_TOL_PROBE_GRADIENT,
    VJ_TOL_QUANTITIES
} vj_quantity;

vj_tolerance vj_tolerance_of(vj_quantity quantity, vj_precision precision);

#endif
