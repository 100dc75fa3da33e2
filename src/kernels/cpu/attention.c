/*
 * Self-attention inside segments, tile by tile (Dao 2022): nothing of size S x S exists. A thread takes one head of one
 * segment at a time. Vectors run over queries: a tile of scores is [key, query], so maximum and sum over the keys need
 * no step across lanes, and the tile is almost in the packed form that the next products need.
 *
 * Each function below exists twice, for floats (vectors of them, or their bf16 parts) and for pairs of bf16 (`mode`, a
 * constant after inlining). Scores are converted to base 2 by the factor that scales them, at no cost.
 */
#include <math.h>
#include <omp.h>

#include "cpu.h"
#include "panels.h"
#include "tile.h"
#include "vector.h"

/* One head of one segment. */
typedef struct {
    matrix q, k, v;
    int64_t S; /* tokens */
    int d;     /* width of the head */
    float scale;
} head;

static matrix below(matrix m, int64_t rows)
{
    return matrix_at(m.at, m.type, m.stride, rows, 0);
}

static head take_head(vj_array qkv, int64_t first, int64_t S, int D, int heads, int h)
{
    const int d = D / heads;
    const int64_t stride = 3 * (int64_t)D;
    return (head){.q = matrix_at(qkv.data, qkv.type, stride, first, h * d),
                  .k = matrix_at(qkv.data, qkv.type, stride, first, D + h * d),
                  .v = matrix_at(qkv.data, qkv.type, stride, first, 2 * (int64_t)D + h * d),
                  .S = S,
                  .d = d,
                  .scale = 1 / sqrtf((float)d)};
}

/* Without bf16 instructions rounding scores to bf16 would only cost time: they stay floats. */
static pack_mode mode_of(const vj_backend *be)
{
    return be->precision == VJ_BF16 && PAIR > 1 ? PACK_PAIRS : PACK_FLOATS;
}

/* Return the keys of a tile of scores, a multiple of the rows of a panel. The tile and what is used with it stay in the
 * first-level cache or, if tiles multiply, come from the second without waiting. */
VJ_INLINE int keys_of(pack_mode mode)
{
    if (PAIR_DEPTH == 1 || mode == PACK_FP32) return 60;
    return mode == PACK_PAIRS ? 256 : 64;
}
_Static_assert(60 % MR == 0 && (PAIR_DEPTH > 1 || 60 % PAIR_MR == 0) && 64 % 32 == 0, "a tile of keys is whole panels");
/* Strips (tiles of queries) that backward multiplies with the keys together. */
enum { MAX_STRIPS = 4 };
VJ_INLINE int strips_of(pack_mode mode)
{
    return PAIR_DEPTH > 1 && mode != PACK_FP32 ? MAX_STRIPS : 3;
}

/* Return the queries of the next tile if `left` remain: the last two tiles get similar widths, so that none is very
 * narrow. */
VJ_INLINE int64_t queries_next(pack_mode mode, int64_t left)
{
    const int64_t most = pack_columns(mode) / LANES, vectors = parts(left, LANES);
    return least(left, (vectors == most + 1 ? parts(most + 1, 2) : least(most, vectors)) * LANES);
}

/* t [rows, nv vectors] (+)= product of `rows` rows of packed panels `a` and the packed panel `b` over `depth` lanes. */
VJ_INLINE void panels_times(pack_mode mode, float *t, int64_t ldt, const float *a, const float *b, int64_t rows,
                            int64_t depth, int nv, bool accumulate)
{
    VJ_CPU(tile)(mode, rows, nv, depth, a, pack_rows(mode) * depth, b, t, ldt, accumulate, NULL);
}

/* Prefetch `count` rows from row `first` on, those of the next tile of queries: they are short and far apart. */
static void ask_queries(matrix m, int64_t first, int64_t count, int d)
{
    const int64_t bytes = vj_type_bytes(m.type), line = LINE * (int64_t)sizeof(float);
    for (int64_t i = first; i < first + count; i++) {
        const char *row = (const char *)m.at + i * m.stride * bytes;
        for (int64_t x = 0; x < d * bytes; x += line) __builtin_prefetch(row + x, 0, 3);
    }
}

