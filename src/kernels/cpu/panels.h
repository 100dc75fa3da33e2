/*
 * Packing: copies the operands of a product into the panels that tile.h reads, transposing and rounding on the way, and
 * fills the panels' edges with zeros. A source is a row-major matrix, floats or bf16, with `stride` elements between
 * its rows. The rows of an A panel and the columns of a B panel are the source's rows (functions ..._rows: the depth is
 * contiguous, as x and w in x w^T) or its columns (functions ..._columns: the depth goes down the rows).
 */
#ifndef VJ_CPU_PANELS_H
#define VJ_CPU_PANELS_H

#include "isa.h"

typedef enum {
    PACK_FP32,
    PACK_PAIRS, /* rounded to bf16, PAIR values a lane; a rounded float where PAIR is 1 */
    PACK_PARTS, /* floats as PARTS bf16 parts: PAIR values in PARTS lanes; only if PARTS > 1 */
    PACK_FLOATS = PARTS > 1 ? PACK_PARTS : PACK_FP32 /* the mode of products of floats */
} pack_mode;

/* The matrix to be packed: address of its element (0, 0), type, and elements from row to row. */
typedef struct {
    const void *at;
    vj_type type;
    int64_t stride;
} matrix;

VJ_INLINE matrix matrix_at(const void *base, vj_type type, int64_t stride, int64_t row, int64_t column)
{
    return (matrix){(const char *)base + (row * stride + column) * vj_type_bytes(type), type, stride};
}

/* Return how many values of the depth share a lane (pack_lane), and how many parts a panel holds of each value
 * (pack_parts). */
VJ_INLINE int pack_lane(pack_mode mode)
{
    return mode == PACK_FP32 ? 1 : PAIR;
}
VJ_INLINE int pack_parts(pack_mode mode)
{
    return mode == PACK_PARTS ? PARTS : 1;
}

/** Return how many lanes `depth` values take in a panel. */
VJ_INLINE int64_t pack_depth(pack_mode mode, int64_t depth)
{
    if (mode == PACK_FP32) return depth;
    const int64_t lanes = ((depth + PAIR - 1) / PAIR + PAIR_DEPTH - 1) / PAIR_DEPTH * PAIR_DEPTH;
    return pack_parts(mode) * lanes;
}

/* Return the rows of an A panel (pack_rows) and the columns of a B panel (pack_columns). */
VJ_INLINE int pack_rows(pack_mode mode)
{
    return mode == PACK_FP32 ? MR : PAIR_MR;
}
VJ_INLINE int pack_columns(pack_mode mode)
{
    return mode == PACK_FP32 ? NR : PAIR_NR;
}

/* Return whether pairs are multiplied in whole tiles. If so, a panel of A is a sequence of tiles, each stored row by
 * row. */
VJ_INLINE bool in_tiles(pack_mode mode)
{
    return PAIR_DEPTH > 1 && mode == PACK_PAIRS;
}

/** Return how many rows pack_a_*() writes for `count` rows: whole panels. */
VJ_INLINE int64_t pack_round(pack_mode mode, int64_t count)
{
    return (count + pack_rows(mode) - 1) / pack_rows(mode) * pack_rows(mode);
}

/* Return the floats of a panel of `width` rows or columns. */
VJ_INLINE int64_t pack_panel(pack_mode mode, int width, int64_t depth)
{
    return width * pack_depth(mode, depth);
}

/**
 * Write as many A panels as `count` rows need, `stride` floats apart; each has pack_panel(mode, pack_rows(mode), depth)
 * floats.
 */
void VJ_CPU(pack_a_rows)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth, pack_mode mode);
void VJ_CPU(pack_a_columns)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth, pack_mode mode);

/** Write B panels of pack_columns(mode) columns; of the last one only the vectors that hold some of the `count`
 * columns.
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
