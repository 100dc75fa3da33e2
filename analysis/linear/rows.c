/*
 * Multiplies rows by a matrix, on one rank. A matrix with many columns is left to the BLAS. With few columns, as in
 * projections on 64 components, each number of the rows is used so few times that the copies which a BLAS makes of its
 * operands take a fifth of its time. For these there is a loop here that needs only small copies. It also takes rows of
 * floats; their copies as doubles, minus a mean, stay in the cache.
 */
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "linear/inner.h"

/*
 * A tile, six rows (twelve with 32 registers) times two vectors of columns, is summed in registers. A panel is two
 * vectors of columns over a block of the depth. For each block of the depth the rows of a block are copied as doubles;
 * the copy stays in the first-level cache while all panels are read from the second-level cache. Meanwhile the next
 * rows are fetched from memory, one cache line at a time, since many at once would delay the reads of the tile. With
 * width 1408 and 64 columns, on an EPYC of 2021 this reached 0.81 to 0.88 of a core's peak before the rows were copied,
 * and OpenBLAS 0.3.21 0.65 to 0.75; from 256 columns on both were equal. On a Xeon with AVX-512, while other work was
 * running, it reached 0.60 to 0.65 (0.35 before), and OpenBLAS 0.23 to 0.28.
 */
enum { MOST_TALL = 12, MOST_LANES = 8, BLOCK_ROWS = 2 * MOST_TALL, PANEL_NUMBERS = 2048, FEW_COLUMNS = 256, STEPS = 4 };

#define SIX_ROWS(DO) DO(0, 0, 0) DO(1, 0, stride) DO(2, 0, 2 * stride) DO(3, 3, 0) DO(4, 3, stride) DO(5, 3, 2 * stride)
#define TWELVE_ROWS(DO)                                                                                                \
    SIX_ROWS(DO) DO(6, 6, 0) DO(7, 6, stride) DO(8, 6, 2 * stride) DO(9, 9, 0) DO(10, 9, stride) DO(11, 9, 2 * stride)

/* The address to fetch next into the second-level cache; it advances by `step` bytes after every STEPS steps of depth.
 */
typedef struct {
    const char *at;
    int64_t step;
} prefetched;

/*
 * out [rows, 2 * lanes] = (add ? out : 0) + x [rows, depth] times panel [depth, 2 * lanes]. Rows of `out` are out_row
 * numbers apart, those of x `stride` numbers. Each number is summed over the depth in ascending order. Four pointers
 * and the stride address all rows, so that all pointers stay in registers; the compiler must not make one for each row.
 */
#define TILE(name, lanes, EACH_ROW, attributes)                                                                        \
    attributes static void name(double *out, int64_t out_row, const double *x, int64_t stride, const double *panel,    \
                                int depth, bool add, prefetched *ahead)                                                \
    {                                                                                                                  \
        typedef double vector __attribute__((vector_size(sizeof(double) * (lanes))));                                  \
        typedef double in_memory __attribute__((vector_size(sizeof(double) * (lanes)), aligned(8), may_alias));        \
        enum { LANES = (lanes) };                                                                                      \
        const double *x0 = x, *x3 = x + 3 * stride, *x6 = x3 + 3 * stride, *x9 = x6 + 3 * stride;                      \
        const char *next = ahead->at;                                                                                  \
        const int64_t step = ahead->step;                                                                              \
        EACH_ROW(BEGIN_SUMS)                                                                                           \
        for (; depth >= STEPS; depth -= STEPS, next += step) {                                                         \
            __builtin_prefetch(next, 0, 2);                                                                            \
            KEEP(x0) KEEP(x3) KEEP(x6) KEEP(x9) _Pragma("GCC unroll 4") for (int k = 0; k < STEPS; k++)                \
            {                                                                                                          \
                const vector p = *(const in_memory *)(panel + 2 * k * LANES),                                          \
                             q = *(const in_memory *)(panel + (2 * k + 1) * LANES);                                    \
                EACH_ROW(ADD_PRODUCTS)                                                                                 \
            }                                                                                                          \
            x0 += STEPS, x3 += STEPS, x6 += STEPS, x9 += STEPS, panel += 2 * STEPS * LANES;                            \
        }                                                                                                              \
        for (int k = 0; k < depth; k++) {                                                                              \
            const vector p = *(const in_memory *)(panel + 2 * k * LANES),                                              \
                         q = *(const in_memory *)(panel + (2 * k + 1) * LANES);                                        \
            EACH_ROW(ADD_PRODUCTS)                                                                                     \
        }                                                                                                              \
        ahead->at = next;                                                                                              \
        EACH_ROW(STORE_SUMS)                                                                                           \
    }
#define KEEP(pointer)             __asm__("" : "+r"(pointer));
#define BEGIN_SUMS(n, base, more) vector a##n = {0}, b##n = {0};
#define ADD_PRODUCTS(n, base, more)                                                                                    \
    a##n += x##base[k + (more)] * p;                                                                                   \
    b##n += x##base[k + (more)] * q;
#define STORE_SUMS(n, base, more)                                                                                      \
    {                                                                                                                  \
        in_memory *left = (in_memory *)(out + (n)*out_row), *right = (in_memory *)(out + (n)*out_row + LANES);         \
        if (add) a##n += *left, b##n += *right;                                                                        \
        *left = a##n;                                                                                                  \
        *right = b##n;                                                                                                 \
    }

