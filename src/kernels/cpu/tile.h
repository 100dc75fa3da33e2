/*
 * The innermost loops of every product, in linear layers and in attention: a tile of rows by nv vectors that stays in
 * registers while the depth runs. Operands come packed by pack.h. With floats the tile has MR rows:
 *
 *   A panel: MR rows,          element (row i, depth p) at a[p * MR + i]
 *   B panel: up to NR columns, element (depth p, column j) at b[p * NR + j]
 *
 * With pairs of bf16 a lane it has PAIR_MR rows and PAIR_NR columns, depth counts lanes and is a multiple of
 * PAIR_DEPTH. Where the processor multiplies whole tiles (AMX) an A panel is row-major, element (i, p) at a[i * depth +
 * p].
 *
 * t[i * ldt + j] = (accumulate ? t : 0) + sum over p in ascending order, for the first `rows` > 0 rows of the tile
 * (some rows more may be written, up to a whole tile) and nv whole vectors. Meanwhile `ahead` floats at `next` come
 * into the second-level cache.
 */
#ifndef VJ_CPU_TILE_H
#define VJ_CPU_TILE_H

#include <stdbool.h>

#include "isa.h"

/** Operands are floats. */
void VJ_CPU(tile)(int64_t rows, int nv, int64_t depth, const float *a, const float *b, float *t, int64_t ldt,
                  bool accumulate, const float *next, int64_t ahead);

/** Operands are PAIR bf16 values a lane. */
void VJ_CPU(tile_pairs)(int64_t rows, int nv, int64_t depth, const float *a, const float *b, float *t, int64_t ldt,
                        bool accumulate, const float *next, int64_t ahead);

#if defined(VJ_HAS_AMX)
/** Operands are floats in PARTS bf16 parts; the panels are pack.h's PACK_PARTS. */
void VJ_CPU(tile_parts)(int64_t rows, int nv, int64_t depth, const float *a, const float *b, float *t, int64_t ldt,
                        bool accumulate);
#endif

/** Floats; A stands as another tile's result does, rows a_row apart: element (i, p) at a[i * a_row + p]. */
void VJ_CPU(tile_rows)(int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row, const float *b, float *t,
                       int64_t ldt, bool accumulate);

/** The same for pairs. */
void VJ_CPU(tile_rows_pairs)(int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row, const float *b,
                             float *t, int64_t ldt, bool accumulate);

#endif
