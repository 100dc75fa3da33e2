/*
 * Self-attention inside segments, tile by tile (Dao 2022): nothing of size S x S exists. A thread takes one head of one
 * segment at a time. Queries stand in the lanes of vectors: a tile of scores is [key, query], so maximum and sum over
 * the keys need no step across lanes, and the tile is at once the packed operand of the products that follow.
 *
 * Scores are kept in base 2 (log2(e) is folded into the scaled queries), which saves a multiplication in every
 * exponential.
 */
#include <math.h>
#include <omp.h>

#include "cpu.h"
#include "pack.h"
#include "tile.h"
#include "vector.h"

enum { KEYS = 96 }; /* of a tile of scores: it stays in the first-level cache. A multiple of MR */

/* One head of one segment. Strides in floats between rows. */
typedef struct {
    const float *q, *k, *v; /* rows 3D apart */
    int64_t S, stride;      /* tokens; 3D */
    int d;                  /* width of the head */
    pack_mode mode;         /* rounding of operands */
    float scale;            /* of the scores: 1 / sqrt(d) */
} head;

static head take_head(const vj_backend *be, const float *qkv, int64_t first, int64_t S, int D, int heads, int h)
{
    int d = D / heads;
    const float *q = qkv + first * 3 * D + h * d;
    return (head){.q = q,
                  .k = q + D,
                  .v = q + 2 * D,
                  .S = S,
                  .stride = 3 * (int64_t)D,
                  .d = d,
                  .mode = be->precision == VJ_BF16 ? PACK_ROUNDED : PACK_FP32,
                  .scale = 1 / sqrtf((float)d)};
}

/* Vectors of queries in the next tile, `left` queries to go: evenly, so that no tile is needlessly thin. */
static int vectors_next(int64_t left)
{
    int64_t vectors = parts(left, LANES);
    return (int)(vectors == NV + 1 ? parts(NV + 1, 2) : least(NV, vectors));
}

static vf operand(vf x, pack_mode mode)
{
    return mode == PACK_ROUNDED ? vround_bf16(x) : x;
}

static void scale_panel(float *panel, int64_t depth, int nv, float factor)
{
    for (int64_t p = 0; p < depth; p++)
        for (int j = 0; j < nv; j++) vstore(panel + p * NR + j * LANES, vload(panel + p * NR + j * LANES) * factor);
}

/* t[key, query] = sum over the head's width: kn keys from packed panels at `a` with the packed queries `b`. */
static void scores(float *t, const float *a, const float *b, int64_t kn, int d, int nv)
{
    for (int64_t key = 0; key < kn; key += MR) VJ_CPU(tile)(nv, d, a + key * d, b, t + key * NR, NR, false);
}

/* o[dim, query] (+)= over kn keys from key0 on; `a` holds the panels of `width` dimensions over all S keys. */
static void over_keys(float *o, const float *a, const float *t, int64_t S, int64_t key0, int64_t kn, int width, int nv,
                      bool accumulate)
{
    for (int m = 0; m < width; m += MR) VJ_CPU(tile)(nv, kn, a + m * S + key0 * MR, t, o + m * NR, NR, accumulate);
}

