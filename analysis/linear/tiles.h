/*
 * The innermost loops of products of doubles, for each instruction set, and the layout of the copies that they read.
 * sums.c and rows.c divide products into these tiles. Private to this folder.
 */
#ifndef VJ_LINEAR_TILES_H
#define VJ_LINEAR_TILES_H

#include <stdint.h>

enum {
    VJ_TILE_DEPTH = 112, /* rows in a panel of sums.c; a multiple of VJ_TILE_STEPS, as the next */
    VJ_ROW_DEPTH = 176,  /* numbers from one row to the next in a copy of rows.c, and rows in its panels */
    VJ_TILE_STEPS = 4,   /* steps of depth between two prefetches */
    VJ_TILE_VECTORS = 3  /* of a panel: it is VJ_TILE_VECTORS * lanes columns wide */
};

/* What tiles prefetch into the second-level cache: a line after every VJ_TILE_STEPS steps, `pace` bytes further. */
typedef struct {
    const char *at;
    int64_t pace;
} vj_ahead;

/**
 * sums [lanes, wide] += products over `depth` steps, a multiple of VJ_TILE_STEPS, of a panel x [depth, wide] and
 * `lanes` columns y. Each number is summed in the order of steps. `next`, the sums of the next tile, is prefetched into
 * the first-level cache.
 */
typedef void vj_tile(double *sums, const double *x, const double *y, int64_t apart, int depth, const double *next,
                     vj_ahead *ahead);

/* How products are divided into tiles. This depends on the instruction set alone. */
typedef struct {
    int lanes, wide; /* columns y of a tile; columns of a panel */
    /* [vectors - 1]: only the first vectors of the panel, since the last panel may have fewer columns. `by_panel`: step
     * k of column j is y[k * wide + j]; `by_row`: it is y[j * apart + k]. */
    vj_tile *by_panel[VJ_TILE_VECTORS], *by_row[VJ_TILE_VECTORS];
    /* to [rows, VJ_ROW_DEPTH], of which `count` columns are written, = from - minus; rows of `from` are `stride` apart.
     */
    void (*widen)(double *to, const float *from, int64_t stride, const double *minus, int rows, int count);
} vj_tiles;

/** Return the tiles of this processor's instruction set, or of the one that VJ_ISA names (vj_backend_isa()). Static. */
const vj_tiles *vj_tiles_here(void);

/** Return the depth with the zeros that vj_tiles_fill() adds. */
static inline int vj_tiles_whole(int depth)
{
    return (depth + VJ_TILE_STEPS - 1) / VJ_TILE_STEPS * VJ_TILE_STEPS;
}

/** Return the number of panels of `columns` columns; vj_tiles_vectors() returns the number of vectors of panel i that
 * have columns, less one. */
int vj_tiles_panels(const vj_tiles *tiles, int columns);
int vj_tiles_vectors(const vj_tiles *tiles, int columns, int i);

/**
 * Copy `depth` rows x [depth, columns], `stride` numbers apart, into panels `to` [panels, room, wide]. Zeros
 * fill the last panel, and the depth up to a multiple of VJ_TILE_STEPS.
 */
void vj_tiles_fill(const vj_tiles *tiles, double *to, int room, const double *x, int64_t stride, int depth,
                   int columns);

#endif
