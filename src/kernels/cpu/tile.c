/* Register tiles; see tile.h. One body, specialised by the compiler for each size and form of operands. */
#include "tile.h"

/* Steps of the depth in one iteration of the loop: a block then takes at most 64, and processors predict the end of so
 * short a loop. */
#if defined(VJ_ISA_avx2) || defined(VJ_HAS_AVX512)
enum { STEPS = 4 };
#else
enum { STEPS = 1 };
#endif

/* What is prefetched during a tile: a panel of A into the first-level cache, and from `next` `floats` floats in each
 * STEPS steps into the second. */
typedef struct {
    const float *a, *next;
    int64_t floats;
} coming;

/*
 * Vectors of 512 bits read panels faster than the second-level cache delivers them without prefetching. Prefetching all
 * at once would leave no slots for other cache misses.
 */
#if defined(VJ_HAS_AVX512)
enum { ASKS = true, REST = 1 };
#else
enum { ASKS = false, REST = STEPS };
#endif
VJ_INLINE void ask(int mr, coming *c)
{
    if (!ASKS) return;
#pragma GCC unroll 4
    for (int i = 0; i < mr * STEPS; i += LINE) __builtin_prefetch(c->a + i, 0, 3);
    __builtin_prefetch(c->next, 0, 2);
    c->a += mr * STEPS;
    c->next += c->floats;
}

/* One step of the depth. Element (i, p) of A is at a[i * a_row + p * a_step]. */
VJ_INLINE void tile_step(int mr, int nv, bool pairs, int64_t a_row, int a_step, const float *a, const float *b, vf *sum)
{
    vf column[NV];
#pragma GCC unroll 8
    for (int j = 0; j < nv; j++) column[j] = vload(b + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        vf row = vrow(a, i, a_row, a_step);
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++)
            sum[i * nv + j] = pairs ? vdot_pairs(sum[i * nv + j], row, i % LANES, column[j])
                                    : sum[i * nv + j] + vlane(row, i % LANES) * column[j];
    }
}

/* Compute one tile; rows of B are b_row floats apart. */
VJ_INLINE void tile_body(int mr, int nv, bool pairs, int64_t a_row, int a_step, int b_row, int64_t depth,
                         const float *a, const float *b, float *t, int64_t ldt, bool accumulate, coming c)
{
    vf sum[MR * NV]; /* row by row */
    float *row_of_t = t;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++, row_of_t = vagain(row_of_t + ldt))
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) sum[i * nv + j] = accumulate ? vload(row_of_t + j * LANES) : vset(0.0f);
    int64_t p = 0;
    for (; ASKS && p + STEPS <= depth; p += STEPS) {
        ask(mr, &c);
#pragma GCC unroll STEPS
        for (int s = 0; s < STEPS; s++, a += a_step, b += b_row) tile_step(mr, nv, pairs, a_row, a_step, a, b, sum);
    }
#pragma GCC unroll REST
    for (; p < depth; p++, a += a_step, b += b_row) tile_step(mr, nv, pairs, a_row, a_step, a, b, sum);
    row_of_t = vagain(t);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++, row_of_t = vagain(row_of_t + ldt))
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) vstore(row_of_t + j * LANES, sum[i * nv + j]);
}

/* Compute all tiles of nv vectors, of up to MR rows each, and whole ones but for the last. */
VJ_INLINE void tiles(int64_t rows, int nv, bool pairs, int64_t a_row, int a_step, int64_t a_panel, int b_row,
                     int64_t depth, const float *a, const float *b, float *t, int64_t ldt, bool accumulate,
                     prefetch ahead)
{
    const float *const first = a;
    const int64_t floats = ahead.floats * STEPS / depth;
    for (; rows > 0; rows -= MR, a += a_panel, t += MR * ldt, ahead.at += ahead.step) {
        const coming c = {rows > MR ? a + a_panel : first, ahead.at, floats};
        if (!ASKS) vprefetch(ahead.at, ahead.floats);
        if (MR > 8 && rows > 8)
            tile_body(MR, nv, pairs, a_row, a_step, b_row, depth, a, b, t, ldt, accumulate, c);
        else if (MR > 4 && rows > 4)
            tile_body(8, nv, pairs, a_row, a_step, b_row, depth, a, b, t, ldt, accumulate, c);
        else
            tile_body(4, nv, pairs, a_row, a_step, b_row, depth, a, b, t, ldt, accumulate, c);
    }
}

VJ_INLINE void by_width(int64_t rows, int nv, bool pairs, int64_t a_row, int a_step, int64_t a_panel, int b_row,
                        int64_t depth, const float *a, const float *b, float *t, int64_t ldt, bool accumulate,
                        prefetch ahead)
{
    if (nv == 1)
        tiles(rows, 1, pairs, a_row, a_step, a_panel, b_row, depth, a, b, t, ldt, accumulate, ahead);
    else if (nv == 2 || NV == 2)
        tiles(rows, 2, pairs, a_row, a_step, a_panel, b_row, depth, a, b, t, ldt, accumulate, ahead);
    else if (NV > 3 && nv == 3)
        tiles(rows, 3, pairs, a_row, a_step, a_panel, b_row, depth, a, b, t, ldt, accumulate, ahead);
    else if (NV > 4 && nv == 4)
        tiles(rows, 4, pairs, a_row, a_step, a_panel, b_row, depth, a, b, t, ldt, accumulate, ahead);
    else if (NV > 5 && nv == 5)
        tiles(rows, 5, pairs, a_row, a_step, a_panel, b_row, depth, a, b, t, ldt, accumulate, ahead);
    else
        tiles(rows, NV, pairs, a_row, a_step, a_panel, b_row, depth, a, b, t, ldt, accumulate, ahead);
}