/* Pack the keys (or values) with their width as the depth: a panel row is a key. */
VJ_INLINE void pack_keys(pack_mode mode, float *to, matrix k, int64_t S, int d)
{
    VJ_CPU(pack_a_rows)(to, pack_panel(mode, pack_rows(mode), d), k, S, d, mode);
}

/* Pack them with the keys as the depth, one tile of keys after the other: a panel row is a dimension. */
VJ_INLINE void pack_over_keys(pack_mode mode, float *to, matrix k, int64_t S, int d)
{
    for (int64_t key = 0; key < S; key += keys_of(mode)) {
        const int64_t kn = least(keys_of(mode), S - key);
        VJ_CPU(pack_a_columns)(to, pack_panel(mode, pack_rows(mode), kn), below(k, key), d, kn, mode);
        to += pack_round(mode, d) * pack_depth(mode, kn);
    }
}
VJ_INLINE int64_t over_keys_at(pack_mode mode, int64_t key, int d)
{
    return key / keys_of(mode) * pack_round(mode, d) * pack_depth(mode, keys_of(mode));
}

/* Write o[dim, query] * factor[query] to rows of `to`, transposed, for n queries. */
VJ_INLINE void store_turned(matrix to, const float *o, int64_t ldo, const float *factor, int64_t n, int d)
{
    for (int64_t query = 0; query < n; query += LANES)
        for (int dim = 0; dim < d; dim += LANES) {
            vf r[LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = dim + i < d ? vload(o + (dim + i) * ldo + query) * vload(factor + query) : vset(0);
            vtranspose(r);
            for (int i = 0; i < least(LANES, n - query); i++)
                vstore_to((void *)(uintptr_t)to.at, to.type, (query + i) * to.stride + dim, r[i], d - dim);
        }
}

static float *carve(float **room, int64_t floats)
{
    float *piece = *room;
    *room += parts(floats, LANES) * LANES;
    return piece;
}

VJ_INLINE vf vexp2_for(pack_mode mode, vf x)
{
#if defined(VJ_HAS_AVX512BF16)
    if (mode == PACK_PAIRS) return vexp2_rough(x);
#endif
    (void)mode;
    return vexp2(x);
}

/* Return how many values of depth a panel of depth `depth` has room for, rounded up to pairs. */
VJ_INLINE int64_t padded_depth(pack_mode mode, int64_t depth)
{
    return parts(pack_depth(mode, depth) / pack_parts(mode) * pack_lane(mode), 2) * 2;
}

/*
 * Store LANES queries of the rows `key` and key + 1 of a tile [key, query] in the B panel of a product over keys. Its
 * parts are `part` floats apart.
 */
VJ_INLINE void store_across(pack_mode mode, float *panel, int64_t part, int64_t key, int column, vf even, vf odd)
{
    const int columns = pack_columns(mode);
    float *const at = panel + key / pack_lane(mode) * columns + column;
#if defined(VJ_HAS_AMX)
    if (mode == PACK_PARTS) {
        vf parts_of[PARTS];
        vsplit(even, odd, parts_of);
        for (int i = 0; i < PARTS; i++) vstore(at + i * part, parts_of[i]);
        return;
    }
#endif
    (void)part;
    if (pack_lane(mode) > 1) {
        vstore(at, vpairs_across(even, odd));
    } else {
        vstore(at, mode == PACK_PAIRS ? vround_bf16(even) : even);
        vstore(at + columns, mode == PACK_PAIRS ? vround_bf16(odd) : odd);
    }
}

/* ------------------------------------------------------------------------------------------------ forward */

/* Working memory of a thread, pieces of one block. */
typedef struct {
    float *k, *v;     /* A panels: keys, depth d; dimensions, depth S in tiles */
    float *q, *t, *o; /* B panel of queries, depth d; scores [keys, columns]; result [d, columns] */
    float *p;         /* B panel of probabilities, depth keys */
} forward_room;

/* Return the floats of all panels of keys, and of all panels of dimensions over all keys, with padding. */
static int64_t keys_floats(pack_mode mode, int64_t S, int d)
{
    return pack_round(mode, S) * pack_depth(mode, d);
}
static int64_t over_keys_floats(pack_mode mode, int64_t S, int d)
{
    return parts(S, keys_of(mode)) * pack_round(mode, d) * pack_depth(mode, keys_of(mode));
}

static int64_t forward_carve(forward_room *m, pack_mode mode, float *room, int64_t S, int d)
{
    const int nq = pack_columns(mode);
    float *const begin = room;
    m->k = carve(&room, keys_floats(mode, S, d));
    m->v = carve(&room, over_keys_floats(mode, S, d));
    m->q = carve(&room, pack_depth(mode, d) * nq);
    m->t = carve(&room, keys_of(mode) * nq);
    m->o = carve(&room, pack_round(mode, d) * nq);
    m->p = carve(&room, pack_depth(mode, keys_of(mode)) * nq);
    return room - begin;
}

/*
 * Add one tile of scores to the running softmax. Probabilities relative to the new maximum `most` (of the unscaled
 * scores) go to panel p, `sum` becomes their sum so far, and `fade` the factor for earlier results.
 */
VJ_INLINE void soften(pack_mode mode, float *p, const float *t, int64_t kn, int nv, float factor, vf *most, vf *sum,
                      vf *fade)
{
    const int nq = pack_columns(mode);
    const int64_t padded = padded_depth(mode, kn), part = pack_depth(mode, kn) / pack_parts(mode) * nq;
    for (int j = 0; j < nv; j++) {
        const float *column = t + j * LANES;
        vf top = most[j], second = top, third = top, fourth = top; /* independent: a maximum takes four cycles */
        int64_t key = 0;
        for (; key + 4 <= kn; key += 4) {
            top = vmax(vload(column + key * nq), top);
            second = vmax(vload(column + (key + 1) * nq), second);
            third = vmax(vload(column + (key + 2) * nq), third);
            fourth = vmax(vload(column + (key + 3) * nq), fourth);
        }
        for (; key < kn; key++) top = vmax(vload(column + key * nq), top);
        top = vmax(vmax(second, top), vmax(fourth, third));
        const vf shift = top * factor;
        fade[j] = vexp2(most[j] * factor - shift);
        most[j] = top;
        vf even = sum[j] * fade[j], odd = vset(0);
        for (key = 0; key + 2 <= kn; key += 2) {
            vf e = vexp2_for(mode, vload(column + key * nq) * factor - shift);
            vf f = vexp2_for(mode, vload(column + (key + 1) * nq) * factor - shift);
            even += e;
            odd += f;
            store_across(mode, p, part, key, j * LANES, e, f);
        }
        if (key < kn) {
            vf e = vexp2_for(mode, vload(column + key * nq) * factor - shift);
            even += e;
            store_across(mode, p, part, key, j * LANES, e, vset(0));
            key += 2;
        }
        for (; key < padded; key += 2) store_across(mode, p, part, key, j * LANES, vset(0), vset(0));
        sum[j] = even + odd;
    }
}

VJ_INLINE void forward_head(pack_mode mode, const head *hd, matrix out, float *lse, int64_t lse_stride,
                            const forward_room *m)
{
    const int d = hd->d, nq = pack_columns(mode);
    const float factor = hd->scale * VJ_LOG2E;
    pack_keys(mode, m->k, hd->k, hd->S, d);
    pack_over_keys(mode, m->v, hd->v, hd->S, d);
    for (int64_t query = 0, n; query < hd->S; query += n) {
        n = queries_next(mode, hd->S - query);
        const int nv = (int)parts(n, LANES);
        ask_queries(hd->q, query + n, least(n, hd->S - query - n), d);
        VJ_CPU(pack_b_rows)(m->q, 0, below(hd->q, query), n, d, mode);

        vf most[NV], sum[NV], fade[NV];
        for (int j = 0; j < nv; j++) most[j] = vset(-1e30f), sum[j] = vset(0);
        for (int64_t key = 0; key < hd->S; key += keys_of(mode)) {
            const int64_t kn = least(keys_of(mode), hd->S - key);
            panels_times(mode, m->t, nq, m->k + key * pack_depth(mode, d), m->q, kn, pack_depth(mode, d), nv, false);
            soften(mode, m->p, m->t, kn, nv, factor, most, sum, fade);
            if (key > 0)
                for (int i = 0; i < d; i++)
                    for (int j = 0; j < nv; j++) {
                        float *o = m->o + i * nq + j * LANES;
                        vstore(o, vload(o) * fade[j]);
                    }
            panels_times(mode, m->o, nq, m->v + over_keys_at(mode, key, d), m->p, d, pack_depth(mode, kn), nv, key > 0);
        }

        float inverse[NR];
        for (int j = 0; j < nv; j++) vstore(inverse + j * LANES, 1.0f / sum[j]);
        store_turned(below(out, query), m->o, nq, inverse, n, d);
        if (lse)
            for (int64_t i = 0; i < n; i++)
                lse[(query + i) * lse_stride] =
                    most[i / LANES][i % LANES] * hd->scale + logf(sum[i / LANES][i % LANES]);
    }
}

void VJ_CPU(attention_forward)(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D,
                               int heads)
{
    const pack_mode mode = mode_of(be);
    const int d = D / heads;
    forward_room measure;
    const int64_t floats = forward_carve(&measure, mode, NULL, rows->longest, d);
    float *rooms = vj_scratch(be, be->threads * floats);
    if (!rooms) return;
#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    {
        vtiles_begin();
#pragma omp for schedule(dynamic)
        for (int task = 0; task < rows->segments * heads; task++) {
            const int h = task % heads;
            const int64_t first = rows->offset[task / heads], S = rows->offset[task / heads + 1] - first;
            const head hd = take_head(qkv, first, S, D, heads, h);
            const matrix to = matrix_at(out.data, out.type, D, first, h * d);
            forward_room m;
            forward_carve(&m, mode, rooms + omp_get_thread_num() * floats, S, d);
            if (mode == PACK_PAIRS)
                forward_head(PACK_PAIRS, &hd, to, lse ? lse + first * heads + h : NULL, heads, &m);
            else
                forward_head(PACK_FLOATS, &hd, to, lse ? lse + first * heads + h : NULL, heads, &m);
        }
        vtiles_end();
    }
}

