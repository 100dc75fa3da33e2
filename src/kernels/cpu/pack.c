/* Packing; see pack.h. */
#include "pack.h"

#include "vector.h"

VJ_INLINE int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A vector across the panel at one step of the depth; `rest` values of depth are left. */
VJ_INLINE vf load_across(const float *source, int64_t stride, int64_t n, int64_t rest, pack_mode mode)
{
    vf v = vload_part(source, n);
    if (mode == PACK_ROUNDED) return vround_bf16(v);
    if (mode == PACK_PAIRS) return vpairs_across(v, PAIR > 1 && rest > 1 ? vload_part(source + stride, n) : vset(0.0f));
    return v;
}

/* A vector along the depth, of which `rest` values are left. */
VJ_INLINE vf load_along(const float *source, int64_t rest, pack_mode mode)
{
    vf v = vload_part(source, rest);
    if (mode == PACK_ROUNDED) return vround_bf16(v);
    if (mode == PACK_PAIRS)
        return vpairs_along(v, PAIR > 1 && rest > LANES ? vload_part(source + LANES, rest - LANES) : vset(0.0f));
    return v;
}

/* LANES panel indices (n of them real) by LANES lanes of depth, turned so that each vector runs across the panel. */
VJ_INLINE void load_turned(vf turned[LANES], const float *source, int64_t stride, int64_t n, int64_t rest,
                           pack_mode mode)
{
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) turned[i] = i < n ? load_along(source + i * stride, rest, mode) : vset(0.0f);
    vtranspose(turned);
}

/* A vector spans LANES / MR panels of A. */
VJ_INLINE void store_a(float *panel, int64_t panel_floats, vf v)
{
#pragma GCC unroll 4
    for (int part = 0; part < LANES / MR; part++)
        memcpy(panel + part * panel_floats, (const float *)&v + part * MR, MR * sizeof(float));
}

VJ_INLINE void a_rows(float *panels, const float *source, int64_t stride, int64_t count, int64_t depth, pack_mode mode)
{
    int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth), panel_floats = lanes * MR;
    for (int64_t c = 0; c < count; c += LANES)
        for (int64_t p = 0; p < lanes; p += LANES) {
            vf turned[LANES];
            load_turned(turned, source + c * stride + p * unit, stride, count - c, depth - p * unit, mode);
            float *to = panels + c * lanes + p * MR;
            int64_t n = least(LANES, lanes - p);
            for (int64_t i = 0; i < n; i++) store_a(to + i * MR, panel_floats, turned[i]);
        }
}

VJ_INLINE void a_columns(float *panels, const float *source, int64_t stride, int64_t count, int64_t depth,
                         pack_mode mode)
{
    int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth), panel_floats = lanes * MR;
    for (int64_t p = 0; p < lanes; p++)
        for (int64_t c = 0; c < count; c += LANES)
            store_a(panels + c * lanes + p * MR, panel_floats,
                    load_across(source + p * unit * stride + c, stride, count - c, depth - p * unit, mode));
}

VJ_INLINE void b_rows(float *panel, const float *source, int64_t stride, int64_t count, int64_t depth, pack_mode mode)
{
    int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    for (int64_t c = 0; c < count; c += LANES)
        for (int64_t p = 0; p < lanes; p += LANES) {
            vf turned[LANES];
            load_turned(turned, source + c * stride + p * unit, stride, count - c, depth - p * unit, mode);
            int64_t n = least(LANES, lanes - p);
            for (int64_t i = 0; i < n; i++) vstore(panel + (p + i) * NR + c, turned[i]);
        }
}

VJ_INLINE void b_columns(float *panel, const float *source, int64_t stride, int64_t count, int64_t depth,
                         pack_mode mode)
{
    int64_t unit = mode == PACK_PAIRS ? PAIR : 1, lanes = pack_depth(mode, depth);
    for (int64_t p = 0; p < lanes; p++)
        for (int64_t c = 0; c < count; c += LANES)
            vstore(panel + p * NR + c,
                   load_across(source + p * unit * stride + c, stride, count - c, depth - p * unit, mode));
}

/* The mode is a constant inside each copy: the compiler drops the branches. */
#define BY_MODE(name)                                                                                                  \
    void VJ_CPU(pack_##name)(float *panels, const float *source, int64_t stride, int64_t count, int64_t depth,         \
                             pack_mode mode)                                                                           \
    {                                                                                                                  \
        if (mode == PACK_FP32)                                                                                         \
            name(panels, source, stride, count, depth, PACK_FP32);                                                     \
        else if (mode == PACK_ROUNDED)                                                                                 \
            name(panels, source, stride, count, depth, PACK_ROUNDED);                                                  \
        else                                                                                                           \
            name(panels, source, stride, count, depth, PACK_PAIRS);                                                    \
    }

BY_MODE(a_rows)
BY_MODE(a_columns)
BY_MODE(b_rows)
BY_MODE(b_columns)