/* With few registers a tile of nv < NV vectors has more than MR rows, so that as many sums are in progress at a time.
 */
enum { TALL = MR * NV <= 12 };

/* Compute all tiles of one or two vectors with A stored by rows. */
VJ_INLINE void tall(int64_t rows, int nv, bool pairs, int64_t a_row, int64_t depth, const float *a, const float *b,
                    float *t, int64_t ldt, bool accumulate)
{
    const coming none = {0};
    const int whole = MR * NV / nv;
    for (; rows > 0; rows -= whole, a += whole * a_row, t += whole * ldt)
        if (rows > 2 * MR && whole > 2 * MR)
            tile_body(MR * NV, 1, pairs, a_row, 1, NR, depth, a, b, t, ldt, accumulate, none);
        else if (rows > MR && nv == 1)
            tile_body(2 * MR, 1, pairs, a_row, 1, NR, depth, a, b, t, ldt, accumulate, none);
        else if (rows > MR)
            tile_body(MR * NV / 2, 2, pairs, a_row, 1, NR, depth, a, b, t, ldt, accumulate, none);
        else
            tile_body(MR, nv, pairs, a_row, 1, NR, depth, a, b, t, ldt, accumulate, none);
}

#if defined(VJ_HAS_AMX)

VJ_INLINE void tiles_by_size(int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row, int64_t a_step,
                             const float *b, float *t, int64_t ldt, bool accumulate, const float *next, int64_t ahead)
{
    if (rows > 16 && nv > 1)
        vtiles(2, 2, depth, a, a_row, a_step, b, t, ldt, accumulate, next, ahead);
    else if (rows > 16)
        vtiles(2, 1, depth, a, a_row, a_step, b, t, ldt, accumulate, next, ahead);
    else if (nv > 1)
        vtiles(1, 2, depth, a, a_row, a_step, b, t, ldt, accumulate, next, ahead);
    else
        vtiles(1, 1, depth, a, a_row, a_step, b, t, ldt, accumulate, next, ahead);
}

VJ_INLINE void parts_by_size(int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row, int64_t a_step,
                             int64_t a_part, const float *b, float *t, int64_t ldt, bool accumulate)
{
    if (rows > 16 && nv > 1)
        vtiles_parts(2, 2, depth, a, a_row, a_step, a_part, b, t, ldt, accumulate);
    else if (rows > 16)
        vtiles_parts(2, 1, depth, a, a_row, a_step, a_part, b, t, ldt, accumulate);
    else if (nv > 1)
        vtiles_parts(1, 2, depth, a, a_row, a_step, a_part, b, t, ldt, accumulate);
    else
        vtiles_parts(1, 1, depth, a, a_row, a_step, a_part, b, t, ldt, accumulate);
}

void VJ_CPU(tile)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_panel, const float *b,
                  float *t, int64_t ldt, bool accumulate, const prefetch *ahead)
{
    prefetch next = ahead ? *ahead : (prefetch){.at = a};
    for (; rows > 0; rows -= PAIR_MR, a += a_panel, t += PAIR_MR * ldt, next.at += next.step)
        if (mode == PACK_PAIRS)
            tiles_by_size(rows, nv, depth, a, PAIR_DEPTH, PAIR_MR * PAIR_DEPTH, b, t, ldt, accumulate, next.at,
                          next.floats);
        else
            parts_by_size(rows, nv, depth / PARTS, a, PAIR_DEPTH, PAIR_MR * PAIR_DEPTH, depth / PARTS * PAIR_MR, b, t,
                          ldt, accumulate);
}

void VJ_CPU(tile_rows)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row,
                       const float *b, float *t, int64_t ldt, bool accumulate, const prefetch *ahead)
{
    (void)ahead; /* only where rows of A are multiplied in place, which tiles do not */
    for (; rows > 0; rows -= PAIR_MR, a += PAIR_MR * a_row, t += PAIR_MR * ldt)
        if (mode == PACK_PAIRS)
            tiles_by_size(rows, nv, depth, a, a_row, PAIR_DEPTH, b, t, ldt, accumulate, NULL, 0);
        else
            parts_by_size(rows, nv, depth / PARTS, a, a_row, PAIR_DEPTH, a_row / PARTS, b, t, ldt, accumulate);
}

#else

void VJ_CPU(tile)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_panel, const float *b,
                  float *t, int64_t ldt, bool accumulate, const prefetch *ahead)
{
    const prefetch next = ahead ? *ahead : (prefetch){.at = a};
    if (mode == PACK_PAIRS)
        by_width(rows, nv, true, 1, MR, a_panel, PAIR_NR, depth, a, b, t, ldt, accumulate, next);
    else
        by_width(rows, nv, false, 1, MR, a_panel, NR, depth, a, b, t, ldt, accumulate, next);
}

void VJ_CPU(tile_rows)(pack_mode mode, int64_t rows, int nv, int64_t depth, const float *a, int64_t a_row,
                       const float *b, float *t, int64_t ldt, bool accumulate, const prefetch *ahead)
{
    const prefetch next = ahead ? *ahead : (prefetch){.at = a};
    if (TALL && nv == 1)
        tall(rows, 1, mode == PACK_PAIRS, a_row, depth, a, b, t, ldt, accumulate);
    else if (TALL && nv == 2 && NV > 2)
        tall(rows, 2, mode == PACK_PAIRS, a_row, depth, a, b, t, ldt, accumulate);
    else if (mode == PACK_PAIRS)
        by_width(rows, nv, true, a_row, 1, MR * a_row, PAIR_NR, depth, a, b, t, ldt, accumulate, next);
    else
        by_width(rows, nv, false, a_row, 1, MR * a_row, NR, depth, a, b, t, ldt, accumulate, next);
}

#endif
