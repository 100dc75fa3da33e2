/*
 * The matrix product behind all linear layers: packed, blocked, register-tiled (Goto, van de Geijn 2008).
 *
 * One operand is shared: packed whole, once, by all threads. It is the one with fewer rows or columns, so that it is
 * small next to the result. The other is cut into blocks that fit a second-level cache; whichever thread is free takes
 * the next, packs it for itself, and runs the shared operand past it, panel by panel. So large operands are read from
 * memory once, and a thread that lost its core for a while only takes fewer blocks.
 *
 * A result is summed by one thread over the depth in a fixed order: the number of threads does not show in it.
 */
#include <omp.h>

#include "cpu.h"
#include "pack.h"
#include "tile.h"
#include "vector.h"

enum {
    STEP = PAIR_DEPTH > 1 ? 128 : 256, /* lanes of depth in a block: its panel stays in the first-level cache */
    PRIVATE = 192 << 10,               /* lanes of a thread's own block: 768 KiB of its second-level cache */
    SPAN = 1280,                       /* lanes of depth at a time, where partial sums can wait in the result */
    TASKS = 4                          /* blocks a thread, at least, where the shape allows */
};

/* How one product is cut. */
typedef struct {
    const vj_product *product;
    pack_mode mode;
    int64_t from, depth; /* values of depth in this span */
    int64_t values;      /* of depth in a block of it, the last one less */
    int64_t blocks;      /* of depth */
    int64_t panel_lanes; /* depth of a whole panel, in lanes */
    int a_unit, b_unit;  /* rows of A, columns of B packed and multiplied together */
    int64_t a_units, b_units;
    bool share_a;
    int64_t private_units; /* in a private block */
    float *shared;
} plan;

/* Values of depth, rounded up so that no padding of lanes stands inside the depth. */
static int64_t whole_lanes(int64_t values)
{
    return parts(values, PAIR_DEPTH * PAIR) * PAIR_DEPTH * PAIR;
}

static int64_t values_in(const plan *pl, int64_t block)
{
    return least(pl->values, pl->depth - block * pl->values);
}

/* Pack one unit of A or of B over the whole depth: blocks of depth one after the other. */
static void pack_panel(const plan *pl, bool of_a, float *to, int64_t unit)
{
    const vj_product *g = pl->product;
    const int width = of_a ? pl->a_unit : pl->b_unit;
    const int64_t first = unit * width, count = least(width, (of_a ? g->M : g->N) - first);
    for (int64_t q = 0; q < pl->blocks; q++) {
        const int64_t k = pl->from + q * pl->values, values = values_in(pl, q);
        if (of_a && g->a_transposed)
            VJ_CPU(pack_a_columns)(to, matrix_at(g->a.data, g->a.type, g->M, k, first), count, values, pl->mode);
        else if (of_a)
            VJ_CPU(pack_a_rows)(to, matrix_at(g->a.data, g->a.type, g->K, first, k), count, values, pl->mode);
        else if (g->b_transposed)
            VJ_CPU(pack_b_rows)(to, matrix_at(g->b.data, g->b.type, g->K, first, k), count, values, pl->mode);
        else
            VJ_CPU(pack_b_columns)(to, matrix_at(g->b.data, g->b.type, g->N, k, first), count, values, pl->mode);
        to += width * pack_depth(pl->mode, values);
    }
}

/* From finished sums to the result, along one row: what the product adds, its nonlinearity. */
VJ_INLINE void finish_row(const vj_product *g, vj_finish finish, const float *sums, int64_t at, int64_t column,
                          const float *residual, int64_t columns)
{
    for (int64_t j = 0; j < columns; j += LANES) {
        int64_t n = columns - j;
        vf v = vload(sums + j);
        if (g->bias) v += vload_part(g->bias + column + j, n);
        if (residual) v += vload_part(residual + j, n);
        if (g->accumulate) v += vload_of(g->c.data, g->c.type, at + j, n);
        if (finish == VJ_FINISH_GELU) {
            if (g->pre.data) {
                vstore_to(g->pre.data, g->pre.type, at + j, v, n);
                if (g->pre.type == VJ_TYPE_BF16) v = vround_bf16(v);
            }
            v = vgelu(v);
        } else if (finish == VJ_FINISH_GELU_GRADIENT) {
            vf x = vload_of(g->pre.data, g->pre.type, at + j, n), below, density = vnormal(x, &below);
            v *= below + x * density;
            if (g->hidden.data) vstore_to(g->hidden.data, g->hidden.type, at + j, x * below, n);
        }
        vstore_to(g->c.data, g->c.type, at + j, v, n);
    }
}

/* rows x columns of finished sums, `stride` apart, that belong at (row, column) of the result. */
static void finish_sums(const vj_product *g, const float *sums, int64_t stride, int64_t row, int64_t rows,
                        int64_t column, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++, sums += stride) {
        const int64_t at = (row + i) * g->N + column;
        const float *residual = g->residual ? g->residual + (row + i) % g->residual_rows * g->N + column : NULL;
        if (g->finish == VJ_FINISH_GELU)
            finish_row(g, VJ_FINISH_GELU, sums, at, column, residual, columns);
        else if (g->finish == VJ_FINISH_GELU_GRADIENT)
            finish_row(g, VJ_FINISH_GELU_GRADIENT, sums, at, column, residual, columns);
        else
            finish_row(g, VJ_FINISH_PLAIN, sums, at, column, residual, columns);
    }
}

