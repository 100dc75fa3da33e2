/*
 * A bump allocator for activations. The same placement code runs twice: first with base NULL, to measure how many bytes
 * are needed, then with memory, to set the pointers. Going back to an earlier state lets passes whose buffers are not
 * needed at the same time share memory. Other memory that is not needed while a pass runs can be lent to the arena,
 * which then takes from there first.
 */
#ifndef VJ_MODEL_ARENA_H
#define VJ_MODEL_ARENA_H

#include <stdint.h>

#include "kernels/kernels.h"

enum { VJ_ARENA_LOANS = 2 };

typedef struct {
    char *base;         /* NULL while measuring */
    int64_t used, peak; /* bytes; of the arena's own memory, what is lent to it not counted */
    struct {
        char *base; /* borrowed; NULL while measuring */
        int64_t bytes, used;
    } loan[VJ_ARENA_LOANS];
    int loans;
} vj_arena;

/** Lend `bytes` of memory at `base`, aligned to 64 bytes, to the arena until it goes back to an earlier state. */
static inline void vj_arena_lend(vj_arena *arena, void *base, int64_t bytes)
{
    VJ_ASSERT(arena->loans < VJ_ARENA_LOANS);
    arena->loan[arena->loans].base = base;
    arena->loan[arena->loans].bytes = bytes;
    arena->loan[arena->loans++].used = 0;
}

/** Go back to `before`, an earlier state of the arena: what was taken since then may be overwritten from now on. */
static inline void vj_arena_go_back(vj_arena *arena, const vj_arena *before)
{
    const int64_t peak = arena->peak;
    *arena = *before;
    arena->peak = peak;
}

/** Take `bytes` of device memory, rounded up to 64 bytes; while measuring, the pointer must not be used. */
static inline void *vj_arena_take(vj_arena *arena, int64_t bytes)
{
    const int64_t whole = (bytes + 63) / 64 * 64;
    for (int i = 0; i < arena->loans; i++)
        if (whole <= arena->loan[i].bytes - arena->loan[i].used) {
            arena->loan[i].used += whole;
            return arena->loan[i].base + (arena->loan[i].used - whole);
        }
    arena->used += whole;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return arena->base + (arena->used - whole);
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
