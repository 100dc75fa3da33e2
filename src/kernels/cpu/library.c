/*
 * A product by a library. The threads of the backend take blocks of the result, each free thread the next one, and call
 * the library for it on that thread alone: threads of the library beside them would make everything slower. Blocks
 * depend on the shape and not on the number of threads, so neither does the result.
 */
#include "library.h"

#include <omp.h>

#include "finish.h"
#include "kernels/library.h"

/* Large blocks, so that packing pays; smaller ones if the result has less than FEW of them, so that many threads can
 * share it. */
enum { MAX_ROWS = 384, MAX_COLUMNS = 512, MIN_COLUMNS = 128, FEW = 16 };
enum { ROW_UNIT = 16, COLUMN_UNIT = 64, STRIP = MAX_ROWS * MAX_COLUMNS };

typedef struct {
    const vj_product *product;
    vj_sgemm sgemm;
    int64_t rows, columns; /* of a block; the last blocks may be smaller */
    bool direct;           /* the sums are the result: the library writes it, or adds to it, itself */
} plan;

/* Return the size of pieces of n that are about equal, of at most `most` elements, in multiples of `unit`. */
static int64_t piece(int64_t n, int64_t most, int64_t unit)
{
    return parts(parts(n, parts(n, most)), unit) * unit;
}

static plan cut(const vj_backend *be, const vj_product *g)
{
    int64_t rows = MAX_ROWS, columns = MAX_COLUMNS;
    while (parts(g->M, rows) * parts(g->N, columns) < FEW && columns > MIN_COLUMNS)
        if (columns > rows)
            columns /= 2;
        else
            rows /= 2;
    return (plan){.product = g,
                  .sgemm = vj_cpu_of(be)->library->sgemm,
                  .rows = piece(g->M, rows, ROW_UNIT),
                  .columns = piece(g->N, columns, COLUMN_UNIT),
                  .direct = g->finish == VJ_FINISH_PLAIN && g->c.type == VJ_TYPE_F32 && !g->bias && !g->residual};
}

static bool multiply_block(const plan *pl, int64_t row, int64_t column, float *strip)
{
    const vj_product *g = pl->product;
    const int64_t rows = least(pl->rows, g->M - row), columns = least(pl->columns, g->N - column);
    const int64_t lda = g->a_transposed ? g->M : g->K, ldb = g->b_transposed ? g->K : g->N;
    const float *a = (const float *)g->a.data + (g->a_transposed ? row : row * lda);
    const float *b = (const float *)g->b.data + (g->b_transposed ? column * ldb : column);
    float *c = pl->direct ? (float *)g->c.data + row * g->N + column : strip;
    const int64_t ldc = pl->direct ? g->N : pl->columns;
    if (!pl->sgemm(g->a_transposed, g->b_transposed, (int)rows, (int)columns, (int)g->K, a, (int)lda, b, (int)ldb,
                   pl->direct && g->accumulate, c, (int)ldc))
        return false;
    if (!pl->direct) VJ_CPU(finish_sums)(g, strip, ldc, row, rows, column, columns, false);
    return true;
}

bool VJ_CPU(library_takes)(const vj_backend *be, const vj_product *g)
{
    return vj_cpu_of(be)->library && be->precision == VJ_FP32 && g->a.type == VJ_TYPE_F32 && g->b.type == VJ_TYPE_F32 &&
           g->M <= INT32_MAX && g->N <= INT32_MAX && g->K <= INT32_MAX;
}

void VJ_CPU(library_product)(vj_backend *be, const vj_product *g)
{
    const plan pl = cut(be, g);
    const int64_t across = parts(g->N, pl.columns), blocks = parts(g->M, pl.rows) * across;
    float *strips = NULL;
    if (!pl.direct && !(strips = vj_scratch(be, (int64_t)be->threads * STRIP))) return;
    bool fine = true;

#pragma omp parallel num_threads(be->threads) reduction(&& : fine)
    {
        omp_set_num_threads(1); /* for this thread only: a library that asks OpenMP uses no other threads */
        vj_cpu_of(be)->library->quieten();
        float *strip = pl.direct ? NULL : strips + (int64_t)omp_get_thread_num() * STRIP;
#pragma omp for schedule(dynamic)
        for (int64_t block = 0; block < blocks; block++)
            fine = multiply_block(&pl, block / across * pl.rows, block % across * pl.columns, strip) && fine;
        vstreamed();
    }
    if (!fine)
        vj_keep_failure(be, vj_raise(VJ_ERR_LIBRARY, "%s refuses a product of %lld x %lld x %lld",
                                     vj_cpu_of(be)->library->name, (long long)g->M, (long long)g->N, (long long)g->K));
}
