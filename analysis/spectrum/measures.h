/*
 * Summaries of a spectrum in one number: how many directions a representation uses, and how fast their variances
 * decrease. docs/method.md has the formulas. Eigenvalues are in descending order. These functions are not collective
 * and allocate no memory.
 */
#ifndef VJ_SPECTRUM_MEASURES_H
#define VJ_SPECTRUM_MEASURES_H

#include "base/status.h"

/**
 * Return the number of eigenvalues that are larger than rounding errors, that is, larger than D times the machine
 * epsilon times the largest; at most `max`, a bound of the matrix' rank.
 */
int vj_eigenvalues_above_rounding(const double *values, int D, int64_t max);

/**
 * Return RankMe (Garrido et al. 2023): exp of the entropy of the singular values of the uncentred rows, normalised to a
 * sum of 1. `squares` [count]: the largest eigenvalues of x^T x, times any factor, all positive. Without the constant
 * 1e-7 that keeps the logarithm finite in the paper. NaN if count is 0.
 */
double vj_rankme(const double *squares, int count);

/** Return (sum of eigenvalues)^2 / (sum of their squares); NaN if all are 0. */
double vj_participation_ratio(const double *values, int D);

/** Return the sum of eigenvalues / the largest, which is the squared Frobenius norm of the centred rows / their squared
 * spectral norm; NaN if all are 0. */
double vj_stable_rank(const double *values, int D);

/* Eigenvalue i is about exp(intercept) i^-exponent, for i = first ... last, counted from 1. */
typedef struct {
    double exponent, intercept;
    double r2; /* share of the variance of the logarithms that the line explains */
    int first, last;
} vj_power_law;

/**
 * Fit a power law by least squares of the logarithm of eigenvalues on the logarithm of their index. Uses the 11th to
 * the 500th eigenvalue (Stringer et al. 2019; Agrawal et al. 2022), or up to the count-th; with fewer than 20
 * eigenvalues from the first on. All must be positive. NaN for fewer than 3.
 */
vj_power_law vj_fit_power_law(const double *values, int count);

#endif
