/*
 * The innermost loops of every product, in linear layers and in attention: a tile of MR rows by nv vectors, kept in
 * registers while the depth runs. Operands come packed by pack.h:
 *
 *   A panel: MR rows,          element (row i, depth p) at a[p * MR + i]
 *   B panel: up to NR columns, element (depth p, column j) at b[p * NR + j]
 *
 * t[i * ldt + j] = (accumulate ? t : 0) + sum over p in ascending order. All MR rows and nv whole vectors are written.
 */
#ifndef VJ_CPU_TILE_H
#define VJ_CPU_TILE_H

#include <stdbool.h>

#include "isa.h"

/** Operands are floats. */
void VJ_CPU(tile)(int nv, int64_t depth, const float *a, const float *b, float *t, int64_t ldt, bool accumulate);

/** Operands are PAIR bf16 values a lane; depth counts lanes. */
void VJ_CPU(tile_pairs)(int nv, int64_t depth, const float *a, const float *b, float *t, int64_t ldt, bool accumulate);

/** Floats; A stands as another tile's result does, rows NR apart: element (i, p) at a[i * NR + p]. */
void VJ_CPU(tile_rows)(int nv, int64_t depth, const float *a, const float *b, float *t, int64_t ldt, bool accumulate);

#endif
