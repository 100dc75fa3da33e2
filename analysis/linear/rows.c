/*
 * Rows times a matrix, on one rank. Many columns are left to BLAS. A product by few, such as projections on 64
 * components, uses each number of the rows so few times that the copies which a BLAS makes of its operands take a fifth
 * of its time; so there is a loop for these that copies nothing but the matrix. It also takes rows of floats, whose
 * copies as doubles, less a mean, then stay in the cache.
 */
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "linear/inner.h"

/*
 * TALL rows times two vectors of columns are summed in registers. A panel, two vectors of columns over a block of the
 * depth, stays in the first-level cache while the rows of a block pass by; these, over the same depth, stay in the
 * second-level cache while all panels pass by. Sizes and FEW_COLUMNS: measured on an EPYC of 2021, width 1408, where
 * projections on 64 components are at 0.81 to 0.88 of a core's peak, with OpenBLAS 0.3.21 at 0.65 to 0.75; from 256
 * columns on both are alike.
 */
enum { TALL = 6, MOST_LANES = 8, BLOCK_ROWS = 8 * TALL, PANEL_NUMBERS = 2048, FEW_COLUMNS = 256 };

#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)

/*
 * out [TALL, 2 * lanes], rows out_row numbers apart, = (add ? out : 0) + the product of the rows x[TALL], each [depth],
 * by panel [depth, 2 * lanes]. The sum of each number runs over the depth in ascending order.
 */
#define TILE(name, lanes, attributes)                                                                                  \
    attributes static void name(double *out, int64_t out_row, const double *const *x, const double *panel, int depth,  \
                                bool add)                                                                              \
    {                                                                                                                  \
        typedef double vector __attribute__((vector_size(sizeof(double) * (lanes))));                                  \
        typedef double in_memory __attribute__((vector_size(sizeof(double) * (lanes)), aligned(8), may_alias));        \
        enum { LANES = (lanes) };                                                                                      \
        EACH_ROW(BEGIN_SUMS)                                                                                           \
        _Pragma("GCC unroll 4") for (int k = 0; k < depth; k++, panel += 2 * LANES)                                    \
        {                                                                                                              \
            const vector p = *(const in_memory *)panel, q = *(const in_memory *)(panel + LANES);                       \
            EACH_ROW(ADD_PRODUCTS)                                                                                     \
        }                                                                                                              \
        EACH_ROW(STORE_SUMS)                                                                                           \
    }
#define BEGIN_SUMS(n)                                                                                                  \
    const double *x##n = x[n];                                                                                         \
    vector a##n = {0}, b##n = {0};
#define ADD_PRODUCTS(n)                                                                                                \
    a##n += x##n[k] * p;                                                                                               \
    b##n += x##n[k] * q;
#define STORE_SUMS(n)                                                                                                  \
    {                                                                                                                  \
        in_memory *left = (in_memory *)(out + (n)*out_row), *right = (in_memory *)(out + (n)*out_row + LANES);         \
        if (add) a##n += *left, b##n += *right;                                                                        \
        *left = a##n;                                                                                                  \
        *right = b##n;                                                                                                 \
    }

/* to [count] = from - minus. */
#define WIDEN(name, attributes)                                                                                        \
    attributes static void name(double *to, const float *from, const double *minus, int count)                         \
    {                                                                                                                  \
        for (int i = 0; i < count; i++) to[i] = (double)from[i] - minus[i];                                            \
    }

TILE(tile_portable, 2, )
WIDEN(widen_portable, )
#ifdef __x86_64__
TILE(tile_avx2, 4, __attribute__((target("avx2,fma"))))
TILE(tile_avx512, 8, __attribute__((target("avx512f"))))
WIDEN(widen_avx2, __attribute__((target("avx2"))))
#endif

/* A product as it is cut up. Its rows are doubles, or floats of which a row is subtracted. */
typedef struct {
    void (*tile)(double *, int64_t, const double *const *, const double *, int, bool);
    void (*widen)(double *, const float *, const double *, int);
    int wide;      /* columns of a tile */
    int64_t count; /* rows */
    int width, columns, panels;
    int depth;           /* of a block; the last one may have less */
    const double *x;     /* [rows, width], or NULL: */
    const float *narrow; /* [rows, width] */
    const double *minus; /* [width] */
    double *packed;      /* [blocks of depth, panels, depth, wide] the matrix, and zeros beside it. Owned */
    double *room;        /* [threads, BLOCK_ROWS, depth] of narrow rows, as doubles. Owned */
} product;

static int least(int64_t a, int64_t b)
{
    return (int)(a < b ? a : b);
}

static void choose_loops(product *p)
{
    int lanes = 2;
    p->tile = tile_portable;
    p->widen = widen_portable;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        p->tile = tile_avx2;
        p->widen = widen_avx2;
        lanes = 4;
    }
    if (__builtin_cpu_supports("avx512f")) {
        p->tile = tile_avx512;
        lanes = 8;
    }
#endif
    p->wide = 2 * lanes;
}

static void pack(const product *p, const double *matrix)
{
    double *to = p->packed;
    for (int k = 0; k < p->width; k += p->depth)
        for (int column = 0; column < p->panels * p->wide; column += p->wide) {
            const int columns = least(p->wide, p->columns - column);
            for (int i = k; i < least(k + p->depth, p->width); i++, to += p->wide)
                memcpy(to, matrix + (int64_t)i * p->columns + column, (size_t)columns * sizeof *to);
        }
}