/* to [count] = from - minus. Uses TO_DOUBLES, because the compiler would convert each half of a vector separately. */
#define WIDEN(name, lanes, attributes)                                                                                 \
    attributes static void name(double *to, const float *from, const double *minus, int count)                         \
    {                                                                                                                  \
        typedef double doubles __attribute__((vector_size(sizeof(double) * (lanes)), aligned(8), may_alias));          \
        typedef float floats __attribute__((vector_size(sizeof(float) * (lanes)), aligned(4), may_alias));             \
        int i = 0;                                                                                                     \
        for (; i + (lanes) <= count; i += (lanes))                                                                     \
            *(doubles *)(to + i) = TO_DOUBLES(*(const floats *)(from + i), doubles) - *(const doubles *)(minus + i);   \
        for (; i < count; i++) to[i] = (double)from[i] - minus[i];                                                     \
    }

#define TO_DOUBLES __builtin_convertvector
TILE(tile_portable, 2, SIX_ROWS, )
WIDEN(widen_portable, 2, )
#ifdef __x86_64__
TILE(tile_avx2, 4, SIX_ROWS, __attribute__((target("avx2,fma"))))
TILE(tile_avx512, 8, TWELVE_ROWS, __attribute__((target("avx512f"))))
#undef TO_DOUBLES
#define TO_DOUBLES(vector, type) ((type)_mm256_cvtps_pd((__m128)(vector)))
WIDEN(widen_avx2, 4, __attribute__((target("avx2"))))
#undef TO_DOUBLES
#define TO_DOUBLES(vector, type) ((type)_mm512_cvtps_pd((__m256)(vector)))
WIDEN(widen_avx512, 8, __attribute__((target("avx512f"))))
#endif

/* A product and how it is divided into tiles. Its rows are doubles, or floats from which a row is subtracted. */
typedef struct {
    void (*tile)(double *, int64_t, const double *, int64_t, const double *, int, bool, prefetched *);
    void (*widen)(double *, const float *, const double *, int);
    int tall, wide; /* rows and columns of a tile */
    int64_t count;  /* rows */
    int width, columns, panels;
    int depth;           /* columns of x in a block; the last block may have fewer */
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
    p->tall = 6;
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
        p->widen = widen_avx512;
        p->tall = 12;
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

/* Copy columns [k, k + depth) of `rows` rows from `at` on to `room` as doubles, with rows p->depth apart. */
static void fill_room(const product *p, double *room, int64_t at, int rows, int k, int depth)
{
    for (int i = 0; i < rows; i++, room += p->depth) {
        const int64_t from = (at + i) * p->width + k;
        if (p->x)
            memcpy(room, p->x + from, (size_t)depth * sizeof *room);
        else
            p->widen(room, p->narrow + from, p->minus + k, depth);
    }
}

/* Compute out [rows, columns of the panel] for at most p->tall rows x, over the `depth` columns from k on. */
static void multiply_tile(const product *p, double *out, const double *x, int rows, int k, int depth, int panel,
                          prefetched *ahead)
{
    const int column = panel * p->wide, columns = least(p->wide, p->columns - column);
    const double *packed = p->packed + ((int64_t)k * p->panels + (int64_t)panel * depth) * p->wide;
    if (rows == p->tall && columns == p->wide) {
        p->tile(out + column, p->columns, x, p->depth, packed, depth, k > 0, ahead);
        return;
    }
    double whole[MOST_TALL * 2 * MOST_LANES];
    p->tile(whole, p->wide, x, p->depth, packed, depth, false, ahead);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            double *to = out + (int64_t)i * p->columns + column + j;
            *to = (k > 0 ? *to : 0.0) + whole[i * p->wide + j];
        }
}

/* Return what to fetch during a block: the rows of the next block, spread over the steps of this block's tiles. */
static prefetched next_block(const product *p, int64_t at, int rows)
{
    const int64_t bytes = p->width * (int64_t)(p->x ? sizeof *p->x : sizeof *p->narrow);
    const int64_t steps = (int64_t)p->width * p->panels * ((rows + p->tall - 1) / p->tall) / STEPS;
    const char *x = p->x ? (const char *)p->x : (const char *)p->narrow;
    return (prefetched){x + (at + rows) * bytes, least(BLOCK_ROWS, p->count - at - rows) * bytes / (steps + 1)};
}

static void multiply_block(const product *p, double *out, int64_t at, int rows)
{
    double *room = p->room + (int64_t)omp_get_thread_num() * BLOCK_ROWS * p->depth;
    prefetched ahead = next_block(p, at, rows);
    for (int k = 0; k < p->width; k += p->depth) {
        const int depth = least(p->depth, p->width - k);
        fill_room(p, room, at, rows, k, depth);
        for (int panel = 0; panel < p->panels; panel++)
            for (int i = 0; i < rows; i += p->tall)
                multiply_tile(p, out + (at + i) * p->columns, room + i * p->depth, least(p->tall, rows - i), k, depth,
                              panel, &ahead);
    }
}

/* Returns false if there is no memory. */
static bool multiply_by_few(product *p, double *out, const double *matrix)
{
    choose_loops(p);
    const int most = PANEL_NUMBERS / p->wide, blocks = (p->width + most - 1) / most;
    p->depth = ((p->width + blocks - 1) / blocks + STEPS - 1) / STEPS * STEPS;
    p->panels = (p->columns + p->wide - 1) / p->wide;
    p->packed = vj_calloc((int64_t)p->panels * p->wide * p->width, sizeof *p->packed);
    p->room = vj_calloc((int64_t)omp_get_max_threads() * BLOCK_ROWS * p->depth, sizeof *p->room);
    const bool ready = p->packed && p->room;
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