/* Rows to[query * stride + dim] = o[dim, query] * factor[query], for n queries. */
static void store_turned(float *to, int64_t stride, const float *o, const float *factor, int64_t n, int d)
{
    for (int64_t query = 0; query < n; query += LANES)
        for (int dim = 0; dim < d; dim += LANES) {
            vf r[LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = dim + i < d ? vload(o + (dim + i) * NR + query) * vload(factor + query) : vset(0);
            vtranspose(r);
            for (int i = 0; i < least(LANES, n - query); i++)
                vstore_part(to + (query + i) * stride + dim, r[i], d - dim);
        }
}

/* ------------------------------------------------------------------------------------------------ forward */

/* Working memory of a thread, carved from one piece; all counts of rows are whole vectors. */
typedef struct {
    float *k, *v;     /* A panels: keys, depth d; dimensions, depth S */
    float *q, *t, *o; /* B panel of queries [d, NR]; scores [KEYS, NR]; result [d, NR] */
} forward_room;

static int64_t forward_floats(int64_t longest, int d)
{
    return pack_round(longest) * d + pack_round(d) * longest + (int64_t)d * NR + KEYS * NR + pack_round(d) * NR +
           LANES * 8;
}

static float *carve(float **room, int64_t floats)
{
    float *piece = *room;
    *room += pack_round(floats);
    return piece;
}

/*
 * Take one tile of scores into the running softmax: t becomes exponentials relative to the new maximum `most`, `sum`
 * their sum so far, and `fade` what earlier sums have to be multiplied with.
 */
VJ_INLINE void soften(float *t, int64_t kn, int nv, pack_mode mode, vf *most, vf *sum, vf *fade)
{
    for (int j = 0; j < nv; j++) {
        float *column = t + j * LANES;
        vf top = most[j];
        for (int64_t key = 0; key < kn; key++) top = vmax(vload(column + key * NR), top);
        fade[j] = vexp2(most[j] - top);
        most[j] = top;
        vf s = sum[j] * fade[j];
        for (int64_t key = 0; key < kn; key++) {
            vf e = vexp2(vload(column + key * NR) - top);
            s += e;
            vstore(column + key * NR, operand(e, mode));
        }
        sum[j] = s;
    }
}

static void forward_head(const head *hd, float *out, int64_t out_stride, float *lse, int64_t lse_stride,
                         const forward_room *m)
{
    VJ_CPU(pack_a_rows)(m->k, hd->k, hd->stride, hd->S, hd->d, hd->mode);
    VJ_CPU(pack_a_columns)(m->v, hd->v, hd->stride, hd->d, hd->S, hd->mode);
    for (int64_t query = 0, n; query < hd->S; query += n) {
        int nv = vectors_next(hd->S - query);
        n = least(nv * LANES, hd->S - query);
        VJ_CPU(pack_b_rows)(m->q, hd->q + query * hd->stride, hd->stride, n, hd->d, hd->mode);
        scale_panel(m->q, hd->d, nv, hd->scale * VJ_LOG2E);

        vf most[NV], sum[NV], fade[NV];
        for (int j = 0; j < nv; j++) most[j] = vset(-1e30f), sum[j] = vset(0);
        for (int64_t key = 0; key < hd->S; key += KEYS) {
            int64_t kn = least(KEYS, hd->S - key);
            scores(m->t, m->k + key * hd->d, m->q, kn, hd->d, nv);
            soften(m->t, kn, nv, hd->mode, most, sum, fade);
            if (key > 0)
                for (int i = 0; i < hd->d; i++)
                    for (int j = 0; j < nv; j++) {
                        float *o = m->o + i * NR + j * LANES;
                        vstore(o, vload(o) * fade[j]);
                    }
            over_keys(m->o, m->v, m->t, hd->S, key, kn, hd->d, nv, key > 0);
        }

        float factor[NR];
        for (int j = 0; j < nv; j++) vstore(factor + j * LANES, 1.0f / sum[j]);
        store_turned(out + query * out_stride, out_stride, m->o, factor, n, hd->d);
        if (lse)
            for (int64_t i = 0; i < n; i++)
                lse[(query + i) * lse_stride] = most[i / LANES][i % LANES] * VJ_LN2 + logf(sum[i / LANES][i % LANES]);
    }
}

void VJ_CPU(attention_forward)(vj_backend *be, float *out, float *lse, const float *qkv, const int32_t *offset,
                               int segments, int64_t longest, int D, int heads)
{
    int d = D / heads;
    int64_t floats = pack_round(forward_floats(longest, d));
    float *rooms = vj_scratch(be, be->threads * floats);
    if (!rooms) return;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int task = 0; task < segments * heads; task++) {
        int h = task % heads;
        int64_t first = offset[task / heads], S = offset[task / heads + 1] - first;
        head hd = take_head(be, qkv, first, S, D, heads, h);
        float *room = rooms + omp_get_thread_num() * floats;
        forward_room m = {.k = carve(&room, pack_round(S) * d),
                          .v = carve(&room, pack_round(d) * S),
                          .q = carve(&room, (int64_t)d * NR),
                          .t = carve(&room, KEYS * NR),
                          .o = carve(&room, pack_round(d) * NR)};
        forward_head(&hd, out + first * D + h * d, D, lse ? lse + first * heads + h : NULL, heads, &m);
    }
}