/* ------------------------------------------------------------------------------------------------ backward */

/* Several strips (tiles of queries) are multiplied with the keys together, so that a product over queries has all of
 * them as its depth. */
typedef struct {
    float *k, *v, *k_over;   /* A panels: keys and values with depth d; key dimensions with depth S */
    float *q, *g;            /* B panels of queries and of dout, depth d: one for each strip */
    float *q_over, *g_over;  /* the same, depth: queries of the strips; a panel has pack_columns() dimensions */
    float *t, *dt;           /* scores; gradients of probabilities [keys, columns] */
    float *p_rows, *ds_rows; /* probabilities and score gradients as rows [keys, lanes of all strips' queries] */
    float *ds;               /* score gradients as a B panel, depth keys */
    float *dq;               /* [d, columns] for each strip */
    float *dk, *dv;          /* [key_rows(), width] */
    int64_t width;           /* d in whole panels */
    int64_t row;             /* lanes between rows of p_rows and ds_rows */
} backward_room;

/* Return the rows of dk and dv: one for each key, and those that tiles may write behind them. */
static int64_t key_rows(pack_mode mode, int64_t S)
{
    return pack_round(mode, S) + MR;
}

static int64_t backward_carve(backward_room *m, pack_mode mode, float *room, int64_t S, int d)
{
    const int nq = pack_columns(mode);
    const int64_t depth = pack_depth(mode, d), lanes = pack_depth(mode, strips_of(mode) * nq);
    float *const begin = room;
    m->width = parts(d, nq) * nq;
    m->row = lanes;
    m->k = carve(&room, keys_floats(mode, S, d));
    m->v = carve(&room, keys_floats(mode, S, d));
    m->k_over = carve(&room, over_keys_floats(mode, S, d));
    m->q = carve(&room, strips_of(mode) * depth * nq);
    m->g = carve(&room, strips_of(mode) * depth * nq);
    m->q_over = carve(&room, m->width * lanes);
    m->g_over = carve(&room, m->width * lanes);
    m->t = carve(&room, keys_of(mode) * nq);
    m->dt = carve(&room, keys_of(mode) * nq);
    m->p_rows = carve(&room, keys_of(mode) * lanes);
    m->ds_rows = carve(&room, keys_of(mode) * lanes);
    m->ds = carve(&room, pack_depth(mode, keys_of(mode)) * nq);
    m->dq = carve(&room, strips_of(mode) * pack_round(mode, d) * nq);
    m->dk = carve(&room, key_rows(mode, S) * m->width);
    m->dv = carve(&room, key_rows(mode, S) * m->width);
    return room - begin;
}

