/*
 * How far results may be from expected ones. One table (tolerance.c) has the bounds of all quantities that involve a
 * matrix product, for each precision of products. Quantities without a product (masks, positions, schedules, data) have
 * the same bound in both precisions; it is in the file that compares them.
 */
#ifndef VJ_PARITY_TOLERANCE_H
#define VJ_PARITY_TOLERANCE_H

#include "kernels/kernels.h"

/*
 * An error is accepted if it is within any of these bounds, or within four times the deviation that the fixture records
 * for a run in float arithmetic, because no float implementation can be expected to do better.
 */
typedef struct {
    double absolute;   /* each element */
    double of_largest; /* each element, relative to the largest expected magnitude */
    double of_norm;    /* norm of the differences, relative to the norm of the expected values */
    double rms;        /* root mean square of the differences */
} vj_tolerance;

static inline vj_tolerance vj_within(double absolute)
{
    return (vj_tolerance){.absolute = absolute};
}

typedef enum {
    VJ_TOL_FEATURES, /* tokens, the streams of both networks, features of encoder and target */
    VJ_TOL_PREDICTION,
    VJ_TOL_LOSS,
    VJ_TOL_LOSS_SQUARE, /* pixel losses, and feature losses with exponent 2 */
    VJ_TOL_PENALTY,
    VJ_TOL_GRADIENT, /* of one tensor, exponent 1; for the key bias, whose gradient is zero, only `absolute` */
    VJ_TOL_GRADIENT_SQUARE,
    VJ_TOL_GRADIENT_NORM, /* of a network */
    VJ_TOL_STEP_LOSS,     /* loss before each update */
    VJ_TOL_WEIGHT,        /* of one tensor after updates; `rms` is relative to how far a weight can have moved */
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

/** Return the tolerance for a quantity that was computed in this precision. */
vj_tolerance vj_tolerance_of(vj_quantity quantity, vj_precision precision);

#endif
