/*
 * Describe, allocate once, point: the same code runs twice over an arena, first without memory to measure, then with
 * it. A mark taken earlier can be returned to, so that passes which do not live at the same time share memory.
 */
#ifndef VJ_MODEL_ARENA_H
#define VJ_MODEL_ARENA_H

#include <stdint.h>

#include "kernels/kernels.h"

typedef struct {
    char *base;         /* NULL while measuring */
    int64_t used, peak; /* bytes */
} vj_arena;

/** `bytes` of device memory, 64-byte aligned; a meaningless pointer while measuring. */
static inline void *vj_arena_take(vj_arena *arena, int64_t bytes)
{
    char *at = arena->base + arena->used;
    arena->used += (bytes + 63) / 64 * 64;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return at;
}

static inline float *vj_arena_floats(vj_arena *arena, int64_t count)
{
    return vj_arena_take(arena, count * (int64_t)sizeof(float));
}

static inline vj_array vj_arena_array(vj_arena *arena, int64_t count, vj_type type)
{
    return (vj_array){vj_arena_take(arena, count * vj_type_bytes(type)), type};
}

static inline int32_t *vj_arena_ints(vj_arena *arena, int64_t count)
{
    return vj_arena_take(arena, count * (int64_t)sizeof(int32_t));
}

#endif
