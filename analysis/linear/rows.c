/*
 * Multiplies rows, of doubles or of floats less a mean, by a matrix, on one rank, with the tiles of tiles.c. A BLAS
 * copies both for each product. If the matrix has few columns, as in projections on 64 components, each number of the
 * rows is used so few times that this takes a fifth of its time. Here the matrix is copied once, for all products.
 *
 * Its columns are multiplied in groups, of which the copy stays in the second-level cache. Each thread takes BLOCK_ROWS
 * rows at a time, and of these VJ_ROW_DEPTH columns at a time. Rows of doubles are read where they are; of floats a
 * copy as doubles stays in the first-level cache while all panels of the group are read. Meanwhile the next block of
 * rows is fetched from memory, one cache line at a time, since many at once would delay the reads of the tiles.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "linear/inner.h"
#include "linear/tiles.h"

/* What other sizes and schemes gave: docs/cpu_kernels.md, section 6. */
enum { GROUP = 72, BLOCK_ROWS = 8 };

/* Rows and a group of columns of the matrix. */
typedef struct {
    const vj_tiles *tiles;
    int64_t count; /* rows */
    int width;
    const double *x;      /* [rows, width], or NULL: */
    const float *narrow;  /* [rows, width] */
    const double *minus;  /* [width] */
    double *out;          /* [rows, stride], from the first column of the group on */
    int columns, stride;  /* of the group; of all */
    int panels;           /* of the group */
    const double *packed; /* [parts of the depth, panels, VJ_ROW_DEPTH, wide] */
    double *room;         /* [threads, of_thread] */
    int64_t of_thread;
} product;

static int least(int64_t a, int64_t b)
{
    return (int)(a < b ? a : b);
}

/* Return the numbers of a group in vj_factor.packed. */
static int64_t group_count(const vj_tiles *t, int width, int columns)
{
    const int parts = (width + VJ_ROW_DEPTH - 1) / VJ_ROW_DEPTH;
    return (int64_t)parts * vj_tiles_panels(t, columns) * VJ_ROW_DEPTH * t->wide;
}

/* Return the room of a thread: [BLOCK_ROWS, VJ_ROW_DEPTH] rows as doubles and [panels, BLOCK_ROWS, wide] sums. */
static int64_t room_count(const vj_tiles *t)
{
    return (int64_t)BLOCK_ROWS * (VJ_ROW_DEPTH + vj_tiles_panels(t, GROUP) * t->wide);
}

/* ------------------------------------------------------------------------------------------------ the matrix */

vj_status vj_factor_create(vj_factor *f, const double *matrix, int width, int columns)
{
    const vj_tiles *t = vj_tiles_here();
    int64_t count = 0;
    for (int first = 0; first < columns; first += GROUP) count += group_count(t, width, least(GROUP, columns - first));
    if (count < VJ_HUGE) count = VJ_HUGE;
    *f = (vj_factor){.width = width, .columns = columns};
    f->packed = vj_calloc(count, sizeof *f->packed);
    f->room = vj_calloc(omp_get_max_threads() * room_count(t), sizeof *f->room);
    if (!f->packed || !f->room) {
        vj_factor_release(f);
        return vj_raise(VJ_ERR_MEMORY, "no memory for a copy of a matrix [%d, %d]", width, columns);
    }
    double *to = f->packed;
    for (int first = 0; first < columns; first += GROUP) {
        const int some = least(GROUP, columns - first), panels = vj_tiles_panels(t, some);
        for (int k = 0; k < width; k += VJ_ROW_DEPTH, to += (int64_t)panels * VJ_ROW_DEPTH * t->wide)
            vj_tiles_fill(t, to, VJ_ROW_DEPTH, matrix + (int64_t)k * columns + first, columns,
                          least(VJ_ROW_DEPTH, width - k), some);
    }
    return VJ_OK;
}

void vj_factor_release(vj_factor *f)
{
    free(f->packed);
    free(f->room);
    *f = (vj_factor){0};
}

/* ------------------------------------------------------------------------------------------------ products */

/* Copy columns [k, k + depth) of `rows` rows from `at` on to `room` as doubles, and zeros up to the whole depth. */
static void fill_room(const product *p, double *room, int64_t at, int rows, int k, int depth)
{
    const int64_t from = at * p->width + k;
    if (p->narrow) p->tiles->widen(room, p->narrow + from, p->width, p->minus + k, rows, depth);
    for (int i = 0; i < rows; i++, room += VJ_ROW_DEPTH) {
        if (p->x) memcpy(room, p->x + from + (int64_t)i * p->width, (size_t)depth * sizeof *room);
        for (int j = depth; j < vj_tiles_whole(depth); j++) room[j] = 0.0;
    }
}

