/* Packing; see panels.h. */
#include "panels.h"

#include "cpu.h"
#include "vector.h"

/* Return whether packing rounds values. bf16 values with a lane each were rounded when they were stored. */
VJ_INLINE bool rounds(matrix m, pack_mode mode)
{
    return mode == PACK_PAIRS && (PAIR > 1 || m.type != VJ_TYPE_BF16);
}

/* Load a vector across the panel at one lane of the depth; `rest` values of the depth are left. */
VJ_INLINE vf load_across(matrix m, int64_t at, int64_t n, int64_t rest, pack_mode mode)
{
    if (rest <= 0) return vset(0.0f);
    if (mode == PACK_PAIRS && PAIR > 1 && m.type == VJ_TYPE_BF16) {
        const uint16_t *half = (const uint16_t *)m.at + at;
        return vzip(vload_half_part(half, n), rest > 1 ? vload_half_part(half + m.stride, n) : (vh){0});
    }
    vf v = vload_of(m.at, m.type, at, n);
    if (rounds(m, mode))
        return vpairs_across(v, PAIR > 1 && rest > 1 ? vload_of(m.at, m.type, at + m.stride, n) : vset(0.0f));
    return v;
}

/* Load a vector along the depth, of which `rest` values are left. */
VJ_INLINE vf load_along(matrix m, int64_t at, int64_t rest, pack_mode mode)
{
    if (rest <= 0) return vset(0.0f);
    if (mode == PACK_PAIRS && PAIR > 1 && m.type == VJ_TYPE_BF16) { /* already in the packed form */
        vf pairs = {0};
        if (rest >= PAIR * LANES) return vload_pairs((const uint16_t *)m.at + at);
        memcpy(&pairs, (const uint16_t *)m.at + at, (size_t)rest * sizeof(uint16_t));
        return pairs;
    }
    vf v = vload_of(m.at, m.type, at, rest);
    if (rounds(m, mode))
        return vpairs_along(v,
                            PAIR > 1 && rest > LANES ? vload_of(m.at, m.type, at + LANES, rest - LANES) : vset(0.0f));
    return v;
}

/*
 * Prefetch `rows` rows of the source from element `at` on, if they exist (`there`). The processor itself prefetches
 * along one row, but not the next rows, which are far apart. Rows of bf16 gain nothing by it.
 */
VJ_INLINE void ask_rows(matrix m, int64_t at, int rows, bool there)
{
    if (!there || m.type != VJ_TYPE_F32) return;
#pragma GCC unroll 32
    for (int i = 0; i < rows; i++)
        __builtin_prefetch((const char *)m.at + (at + i * m.stride) * vj_type_bytes(m.type), 0, 2);
}

/*
 * Load LANES panel indices (n of them exist) by LANES lanes of depth, transposed so that each vector runs across the
 * panel. Away from the edges all counts are constants, so there is no branch.
 */
VJ_INLINE void load_turned(vf turned[LANES], matrix m, int64_t at, int64_t n, int64_t rest, pack_mode mode)
{
    if (n >= LANES && rest >= PAIR * LANES)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) turned[i] = load_along(m, at + i * m.stride, PAIR * LANES, mode);
    else
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) turned[i] = i < n ? load_along(m, at + i * m.stride, rest, mode) : vset(0.0f);
    vtranspose(turned);
}

/* The same from vectors across the panel, transposed so that each runs along the depth. */
VJ_INLINE void load_turned_across(vf turned[LANES], matrix m, int64_t at, int64_t n, int64_t rest, pack_mode mode)
{
    const int unit = mode == PACK_PAIRS ? PAIR : 1;
    if (n >= LANES && rest >= PAIR * LANES)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) turned[i] = load_across(m, at + i * unit * m.stride, LANES, PAIR, mode);
    else
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            turned[i] = load_across(m, at + i * unit * m.stride, n > 0 ? n : 0, rest - i * unit, mode);
    vtranspose(turned);
}

enum { AHEAD = 16 }; /* steps of the depth to prefetch ahead */

/*
 * A vector across A panels fills MR rows of one panel, or of TURN panels if it is that long. Panels are far apart,
 * often at multiples of a cache's size, so TOGETHER steps of the depth are written to one panel before the next.
 */
enum { TURN = LANES > MR &&LANES % MR == 0 ? LANES / MR : 1, TOGETHER = PAIR_DEPTH > 1 ? 1 : 8 };

/* Store a vector as step p of the depth in the first `n` rows of TURN panels. */
VJ_INLINE void store_across(float *panels, int64_t stride, int64_t p, vf v, int64_t n)
{
    vstore_part(panels + p * MR, v, MR);
    if (TURN > 1 && n > MR) vstore_part(panels + stride + p * MR, vhigh(v), MR);
}

