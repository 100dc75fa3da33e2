/*
 * Attention pooling with one learned query per head: the only expensive part of the probe. Always fp32. Clips are
 * divided among the threads and, if there are too few clips, also the heads of each: many probes pool the tokens of one
 * clip.
 */
#include <math.h>

#include "cpu.h"
#include "vector.h"

/* Return how many tokens, a multiple of LANES, fit in 64 KiB, so that their rows stay in the cache while all heads use
 * them. */
static int64_t tokens_at_once(int D)
{
    return (1 + 16384 / D / LANES) * LANES;
}

/* scores[n] = <x[n], key>, for LANES tokens at a time: each has a vector of sums, and a transposition brings the sums
 * of a token into one lane. */
static void scores_of(float *scores, const float *x, const float *key, int64_t N, int D)
{
    for (int64_t n = 0; n < N; n += LANES) {
        const float *row[LANES];
        vf sum[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            row[i] = x + least(n + i, N - 1) * D;
            sum[i] = vset(0);
        }
        int d = 0;
        for (; d + LANES <= D; d += LANES) {
            const vf k = vload(key + d);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) sum[i] += k * vload(row[i] + d);
        }
        if (d < D) {
            const vf k = vload_part(key + d, D - d);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) sum[i] += k * vload_part(row[i] + d, D - d);
        }
        vtranspose(sum);
#pragma GCC unroll 4
        for (int step = 1; step < LANES; step *= 2)
#pragma GCC unroll 8
            for (int i = 0; i < LANES; i += 2 * step) sum[i] += sum[i + step];
        vstore_part(scores + n, sum[0], N - n);
    }
}

/* scores[h, n] = <x[n], keys[h]>. */
static void scores_of_heads(float *scores, const float *x, const float *keys, int64_t N, int D, int heads)
{
    const int64_t some = tokens_at_once(D);
    for (int64_t first = 0; first < N; first += some)
        for (int h = 0; h < heads; h++)
            scores_of(scores + h * N + first, x + first * D, keys + (int64_t)h * D, least(some, N - first), D);
}

/* y[h] += sum over tokens [first, last) of weight[h] x, in columns [d, d + vectors LANES), for a few heads: a row of x
 * is loaded once for all of them, and all sums stay in registers. */
VJ_INLINE void weighted_columns(float *y, const float *weight, const float *x, int64_t N, int64_t first, int64_t last,
                                int D, int d, int heads, int vectors)
{
    const int wide = vectors > 1; /* whole vectors; a single one may be partial */
    vf sum[2][6];
    for (int h = 0; h < heads; h++)
        for (int v = 0; v < vectors; v++) sum[h][v] = vload_part(y + h * D + d + v * LANES, D - d - v * LANES);
    for (int64_t n = first; n < last; n++) {
        vf w[2];
        for (int h = 0; h < heads; h++) w[h] = vset(weight[h * N + n]);
#pragma GCC unroll 6
        for (int v = 0; v < vectors; v++) {
            const float *at = x + n * D + d + v * LANES;
            const vf column = wide ? vload(at) : vload_part(at, D - d);
            for (int h = 0; h < heads; h++) sum[h][v] += w[h] * column;
        }
    }
    for (int h = 0; h < heads; h++)
        for (int v = 0; v < vectors; v++) vstore_part(y + h * D + d + v * LANES, sum[h][v], D - d - v * LANES);
}

/* y[h] += sum over n of weight[h, n] x[n], in ascending n. Takes some tokens at a time, so that they stay in the
 * first-level cache.
 */
static void weighted_rows(float *y, const float *weight, const float *x, int64_t N, int D, int heads)
{
    const int64_t some = tokens_at_once(D);
    for (int64_t first = 0; first < N; first += some) {
        const int64_t last = least(first + some, N);
        for (int h = 0; h < heads; h += 2) {
            float *to = y + (int64_t)h * D;
            const float *w = weight + h * N;
            const int count = h + 1 < heads ? 2 : 1;
            int d = 0;
            if (count == 2)
                for (; d + 6 * LANES <= D; d += 6 * LANES) weighted_columns(to, w, x, N, first, last, D, d, 2, 6);
            for (; d + 6 * LANES <= D; d += 6 * LANES) weighted_columns(to, w, x, N, first, last, D, d, 1, 6);
            for (; d < D; d += LANES) weighted_columns(to, w, x, N, first, last, D, d, count, 1);
        }
    }
}

