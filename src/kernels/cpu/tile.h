/*
 * The innermost loops of every product, in linear layers and in attention: a tile of rows by nv vectors that stays in
 * registers over the whole depth. The operands are packed (panels.h) in the same mode; depth counts the lanes of a
 * panel, pack_depth(). B panels hold up to pack_columns() columns:
 *
 *   PACK_FP32, PACK_PAIRS   A: element (row i, lane p) at a[p * MR + i], B: (p, column j) at b[p * pack_columns() + j]
 *   where the processor multiplies whole tiles (AMX):
 *   PACK_PAIRS              B as above; A in steps of PAIR_DEPTH lanes, each step PAIR_MR rows
 *   PACK_PARTS              the same of each part, depth / PARTS lanes, one part after the other
 *
 * t[i * ldt + j] = (accumulate ? t : 0) + sum over p in ascending order, for the first `rows` > 0 rows of the tile
 * (more rows may be written, up to a whole tile) and nv whole vectors. Meanwhile a panel of A of the same size at
 * a_next is prefetched into the first-level cache where that pays, and `ahead` floats at `next` into the second; NULL:
 * none.
 */
#ifndef VJ_CPU_TILE_H
#define VJ_CPU_TILE_H

#include "panels.h"

void VJ_CPU(tile)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, const float *b, float *t,
                  int64_t ldt, bool accumulate, const float *a_next, const float *next, int64_t ahead);

/**
 * Return the rows of a tile of nv vectors in tile_rows(). With few registers a narrow tile has more rows, so that as
 * many sums are in progress at a time.
 */
VJ_INLINE int tile_rows_of(pack_mode mode, int nv)
{
    return MR * NV <= 12 ? MR * NV / nv : pack_rows(mode);
}

/**
 * The same with A stored by rows, as the result of another tile is, a_row lanes apart: element (i, p) at a[i * a_row +
 * p], its parts a_row / PARTS lanes apart. At most tile_rows_of() rows; up to a whole tile of rows may be written.
 */
void VJ_CPU(tile_rows)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row,
                       const float *b, float *t, int64_t ldt, bool accumulate);

#endif
