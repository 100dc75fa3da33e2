/* Student's t by its density, integrated; Wilson's interval in closed form. */
#include "report/intervals.h"

#include <math.h>
#include <stdbool.h>

/* Probability of [0, t]: Simpson's rule over u = atan(t / sqrt(freedom)), where the density is a power of the cosine.
 */
static double student_part(double t, double freedom)
{
    enum { PIECES = 2000 };
    const double end = atan(t / sqrt(freedom)), h = end / PIECES;
    const double norm = exp(lgamma((freedom + 1.0) / 2.0) - lgamma(freedom / 2.0)) / sqrt(M_PI);
    double sum = 0.0;
    for (int i = 0; i <= PIECES; i++)
        sum += (i == 0 || i == PIECES ? 1.0 : i % 2 ? 4.0 : 2.0) * pow(cos(i * h), freedom - 1.0);
    return norm * sum * h / 3.0;
}

double vj_student_975(double freedom)
{
    double low = 1.9, high = 13.0;
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        if (student_part(middle, freedom) < 0.475)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double vj_mean_half_width(double sd, double count)
{
    return count >= 2.0 ? vj_student_975(count - 1.0) * sd / sqrt(count) : NAN;
}

void vj_wilson_interval(double share, double n, double *low, double *high)
{
    const double q = 1.959963984540054, centre = (share + q * q / (2.0 * n)) / (1.0 + q * q / n);
    const double half = q / (1.0 + q * q / n) * sqrt(share * (1.0 - share) / n + q * q / (4.0 * n * n));
    const bool known = n >= 1.0 && share >= 0.0 && share <= 1.0;
    *low = known ? centre - half : NAN;
    *high = known ? centre + half : NAN;
}
