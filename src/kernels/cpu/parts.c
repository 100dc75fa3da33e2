/*
 * Packing floats for products of whole tiles: each float becomes PARTS bf16 values (vsplit() in isa.h, PACK_PARTS in
 * panels.h). A source is read in blocks of one step of the depth (two vectors of values, PAIR_DEPTH lanes) by LANES
 * panel indices.
 */
#include "cpu.h"
#include "panels.h"
#include "vector.h"

#if defined(VJ_HAS_AMX)

enum { STEP = PAIR * PAIR_DEPTH };

/* Load LANES vectors from rows of the source; `rows` by `columns` values exist, the others are zero. */
VJ_INLINE void load_square(vf v[LANES], matrix m, int64_t at, int64_t rows, int64_t columns)
{
    if (rows >= LANES && columns >= LANES)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) v[i] = vload_of(m.at, m.type, at + i * m.stride, LANES);
    else
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            v[i] = i < rows && columns > 0 ? vload_of(m.at, m.type, at + i * m.stride, columns) : vset(0.0f);
}

/* Store a step of the depth in LANES rows of an A panel: first[i], second[i] are the values of row i. Parts are `plane`
 * floats apart. */
VJ_INLINE void store_a(float *to, int64_t plane, const vf first[LANES], const vf second[LANES])
{
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        vf even, odd, part[PARTS];
        vunzip(first[i], second[i], &even, &odd);
        vsplit(even, odd, part);
        for (int j = 0; j < PARTS; j++) vstore(to + j * plane + i * PAIR_DEPTH, part[j]);
    }
}

/* Store half a step of a B panel: across[k] holds value k of the depth, of LANES columns. */
VJ_INLINE void store_b(float *to, int64_t plane, const vf across[LANES])
{
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
        vf part[PARTS];
        vsplit(across[2 * i], across[2 * i + 1], part);
        for (int j = 0; j < PARTS; j++) vstore(to + j * plane + i * PAIR_NR, part[j]);
    }
}

VJ_INLINE float *in_a(float *panels, int64_t stride, int64_t row, int64_t value)
{
    return panels + row / PAIR_MR * stride + value / STEP * PAIR_DEPTH * PAIR_MR + row % PAIR_MR * PAIR_DEPTH;
}
VJ_INLINE float *in_b(float *panels, int64_t stride, int64_t column, int64_t value)
{
    return panels + column / PAIR_NR * stride + value / STEP * PAIR_DEPTH * PAIR_NR + column % PAIR_NR;
}

void VJ_CPU(parts_a_rows)(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth)
{
    const int64_t plane = PAIR_MR * pack_depth(PACK_PAIRS, depth);
    for (int64_t c = 0; c < pack_round(PACK_PARTS, count); c += LANES)
        for (int64_t p = 0; p < depth; p += STEP) {
            vf first[LANES], second[LANES];
            load_square(first, m, c * m.stride + p, count - c, depth - p);
            load_square(second, m, c * m.stride + p + LANES, count - c, depth - p - LANES);
            store_a(in_a(panels, stride, c, p), plane, first, second);
        }
}

void VJ_CPU(parts_a_columns)(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth)
{
    const int64_t plane = PAIR_MR * pack_depth(PACK_PAIRS, depth);
    for (int64_t p = 0; p < depth; p += STEP)
        for (int64_t c = 0; c < pack_round(PACK_PARTS, count); c += LANES) {
            vf first[LANES], second[LANES];
            load_square(first, m, p * m.stride + c, depth - p, count - c);
            vtranspose(first);
            load_square(second, m, (p + LANES) * m.stride + c, depth - p - LANES, count - c);
            vtranspose(second);
            store_a(in_a(panels, stride, c, p), plane, first, second);
        }
}

void VJ_CPU(parts_b_rows)(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth)
{
    const int64_t plane = PAIR_NR * pack_depth(PACK_PAIRS, depth);
    for (int64_t c = 0; c < count; c += LANES)
        for (int64_t p = 0; p < depth; p += STEP)
            for (int half = 0; half < 2; half++) {
                vf v[LANES];
                load_square(v, m, c * m.stride + p + half * LANES, count - c, depth - p - half * LANES);
                vtranspose(v);
                store_b(in_b(panels, stride, c, p) + half * (PAIR_DEPTH / 2) * PAIR_NR, plane, v);
            }
}

void VJ_CPU(parts_b_columns)(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth)
{
    const int64_t plane = PAIR_NR * pack_depth(PACK_PAIRS, depth);
    for (int64_t p = 0; p < depth; p += STEP)
        for (int half = 0; half < 2; half++)
            for (int64_t c = 0; c < count; c += LANES) {
                vf v[LANES];
                load_square(v, m, (p + half * LANES) * m.stride + c, depth - p - half * LANES, count - c);
                store_b(in_b(panels, stride, c, p) + half * (PAIR_DEPTH / 2) * PAIR_NR, plane, v);
            }
}

#endif
