/*
 * The matrix product behind all linear layers: packed, blocked, register-tiled (Goto, van de Geijn 2008). B is packed
 * once, whole or in wide strips; then threads take blocks of rows of A, whichever is next. A result is summed by one
 * thread over the depth in a fixed order, so the number of threads does not show in it.
 */
#include <omp.h>

#include "cpu.h"
#include "pack.h"
#include "tile.h"
#include "vector.h"

enum {
    DEPTH = 384,            /* lanes of depth in a block: an A panel stays in the first-level cache */
    ROWS = 96,              /* rows of A in a block, which stays in the second-level cache; whole vectors */
    STRIP = 2048,           /* columns at a time when partial sums have to wait for the next block of depth */
    PACKED_B = 4 << 20,     /* floats of packed B at a time: 16 MB, shared by the threads */
    LONGEST_DEPTH = 1 << 16 /* so that at least NR columns of B fit */
};

/* How one product is cut; all counts of depth in lanes. */
typedef struct {
    const vj_product *product;
    pack_mode mode;
    int64_t unit;                 /* values a lane */
    int64_t blocks, block_values; /* of depth */
    int64_t columns;              /* of B packed at a time */
    int64_t rows;                 /* of A in a block */
    float *b;                     /* packed: for each block of depth, the panels of the strip */
} plan;

static int64_t values_in(const plan *pl, int64_t block)
{
    return least(pl->block_values, pl->product->K - block * pl->block_values);
}

/* Floats of packed B before block `block`: all earlier blocks are full. */
static int64_t b_offset(const plan *pl, int64_t block)
{
    return block * pack_depth(pl->mode, pl->block_values) * parts(pl->columns, NR) * NR;
}

static void pack_b_panel(const plan *pl, int64_t strip, int64_t panel)
{
    const vj_product *g = pl->product;
    int64_t column = strip + panel * NR, count = least(NR, g->N - column);
    for (int64_t q = 0; q < pl->blocks; q++) {
        int64_t k = q * pl->block_values, values = values_in(pl, q);
        float *to = pl->b + b_offset(pl, q) + panel * NR * pack_depth(pl->mode, values);
        if (g->b_transposed)
            VJ_CPU(pack_b_rows)(to, g->b + column * g->K + k, g->K, count, values, pl->mode);
        else
            VJ_CPU(pack_b_columns)(to, g->b + k * g->N + column, g->N, count, values, pl->mode);
    }
}

static void pack_a_block(const plan *pl, float *to, int64_t row, int64_t rows, int64_t block)
{
    const vj_product *g = pl->product;
    int64_t k = block * pl->block_values, values = values_in(pl, block);
    if (g->a_transposed)
        VJ_CPU(pack_a_columns)(to, g->a + k * g->M + row, g->M, rows, values, pl->mode);
    else
        VJ_CPU(pack_a_rows)(to, g->a + row * g->K + k, g->K, rows, values, pl->mode);
}

/* From finished sums to the result: what the product adds, its nonlinearity, its edges. */
static void finish_tile(const vj_product *g, const float *tile, int64_t row, int64_t column)
{
    int64_t rows = least(MR, g->M - row), columns = least(NR, g->N - column);
    int64_t residual_row = g->residual ? row % g->residual_rows : 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t at = (row + i) * g->N + column;
        for (int64_t j = 0; j < columns; j += LANES) {
            int64_t n = columns - j;
            vf v = vload(tile + i * NR + j);
            if (g->bias) v += vload_part(g->bias + column + j, n);
            if (g->residual) v += vload_part(g->residual + residual_row * g->N + column + j, n);
            if (g->accumulate) v += vload_part(g->c + at + j, n);
            if (g->finish == VJ_FINISH_GELU) {
                if (g->pre) vstore_part(g->pre + at + j, v, n);
                v = vgelu(v);
            } else if (g->finish == VJ_FINISH_GELU_GRADIENT) {
                v *= vgelu_gradient(vload_part(g->pre + at + j, n));
            }
            vstore_part(g->c + at + j, v, n);
        }
        if (g->residual && ++residual_row == g->residual_rows) residual_row = 0;
    }
}

