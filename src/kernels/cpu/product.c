/*
 * The matrix product behind all linear layers: packed, blocked, register-tiled (Goto, van de Geijn 2008).
 *
 * One operand is shared: all threads together pack it whole, once. It is the one with fewer rows or columns (or B, if
 * rows of A are multiplied where they are), so that it is small next to the result. The other is cut into private
 * blocks that fit a second-level cache. Each free thread takes the next block, packs it for itself, and multiplies it
 * with the shared operand, panel by panel. So large operands are read from memory once, and a thread that lost its core
 * for a while only takes fewer blocks.
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
    PARTS_STEP = 1280,            /* values of depth in a block of floats in parts: tiles are faster in long blocks, */
    PARTS_PRIVATE = 320 << 10,    /* and with larger private blocks less comes from beyond that cache, */
    PARTS_EIGHTHS = 5,            /* of which they take this */
    TILES_PRIVATE = 256 << 10,    /* lanes of a private block of pairs for tiles and of the sums kept beside it */
    SPAN = 1280,                  /* lanes of depth at a time, if partial sums can be kept in the result */
    RUN = 192,                    /* columns of the result written together, */
    TILES_RUN = 96,               /* fewer with tiles: they are so fast that sums have to stay in that cache */
    HEIGHT = LANES > 8 ? 64 : 32, /* rows of it for which a panel of B is used while it is in the first-level cache */
    NARROW = 2,                   /* B of a product in place takes at most 1 / NARROW of the second-level cache */
    GROUP = 8,                    /* units of the shared operand packed together */
    SHARE = 2                     /* a block is at most 1 / (SHARE * threads) of what is left */
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
    bool in_place;         /* rows of A are multiplied where they are: they are not packed */
    int64_t taken_units;   /* units of the private operand that a thread takes at a time, at most */
    int64_t private_units; /* of them in the largest private block */
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

/* Return the floats between the rows of a strip. A tile's rows must not lie at multiples of a power of two, where the
 * first-level cache has few places for them. */
static int64_t strip_stride(pack_mode mode, int64_t columns)
{
    return columns + (in_tiles(mode) ? LINE : 0);
}

/* Return the lane of A at a value of the depth, in the first row of a unit, for rows that are multiplied in place. */
static const float *in_place_at(const plan *pl, int64_t unit, int64_t value)
{
    return (const float *)pl->product->a.data + (unit * pl->a_unit * pl->product->K + value) / pack_lane(pl->mode);
}

/* Multiply `rows` rows of A, from unit ua on, with a panel of B over a block of depth that begins at `value`. The rows
 * are packed at `a`, or (in_place) only those of a last unit that is not whole, since nothing may be read behind them.
 */
static void multiply_panel(const plan *pl, int64_t ua, int64_t rows, int64_t value, int64_t depth, const float *a,
                           const float *b, int nv, float *t, int64_t ldt, bool accumulate, const prefetch *ahead)
{
    const int64_t stride = pl->panel_lanes * pl->a_unit, row = pl->product->K / pack_lane(pl->mode);
    const int64_t units = pl->in_place ? rows / pl->a_unit : 0, done = units * pl->a_unit;
    if (units > 0) VJ_CPU(tile_rows)
    (pl->mode, done, nv, depth, in_place_at(pl, ua, pl->from + value), row, b, t, ldt, accumulate, ahead);
    if (done < rows) VJ_CPU(tile)
    (pl->mode, rows - done, nv, depth, a + units * stride, stride, b, t + done * ldt, ldt, accumulate, ahead);
}

