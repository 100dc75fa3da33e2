/*
 * Sums of products x^T y of the rows of one rank, which are nearly all the work of spectra and comparisons. A BLAS is
 * made for matrices of any shape. Here one side is always long, so smaller copies suffice: VJ_TILE_DEPTH rows at a time
 * are copied into panels, of which one of each side stays in the first-level cache. The sums are stored tile by tile,
 * so that a tile lies on one page and is fetched while the one before is computed.
 *
 * On a Xeon with AVX-512, width 1408, two ranks at once, this reached 0.67 to 0.73 of the measured peak where dsyrk of
 * OpenBLAS 0.3.21 reached 0.50, and that of MKL 2026 0.53; with AVX2 alone 0.93 to 0.96 of the peak of AVX2, OpenBLAS
 * 0.73. A tile whose operands never leave the first-level cache reached 0.84 there (docs/cpu_kernels.md).
 */
#include <string.h>

#include "linear/inner.h"
#include "linear/tiles.h"

enum {
    TOGETHER = 4,         /* panels that are filled together, so that lines of a row are read one after the other */
    PANELS_OF_A_UNIT = 16 /* panels of y that a panel of x meets before the next one of x */
};

/* Return where the wide * wide sums of panel i of x and panel j of y begin; `panels` is the number of panels of x. */
static int64_t place_of(const vj_tiles *t, int i, int j, int panels)
{
    return ((int64_t)j * panels + i) * t->wide * t->wide;
}

int64_t vj_sums_count(int rows, int columns)
{
    const vj_tiles *t = vj_tiles_here();
    return (int64_t)vj_tiles_panels(t, rows) * vj_tiles_panels(t, columns) * t->wide * t->wide;
}

int64_t vj_sums_room(int rows, int columns)
{
    const vj_tiles *t = vj_tiles_here();
    return (int64_t)(vj_tiles_panels(t, rows) + vj_tiles_panels(t, columns)) * t->wide * VJ_TILE_DEPTH;
}

void vj_sums_columns(double *to, const double *sums, int rows, int first, int columns)
{
    const vj_tiles *t = vj_tiles_here();
    const int panels = vj_tiles_panels(t, rows);
    for (int j = first; j < first + columns; j++)
        for (int p = 0; p < panels; p++, to += t->wide) {
            const double *from = sums + place_of(t, p, j / t->wide, panels) + j % t->wide * t->wide;
            const int some = rows - p * t->wide < t->wide ? rows - p * t->wide : t->wide;
            memcpy(to, from, (size_t)some * sizeof *to);
            if (some < t->wide) to -= t->wide - some;
        }
}

/* Copy `depth` rows x [depth, columns] into panels. To be called by all threads of a parallel region. */
static void fill_panels(const vj_tiles *t, double *to, const double *x, int depth, int columns)
{
    const int together = TOGETHER * t->wide;
#pragma omp for schedule(static)
    for (int k = 0; k < columns; k += together)
        vj_tiles_fill(t, to + (int64_t)k * VJ_TILE_DEPTH, VJ_TILE_DEPTH, x + k, columns, depth,
                      columns - k < together ? columns - k : together);
}

/* A product x^T y over at most VJ_TILE_DEPTH rows. Of x^T x only the lower triangle of panels is computed. */
typedef struct {
    const vj_tiles *tiles;
    double *sums;
    const double *x, *y; /* panels */
    int rows, panels;    /* of x: columns and panels */
    int depth;           /* a multiple of VJ_TILE_STEPS */
} product;

/* Add the products of panel i of x and panels [first, last) of y. The next unit is probably that of panel i + 1. */
static void add_unit(const product *p, int i, int first, int last)
{
    const vj_tiles *t = p->tiles;
    vj_tile *add = t->by_panel[vj_tiles_vectors(t, p->rows, i)];
    const double *own = p->x + (int64_t)i * VJ_TILE_DEPTH * t->wide;
    const int in_tile = t->lanes * t->wide, tiles = t->wide / t->lanes;
    vj_ahead nothing = {(const char *)own, 0};
    for (int j = first; j < last; j++) {
        double *sums = p->sums + place_of(t, i, j, p->panels);
        const double *after = p->sums + (j + 1 < last ? place_of(t, i, j + 1, p->panels)
                                                      : place_of(t, i + 1 < p->panels ? i + 1 : i, first, p->panels));
        for (int k = 0; k < tiles; k++, sums += in_tile)
            add(sums, own, p->y + (int64_t)j * VJ_TILE_DEPTH * t->wide + k * t->lanes, 1, p->depth,
                k + 1 < tiles ? sums + in_tile : after, &nothing);
    }
}

void vj_sums_add(double *sums, double *room, const double *x, int rows, const double *y, int columns, int64_t count)
{
    const vj_tiles *t = vj_tiles_here();
    const bool lower = y == NULL;
    const int of_x = vj_tiles_panels(t, rows), of_y = lower ? of_x : vj_tiles_panels(t, columns);
    const int parts = (of_y + PANELS_OF_A_UNIT - 1) / PANELS_OF_A_UNIT;
    double *x_panels = room, *y_panels = lower ? room : room + (int64_t)of_x * t->wide * VJ_TILE_DEPTH;
#pragma omp parallel
    for (int64_t at = 0; at < count; at += VJ_TILE_DEPTH) {
        const int depth = count - at < VJ_TILE_DEPTH ? (int)(count - at) : VJ_TILE_DEPTH;
        const product p = {t, sums, x_panels, y_panels, rows, of_x, vj_tiles_whole(depth)};
        fill_panels(t, x_panels, x + at * rows, depth, rows);
        if (!lower) fill_panels(t, y_panels, y + at * columns, depth, columns);
#pragma omp for schedule(dynamic)
        for (int unit = 0; unit < parts * of_x; unit++) { /* each tile by one thread, in the order of rows */
            const int i = unit % of_x, first = unit / of_x * PANELS_OF_A_UNIT, all = lower ? i + 1 : of_y;
            add_unit(&p, i, first, first + PANELS_OF_A_UNIT < all ? first + PANELS_OF_A_UNIT : all);
        }
    }
}