/*
 * Rows row .. row+rows-1 of the strip. With one block of depth each tile is finished at once; otherwise the tiles wait
 * in `waiting` until their sums are complete, for the result may overwrite what finishing still needs.
 */
static void multiply_block(const plan *pl, float *a, float *waiting, int64_t row, int64_t rows, int64_t strip)
{
    const vj_product *g = pl->product;
    int64_t columns = least(pl->columns, g->N - strip), row_panels = parts(rows, MR);
    float one[MR * NR] __attribute__((aligned(64)));
    for (int64_t q = 0; q < pl->blocks; q++) {
        int64_t depth = pack_depth(pl->mode, values_in(pl, q));
        pack_a_block(pl, a, row, rows, q);
        for (int64_t j = 0; j < columns; j += NR) {
            int nv = (int)parts(least(NR, columns - j), LANES);
            const float *b = pl->b + b_offset(pl, q) + j * depth;
            for (int64_t i = 0; i < row_panels; i++) {
                float *tile = pl->blocks == 1 ? one : waiting + (j / NR * row_panels + i) * MR * NR;
                if (pl->mode == PACK_FP32)
                    VJ_CPU(tile)(nv, depth, a + i * MR * depth, b, tile, NR, q > 0);
                else
                    VJ_CPU(tile_pairs)(nv, depth, a + i * MR * depth, b, tile, NR, q > 0);
                if (q == pl->blocks - 1) finish_tile(g, tile, row + i * MR, strip + j);
            }
        }
    }
}

static void multiply(vj_backend *be, const vj_product *g)
{
    plan pl = {.product = g, .mode = be->precision == VJ_BF16 ? PACK_PAIRS : PACK_FP32};
    pl.unit = pl.mode == PACK_PAIRS ? PAIR : 1;
    pl.blocks = parts(g->K, DEPTH * pl.unit);
    pl.block_values = parts(parts(g->K, pl.blocks), pl.unit) * pl.unit;
    int64_t lanes = pl.blocks * pack_depth(pl.mode, pl.block_values);

    pl.columns = least(parts(g->N, NR) * NR, PACKED_B / lanes / NR * NR);
    if (pl.blocks > 1) pl.columns = least(pl.columns, STRIP / NR * NR);
    /* As many blocks of rows as make every thread's share about the same. */
    int64_t vectors = parts(g->M, LANES), row_blocks = parts(parts(g->M, ROWS), be->threads) * be->threads;
    pl.rows = parts(vectors, row_blocks) * LANES;

    int64_t b_floats = b_offset(&pl, pl.blocks);
    int64_t a_floats = pl.rows * pack_depth(pl.mode, pl.block_values);
    int64_t waiting_floats = pl.blocks > 1 ? pl.rows * pl.columns : 0;
    pl.b = vj_scratch(be, b_floats + be->threads * (a_floats + waiting_floats));
    if (!pl.b) return;

    for (int64_t strip = 0; strip < g->N; strip += pl.columns) {
        int64_t panels = parts(least(pl.columns, g->N - strip), NR);
#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
        {
            float *a = pl.b + b_floats + omp_get_thread_num() * (a_floats + waiting_floats);
#pragma omp for schedule(static)
            for (int64_t panel = 0; panel < panels; panel++) pack_b_panel(&pl, strip, panel);
#pragma omp for schedule(dynamic)
            for (int64_t row = 0; row < g->M; row += pl.rows)
                multiply_block(&pl, a, a + a_floats, row, least(pl.rows, g->M - row), strip);
        }
    }
}

void VJ_CPU(product)(vj_backend *be, const vj_product *product)
{
    /* Only weight gradients are deeper than any layer is wide, and they have nothing to finish. */
    VJ_ASSERT(product->K <= LONGEST_DEPTH ||
              (product->finish == VJ_FINISH_PLAIN && product->a_transposed && !product->b_transposed));
    vj_product span = *product;
    for (int64_t k = 0; k < product->K; k += LONGEST_DEPTH) {
        span.K = least(LONGEST_DEPTH, product->K - k);
        span.a = product->a + k * product->M * (k > 0);
        span.b = product->b + k * product->N * (k > 0);
        multiply(be, &span);
        span.accumulate = true;
    }
}
