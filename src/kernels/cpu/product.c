/*
 * The matrix product behind all linear layers: packed, blocked, register-tiled (Goto, van de Geijn 2008).
 *
 * One operand is shared: all threads together pack it whole, once. It is the one with fewer rows or columns, so that it
 * is small next to the result. The other is cut into private blocks that fit a second-level cache. Each free thread
 * takes the next block, packs it for itself, and multiplies it with the shared operand, panel by panel. So large
 * operands are read from memory once, and a thread that lost its core for a while only takes fewer blocks.
 *
 * One thread sums an element of the result over the depth in a fixed order: it does not depend on the number of
 * threads.
 */
#include <omp.h>

#include "cpu.h"
#include "finish.h"
#include "library.h"
#include "panels.h"
#include "tile.h"

enum {
    STEP = PAIR_DEPTH > 1 ? 128 : 256, /* lanes of depth in a block: its panel stays in the first-level cache */
    PRIVATE = 192 << 10,               /* most lanes of a private block; more gain nothing, */
    PRIVATE_QUARTERS = 3,              /* nor does more than this of its second-level cache */
    PARTS_STEP = 1280,         /* values of depth in a block of floats in parts: tiles are faster in long blocks, */
    PARTS_PRIVATE = 320 << 10, /* and with larger private blocks less comes from beyond that cache, */
    PARTS_EIGHTHS = 5,         /* of which they take this */
    TILES_PRIVATE = 256 << 10, /* lanes of a private block of pairs for tiles and of the sums kept beside it */
    SPAN = 1280,               /* lanes of depth at a time, if partial sums can be kept in the result */
    RUN = 192,                 /* columns of the result written together, */
    TILES_RUN = 96,            /* fewer with tiles: they are so fast that sums have to stay in that cache */
    HEIGHT = 32,               /* rows of it for which a panel of B is used while it is in the first-level cache */
    GROUP = 8,                 /* units of the shared operand packed together */
    SHARE = 2                  /* a block is at most 1 / (SHARE * threads) of what is left */
};

/* How one product is cut. */
typedef struct {
    const vj_product *product;
    pack_mode mode;
    int64_t from, depth; /* values of depth in this span */
    bool more;           /* other spans will be added to the result */
    int64_t values;      /* of depth in a block of the span; the last block may have less */
    int64_t blocks;      /* of depth */
    int64_t panel_lanes; /* depth of a whole panel, in lanes */
    int a_unit, b_unit;  /* rows and columns of a panel */
    int64_t a_units, b_units;
    bool share_a;
    int64_t private_units; /* in the largest private block */
    int64_t whole;         /* private blocks are multiples of this many units */
    float *shared;
} plan;

/* Round values of depth up so that only the last block of the depth has padding. */
static int64_t whole_lanes(int64_t values)
{
    return parts(values, PAIR_DEPTH * PAIR) * PAIR_DEPTH * PAIR;
}

static int64_t values_in(const plan *pl, int64_t block)
{
    return least(pl->values, pl->depth - block * pl->values);
}

/* Pack `units` units (panels) of A or B over the whole depth, each as a sequence of blocks of depth. */
static void pack_units(const plan *pl, bool of_a, float *to, int64_t unit, int64_t units)
{
    const vj_product *g = pl->product;
    const int width = of_a ? pl->a_unit : pl->b_unit;
    const int64_t stride = width * pl->panel_lanes;
    const int64_t first = unit * width, count = least(units * width, (of_a ? g->M : g->N) - first);
    for (int64_t q = 0; q < pl->blocks; q++) {
        const int64_t k = pl->from + q * pl->values, values = values_in(pl, q);
        if (of_a && g->a_transposed) VJ_CPU(pack_a_columns)
        (to, stride, matrix_at(g->a.data, g->a.type, g->M, k, first), count, values, pl->mode);
        else if (of_a)
            VJ_CPU(pack_a_rows)(to, stride, matrix_at(g->a.data, g->a.type, g->K, first, k), count, values, pl->mode);
        else if (g->b_transposed)
            VJ_CPU(pack_b_rows)(to, stride, matrix_at(g->b.data, g->b.type, g->K, first, k), count, values, pl->mode);
        else VJ_CPU(pack_b_columns)(to, stride, matrix_at(g->b.data, g->b.type, g->N, k, first), count, values,
                                    pl->mode);
        to += width * pack_depth(pl->mode, values);
    }
}

/* Multiply one unit of A with one unit of B over one block of depth. Meanwhile the next unit of A, at a_next, and
 * `ahead` floats at `next` are prefetched. */
