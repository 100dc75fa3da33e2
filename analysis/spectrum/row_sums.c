/*
 * Component i is added to sum i % SUMS, and the sums are added up at the end. So vectors of any width that divides SUMS
 * give the same bits, since products and sums are rounded separately (CMakeLists.txt: -ffp-contract=off). The last
 * components are padded with zeros to a multiple of SUMS.
 */
#include "spectrum/row_sums.h"

#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { SUMS = 16 };

/* Loops for rows whose D is a multiple of SUMS. They add to sums [SUMS]. */
typedef struct {
    void (*product)(double *sums, const float *x, const float *y, int D);
    void (*squared_distance)(double *sums, const float *x, const float *y, int D);
    void (*centre)(float *to, double *square, double *spread, double *offset, const float *x, const double *centre,
                   int D);
} loops;

#define EACH_VECTOR _Pragma("GCC unroll 8") for (int v = 0; v < SUMS / LANES; v++)
#define DOUBLES(at) TO_DOUBLES(*(const floats *)((at) + v * LANES), doubles)
#define SUM(at)     (*(doubles *)((at) + v * LANES))

/* The loops on vectors of `lanes` doubles. */
#define LOOPS(name, lanes, attributes)                                                                                 \
    attributes static void product_##name(double *sums, const float *x, const float *y, int D)                         \
    {                                                                                                                  \
        VECTORS(lanes)                                                                                                 \
        doubles sum[SUMS / LANES] = {0};                                                                               \
        for (int i = 0; i < D; i += SUMS) EACH_VECTOR sum[v] += DOUBLES(x + i) * DOUBLES(y + i);                       \
        EACH_VECTOR SUM(sums) += sum[v];                                                                               \
    }                                                                                                                  \
    attributes static void squared_distance_##name(double *sums, const float *x, const float *y, int D)                \
    {                                                                                                                  \
        VECTORS(lanes)                                                                                                 \
        doubles sum[SUMS / LANES] = {0};                                                                               \
        for (int i = 0; i < D; i += SUMS) EACH_VECTOR                                                                  \
            {                                                                                                          \
                const doubles difference = DOUBLES(x + i) - DOUBLES(y + i);                                            \
                sum[v] += difference * difference;                                                                     \
            }                                                                                                          \
        EACH_VECTOR SUM(sums) += sum[v];                                                                               \
    }                                                                                                                  \
    attributes static void centre_##name(float *to, double *square, double *spread, double *offset, const float *x,    \
                                         const double *centre, int D)                                                  \
    {                                                                                                                  \
        VECTORS(lanes)                                                                                                 \
        doubles squares[SUMS / LANES] = {0}, spreads[SUMS / LANES] = {0}, offsets[SUMS / LANES] = {0};                 \
        for (int i = 0; i < D; i += SUMS) EACH_VECTOR                                                                  \
            {                                                                                                          \
                const doubles it = DOUBLES(x + i), middle = SUM((double *)centre + i), difference = it - middle;       \
                *(floats *)(to + i + v * LANES) = __builtin_convertvector(difference, floats);                         \
                squares[v] += it * it;                                                                                 \
                spreads[v] += difference * difference;                                                                 \
                offsets[v] += middle * it;                                                                             \
            }                                                                                                          \
        EACH_VECTOR SUM(square) += squares[v], SUM(spread) += spreads[v], SUM(offset) += offsets[v];                   \
    }
#define VECTORS(lanes)                                                                                                 \
    enum { LANES = (lanes) };                                                                                          \
    typedef double doubles __attribute__((vector_size(sizeof(double) * (lanes)), aligned(8), may_alias));              \
    typedef float floats __attribute__((vector_size(sizeof(float) * (lanes)), aligned(4), may_alias));

#define TO_DOUBLES __builtin_convertvector
LOOPS(portable, 2, )
#ifdef __x86_64__ /* intrinsics, since the compiler would convert each half */
#undef TO_DOUBLES
#define TO_DOUBLES(vector, type) ((type)_mm256_cvtps_pd((__m128)(vector)))
LOOPS(avx2, 4, __attribute__((target("avx2"))))
#undef TO_DOUBLES
#define TO_DOUBLES(vector, type) ((type)_mm512_cvtps_pd((__m256)(vector)))
LOOPS(avx512, 8, __attribute__((target("avx512f"))))
#endif

static loops choose_loops(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) return (loops){product_avx512, squared_distance_avx512, centre_avx512};
    if (__builtin_cpu_supports("avx2")) return (loops){product_avx2, squared_distance_avx2, centre_avx2};
#endif
    return (loops){product_portable, squared_distance_portable, centre_portable};
}

static double add_up(const double *sums)
{
    double quarter[4];
    for (int i = 0; i < 4; i++) quarter[i] = (sums[i] + sums[i + 4]) + (sums[i + 8] + sums[i + 12]);
    return (quarter[0] + quarter[1]) + (quarter[2] + quarter[3]);
}

/* Copy the last components of a row, after the last whole group of SUMS, and pad them with zeros. */
static void pad(float *to, const float *x, int whole, int D)
{
    memset(to, 0, SUMS * sizeof *to);
    memcpy(to, x + whole, (size_t)(D - whole) * sizeof *to);
}

static double sum_pairs(void (*loop)(double *, const float *, const float *, int), const float *x, const float *y,
                        int D)
{
    const int whole = D / SUMS * SUMS;
    double sums[SUMS] = {0};
    float a[SUMS], b[SUMS];
    loop(sums, x, y, whole);
    if (whole < D) {
        pad(a, x, whole, D);
        pad(b, y, whole, D);
        loop(sums, a, b, SUMS);
    }
    return add_up(sums);
}

double vj_row_product(const float *x, const float *y, int D)
{
    return sum_pairs(choose_loops().product, x, y, D);
}

double vj_row_squared_distance(const float *x, const float *y, int D)
{
    return sum_pairs(choose_loops().squared_distance, x, y, D);
}

vj_row_sums vj_row_centre(float *to, const float *x, const double *centre, int D)
{
    const int whole = D / SUMS * SUMS;
    const loops l = choose_loops();
    double square[SUMS] = {0}, spread[SUMS] = {0}, offset[SUMS] = {0};
    l.centre(to, square, spread, offset, x, centre, whole);
    if (whole < D) {
        float a[SUMS], b[SUMS];
        double middle[SUMS] = {0};
        pad(a, x, whole, D);
        memcpy(middle, centre + whole, (size_t)(D - whole) * sizeof *middle);
        l.centre(b, square, spread, offset, a, middle, SUMS);
        memcpy(to + whole, b, (size_t)(D - whole) * sizeof *to);
    }
    return (vj_row_sums){add_up(square), add_up(spread), add_up(offset)};
}
