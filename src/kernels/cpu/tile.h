/*
 * The innermost loops of every product, in linear layers and in attention: rows of A by nv vectors of one panel of B,
 * tile by tile, each of which stays in registers over the whole depth. The operands are packed (panels.h) in the same
 * mode; depth counts the lanes of a panel, pack_depth(). B panels hold up to pack_columns() columns:
 *
 *   PACK_FP32, PACK_PAIRS   A: element (row i, lane p) at a[p * MR + i], B: (p, column j) at b[p * pack_columns() + j]
 *   where the processor multiplies whole tiles (AMX):
 *   PACK_PAIRS              B as above; A in steps of PAIR_DEPTH lanes, each step PAIR_MR rows
 *   PACK_PARTS              the same of each part, depth / PARTS lanes, one part after the other
 *
 * t[i * ldt + j] = (accumulate ? t : 0) + sum over p in ascending order, for the first `rows` > 0 rows (more rows may
 * be written, up to a whole tile) and nv whole vectors.
 */
#ifndef VJ_CPU_TILE_H
#define VJ_CPU_TILE_H

#include "panels.h"

/* What is prefetched into the second-level cache during each tile: `floats` floats from `at` on, then from `step`
 * floats further on during the next tile, and so on. */
typedef struct {
    const float *at;
    int64_t floats, step;
} prefetch;

/** Panels of A are a_panel floats apart. `ahead`: NULL if nothing is to be prefetched. */
void VJ_CPU(tile)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_panel, const float *b,
                  float *t, int64_t ldt, bool accumulate, const prefetch *ahead);

/**
 * The same with A stored by rows, a_row lanes apart, as a matrix or the result of another tile is: element (i, p) at
 * a[i * a_row + p], its parts a_row / PARTS lanes apart. As many rows of A are read as are written: with pack_columns()
 * columns whole units of MR rows, with fewer columns more.
 */
void VJ_CPU(tile_rows)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row,
                       const float *b, float *t, int64_t ldt, bool accumulate, const prefetch *ahead);

#endif
