/*
 * Sums of products x^T y of the rows of one rank, which are nearly all the work of spectra and comparisons. A BLAS is
 * made for matrices of any shape. Here one side is always long, so smaller copies suffice: DEPTH rows at a time are
 * copied into panels, of which one of each side stays in the first-level cache. The sums are stored tile by tile, so
 * that a tile lies on one page and is fetched while the one before is computed.
 *
 * On a Xeon with AVX-512, width 1408, two ranks at once, this reached 0.67 to 0.73 of the measured peak where dsyrk of
 * OpenBLAS 0.3.21 reached 0.50, and that of MKL 2026 0.53; with AVX2 alone 0.93 to 0.96 of the peak of AVX2, OpenBLAS
 * 0.73. A tile whose operands never leave the first-level cache reached 0.84 there (tests/bench/RESULTS.md).
 */
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "linear/inner.h"

enum {
    DEPTH = 112,          /* rows in a panel; a multiple of STEPS */
    STEPS = 4,            /* rows between two requests for lines of the next tile */
    VECTORS = 3,          /* of a panel: its width is VECTORS * lanes columns */
    TOGETHER = 4,         /* panels that are filled together, so that lines of a row are read one after the other */
    PANELS_OF_A_UNIT = 16 /* panels of y that a panel of x meets before the next one of x */
};

/*
 * sums [lanes, VECTORS * lanes] += the products of `depth` rows of a panel of x [depth, VECTORS * lanes] and of some
 * columns, `lanes` of them, of a panel of y [depth, VECTORS * lanes]. `depth` is a multiple of STEPS. `next` is
 * fetched.
 */