/* One unit of A with one unit of B over one block of depth. */
static void multiply_units(const plan *pl, int64_t rows, int64_t columns, int64_t depth, const float *a, const float *b,
                           float *t, int64_t ldt, bool accumulate)
{
    const int nv = (int)parts(columns, LANES), panel = pack_rows(pl->mode);
    for (int64_t i = 0; i < rows; i += panel, a += panel * depth, t += panel * ldt)
        if (pl->mode == PACK_PAIRS)
            VJ_CPU(tile_pairs)(rows - i, nv, depth, a, b, t, ldt, accumulate);
        else
            VJ_CPU(tile)(rows - i, nv, depth, a, b, t, ldt, accumulate);
}

/* Run unit `s` of the shared operand past the `count` units of the private block that begins at unit `first`. */
static void multiply_past(const plan *pl, int64_t s, const float *own, int64_t first, int64_t count, float *strip)
{
    const vj_product *g = pl->product;
    const int64_t a_panel = pl->a_unit * pl->panel_lanes, b_panel = pl->b_unit * pl->panel_lanes;
    const int64_t stride = (pl->share_a ? count : 1) * pl->b_unit;
    int64_t lanes = 0; /* of depth that are done */
    for (int64_t q = 0; q < pl->blocks; q++) {
        const int64_t depth = pack_depth(pl->mode, values_in(pl, q));
        for (int64_t i = 0; i < count; i++) {
            const int64_t ua = pl->share_a ? s : first + i, ub = pl->share_a ? first + i : s;
            const float *a = (pl->share_a ? pl->shared + s * a_panel : own + i * a_panel) + lanes * pl->a_unit;
            const float *b = (pl->share_a ? own + i * b_panel : pl->shared + s * b_panel) + lanes * pl->b_unit;
            float *t = strip + i * (pl->share_a ? pl->b_unit : pl->a_unit * stride);
            multiply_units(pl, least(pl->a_unit, g->M - ua * pl->a_unit), least(pl->b_unit, g->N - ub * pl->b_unit),
                           depth, a, b, t, stride, q > 0);
        }
        lanes += depth;
    }
    const int64_t row = (pl->share_a ? s : first) * pl->a_unit, column = (pl->share_a ? first : s) * pl->b_unit;
    finish_sums(g, strip, stride, row, least((pl->share_a ? 1 : count) * pl->a_unit, g->M - row), column,
                least((pl->share_a ? count : 1) * pl->b_unit, g->N - column));
}

static plan cut(const vj_product *g, int64_t from, int64_t depth, pack_mode mode, int threads)
{
    plan pl = {.product = g, .mode = mode, .from = from, .depth = depth};
    pl.values = whole_lanes(parts(depth, parts(depth, STEP * (mode == PACK_PAIRS ? PAIR : 1))));
    pl.blocks = parts(depth, pl.values);
    pl.panel_lanes = (pl.blocks - 1) * pack_depth(mode, pl.values) + pack_depth(mode, values_in(&pl, pl.blocks - 1));
    pl.a_unit = pack_unit(mode);
    pl.b_unit = pack_columns(mode);
    pl.a_units = parts(g->M, pl.a_unit);
    pl.b_units = parts(g->N, pl.b_unit);
    pl.share_a = g->M <= g->N;
    const int width = pl.share_a ? pl.b_unit : pl.a_unit;
    const int64_t units = pl.share_a ? pl.b_units : pl.a_units, fit = PRIVATE / (pl.panel_lanes * width);
    const int64_t tasks = parts(units, fit > 1 ? fit : 1), wanted = TASKS * threads;
    pl.private_units = parts(units, tasks > wanted ? tasks : wanted);
    return pl;
}

static void multiply(vj_backend *be, const vj_product *g, int64_t from, int64_t depth)
{
    plan pl = cut(g, from, depth, be->precision == VJ_BF16 ? PACK_PAIRS : PACK_FP32, be->threads);
    const int64_t shared_units = pl.share_a ? pl.a_units : pl.b_units, units = pl.share_a ? pl.b_units : pl.a_units;
    const int64_t shared_unit = (pl.share_a ? pl.a_unit : pl.b_unit) * pl.panel_lanes;
    const int64_t own_unit = (pl.share_a ? pl.b_unit : pl.a_unit) * pl.panel_lanes;
    const int64_t own_floats = parts(pl.private_units * own_unit, LANES) * LANES;
    const int64_t strip_floats = pl.private_units * pl.a_unit * pl.b_unit;
    pl.shared = vj_scratch(be, shared_units * shared_unit + LANES + be->threads * (own_floats + strip_floats));
    if (!pl.shared) return;
    float *rooms = pl.shared + parts(shared_units * shared_unit, LANES) * LANES;

#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    {
        float *own = rooms + omp_get_thread_num() * (own_floats + strip_floats), *strip = own + own_floats;
        vtiles_begin();
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < shared_units; s++) pack_panel(&pl, pl.share_a, pl.shared + s * shared_unit, s);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < units; first += pl.private_units) {
            const int64_t count = least(pl.private_units, units - first);
            for (int64_t i = 0; i < count; i++) pack_panel(&pl, !pl.share_a, own + i * own_unit, first + i);
            for (int64_t s = 0; s < shared_units; s++) multiply_past(&pl, s, own, first, count, strip);
        }
        vtiles_end();
    }
}

void VJ_CPU(product)(vj_backend *be, const vj_product *product)
{
    /* A deep product is cut in spans of depth that are summed in the result, where that holds plain floats. */
    const int64_t unit = be->precision == VJ_BF16 ? PAIR : 1;
    const bool plain = product->finish == VJ_FINISH_PLAIN && product->c.type == VJ_TYPE_F32;
    const int64_t depth = plain ? whole_lanes(parts(product->K, parts(product->K, SPAN * unit))) : product->K;
    vj_product span = *product;
    for (int64_t k = 0; k < product->K; k += depth) {
        multiply(be, &span, k, least(depth, product->K - k));
        span.accumulate = true;
        span.bias = span.residual = NULL;
    }
}
