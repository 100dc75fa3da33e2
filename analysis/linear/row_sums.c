/*
 * Component i is added to sum i % SUMS, and the sums are added up at the end. So vectors of any width that divides SUMS
 * give the same bits, since products and sums are rounded separately (CMakeLists.txt: -ffp-contract=off). The last
 * components are padded with zeros to a multiple of SUMS.
 */
#include "linear/row_sums.h"

#include <string.h>

#include "linear/isa.h"

enum { SUMS = 16 };

/* Loops for rows whose D is a multiple of SUMS. They add to sums [SUMS]. */
struct vj_row_loops {
    void (*product)(double *sums, const float *x, const float *y, int D);
    void (*squared_distance)(double *sums, const float *x, const float *y, int D);
    void (*centre)(float *to, double *square, double *spread, double *offset, const float *x, const double *centre,
                   int D);
};

#define EACH_VECTOR      _Pragma("GCC unroll 8") for (int v = 0; v < SUMS / LANES; v++)
#define DOUBLES(isa, at) VJ_DOUBLES_##isa(*(const floats *)((at) + v * LANES))
#define SUM(at)          (*(doubles *)((at) + v * LANES))

#define LOOPS(isa, lanes, attributes)                                                                                  \
    attributes static void product_##isa(double *sums, const float *x, const float *y, int D)                          \
    {                                                                                                                  \
        VJ_VECTORS(lanes)                                                                                              \
        enum { LANES = (lanes) };                                                                                      \
        doubles sum[SUMS / LANES] = {0};                                                                               \
        for (int i = 0; i < D; i += SUMS) EACH_VECTOR sum[v] += DOUBLES(isa, x + i) * DOUBLES(isa, y + i);             \
        EACH_VECTOR SUM(sums) += sum[v];                                                                               \
    }                                                                                                                  \
    attributes static void squared_distance_##isa(double *sums, const float *x, const float *y, int D)                 \
    {                                                                                                                  \
        VJ_VECTORS(lanes)                                                                                              \
        enum { LANES = (lanes) };                                                                                      \
        doubles sum[SUMS / LANES] = {0};                                                                               \
        for (int i = 0; i < D; i += SUMS) EACH_VECTOR                                                                  \
            {                                                                                                          \
                const doubles difference = DOUBLES(isa, x + i) - DOUBLES(isa, y + i);                                  \
                sum[v] += difference * difference;                                                                     \
            }                                                                                                          \
        EACH_VECTOR SUM(sums) += sum[v];                                                                               \
    }                                                                                                                  \
    attributes static void centre_##isa(float *to, double *square, double *spread, double *offset, const float *x,     \
                                        const double *centre, int D)                                                   \
    {                                                                                                                  \
        VJ_VECTORS(lanes)                                                                                              \
        enum { LANES = (lanes) };                                                                                      \
        doubles squares[SUMS / LANES] = {0}, spreads[SUMS / LANES] = {0}, offsets[SUMS / LANES] = {0};                 \
        for (int i = 0; i < D; i += SUMS) EACH_VECTOR                                                                  \
            {                                                                                                          \
                const doubles it = DOUBLES(isa, x + i), middle = SUM((double *)centre + i), difference = it - middle;  \
                *(floats *)(to + i + v * LANES) = __builtin_convertvector(difference, floats);                         \
                squares[v] += it * it;                                                                                 \
                spreads[v] += difference * difference;                                                                 \
                offsets[v] += middle * it;                                                                             \
            }                                                                                                          \
        EACH_VECTOR SUM(square) += squares[v], SUM(spread) += spreads[v], SUM(offset) += offsets[v];                   \
    }
#define ENTRY(isa, lanes, attributes) {product_##isa, squared_distance_##isa, centre_##isa},

VJ_EACH_ISA(LOOPS)

const vj_row_loops *vj_row_loops_here(void)
{
    static const vj_row_loops all[] = {VJ_EACH_ISA(ENTRY)};
    return &all[vj_isa_here()];
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

double vj_row_product(const vj_row_loops *loops, const float *x, const float *y, int D)
{
    return sum_pairs(loops->product, x, y, D);
}

double vj_row_squared_distance(const vj_row_loops *loops, const float *x, const float *y, int D)
{
    return sum_pairs(loops->squared_distance, x, y, D);
}

vj_row_sums vj_row_centre(const vj_row_loops *loops, float *to, const float *x, const double *centre, int D)
{
    const int whole = D / SUMS * SUMS;
    double square[SUMS] = {0}, spread[SUMS] = {0}, offset[SUMS] = {0};
    loops->centre(to, square, spread, offset, x, centre, whole);
    if (whole < D) {
        float a[SUMS], b[SUMS];
        double middle[SUMS] = {0};
        pad(a, x, whole, D);
        memcpy(middle, centre + whole, (size_t)(D - whole) * sizeof *middle);
        loops->centre(b, square, spread, offset, a, middle, SUMS);
        memcpy(to + whole, b, (size_t)(D - whole) * sizeof *to);
    }
    return (vj_row_sums){add_up(square), add_up(spread), add_up(offset)};
}