static void multiply_units(const plan *pl, int64_t rows, int64_t columns, int64_t depth, const float *a, const float *b,
                           float *t, int64_t ldt, bool accumulate, const float *a_next, const float *next,
                           int64_t ahead)
{
    const int nv = (int)parts(columns, LANES);
    VJ_CPU(tile)(pl->mode, rows, nv, depth, a, b, t, ldt, accumulate, a_next, next, ahead);
}

/* Return the floats between the rows of a strip. A tile's rows must not lie at multiples of a power of two, where the
 * first-level cache has few places for them. */
static int64_t strip_stride(pack_mode mode, int64_t columns)
{
    return columns + (in_tiles(mode) ? LINE : 0);
}

/* Compute a rectangle of the result: na units of A from unit ua on, packed at `a`, times nb units of B. */
static void multiply_rectangle(const plan *pl, int64_t ua, int64_t na, const float *a, int64_t ub, int64_t nb,
                               const float *b, float *strip)
{
    const vj_product *g = pl->product;
    const int64_t row = ua * pl->a_unit, rows = least(na * pl->a_unit, g->M - row);
    const int64_t column = ub * pl->b_unit, columns = least(nb * pl->b_unit, g->N - column);
    const int64_t stride = strip_stride(pl->mode, nb * pl->b_unit);
    /* Prefetch the next block of depth of the shared operand's units, or the units that follow: they are in memory. */
    const float *const shared = pl->share_a ? a : b;
    const int64_t width = pl->share_a ? pl->a_unit : pl->b_unit, units = pl->share_a ? na : nb;
    const int64_t passes = pl->share_a ? nb : na; /* how often each shared unit is used */
    int64_t done = 0;                             /* lanes of depth */
    for (int64_t q = 0; q < pl->blocks; q++) {
        const int64_t depth = pack_depth(pl->mode, values_in(pl, q)), piece = parts(width * depth, passes);
        for (int64_t j = 0; j < nb; j++)
            for (int64_t i = 0; i < na; i++) {
                const int64_t unit = pl->share_a ? i : j, pass = pl->share_a ? j : i;
                const int64_t ahead =
                    q + 1 < pl->blocks ? unit * pl->panel_lanes + done + depth : (unit + units) * pl->panel_lanes;
                multiply_units(
                    pl, least(pl->a_unit, rows - i * pl->a_unit), least(pl->b_unit, columns - j * pl->b_unit), depth,
                    a + (i * pl->panel_lanes + done) * pl->a_unit, b + (j * pl->panel_lanes + done) * pl->b_unit,
                    strip + i * pl->a_unit * stride + j * pl->b_unit, stride, q > 0,
                    a + ((i + 1 < na ? i + 1 : 0) * pl->panel_lanes + done) * pl->a_unit,
                    shared + ahead * width + pass * piece, piece);
            }
        done += depth;
    }
    VJ_CPU(finish_sums)(g, strip, stride, row, rows, column, columns, pl->more);
}

/* Return the lanes of a private block. No result depends on it. */
static int64_t private_lanes(const vj_backend *be, pack_mode mode)
{
    const int64_t cache = vj_cpu_of(be)->cache_floats;
    if (mode == PACK_PARTS) return least(PARTS_PRIVATE, cache * PARTS_EIGHTHS / 8);
    return least(in_tiles(mode) ? TILES_PRIVATE : PRIVATE, cache * PRIVATE_QUARTERS / 4);
}

/* Return how many units of B have whole cache lines of a float result: a line that two blocks share is written twice,
 * which costs most if results are written past the caches. */
static int64_t units_of_lines(int b_unit)
{
    int64_t units = 1;
    while (units * b_unit % LINE != 0) units++;
    return units;
}

static plan cut(const vj_backend *be, const vj_product *g, int64_t from, int64_t depth, pack_mode mode)
{
    plan pl = {.product = g, .mode = mode, .from = from, .depth = depth, .more = from + depth < g->K};
    const int64_t step = mode == PACK_PARTS ? PARTS_STEP : STEP * (mode == PACK_PAIRS ? PAIR : 1);
    pl.values = whole_lanes(parts(depth, parts(depth, step)));
    pl.blocks = parts(depth, pl.values);
    pl.panel_lanes = (pl.blocks - 1) * pack_depth(mode, pl.values) + pack_depth(mode, values_in(&pl, pl.blocks - 1));
    pl.a_unit = pack_rows(mode);
    pl.b_unit = pack_columns(mode);
    pl.a_units = parts(g->M, pl.a_unit);
    pl.b_units = parts(g->N, pl.b_unit);
    pl.share_a = g->M <= g->N;
    const int width = pl.share_a ? pl.b_unit : pl.a_unit;
    const int64_t units = pl.share_a ? pl.b_units : pl.a_units;
    const int64_t waiting = in_tiles(mode) && !pl.share_a ? TILES_RUN : 0; /* sums of a row of the block */
    const int64_t fit = private_lanes(be, mode) / ((pl.panel_lanes + waiting) * width);
    pl.whole = pl.share_a ? units_of_lines(pl.b_unit) : 1;
    const int64_t most = least(fit > 1 ? fit : 1, parts(units, SHARE * be->threads));
    pl.private_units = most > pl.whole ? most / pl.whole * pl.whole : most;
    return pl;
}