static float top_of(const float *x, int64_t n)
{
    int64_t i = 0;
    vf most = vset(x[0]);
    for (; i + LANES <= n; i += LANES) most = vmax(most, vload(x + i));
    for (; i < n; i++) most = vmax(most, vset(x[i]));
    float top = most[0];
    for (int lane = 1; lane < LANES; lane++) top = most[lane] > top ? most[lane] : top;
    return top;
}

/* Sums 64 vectors at a time in floats, and these sums in double, so that the error does not grow with the number of
 * tokens. */
static double sum_of(const float *x, int64_t n)
{
    double all = 0;
    int64_t i = 0;
    while (i + LANES <= n) {
        const int64_t end = least(i + (int64_t)64 * LANES, n);
        vf sum = {0};
        for (; i + LANES <= end; i += LANES) sum += vload(x + i);
        for (int lane = 0; lane < LANES; lane++) all += sum[lane];
    }
    for (; i < n; i++) all += x[i];
    return all;
}

/* Exponentials are at least 2^-100: smaller ones would soon lead to denormals, which are slow. */
static void softmax(float *x, int64_t n)
{
    const float top = top_of(x, n);
    for (int64_t i = 0; i < n; i += LANES)
        vstore_part(x + i, vexp2(vmax(vset(-100), (vload_part(x + i, n - i) - top) * VJ_LOG2E)), n - i);
    const float scale = (float)(1 / sum_of(x, n));
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

/* Heads [first, last) of clip b: one of `shares` shares of the work, the same number for each clip. */
typedef struct {
    int64_t b;
    int first, last;
} work;

static int64_t shares_of(const vj_backend *be, int64_t B, int heads)
{
    return B == 0 || B >= be->threads ? B : B * least(heads, (be->threads + B - 1) / B);
}

static work share(int64_t i, int64_t shares, int64_t B, int heads)
{
    const int64_t each = shares / B, part = i % each;
    return (work){i / each, (int)(heads * part / each), (int)(heads * (part + 1) / each)};
}

void VJ_CPU(pool_forward)(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                          int64_t N, int D, int heads)
{
    const int64_t shares = shares_of(be, B, heads);
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t i = 0; i < shares; i++) {
        const work w = share(i, shares, B, heads);
        const float *tokens = x + w.b * N * D, *q = query + (int64_t)w.first * D;
        const int64_t head = w.b * heads + w.first;
        const int count = w.last - w.first;
        float *p = prob + head * N, *to = pooled + head * D;
        scores_of_heads(p, tokens, q, N, D, count);
        for (int h = 0; h < count; h++) softmax(p + h * N, N);
        memset(to, 0, (size_t)count * (size_t)D * sizeof *to);
        weighted_rows(to, p, tokens, N, D, count);
    }
}

void VJ_CPU(pool_backward)(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                           const float *x, int64_t B, int64_t N, int D, int heads)
{
    const int64_t shares = shares_of(be, B, heads), width = (int64_t)heads * D;
    float *room = vj_scratch(be, B * heads * (D + N));
    if (!room) return;
    float *dscores = room + B * width;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t i = 0; i < shares; i++) {
        const work w = share(i, shares, B, heads);
        const float *tokens = x + w.b * N * D;
        const int64_t head = w.b * heads + w.first;
        const int count = w.last - w.first;
        float *mine = room + head * D, *dscore = dscores + head * N;
        scores_of_heads(dscore, tokens, dpooled + head * D, N, D, count);
        for (int h = 0; h < count; h++) {
            const float *p = prob + (head + h) * N;
            float mean;
            scores_of(&mean, pooled + (head + h) * D, dpooled + (head + h) * D, 1, D);
            for (int64_t n = 0; n < N; n++) dscore[h * N + n] = p[n] * (dscore[h * N + n] - mean);
        }
        memset(mine, 0, (size_t)count * (size_t)D * sizeof *mine);
        weighted_rows(mine, dscore, tokens, N, D, count);
    }
    for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int64_t b = 0; b < B; b++) sum += room[b * width + i];
        dquery[i] = (float)sum;
    }
}