/* ------------------------------------------------------------------------------------------------ backward */

typedef struct {
    float *k, *v, *k_over;  /* A panels: keys and values with depth d; key dimensions with depth S */
    float *q, *g;           /* B panels of queries and of dout, depth d: [d, NR] */
    float *q_over, *g_over; /* the same with depth n: strips of NR dimensions, [strips, NR queries, NR] */
    float *t, *dt;          /* probabilities and score gradients [KEYS, NR] */
    float *dq;              /* [d, NR] */
    float *dk, *dv;         /* [S, width] */
    int64_t width;          /* d in whole strips */
} backward_room;

static int64_t backward_floats(int64_t longest, int d)
{
    int64_t width = parts(d, NR) * NR, S = pack_round(longest);
    return 2 * S * d + pack_round(d) * longest + 2 * (int64_t)d * NR + 2 * width * NR + 2 * KEYS * NR +
           pack_round(d) * NR + 2 * S * width + LANES * 16;
}

/* Of one tile of queries: log-sum-exp in base 2, and dout . out, which is the mean of the probability gradient. */
static void query_terms(float *lse2, float *mean, const float *lse, int64_t lse_stride, const float *dout,
                        const float *out, int64_t stride, int64_t n, int d)
{
    for (int64_t i = 0; i < NR; i++) {
        float sum = 0;
        if (i < n)
            for (int x = 0; x < d; x++) sum += dout[i * stride + x] * out[i * stride + x];
        mean[i] = sum;
        lse2[i] = i < n ? lse[i * lse_stride] * VJ_LOG2E : 0;
    }
}

/* t: scores to probabilities; dt: their gradients to score gradients (before the scale). */
VJ_INLINE void score_gradients(float *t, float *dt, int64_t kn, int nv, pack_mode mode, const float *lse2,
                               const float *mean)
{
    for (int j = 0; j < nv; j++) {
        vf l = vload(lse2 + j * LANES), c = vload(mean + j * LANES);
        for (int64_t key = 0; key < kn; key++) {
            int64_t at = key * NR + j * LANES;
            vf p = vexp2(vload(t + at) - l);
            vstore(t + at, operand(p, mode));
            vstore(dt + at, operand(p * (vload(dt + at) - c), mode));
        }
    }
}

/* sum[key, dim] (+)= over the n queries of the tile: t[key, query] times `b` packed in strips of dimensions. */
static void over_queries(float *sum, int64_t width, const float *t, const float *b, int64_t kn, int64_t n, int d,
                         bool accumulate)
{
    for (int dim = 0; dim < d; dim += NR) {
        int nv = (int)parts(least(NR, d - dim), LANES);
        for (int64_t key = 0; key < kn; key += MR)
            VJ_CPU(tile_rows)(nv, n, t + key * NR, b + (int64_t)dim * NR, sum + key * width + dim, width, accumulate);
    }
}

static void store_rows(float *to, int64_t stride, const float *from, int64_t width, int64_t rows, int d, float factor)
{
    for (int64_t r = 0; r < rows; r++)
        for (int x = 0; x < d; x++) to[r * stride + x] = from[r * width + x] * factor;
}