/* Compute for each query of a tile the log-sum-exp in base 2, and dout . out, the mean of the probability gradient. */
VJ_INLINE void query_terms(float *lse2, float *mean, const float *lse, int64_t lse_stride, matrix dout, matrix out,
                           int64_t n, int columns, int d)
{
    for (int64_t i = 0; i < columns; i++) {
        vf sum = vset(0);
        float all = 0;
        if (i < n)
            for (int x = 0; x < d; x += LANES)
                sum += vload_of(dout.at, dout.type, i * dout.stride + x, d - x) *
                       vload_of(out.at, out.type, i * out.stride + x, d - x);
        for (int j = 0; j < LANES; j++) all += sum[j];
        mean[i] = all;
        lse2[i] = i < n ? lse[i * lse_stride] * VJ_LOG2E : 0;
    }
}

/*
 * Store one row [query] of a tile as a row of an A operand whose depth is the queries. Its parts are `part` floats
 * apart; it is padded if tiles need that.
 */
VJ_INLINE void store_along(pack_mode mode, float *row, int64_t part, const vf *x, int nv)
{
    (void)part;
    if (pack_lane(mode) == 1) {
        for (int j = 0; j < nv; j++) vstore(row + j * LANES, mode == PACK_PAIRS ? vround_bf16(x[j]) : x[j]);
        return;
    }
    for (int j = 0; j < nv; j += 2) {
        const bool both = j + 1 < nv;
        const vf second = both ? x[j + 1] : vset(0);
#if defined(VJ_HAS_AMX)
        if (mode == PACK_PARTS) {
            vf even, odd, parts_of[PARTS];
            vunzip(x[j], second, &even, &odd);
            vsplit(even, odd, parts_of);
            for (int i = 0; i < PARTS; i++) vstore(row + i * part + j * LANES / 2, parts_of[i]);
            continue;
        }
#endif
        vstore_part(row + j * LANES / 2, vpairs_along(x[j], second), both || PAIR_DEPTH > 1 ? LANES : LANES / 2);
    }
}

