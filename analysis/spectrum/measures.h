/*
 * What eigenvalues say in one number: how many directions a representation uses, and how fast their variances fall.
 * docs/method.md has the formulas. Not collective, no memory. Eigenvalues are in descending order.
 */
#ifndef VJ_SPECTRUM_MEASURES_H
#define VJ_SPECTRUM_MEASURES_H

#include "base/status.h"

/**
 * The number of eigenvalues that are more than rounding: above D times the machine's epsilon times the largest, and no
 * more than `most`, which the matrix' rank cannot exceed.
 */
int vj_eigenvalues_above_rounding(const double *values, int D, int64_t most);

/**
 * RankMe: exp of the entropy of the singular values of the rows, uncentred, normalised to a sum of 1. `squares`: the
 * first `count` eigenvalues of x^T x, to any factor, all positive. Garrido et al. 2023, without the constant 1e-7 that
 * keeps their logarithm finite. NaN without eigenvalues.
 */
double vj_rankme(const double *squares, int count);

/** (sum of eigenvalues)^2 / sum of their squares; NaN if all are 0. */
double vj_participation_ratio(const double *values, int D);

/** Sum of eigenvalues / the largest: squared Frobenius norm of the centred rows / squared spectral norm; NaN if 0. */
double vj_stable_rank(const double *values, int D);

/* Eigenvalue i is about exp(intercept) i^-exponent, for i = first ... last, counted from 1. */
typedef struct {
    double exponent, intercept;
    double r2; /* share of the variance of the logarithms that the line explains */
    int first, last;
} vj_power_law;

/**
 * Least squares of the logarithm of eigenvalues on the logarithm of their number, from the 11th to the 500th (Stringer
 * et al. 2019; Agrawal et al. 2022), or of as many as `count` allows, all positive. Where there are fewer than 20, from
 * the first. NaN for fewer than 3.
 */
vj_power_law vj_fit_power_law(const double *values, int count);

#endif