#define TILE(name, lanes, EACH_COLUMN, attributes)                                                                     \
    attributes static void name(double *sums, const double *x, const double *y, int depth, const double *next)         \
    {                                                                                                                  \
        typedef double vector __attribute__((vector_size(sizeof(double) * (lanes)), may_alias));                       \
        enum { LANES = (lanes), WIDE = VECTORS * (lanes), LINE = 8 };                                                  \
        EACH_COLUMN(BEGIN_SUMS)                                                                                        \
        for (int k = 0; k < depth; k += STEPS, next += LINE) {                                                         \
            __builtin_prefetch(next, 1, 3);                                                                            \
            _Pragma("GCC unroll 4") for (int step = 0; step < STEPS; step++, x += WIDE, y += WIDE)                     \
            {                                                                                                          \
                const vector x0 = *(const vector *)x, x1 = *(const vector *)(x + LANES),                               \
                             x2 = *(const vector *)(x + 2 * LANES);                                                    \
                EACH_COLUMN(ADD_PRODUCTS)                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        EACH_COLUMN(STORE_SUMS)                                                                                        \
    }
#define PLACE(j, i)   ((vector *)(sums + (j)*WIDE + (i)*LANES))
#define BEGIN_SUMS(j) vector s##j##0 = *PLACE(j, 0), s##j##1 = *PLACE(j, 1), s##j##2 = *PLACE(j, 2);
#define ADD_PRODUCTS(j)                                                                                                \
    s##j##0 += x0 * y[j];                                                                                              \
    s##j##1 += x1 * y[j];                                                                                              \
    s##j##2 += x2 * y[j];
#define STORE_SUMS(j)                                                                                                  \
    *PLACE(j, 0) = s##j##0;                                                                                            \
    *PLACE(j, 1) = s##j##1;                                                                                            \
    *PLACE(j, 2) = s##j##2;
#define TWO_COLUMNS(DO)   DO(0) DO(1)
#define FOUR_COLUMNS(DO)  TWO_COLUMNS(DO) DO(2) DO(3)
#define EIGHT_COLUMNS(DO) FOUR_COLUMNS(DO) DO(4) DO(5) DO(6) DO(7)

TILE(tile_portable, 2, TWO_COLUMNS, )
#ifdef __x86_64__
TILE(tile_avx2, 4, FOUR_COLUMNS, __attribute__((target("avx2,fma"))))
TILE(tile_avx512, 8, EIGHT_COLUMNS, __attribute__((target("avx512f"))))
#endif

/* How sums are divided into tiles. This depends on the processor alone. */
typedef struct {
    void (*tile)(double *, const double *, const double *, int, const double *);
    int lanes, wide; /* columns of y in a tile; columns of a panel */
} division;

static division choose_division(void)
{
    division d = {tile_portable, 2, 2 * VECTORS};
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) d = (division){tile_avx2, 4, 4 * VECTORS};
    if (__builtin_cpu_supports("avx512f")) d = (division){tile_avx512, 8, 8 * VECTORS};
#endif
    return d;
}

static int panels_of(const division *d, int columns)
{
    return (columns + d->wide - 1) / d->wide;
}

/* Return where the wide * wide sums of panel i of x and panel j of y begin; `panels` is the number of panels of x. */
static int64_t place_of(const division *d, int i, int j, int panels)
{
    return ((int64_t)j * panels + i) * d->wide * d->wide;
}

int64_t vj_sums_count(int rows, int columns)
{
    const division d = choose_division();
    return (int64_t)panels_of(&d, rows) * panels_of(&d, columns) * d.wide * d.wide;
}

int64_t vj_sums_room(int rows, int columns)
{
    const division d = choose_division();
    return (int64_t)(panels_of(&d, rows) + panels_of(&d, columns)) * d.wide * DEPTH;
}

void vj_sums_columns(double *to, const double *sums, int rows, int first, int columns)
{
    const division d = choose_division();
    const int panels = panels_of(&d, rows);
    for (int j = first; j < first + columns; j++)
        for (int p = 0; p < panels; p++, to += d.wide) {
            const double *from = sums + place_of(&d, p, j / d.wide, panels) + j % d.wide * d.wide;
            const int some = rows - p * d.wide < d.wide ? rows - p * d.wide : d.wide;
            memcpy(to, from, (size_t)some * sizeof *to);
            if (some < d.wide) to -= d.wide - some;
        }
}

/* Copy `depth` rows x [depth, columns] into panels [panels, DEPTH, wide]. Zeros fill the last panel, and the depth up
 * to a multiple of STEPS. To be called by all threads of a parallel region. */
static void fill_panels(const division *d, double *to, const double *x, int depth, int columns)
{
    const int panels = panels_of(d, columns), wide = d->wide, end = (depth + STEPS - 1) / STEPS * STEPS;
#pragma omp for schedule(static)
    for (int first = 0; first < panels; first += TOGETHER)
        for (int k = 0; k < end; k++)
            for (int p = first; p < panels && p < first + TOGETHER; p++) {
                const int left = columns - p * wide, some = k >= depth ? 0 : left < wide ? left : wide;
                double *row = to + ((int64_t)p * DEPTH + k) * wide;
                const double *from = x + (int64_t)k * columns + p * wide;
                memcpy(row, from, (size_t)some * sizeof *row);
                memset(row + some, 0, (size_t)(wide - some) * sizeof *row);
            }
}

/* Add the products of panel i of x and panels [first, last) of y. The next unit is probably that of panel i + 1. */
static void add_unit(const division *d, double *sums, const double *x, const double *y, int depth, int i, int first,
                     int last, int panels)
{
    const double *own = x + (int64_t)i * DEPTH * d->wide;
    const int whole = (depth + STEPS - 1) / STEPS * STEPS, in_tile = d->lanes * d->wide, tiles = d->wide / d->lanes;
    for (int j = first; j < last; j++) {
        double *tile = sums + place_of(d, i, j, panels);
        const double *after = sums + (j + 1 < last ? place_of(d, i, j + 1, panels)
                                                   : place_of(d, i + 1 < panels ? i + 1 : i, first, panels));
        for (int t = 0; t < tiles; t++, tile += in_tile)
            d->tile(tile, own, y + (int64_t)j * DEPTH * d->wide + t * d->lanes, whole,
                    t + 1 < tiles ? tile + in_tile : after);
    }
}

void vj_sums_add(double *sums, double *room, const double *x, int rows, const double *y, int columns, int64_t count)
{
    const division d = choose_division();
    const bool lower = y == NULL;
    const int of_x = panels_of(&d, rows), of_y = lower ? of_x : panels_of(&d, columns);
    const int parts = (of_y + PANELS_OF_A_UNIT - 1) / PANELS_OF_A_UNIT;
    double *x_panels = room, *y_panels = lower ? room : room + (int64_t)of_x * d.wide * DEPTH;
#pragma omp parallel
    for (int64_t at = 0; at < count; at += DEPTH) {
        const int depth = count - at < DEPTH ? (int)(count - at) : DEPTH;
        fill_panels(&d, x_panels, x + at * rows, depth, rows);
        if (!lower) fill_panels(&d, y_panels, y + at * columns, depth, columns);
#pragma omp for schedule(dynamic)
        for (int unit = 0; unit < parts * of_x; unit++) { /* each tile by one thread, in the order of rows */
            const int i = unit % of_x, first = unit / of_x * PANELS_OF_A_UNIT, most = lower ? i + 1 : of_y;
            const int last = first + PANELS_OF_A_UNIT < most ? first + PANELS_OF_A_UNIT : most;
            add_unit(&d, sums, x_panels, y_panels, depth, i, first, last, of_x);
        }
    }
}