/* dqkv: dq of this head; dk and dv are D and 2D further. dout, out and lse: of this head, `D` and `heads` apart. */
static void backward_head(const head *hd, float *dqkv, const float *dout, const float *out, const float *lse, int D,
                          int heads, const backward_room *m)
{
    int d = hd->d;
    VJ_CPU(pack_a_rows)(m->k, hd->k, hd->stride, hd->S, d, hd->mode);
    VJ_CPU(pack_a_rows)(m->v, hd->v, hd->stride, hd->S, d, hd->mode);
    VJ_CPU(pack_a_columns)(m->k_over, hd->k, hd->stride, d, hd->S, hd->mode);
    for (int64_t query = 0, n; query < hd->S; query += n) {
        int nv = vectors_next(hd->S - query);
        n = least(nv * LANES, hd->S - query);
        const float *q = hd->q + query * hd->stride, *g = dout + query * D;
        float lse2[NR], mean[NR], factor[NR];
        query_terms(lse2, mean, lse + query * heads, heads, g, out + query * D, D, n, d);
        VJ_CPU(pack_b_rows)(m->q, q, hd->stride, n, d, hd->mode);
        scale_panel(m->q, d, nv, hd->scale * VJ_LOG2E);
        VJ_CPU(pack_b_rows)(m->g, g, D, n, d, hd->mode);
        for (int dim = 0; dim < d; dim += NR) {
            VJ_CPU(pack_b_columns)(m->q_over + dim * NR, q + dim, hd->stride, least(NR, d - dim), n, hd->mode);
            VJ_CPU(pack_b_columns)(m->g_over + dim * NR, g + dim, D, least(NR, d - dim), n, hd->mode);
        }
        for (int64_t key = 0; key < hd->S; key += KEYS) {
            int64_t kn = least(KEYS, hd->S - key);
            scores(m->t, m->k + key * d, m->q, kn, d, nv);
            scores(m->dt, m->v + key * d, m->g, kn, d, nv);
            score_gradients(m->t, m->dt, kn, nv, hd->mode, lse2, mean);
            over_keys(m->dq, m->k_over, m->dt, hd->S, key, kn, d, nv, key > 0);
            over_queries(m->dv + key * m->width, m->width, m->t, m->g_over, kn, n, d, query > 0);
            over_queries(m->dk + key * m->width, m->width, m->dt, m->q_over, kn, n, d, query > 0);
        }
        for (int i = 0; i < NR; i++) factor[i] = hd->scale;
        store_turned(dqkv + query * hd->stride, hd->stride, m->dq, factor, n, d);
    }
    store_rows(dqkv + D, hd->stride, m->dk, m->width, hd->S, d, hd->scale);
    store_rows(dqkv + 2 * D, hd->stride, m->dv, m->width, hd->S, d, 1.0f);
}

void VJ_CPU(attention_backward)(vj_backend *be, float *dqkv, const float *dout, const float *qkv, const float *out,
                                const float *lse, const int32_t *offset, int segments, int64_t longest, int D,
                                int heads)
{
    int d = D / heads;
    int64_t floats = pack_round(backward_floats(longest, d));
    float *rooms = vj_scratch(be, be->threads * floats);
    if (!rooms) return;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int task = 0; task < segments * heads; task++) {
        int h = task % heads;
        int64_t first = offset[task / heads], S = offset[task / heads + 1] - first, width = parts(d, NR) * NR;
        head hd = take_head(be, qkv, first, S, D, heads, h);
        float *room = rooms + omp_get_thread_num() * floats;
        backward_room m = {.k = carve(&room, pack_round(S) * d),
                           .v = carve(&room, pack_round(S) * d),
                           .k_over = carve(&room, pack_round(d) * S),
                           .q = carve(&room, (int64_t)d * NR),
                           .g = carve(&room, (int64_t)d * NR),
                           .q_over = carve(&room, width * NR),
                           .g_over = carve(&room, width * NR),
                           .t = carve(&room, KEYS * NR),
                           .dt = carve(&room, KEYS * NR),
                           .dq = carve(&room, pack_round(d) * NR),
                           .dk = carve(&room, pack_round(S) * width),
                           .dv = carve(&room, pack_round(S) * width),
                           .width = width};
        backward_head(&hd, dqkv + first * 3 * D + h * d, dout + first * D + h * d, out + first * D + h * d,
                      lse + first * heads + h, D, heads, &m);
    }
}