VJ_INLINE void a_rows(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    const int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    const int rows = in_tiles(mode) ? pack_rows(mode) : TURN * MR;
    for (int64_t c = 0; c < count; c += rows, panels += (in_tiles(mode) ? 1 : TURN) * stride)
        for (int64_t p = 0; p < lanes; p += LANES) {
            const int64_t rest = depth - p * unit;
            ask_rows(m, (c + rows) * m.stride + p * unit, rows, c + 2 * rows <= count);
            if (in_tiles(mode)) {
                for (int64_t r = 0; r < rows; r++) {
                    vf v = vset(0.0f);
                    if (c + r < count)
                        v = load_along(m, (c + r) * m.stride + p * unit, least(rest, PAIR * LANES), mode);
                    vstore(panels + p * PAIR_MR + r * PAIR_DEPTH, v);
                }
            } else {
                vf turned[LANES];
                const int64_t n = least(rows, count - c);
                load_turned(turned, m, c * m.stride + p * unit, n, rest, mode);
                for (int64_t i = 0; i < least(LANES, lanes - p); i++) store_across(panels, stride, p + i, turned[i], n);
            }
        }
}

/* Rows of the source are far apart: the values of a row for all panels are read before the next row. */
VJ_INLINE void a_columns(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    const int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    if (in_tiles(mode)) {
        for (int64_t p = 0; p < lanes; p += LANES)
            for (int64_t c = 0; c < pack_round(mode, count); c += LANES) {
                vf turned[LANES];
                float *to = panels + c / PAIR_MR * stride + p * PAIR_MR + c % PAIR_MR * PAIR_DEPTH;
                load_turned_across(turned, m, p * unit * m.stride + c, count - c, depth - p * unit, mode);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) vstore(to + i * PAIR_DEPTH, turned[i]);
            }
        return;
    }
    for (int64_t first = 0; first < lanes; first += TOGETHER) {
        float *to = panels;
        for (int64_t c = 0; c < count; c += TURN * MR, to += TURN * stride)
            for (int64_t p = first; p < least(first + TOGETHER, lanes); p++) {
                const int64_t n = least(TURN * MR, count - c);
                ask_rows(m, (p + AHEAD) * unit * m.stride + c, (int)unit, (p + AHEAD + 1) * unit <= depth);
                store_across(to, stride, p, load_across(m, p * unit * m.stride + c, n, depth - p * unit, mode), n);
            }
    }
}

VJ_INLINE void b_rows(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    const int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    const int columns = pack_columns(mode);
    for (int64_t c = 0; c < count; c += LANES)
        for (int64_t p = 0; p < lanes; p += LANES) {
            vf turned[LANES];
            float *to = panels + c / columns * stride + c % columns;
            load_turned(turned, m, c * m.stride + p * unit, count - c, depth - p * unit, mode);
            ask_rows(m, (c + LANES) * m.stride + p * unit, LANES, c + 2 * LANES <= count);
            for (int64_t i = 0; i < least(LANES, lanes - p); i++) vstore(to + (p + i) * columns, turned[i]);
        }
}

VJ_INLINE void b_columns(float *panels, int64_t stride, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    const int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    const int columns = pack_columns(mode);
    for (int64_t first = 0; first < lanes; first += TOGETHER)
        for (int64_t c = 0; c < count; c += LANES) {
            float *to = panels + c / columns * stride + c % columns;
            for (int64_t p = first; p < least(first + TOGETHER, lanes); p++) {
                ask_rows(m, (p + AHEAD) * unit * m.stride + c, (int)unit, (p + AHEAD + 1) * unit <= depth);
                vstore(to + p * columns, load_across(m, p * unit * m.stride + c, count - c, depth - p * unit, mode));
            }
        }
}

/* Mode and type are constants inside each copy, so that the compiler removes the branches. */
#define BY_TYPE(name, mode)                                                                                            \
    do {                                                                                                               \
        if (source.type == VJ_TYPE_F32)                                                                                \
            name(panels, stride, (matrix){source.at, VJ_TYPE_F32, source.stride}, count, depth, mode);                 \
        else                                                                                                           \
            name(panels, stride, (matrix){source.at, VJ_TYPE_BF16, source.stride}, count, depth, mode);                \
    } while (0)

#if defined(VJ_HAS_AMX)
#define PACK_IN_PARTS(name) VJ_CPU(parts_##name)(panels, stride, source, count, depth)
#else
#define PACK_IN_PARTS(name) VJ_ASSERT(!"floats in parts")
#endif

#define BY_MODE(name)                                                                                                  \
    void VJ_CPU(pack_##name)(float *panels, int64_t stride, matrix source, int64_t count, int64_t depth,               \
                             pack_mode mode)                                                                           \
    {                                                                                                                  \
        if (mode == PACK_PARTS)                                                                                        \
            PACK_IN_PARTS(name);                                                                                       \
        else if (mode == PACK_FP32)                                                                                    \
            BY_TYPE(name, PACK_FP32);                                                                                  \
        else                                                                                                           \
            BY_TYPE(name, PACK_PAIRS);                                                                                 \
    }

BY_MODE(a_rows)
BY_MODE(a_columns)
BY_MODE(b_rows)
BY_MODE(b_columns)