/* Compute probabilities and (unscaled) score gradients from scores t and probability gradients dt, two at a time. */
VJ_INLINE void score_gradients_of(pack_mode mode, int nv, const backward_room *m, int64_t lane, int64_t kn,
                                  float factor, const float *lse2, const float *mean)
{
    const int nq = pack_columns(mode);
    const int64_t padded = padded_depth(mode, kn), part = pack_depth(mode, kn) / pack_parts(mode) * nq;
    /* Copies, because the compiler must assume that the stores below change m. */
    const float *const t = m->t, *const dt = m->dt;
    float *const p_rows = m->p_rows + lane, *const ds_rows = m->ds_rows + lane, *const across = m->ds;
    const int64_t row = m->row;
    vf l[NV], c[NV];
    for (int j = 0; j < nv; j++) l[j] = vload(lse2 + j * LANES), c[j] = vload(mean + j * LANES);
    for (int64_t key = 0; key < padded; key += 2) {
        vf p[2][NV], ds[2][NV];
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) {
                const int64_t at = (key + i) * nq + j * LANES;
                if (key + i < kn) {
                    p[i][j] = vexp2_for(mode, vload(t + at) * factor - l[j]);
                    ds[i][j] = p[i][j] * (vload(dt + at) - c[j]);
                } else {
                    p[i][j] = ds[i][j] = vset(0);
                }
            }
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            store_along(mode, p_rows + (key + i) * row, row / PARTS, p[i], nv);
            store_along(mode, ds_rows + (key + i) * row, row / PARTS, ds[i], nv);
        }
        for (int j = 0; j < nv; j++) store_across(mode, across, part, key, j * LANES, ds[0][j], ds[1][j]);
    }
}