/* Compute a rectangle of the result: na units of A from unit ua on, packed at `a`, times nb units of B. */
static void multiply_rectangle(const plan *pl, int64_t ua, int64_t na, const float *a, int64_t ub, int64_t nb,
                               const float *b, float *strip)
{
    const vj_product *g = pl->product;
    const int64_t row = ua * pl->a_unit, rows = least(na * pl->a_unit, g->M - row);
    const int64_t column = ub * pl->b_unit, columns = least(nb * pl->b_unit, g->N - column);
    const int64_t stride = strip_stride(pl->mode, nb * pl->b_unit);
    int64_t done = 0; /* lanes of depth */
    for (int64_t q = 0; q < pl->blocks; q++) {
        const int64_t depth = pack_depth(pl->mode, values_in(pl, q));
        /* Prefetch the next block of depth of the shared operand's units, or the units that follow: they are in memory.
         * Each is used several times, and a part of it is prefetched each time. */
        const int64_t a_ahead = q + 1 < pl->blocks ? done + depth : na * pl->panel_lanes;
        const int64_t b_ahead = q + 1 < pl->blocks ? done + depth : nb * pl->panel_lanes;
        const int64_t a_piece = parts(pl->a_unit * depth, nb), b_piece = parts(pl->b_unit * depth, na);
        for (int64_t j = 0; j < nb; j++) {
            const prefetch of_a = {a + a_ahead * pl->a_unit + j * a_piece, a_piece, pl->panel_lanes * pl->a_unit};
            const prefetch of_b = {b + (j * pl->panel_lanes + b_ahead) * pl->b_unit, b_piece, b_piece};
            /* In place: the rows of A that follow, since B is in the second-level cache anyway. */
            const int64_t rows_piece = parts(rows * g->K / pack_lane(pl->mode), pl->blocks * nb * na);
            const prefetch of_rows = {in_place_at(pl, ua + na, pl->from) + (q * nb + j) * na * rows_piece, rows_piece,
                                      rows_piece};
            const int nv = (int)parts(least(pl->b_unit, columns - j * pl->b_unit), LANES);
            multiply_panel(pl, ua, rows, q * pl->values, depth, a + done * pl->a_unit,
                           b + (j * pl->panel_lanes + done) * pl->b_unit, nv, strip + j * pl->b_unit, stride, q > 0,
                           pl->in_place  ? &of_rows
                           : pl->share_a ? &of_a
                                         : &of_b);
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

/* Return whether the values of A, row by row, are the lanes that tiles read. */
static bool is_in_lanes(const plan *pl)
{
    const vj_product *g = pl->product;
    if (g->a_transposed || PAIR_DEPTH > 1) return false;
    if (pl->mode == PACK_FP32) return g->a.type == VJ_TYPE_F32;
    return PAIR > 1 && g->a.type == VJ_TYPE_BF16 && g->K % PAIR == 0;
}

/*
 * Return whether rows of A are multiplied where they are. Packing them takes a tenth of the time if they meet few
 * columns. This pays for narrow products of many rows, of which B as a whole stays in the second-level cache: B is
 * shared then, and a private block has so few rows that it and its sums stay in the first-level cache. A tile reads
 * whole units of rows, and more if it is narrower than a unit of B. No result depends on it.
 */
static bool is_in_place(const vj_backend *be, const plan *pl)
{
    const vj_product *g = pl->product;
    return LANES > MR && (MR <= 4 || vj_cpu_of(be)->rows_in_place) && is_in_lanes(pl) && g->N % pl->b_unit == 0 &&
           g->M >= SHARE * HEIGHT * be->threads && g->N * pl->panel_lanes <= vj_cpu_of(be)->cache_floats / NARROW;
}

/* Return whether A is the shared operand: the smaller one, unless the other has so few units that threads would wait
 * for one another. No result depends on it. */
static bool shares_a(const vj_backend *be, const plan *pl)
{
    const int64_t enough = 2 * SHARE * be->threads;
    if (pl->a_units < enough || pl->b_units < enough) return pl->a_units < pl->b_units;
    return pl->product->M <= pl->product->N;
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
    pl.in_place = is_in_place(be, &pl);
    pl.share_a = !pl.in_place && shares_a(be, &pl);
    const int width = pl.share_a ? pl.b_unit : pl.a_unit;
    const int64_t units = pl.share_a ? pl.b_units : pl.a_units;
    const int64_t waiting = in_tiles(mode) && !pl.share_a ? TILES_RUN : 0; /* sums of a row of the block */
    const int64_t fit = private_lanes(be, mode) / ((pl.panel_lanes + waiting) * width);
    pl.whole = pl.share_a ? units_of_lines(pl.b_unit) : 1;
    const int64_t most = least(fit > 1 ? fit : 1, parts(units, SHARE * be->threads));
    pl.taken_units = pl.private_units = most > pl.whole ? most / pl.whole * pl.whole : most;
    if (pl.in_place) pl.private_units = least(most, parts(HEIGHT, pl.a_unit));
    return pl;
}

/* Take the next private block for a thread; returns its units. Blocks get smaller towards the end, so that all threads
 * finish at about the same time. */
static int64_t take_units(int64_t *given, int64_t units, const plan *pl, int threads, int64_t *first)
{
    int64_t count;
#pragma omp critical(vj_product_units)
    {
        count = least(pl->taken_units, parts(parts(units - *given, SHARE * threads), pl->whole) * pl->whole);
        count = least(count, units - *given);
        *first = *given;
        *given += count;
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

/* Multiply a private block, `count` units from `first` on, with the whole shared operand. */
static void multiply_block(const plan *pl, int64_t first, int64_t count, float *own, float *strip)
{
    const int64_t together = together_of(pl), shared_units = pl->share_a ? pl->a_units : pl->b_units;
    const int64_t shared_unit = (pl->share_a ? pl->a_unit : pl->b_unit) * pl->panel_lanes;
    if (!pl->in_place)
        pack_units(pl, !pl->share_a, own, first, count);
    else if ((first + count) * pl->a_unit > pl->product->M) /* the last unit is not whole */
        pack_units(pl, true, own + (count - 1) * pl->a_unit * pl->panel_lanes, first + count - 1, 1);
    for (int64_t s = 0; s < shared_units; s += together) {
        const float *shared = pl->shared + s * shared_unit;
        const int64_t run = least(together, shared_units - s);
        if (pl->share_a)
            multiply_rectangle(pl, s, run, shared, first, count, own, strip);
        else
            multiply_rectangle(pl, first, count, own, s, run, shared, strip);
    }
}

static void multiply(vj_backend *be, const vj_product *g, int64_t from, int64_t depth)
{
    const pack_mode mode = be->precision == VJ_BF16 ? PACK_PAIRS : PACK_FLOATS;
    plan pl = cut(be, g, from, depth, mode);
    const int64_t shared_units = pl.share_a ? pl.a_units : pl.b_units, units = pl.share_a ? pl.b_units : pl.a_units;
    const int64_t shared_unit = (pl.share_a ? pl.a_unit : pl.b_unit) * pl.panel_lanes;
    const int64_t own_unit = (pl.share_a ? pl.b_unit : pl.a_unit) * pl.panel_lanes;
    const int64_t own_floats = parts(pl.private_units * own_unit, LANES) * LANES;
    const int64_t together = together_of(&pl), group = least(GROUP, parts(shared_units, be->threads));
    const int64_t strip_rows = (pl.share_a ? together : pl.private_units) * pl.a_unit;
    const int64_t strip_columns = (pl.share_a ? pl.private_units : together) * pl.b_unit;
    const int64_t strip_floats = strip_rows * strip_stride(mode, strip_columns);
    pl.shared = vj_scratch(be, shared_units * shared_unit + LANES + be->threads * (own_floats + strip_floats));
    if (!pl.shared) return;
    float *rooms = pl.shared + parts(shared_units * shared_unit, LANES) * LANES;
    int64_t given = 0; /* units of the private operand that threads have taken */

#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    {
        float *own = rooms + omp_get_thread_num() * (own_floats + strip_floats), *strip = own + own_floats;
        vtiles_begin();
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < shared_units; s += group)
            pack_units(&pl, pl.share_a, pl.shared + s * shared_unit, s, least(group, shared_units - s));
        for (int64_t first, taken; (taken = take_units(&given, units, &pl, be->threads, &first)) > 0;)
            for (const int64_t end = first + taken; first < end; first += pl.private_units)
                multiply_block(&pl, first, least(pl.private_units, end - first), own, strip);
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
