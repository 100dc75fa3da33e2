/*
 * Attention pooling with one learned query a head: the probe's only large work. Always fp32. A token's row stays in the
 * first-level cache while all heads use it. Clips are shared out among the threads, and where there are too few, the
 * heads of each: many probes pool the tokens of one clip.
 */
#include <math.h>

#include "cpu.h"
#include "vector.h"

static float dot(const float *a, const float *b, int D)
{
    vf sum[2] = {{0}, {0}};
    int d = 0;
    for (; d + 2 * LANES <= D; d += 2 * LANES) {
        sum[0] += vload(a + d) * vload(b + d);
        sum[1] += vload(a + d + LANES) * vload(b + d + LANES);
    }
    for (; d < D; d += LANES) sum[0] += vload_part(a + d, D - d) * vload_part(b + d, D - d);
    sum[0] += sum[1];
    float all = 0;
    for (int i = 0; i < LANES; i++) all += sum[0][i];
    return all;
}

/* y[h] += sum over n of weight[h, n] x[n]; four tokens at a time, so that y is read and written once for four. */
static void weighted_rows(float *y, const float *weight, const float *x, int64_t N, int D, int heads)
{
    for (int64_t n = 0; n < N; n += 4) {
        const float *row[4];
        for (int i = 0; i < 4; i++) row[i] = x + least(n + i, N - 1) * D;
        for (int h = 0; h < heads; h++) {
            vf w[4];
            for (int i = 0; i < 4; i++) w[i] = vset(n + i < N ? weight[h * N + n + i] : 0);
            for (int d = 0; d < D; d += LANES) {
                vf sum = vload_part(y + (int64_t)h * D + d, D - d);
                for (int i = 0; i < 4; i++) sum += w[i] * vload_part(row[i] + d, D - d);
                vstore_part(y + (int64_t)h * D + d, sum, D - d);
            }
        }
    }
}

static void softmax(float *x, int64_t n)
{
    float most = x[0];
    for (int64_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - most);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(x[i] / sum);
}

/* Heads [first, last) of clip b: share i of `shares` in all, an equal number of each clip. */
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
        for (int64_t n = 0; n < N; n++)
            for (int h = 0; h < count; h++) p[h * N + n] = dot(tokens + n * D, q + (int64_t)h * D, D);
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
        for (int h = 0; h < count; h++) {
            const float *dp = dpooled + (head + h) * D, *p = prob + (head + h) * N;
            const float mean = dot(dp, pooled + (head + h) * D, D);
            for (int64_t n = 0; n < N; n++) dscore[h * N + n] = p[n] * (dot(dp, tokens + n * D, D) - mean);
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