/* Columns [k, k + depth) of rows from `at` on, as doubles [rows, depth]. */
static void widen(const product *p, double *to, int64_t at, int rows, int k, int depth)
{
    for (int i = 0; i < rows; i++, to += depth) p->widen(to, p->narrow + (at + i) * p->width + k, p->minus + k, depth);
}

/* Ask for columns [k, k + depth) of a row, into the second-level cache. */
static void prefetch(const product *p, int64_t row, int k)
{
    enum { LINE = 64 };
    const int64_t at = row * p->width + k, depth = least(p->depth, p->width - k);
    const char *from = p->x ? (const char *)(p->x + at) : (const char *)(p->narrow + at);
    const int64_t bytes = depth * (int64_t)(p->x ? sizeof *p->x : sizeof *p->narrow);
    for (int64_t i = 0; i < bytes; i += LINE) __builtin_prefetch(from + i, 0, 2);
}

/* out [rows, columns of the panel] of at most TALL rows x, `stride` apart, over `depth` columns from k on. */
static void multiply_tile(const product *p, double *out, const double *x, int64_t stride, int rows, int k, int depth,
                          int panel)
{
    const int column = panel * p->wide, columns = least(p->wide, p->columns - column);
    const double *packed = p->packed + ((int64_t)k * p->panels + (int64_t)panel * depth) * p->wide, *row[TALL];
    for (int i = 0; i < TALL; i++) row[i] = x + least(i, rows - 1) * stride;
    if (rows == TALL && columns == p->wide) {
        p->tile(out + column, p->columns, row, packed, depth, k > 0);
        return;
    }
    double whole[TALL * 2 * MOST_LANES];
    p->tile(whole, p->wide, row, packed, depth, false);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            double *to = out + (int64_t)i * p->columns + column + j;
            *to = (k > 0 ? *to : 0.0) + whole[i * p->wide + j];
        }
}

static void multiply_block(const product *p, double *out, int64_t at, int rows)
{
    for (int k = 0; k < p->width; k += p->depth) {
        const int depth = least(p->depth, p->width - k);
        const double *x = p->x ? p->x + at * p->width + k : NULL;
        const int64_t stride = x ? p->width : depth;
        if (!x) {
            double *room = p->room + (int64_t)omp_get_thread_num() * BLOCK_ROWS * p->depth;
            widen(p, room, at, rows, k, depth);
            x = room;
        }
        /* What is read next: these rows further on, or the rows of the next block. Each panel asks for some of it. */
        const bool more = k + depth < p->width;
        const int next_k = more ? k + depth : 0;
        const int64_t next = more ? at : at + BLOCK_ROWS;
        for (int panel = 0; panel < p->panels; panel++)
            for (int i = 0; i < rows; i += TALL) {
                for (int j = i + panel; j < i + TALL && next + j < p->count; j += p->panels)
                    prefetch(p, next + j, next_k);
                multiply_tile(p, out + (at + i) * p->columns, x + i * stride, stride, least(TALL, rows - i), k, depth,
                              panel);
            }
    }
}

/* False without memory. */
static bool multiply_by_few(product *p, double *out, const double *matrix)
{
    choose_loops(p);
    const int most = PANEL_NUMBERS / p->wide, blocks = (p->width + most - 1) / most;
    p->depth = (p->width + blocks - 1) / blocks;
    p->panels = (p->columns + p->wide - 1) / p->wide;
    p->packed = vj_calloc((int64_t)p->panels * p->wide * p->width, sizeof *p->packed);
    if (!p->x) p->room = vj_calloc((int64_t)omp_get_max_threads() * BLOCK_ROWS * p->depth, sizeof *p->room);
    const bool ready = p->packed && (p->x || p->room);
    if (ready) {
        pack(p, matrix);
#pragma omp parallel for schedule(static)
        for (int64_t at = 0; at < p->count; at += BLOCK_ROWS)
            multiply_block(p, out, at, least(BLOCK_ROWS, p->count - at));
    }
    free(p->packed);
    free(p->room);
    return ready;
}

static void multiply_by_many(double *out, const double *x, int64_t count, int width, const double *matrix, int columns)
{
    enum { PIECE = 1 << 14 }; /* BLAS counts in 32 bits */
    const double whole = 1.0, nothing = 0.0;
    for (int64_t at = 0; at < count; at += PIECE) {
        const int rows = least(PIECE, count - at);
        dgemm_("N", "N", &columns, &rows, &width, &whole, matrix, &columns, x + at * width, &width, &nothing,
               out + at * columns, &columns);
    }
}

void vj_rows_multiply(double *out, const double *x, int64_t count, int width, const double *matrix, int columns)
{
    product p = {.x = x, .count = count, .width = width, .columns = columns};
    if (columns > FEW_COLUMNS || !multiply_by_few(&p, out, matrix))
        multiply_by_many(out, x, count, width, matrix, columns);
}

vj_status vj_rows_project(double *out, const float *x, const double *minus, int64_t count, int width,
                          const double *matrix, int columns)
{
    product p = {.narrow = x, .minus = minus, .count = count, .width = width, .columns = columns};
    if (multiply_by_few(&p, out, matrix)) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for a copy of a matrix [%d, %d]", width, columns);
}

void vj_rows_by_rows(float *out, const float *x, int count, int width, const float *y, int others)
{
    const float whole = 1.0f, nothing = 0.0f;
    sgemm_("T", "N", &others, &count, &width, &whole, y, &width, x, &width, &nothing, out, &others);
}
