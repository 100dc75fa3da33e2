/* Summaries of a spectrum: entropies, ratios and a power law. */
#include "spectrum/measures.h"

#include <float.h>
#include <math.h>

int vj_eigenvalues_above_rounding(const double *values, int D, int64_t max)
{
    const double least = values[0] * D * DBL_EPSILON;
    int count = 0;
    while (count < D && count < max && values[count] > least) count++;
    return count;
}

double vj_rankme(const double *squares, int count)
{
    double sum = 0.0, entropy = 0.0;
    if (count == 0) return NAN;
    for (int i = 0; i < count; i++) sum += sqrt(squares[i]);
    for (int i = 0; i < count; i++) {
        const double p = sqrt(squares[i]) / sum;
        entropy -= p * log(p);
    }
    return exp(entropy);
}

double vj_participation_ratio(const double *values, int D)
{
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < D; i++) {
        sum += values[i];
        squares += values[i] * values[i];
    }
    return squares > 0.0 ? sum * sum / squares : NAN;
}

double vj_stable_rank(const double *values, int D)
{
    double sum = 0.0;
    for (int i = 0; i < D; i++) sum += values[i];
    return values[0] > 0.0 ? sum / values[0] : NAN;
}

vj_power_law vj_fit_power_law(const double *values, int count)
{
    enum { FIRST = 11, LAST = 500, ENOUGH = 20, FEWEST = 3 };
    vj_power_law law = {NAN, NAN, NAN, count < ENOUGH ? 1 : FIRST, count < LAST ? count : LAST};
    const double n = law.last - law.first + 1;
    double x_mean = 0.0, y_mean = 0.0, xx = 0.0, xy = 0.0, yy = 0.0;
    if (n < FEWEST) return law;
    for (int i = law.first; i <= law.last; i++) {
        x_mean += log(i) / n;
        y_mean += log(values[i - 1]) / n;
    }
    for (int i = law.first; i <= law.last; i++) {
        const double x = log(i) - x_mean, y = log(values[i - 1]) - y_mean;
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    law.exponent = -xy / xx;
    law.intercept = y_mean - xy / xx * x_mean;
    law.r2 = yy > 0.0 ? xy * xy / (xx * yy) : 1.0;
    return law;
}
