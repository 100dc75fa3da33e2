/* Tiles: sums of products in registers. One body, compiled for each instruction set and specialised for each form. */
#include "linear/tiles.h"

#include <string.h>

#include "linear/isa.h"

/* `vectors` and `step` are constants of each function that this is inlined into, and `apart` is one where it is 1. */
#define BODY(isa, lanes, attributes)                                                                                   \
    attributes static inline __attribute__((always_inline)) void add_##isa(                                            \
        int vectors, int step, double *sums, const double *x, const double *y, int64_t apart, int depth,               \
        const double *next, vj_ahead *ahead)                                                                           \
    {                                                                                                                  \
        typedef double vector __attribute__((vector_size(sizeof(double) * (lanes)), may_alias));                       \
        enum { LANES = (lanes), WIDE = VJ_TILE_VECTORS * (lanes), LINE = 8 };                                          \
        vector sum[LANES * VJ_TILE_VECTORS];                                                                           \
        const char *far = ahead->at;                                                                                   \
        const int64_t pace = ahead->pace;                                                                              \
        EACH(8, j, LANES)                                                                                              \
        EACH(3, i, vectors) sum[j * vectors + i] = *(const vector *)(sums + j * WIDE + i * LANES);                     \
        for (int k = 0; k < depth; k += VJ_TILE_STEPS, next += LINE, far += pace) {                                    \
            __builtin_prefetch(next, 1, 3);                                                                            \
            __builtin_prefetch(far, 0, 2);                                                                             \
            EACH(4, s, VJ_TILE_STEPS)                                                                                  \
            {                                                                                                          \
                vector column[VJ_TILE_VECTORS];                                                                        \
                EACH(3, i, vectors) column[i] = *(const vector *)(x + i * LANES);                                      \
                EACH(8, j, LANES)                                                                                      \
                EACH(3, i, vectors) sum[j * vectors + i] += column[i] * y[j * apart];                                  \
                x += WIDE;                                                                                             \
                y += step;                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
        EACH(8, j, LANES)                                                                                              \
        EACH(3, i, vectors) * (vector *)(sums + j * WIDE + i * LANES) = sum[j * vectors + i];                          \
        ahead->at = far;                                                                                               \
    }
#define EACH(max, i, count) UNROLL(GCC unroll max) for (int i = 0; i < (count); i++)
#define UNROLL(text)        _Pragma(#text)

#define TILE(name, isa, vectors, step, fixed, attributes)                                                              \
    attributes static void name(double *sums, const double *x, const double *y, int64_t apart, int depth,              \
                                const double *next, vj_ahead *ahead)                                                   \
    {                                                                                                                  \
        add_##isa(vectors, step, sums, x, y, (fixed) ? (fixed) : apart, depth, next, ahead);                           \
    }

/* Two vectors of all rows, then the next two, so that several rows come from the second-level cache at once. */
#define WIDEN(isa, lanes, attributes)                                                                                  \
    attributes static void widen_##isa(double *to, const float *from, int64_t stride, const double *minus, int rows,   \
                                       int count)                                                                      \
    {                                                                                                                  \
        VJ_VECTORS(lanes)                                                                                              \
        int k = 0;                                                                                                     \
        for (; k + 2 * (lanes) <= count; k += 2 * (lanes)) {                                                           \
            const doubles m = *(const doubles *)(minus + k), n = *(const doubles *)(minus + k + (lanes));              \
            for (int i = 0; i < rows; i++) {                                                                           \
                const float *row = from + i * stride + k;                                                              \
                double *wide = to + i * VJ_ROW_DEPTH + k;                                                              \
                *(doubles *)wide = VJ_DOUBLES_##isa(*(const floats *)row) - m;                                         \
                *(doubles *)(wide + (lanes)) = VJ_DOUBLES_##isa(*(const floats *)(row + (lanes))) - n;                 \
            }                                                                                                          \
        }                                                                                                              \
        for (; k < count; k++)                                                                                         \
            for (int i = 0; i < rows; i++) to[i * VJ_ROW_DEPTH + k] = (double)from[i * stride + k] - minus[k];         \
    }

#define TILES(isa, number, attributes)                                                                                 \
    BODY(isa, number, attributes)                                                                                      \
    TILE(panel_##isa##_1, isa, 1, VJ_TILE_VECTORS *(number), 1, attributes)                                            \
    TILE(panel_##isa##_2, isa, 2, VJ_TILE_VECTORS *(number), 1, attributes)                                            \
    TILE(panel_##isa##_3, isa, 3, VJ_TILE_VECTORS *(number), 1, attributes)                                            \
    TILE(row_##isa##_1, isa, 1, 1, 0, attributes)                                                                      \
    TILE(row_##isa##_2, isa, 2, 1, 0, attributes)                                                                      \
    TILE(row_##isa##_3, isa, 3, 1, 0, attributes)                                                                      \
    WIDEN(isa, number, attributes)
#define ENTRY(isa, number, attributes)                                                                                 \
    {.lanes = (number),                                                                                                \
     .wide = VJ_TILE_VECTORS * (number),                                                                               \
     .by_panel = {panel_##isa##_1, panel_##isa##_2, panel_##isa##_3},                                                  \
     .by_row = {row_##isa##_1, row_##isa##_2, row_##isa##_3},                                                          \
     .widen = widen_##isa},

VJ_EACH_ISA(TILES)

const vj_tiles *vj_tiles_here(void)
{
    static const vj_tiles all[] = {VJ_EACH_ISA(ENTRY)};
    return &all[vj_isa_here()];
}

int vj_tiles_panels(const vj_tiles *tiles, int columns)
{
    return (columns + tiles->wide - 1) / tiles->wide;
}

int vj_tiles_vectors(const vj_tiles *tiles, int columns, int i)
{
    const int left = columns - i * tiles->wide;
    return ((left < tiles->wide ? left : tiles->wide) - 1) / tiles->lanes;
}

void vj_tiles_fill(const vj_tiles *tiles, double *to, int room, const double *x, int64_t stride, int depth, int columns)
{
    const int panels = vj_tiles_panels(tiles, columns), wide = tiles->wide, end = vj_tiles_whole(depth);
    for (int k = 0; k < end; k++, x += stride)
        for (int p = 0; p < panels; p++) {
            const int left = columns - p * wide, some = k >= depth ? 0 : left < wide ? left : wide;
            double *row = to + ((int64_t)p * room + k) * wide;
            if (some > 0) memcpy(row, x + p * wide, (size_t)some * sizeof *row);
            memset(row + some, 0, (size_t)(wide - some) * sizeof *row);
        }
}
