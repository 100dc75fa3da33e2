/* Packing; see pack.h. */
#include "pack.h"

#include "cpu.h"
#include "vector.h"

/* A vector across the panel at one step of the depth, of which `rest` values are left. */
VJ_INLINE vf load_across(matrix m, int64_t at, int64_t n, int64_t rest, pack_mode mode)
{
    if (rest <= 0) return vset(0.0f);
    if (mode == PACK_PAIRS && PAIR > 1 && m.type == VJ_TYPE_BF16) {
        const uint16_t *half = (const uint16_t *)m.at + at;
        return vzip(vload_half_part(half, n), rest > 1 ? vload_half_part(half + m.stride, n) : (vh){0});
    }
    vf v = vload_of(m.at, m.type, at, n);
    if (mode == PACK_PAIRS)
        return vpairs_across(v, PAIR > 1 && rest > 1 ? vload_of(m.at, m.type, at + m.stride, n) : vset(0.0f));
    return v;
}

/* A vector along the depth, of which `rest` values are left. */
VJ_INLINE vf load_along(matrix m, int64_t at, int64_t rest, pack_mode mode)
{
    if (rest <= 0) return vset(0.0f);
    if (mode == PACK_PAIRS && PAIR > 1 && m.type == VJ_TYPE_BF16) { /* as it stands */
        vf pairs = {0};
        if (rest >= PAIR * LANES) return vload((const float *)(const void *)((const uint16_t *)m.at + at));
        memcpy(&pairs, (const uint16_t *)m.at + at, (size_t)rest * sizeof(uint16_t));
        return pairs;
    }
    vf v = vload_of(m.at, m.type, at, rest);
    if (mode == PACK_PAIRS)
        return vpairs_along(v,
                            PAIR > 1 && rest > LANES ? vload_of(m.at, m.type, at + LANES, rest - LANES) : vset(0.0f));
    return v;
}

/* LANES panel indices (n of them real) by LANES lanes of depth, turned so that each vector runs across the panel. */
VJ_INLINE void load_turned(vf turned[LANES], matrix m, int64_t at, int64_t n, int64_t rest, pack_mode mode)
{
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) turned[i] = i < n ? load_along(m, at + i * m.stride, rest, mode) : vset(0.0f);
    vtranspose(turned);
}

/* Panels for whole-tile products are row-major. */
VJ_INLINE bool row_major(pack_mode mode)
{
    return PAIR_DEPTH > 1 && mode == PACK_PAIRS;
}

VJ_INLINE void a_rows(float *panels, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    const int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    if (row_major(mode)) {
        for (int64_t r = 0; r < pack_round(mode, count); r++)
            for (int64_t p = 0; p < lanes; p += LANES)
                vstore(panels + r * lanes + p,
                       r < count ? load_along(m, r * m.stride + p * unit, depth - p * unit, mode) : vset(0.0f));
        return;
    }
    for (int64_t c = 0; c < count; c += MR)
        for (int64_t p = 0; p < lanes; p += LANES) {
            vf turned[LANES];
            load_turned(turned, m, c * m.stride + p * unit, least(MR, count - c), depth - p * unit, mode);
            const int64_t n = least(LANES, lanes - p);
            for (int64_t i = 0; i < n; i++) vstore_part(panels + c * lanes + (p + i) * MR, turned[i], MR);
        }
}

VJ_INLINE void a_columns(float *panels, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    const int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    if (row_major(mode)) {
        for (int64_t c = 0; c < pack_round(mode, count); c += LANES)
            for (int64_t p = 0; p < lanes; p += LANES) {
                vf turned[LANES];
                const int64_t n = count - c > 0 ? count - c : 0;
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++)
                    turned[i] = load_across(m, (p + i) * unit * m.stride + c, n, depth - (p + i) * unit, mode);
                vtranspose(turned);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) vstore(panels + (c + i) * lanes + p, turned[i]);
            }
        return;
    }
    /* All panels of a row of the source before the next row: rows lie far apart. */
    for (int64_t p = 0; p < lanes; p++)
        for (int64_t c = 0; c < count; c += MR)
            vstore_part(panels + c * lanes + p * MR,
                        load_across(m, p * unit * m.stride + c, least(MR, count - c), depth - p * unit, mode), MR);
}

VJ_INLINE void b_rows(float *panel, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth), row = pack_columns(mode);
    for (int64_t c = 0; c < count; c += LANES)
        for (int64_t p = 0; p < lanes; p += LANES) {
            vf turned[LANES];
            load_turned(turned, m, c * m.stride + p * unit, count - c, depth - p * unit, mode);
            int64_t n = least(LANES, lanes - p);
            for (int64_t i = 0; i < n; i++) vstore(panel + (p + i) * row + c, turned[i]);
        }
}

VJ_INLINE void b_columns(float *panel, matrix m, int64_t count, int64_t depth, pack_mode mode)
{
    int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth), row = pack_columns(mode);
    for (int64_t p = 0; p < lanes; p++)
        for (int64_t c = 0; c < count; c += LANES)
            vstore(panel + p * row + c, load_across(m, p * unit * m.stride + c, count - c, depth - p * unit, mode));
}

/* Mode and type are constants inside each copy: the compiler drops the branches. */
#define BY_TYPE(name, mode)                                                                                            \
    if (source.type == VJ_TYPE_F32)                                                                                    \
        name(panels, (matrix){source.at, VJ_TYPE_F32, source.stride}, count, depth, mode);                             \
    else                                                                                                               \
        name(panels, (matrix){source.at, VJ_TYPE_BF16, source.stride}, count, depth, mode)

#define BY_MODE(name)                                                                                                  \
    void VJ_CPU(pack_##name)(float *panels, matrix source, int64_t count, int64_t depth, pack_mode mode)               \
    {                                                                                                                  \
        if (mode == PACK_FP32) {                                                                                       \
            BY_TYPE(name, PACK_FP32);                                                                                  \
        } else {                                                                                                       \
            BY_TYPE(name, PACK_PAIRS);                                                                                 \
        }                                                                                                              \
    }

BY_MODE(a_rows)
BY_MODE(a_columns)
BY_MODE(b_rows)
BY_MODE(b_columns)
