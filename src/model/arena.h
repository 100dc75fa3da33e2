/*
 * A bump allocator for activations. The same placement code runs twice: first with base NULL, to measure how many bytes
 * are needed, then with memory, to set the pointers. Resetting `used` to an earlier value lets passes whose buffers are
 * not needed at the same time share memory.
 */
#ifndef VJ_MODEL_ARENA_H
#define VJ_MODEL_ARENA_H

#include <stdint.h>

#include "kernels/kernels.h"

typedef struct {
    char *base;         /* NULL while measuring */
    int64_t used, peak; /* bytes */
} vj_arena;

/** Take `bytes` of device memory, rounded up to 64 bytes; while measuring, the pointer must not be used. */
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