/* Tell whether tiles can read rows where they are: doubles, and whole tiles of them. */
static bool in_place(const product *p, int rows, int depth)
{
    return p->x && rows % p->tiles->lanes == 0 && depth == vj_tiles_whole(depth);
}

/* Add the products of `rows` rows and all panels, over one part of the depth, to `sums`. */
static void add_part(const product *p, double *sums, const double *x, int64_t apart, int rows, const double *panel,
                     int depth, vj_ahead *ahead)
{
    const vj_tiles *t = p->tiles;
    const int in_tile = t->lanes * t->wide;
    for (int j = 0; j < p->panels; j++, panel += VJ_ROW_DEPTH * t->wide, sums += BLOCK_ROWS * t->wide) {
        vj_tile *add = t->by_row[vj_tiles_vectors(t, p->columns, j)];
        for (int i = 0; i * t->lanes < rows; i++)
            add(sums + i * in_tile, panel, x + i * t->lanes * apart, apart, vj_tiles_whole(depth),
                sums + (i + 1) * in_tile, ahead);
    }
}

/* Return what to fetch during a block: the rows of the next block, spread over the steps of this block's tiles. */
static vj_ahead next_block(const product *p, int64_t at, int rows)
{
    const int64_t bytes = p->width * (int64_t)(p->x ? sizeof *p->x : sizeof *p->narrow);
    const int64_t tiles = (int64_t)p->panels * ((rows + p->tiles->lanes - 1) / p->tiles->lanes);
    const char *x = p->x ? (const char *)p->x : (const char *)p->narrow;
    return (vj_ahead){x + (at + rows) * bytes,
                      least(BLOCK_ROWS, p->count - at - rows) * bytes / (p->width * tiles / VJ_TILE_STEPS + 1)};
}

static void multiply_block(const product *p, int64_t at, int rows)
{
    double *room = p->room + omp_get_thread_num() * p->of_thread, *sums = room + BLOCK_ROWS * VJ_ROW_DEPTH;
    const double *panels = p->packed;
    const int wide = p->tiles->wide;
    vj_ahead ahead = next_block(p, at, rows);
    memset(sums, 0, (size_t)p->panels * BLOCK_ROWS * (size_t)wide * sizeof *sums);
    for (int k = 0; k < p->width; k += VJ_ROW_DEPTH, panels += (int64_t)p->panels * VJ_ROW_DEPTH * wide) {
        const int depth = least(VJ_ROW_DEPTH, p->width - k);
        if (in_place(p, rows, depth)) {
            add_part(p, sums, p->x + at * p->width + k, p->width, rows, panels, depth, &ahead);
        } else {
            fill_room(p, room, at, rows, k, depth);
            add_part(p, sums, room, VJ_ROW_DEPTH, rows, panels, depth, &ahead);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < p->panels; j++)
            memcpy(p->out + (at + i) * p->stride + j * wide, sums + ((int64_t)j * BLOCK_ROWS + i) * wide,
                   (size_t)least(wide, p->columns - j * wide) * sizeof *sums);
}

static void multiply(product *p, const vj_factor *f)
{
    const vj_tiles *t = p->tiles = vj_tiles_here();
    p->width = f->width;
    p->stride = f->columns;
    p->packed = f->packed;
    p->room = f->room;
    p->of_thread = room_count(t);
    for (int first = 0; first < f->columns; first += GROUP) {
        p->columns = least(GROUP, f->columns - first);
        p->panels = vj_tiles_panels(t, p->columns);
#pragma omp parallel for schedule(static)
        for (int64_t at = 0; at < p->count; at += BLOCK_ROWS) multiply_block(p, at, least(BLOCK_ROWS, p->count - at));
        p->out += p->columns;
        p->packed += group_count(t, p->width, p->columns);
    }
}

void vj_rows_multiply(double *out, const double *x, int64_t count, const vj_factor *f)
{
    product p = {.x = x, .count = count, .out = out};
    multiply(&p, f);
}

void vj_rows_project(double *out, const float *x, const double *minus, int64_t count, const vj_factor *f)
{
    product p = {.narrow = x, .minus = minus, .count = count, .out = out};
    multiply(&p, f);
}

void vj_rows_by_rows(float *out, const float *x, int count, int width, const float *y, int others)
{
    const float whole = 1.0f, nothing = 0.0f;
    sgemm_("T", "N", &others, &count, &width, &whole, y, &width, x, &width, &nothing, out, &others);
}
