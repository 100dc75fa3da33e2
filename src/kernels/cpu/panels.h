/*
 * Packing: copies the operands of a product into the panels that tile.h reads, transposing and rounding on the way, and
 * fills the panels' edges with zeros. A source is a row-major matrix, floats or bf16, with `stride` elements between
 * its rows. The panel's index runs over the source's rows (.._rows: the depth is contiguous, as x and w in x w^T) or
 * over its columns (.._columns: the depth goes down the rows).
 */
#ifndef VJ_CPU_PANELS_H
#define VJ_CPU_PANELS_H

#include "isa.h"

typedef enum {
    PACK_FP32,
    PACK_PAIRS, /* rounded to bf16, PAIR values a lane; a rounded float where PAIR is 1 */
    PACK_PARTS, /* floats in PARTS bf16 parts: PAIR values in PARTS lanes; only where PARTS is more than 1 */
    PACK_FLOATS = PARTS > 1 ? PACK_PARTS : PACK_FP32 /* how products take floats here */
} pack_mode;

/* Element (0, 0) of what is to be packed. */
typedef struct {
    const void *at;
    vj_type type;
    int64_t stride;
} matrix;

VJ_INLINE matrix matrix_at(const void *base, vj_type type, int64_t stride, int64_t row, int64_t column)
{
    return (matrix){(const char *)base + (row * stride + column) * vj_type_bytes(type), type, stride};
}

/* Values of depth side by side in a lane; parts that a panel holds of each. */
VJ_INLINE int pack_lane(pack_mode mode)
{
    return mode == PACK_FP32 ? 1 : PAIR;
}
VJ_INLINE int pack_parts(pack_mode mode)
{
    return mode == PACK_PARTS ? PARTS : 1;
}

/** Lanes that `depth` values take in a panel. */
VJ_INLINE int64_t pack_depth(pack_mode mode, int64_t depth)
{
    if (mode == PACK_FP32) return depth;
    const int64_t lanes = ((depth + PAIR - 1) / PAIR + PAIR_DEPTH - 1) / PAIR_DEPTH * PAIR_DEPTH;
    return pack_parts(mode) * lanes;
}

/* Rows of an A panel, columns of a B panel. */
VJ_INLINE int pack_rows(pack_mode mode)
{
    return mode == PACK_FP32 ? MR : PAIR_MR;
}
VJ_INLINE int pack_columns(pack_mode mode)
{
    return mode == PACK_FP32 ? NR : PAIR_NR;
}

/** Rows that pack_a writes for `count`: whole panels. */
VJ_INLINE int64_t pack_round(pack_mode mode, int64_t count)
{
    return (count + pack_rows(mode) - 1) / pack_rows(mode) * pack_rows(mode);
}

/* Floats of a panel of `width` rows or columns. */
VJ_INLINE int64_t pack_panel(pack_mode mode, int width, int64_t depth)
{
    return width * pack_depth(mode, depth);
}

/**
 * A panels, as many as `count` rows take, `stride` floats apart: pack_panel(mode, pack_rows(mode), depth) of each are
 * written.
 */
void VJ_CPU(pack_a_rows)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth, pack_mode mode);
void VJ_CPU(pack_a_columns)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth, pack_mode mode);

/** B panels of pack_columns(mode) columns; of the last one only the vectors that hold some of the `count` are written.
 */
void VJ_CPU(pack_b_rows)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth, pack_mode mode);
void VJ_CPU(pack_b_columns)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth, pack_mode mode);

#if defined(VJ_HAS_AMX)
/* The same for PACK_PARTS (parts.c). */
void VJ_CPU(parts_a_rows)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth);
void VJ_CPU(parts_a_columns)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth);
void VJ_CPU(parts_b_rows)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth);
void VJ_CPU(parts_b_columns)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth);
#endif

#endif