VJ_INLINE void score_gradients(pack_mode mode, int nv, const backward_room *m, int64_t lane, int64_t kn, float factor,
                               const float *lse2, const float *mean)
{
    if (nv == 1)
        score_gradients_of(mode, 1, m, lane, kn, factor, lse2, mean);
    else if (nv == 2)
        score_gradients_of(mode, 2, m, lane, kn, factor, lse2, mean);
    else if (NV > 3 && nv < NV)
        score_gradients_of(mode, nv, m, lane, kn, factor, lse2, mean);
    else
        score_gradients_of(mode, NV, m, lane, kn, factor, lse2, mean);
}

VJ_INLINE void store_rows(matrix to, const float *from, int64_t width, int64_t rows, int d, float factor)
{
    for (int64_t r = 0; r < rows; r++)
        for (int x = 0; x < d; x += LANES)
            vstore_to((void *)(uintptr_t)to.at, to.type, r * to.stride + x, vload(from + r * width + x) * factor,
                      d - x);
}

/* Backward of one head. dq, dk, dv: its columns of dqkv; dout, out: its columns; lse: rows are `heads` floats apart. */
VJ_INLINE void backward_head(pack_mode mode, const head *hd, matrix dq, matrix dk, matrix dv, matrix dout, matrix out,
                             const float *lse, int heads, const backward_room *m)
{
    const int d = hd->d, nq = pack_columns(mode);
    const int64_t depth = pack_depth(mode, d), strip_queries = strips_of(mode) * nq;
    const float factor = hd->scale * VJ_LOG2E;
    float scale[NR];
    for (int i = 0; i < NR; i++) scale[i] = hd->scale;
    pack_keys(mode, m->k, hd->k, hd->S, d);
    pack_keys(mode, m->v, hd->v, hd->S, d);
    pack_over_keys(mode, m->k_over, hd->k, hd->S, d);
    memset(m->dk, 0, (size_t)(key_rows(mode, hd->S) * m->width) * sizeof(float));
    memset(m->dv, 0, (size_t)(key_rows(mode, hd->S) * m->width) * sizeof(float));

    for (int64_t query = 0; query < hd->S; query += strip_queries) {
        const int64_t queries = least(strip_queries, hd->S - query), lanes = pack_depth(mode, queries);
        const int strips = (int)parts(queries, nq);
        float lse2[MAX_STRIPS * NR], mean[MAX_STRIPS * NR];
        for (int s = 0; s < strips; s++) {
            const int64_t at = query + s * nq, n = least(nq, hd->S - at);
            for (int i = 0; i < 3; i++)
                ask_queries(i == 0 ? hd->q : i == 1 ? dout : out, at + n, least(nq, hd->S - at - n), d);
            query_terms(lse2 + s * nq, mean + s * nq, lse + at * heads, heads, below(dout, at), below(out, at), n, nq,
                        d);
            VJ_CPU(pack_b_rows)(m->q + s * depth * nq, 0, below(hd->q, at), n, d, mode);
            VJ_CPU(pack_b_rows)(m->g + s * depth * nq, 0, below(dout, at), n, d, mode);
        }
        VJ_CPU(pack_b_columns)(m->q_over, nq * lanes, below(hd->q, query), d, queries, mode);
        VJ_CPU(pack_b_columns)(m->g_over, nq * lanes, below(dout, query), d, queries, mode);
        for (int64_t key = 0; key < hd->S; key += keys_of(mode)) {
            const int64_t kn = least(keys_of(mode), hd->S - key), key_lanes = pack_depth(mode, kn);
            for (int s = 0; s < strips; s++) {
                const int nv = (int)parts(least(nq, queries - s * nq), LANES);
                const int64_t strip = s * depth * nq;
                panels_times(mode, m->t, nq, m->k + key * depth, m->q + strip, kn, depth, nv, false);
                panels_times(mode, m->dt, nq, m->v + key * depth, m->g + strip, kn, depth, nv, false);
                score_gradients(mode, nv, m, s * nq / pack_lane(mode), kn, factor, lse2 + s * nq, mean + s * nq);
                panels_times(mode, m->dq + s * pack_round(mode, d) * nq, nq, m->k_over + over_keys_at(mode, key, d),
                             m->ds, d, key_lanes, nv, key > 0);
            }
            for (int dim = 0; dim < d; dim += nq) {
                const int nv = (int)parts(least(nq, d - dim), LANES);
                VJ_CPU(tile_rows)
                (mode, kn, nv, lanes, m->p_rows, m->row, m->g_over + dim * lanes, m->dv + key * m->width + dim,
                 m->width, true, NULL);
                VJ_CPU(tile_rows)
                (mode, kn, nv, lanes, m->ds_rows, m->row, m->q_over + dim * lanes, m->dk + key * m->width + dim,
                 m->width, true, NULL);
            }
        }
        for (int s = 0; s < strips; s++)
            store_turned(below(dq, query + s * nq), m->dq + s * pack_round(mode, d) * nq, nq, scale,
                         least(nq, queries - s * nq), d);
    }
    store_rows(dk, m->dk, m->width, hd->S, d, hd->scale);
    store_rows(dv, m->dv, m->width, hd->S, d, 1.0f);
}

