/*
 * Packing: copies the operands of a product into the panels that tile.h reads, transposing and rounding on the way, and
 * fills the panels' edges with zeros. A source is a row-major matrix with `stride` floats between its rows. The panel's
 * index runs over the source's rows (.._rows: the depth is contiguous, as x and w in x w^T) or over its columns
 * (.._columns: the depth goes down the rows).
 */
#ifndef VJ_CPU_PACK_H
#define VJ_CPU_PACK_H

#include "isa.h"

typedef enum {
    PACK_FP32,
    PACK_ROUNDED, /* to bf16, kept as floats */
    PACK_PAIRS    /* to bf16, PAIR values a lane (so the same as PACK_ROUNDED where PAIR is 1) */
} pack_mode;

/** Lanes that `depth` values take. */
static inline int64_t pack_depth(pack_mode mode, int64_t depth)
{
    return mode == PACK_PAIRS ? (depth + PAIR - 1) / PAIR : depth;
}

/** Panel indices 0 .. count-1 rounded up to whole vectors: pack_a writes as many. Floats needed: this times depth. */
static inline int64_t pack_round(int64_t count)
{
    return (count + LANES - 1) / LANES * LANES;
}

/** A panels of MR one after the other, MR * pack_depth(mode, depth) floats each. */
void VJ_CPU(pack_a_rows)(float *panels, const float *source, int64_t stride, int64_t count, int64_t depth,
                         pack_mode mode);
void VJ_CPU(pack_a_columns)(float *panels, const float *source, int64_t stride, int64_t count, int64_t depth,
                            pack_mode mode);

/** One B panel of `count` <= NR columns, whole vectors of them written. */
void VJ_CPU(pack_b_rows)(float *panel, const float *source, int64_t stride, int64_t count, int64_t depth,
                         pack_mode mode);
void VJ_CPU(pack_b_columns)(float *panel, const float *source, int64_t stride, int64_t count, int64_t depth,
                            pack_mode mode);

#endif