/* Take the next private block for a thread; returns its units. Blocks get smaller towards the end, so that all threads
 * finish at about the same time. */
static int64_t take_units(int64_t *taken, int64_t units, const plan *pl, int threads, int64_t *first)
{
    int64_t count;
#pragma omp critical(vj_product_units)
    {
        count = least(pl->private_units, parts(parts(units - *taken, SHARE * threads), pl->whole) * pl->whole);
        count = least(count, units - *taken);
        *first = *taken;
        *taken += count;
    }
    return count;
}

/*
 * Return how many units of the shared operand are multiplied with a private block together: enough for results to be
 * written in long runs, and for a panel of B to be used more than once while it is in the first-level cache. Tiles
 * (AMX) load their panels from the second.
 */
static int64_t together_of(const plan *pl)
{
    if (!pl->share_a) return parts(in_tiles(pl->mode) ? TILES_RUN : RUN, pl->b_unit);
    return PAIR_DEPTH > 1 && pl->mode != PACK_FP32 ? 1 : parts(HEIGHT, pl->a_unit);
}

static void multiply(vj_backend *be, const vj_product *g, int64_t from, int64_t depth)
{
    const pack_mode mode = be->precision == VJ_BF16 ? PACK_PAIRS : PACK_FLOATS;
    plan pl = cut(be, g, from, depth, mode);
    const int64_t shared_units = pl.share_a ? pl.a_units : pl.b_units, units = pl.share_a ? pl.b_units : pl.a_units;
    const int64_t shared_unit = (pl.share_a ? pl.a_unit : pl.b_unit) * pl.panel_lanes;
    const int64_t own_unit = (pl.share_a ? pl.b_unit : pl.a_unit) * pl.panel_lanes;
    const int64_t own_floats = parts(pl.private_units * own_unit, LANES) * LANES;
    const int64_t together = together_of(&pl);
    const int64_t strip_rows = (pl.share_a ? together : pl.private_units) * pl.a_unit;
    const int64_t strip_columns = (pl.share_a ? pl.private_units : together) * pl.b_unit;
    const int64_t strip_floats = strip_rows * strip_stride(mode, strip_columns);
    pl.shared = vj_scratch(be, shared_units * shared_unit + LANES + be->threads * (own_floats + strip_floats));
    if (!pl.shared) return;
    float *rooms = pl.shared + parts(shared_units * shared_unit, LANES) * LANES;
    int64_t taken = 0;

#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    {
        float *own = rooms + omp_get_thread_num() * (own_floats + strip_floats), *strip = own + own_floats;
        vtiles_begin();
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < shared_units; s += GROUP)
            pack_units(&pl, pl.share_a, pl.shared + s * shared_unit, s, least(GROUP, shared_units - s));
        for (int64_t first, count; (count = take_units(&taken, units, &pl, be->threads, &first)) > 0;) {
            pack_units(&pl, !pl.share_a, own, first, count);
            for (int64_t s = 0; s < shared_units; s += together) {
                const float *shared = pl.shared + s * shared_unit;
                const int64_t run = least(together, shared_units - s);
                if (pl.share_a)
                    multiply_rectangle(&pl, s, run, shared, first, count, own, strip);
                else
                    multiply_rectangle(&pl, first, count, own, s, run, shared, strip);
            }
        }
        vstreamed();
        vtiles_end();
    }
}

static void own_product(vj_backend *be, const vj_product *product)
{
    /* A deep product is divided into spans of depth that are summed in the result, if that holds plain floats. */
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

void VJ_CPU(product)(vj_backend *be, const vj_product *product)
{
    if (VJ_CPU(library_takes)(be, product))
        VJ_CPU(library_product)(be, product);
    else
        own_product(be, product);
    if (product->sums) VJ_CPU(column_sums)(be, product->sums, product->c, product->add_to_sums, product->M, product->N);
}