void VJ_CPU(attention_backward)(vj_backend *be, vj_array dqkv, float *dbias, vj_array dout, vj_array qkv, vj_array out,
                                const float *lse, int accumulate, const vj_rows *rows, int D, int heads)
{
    const pack_mode mode = mode_of(be);
    const int d = D / heads;
    backward_room measure;
    const int64_t floats = backward_carve(&measure, mode, NULL, rows->longest, d);
    float *rooms = vj_scratch(be, be->threads * floats);
    if (!rooms) return;
#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    {
        vtiles_begin();
#pragma omp for schedule(dynamic)
        for (int task = 0; task < rows->segments * heads; task++) {
            const int h = task % heads;
            const int64_t first = rows->offset[task / heads], S = rows->offset[task / heads + 1] - first;
            const head hd = take_head(qkv, first, S, D, heads, h), to = take_head(dqkv, first, S, D, heads, h);
            const matrix g = matrix_at(dout.data, dout.type, D, first, h * d);
            const matrix o = matrix_at(out.data, out.type, D, first, h * d);
            backward_room m;
            backward_carve(&m, mode, rooms + omp_get_thread_num() * floats, S, d);
            if (mode == PACK_PAIRS)
                backward_head(PACK_PAIRS, &hd, to.q, to.k, to.v, g, o, lse + first * heads + h, heads, &m);
            else
                backward_head(PACK_FLOATS, &hd, to.q, to.k, to.v, g, o, lse + first * heads + h, heads, &m);
        }
        vtiles_end();
    }
    if (dbias) VJ_CPU(column_sums)(be, dbias, dqkv, accumulate, rows->rows, 3 * D);
}
