/*
 * Attention pooling with one learned query a head: the probe's only large work. Always fp32. A token's row stays in the
 * first-level cache while all heads use it; clips are shared out among the threads.
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

void VJ_CPU(pool_forward)(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                          int64_t N, int D, int heads)
{
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t b = 0; b < B; b++) {
        const float *tokens = x + b * N * D;
        float *p = prob + b * heads * N, *to = pooled + b * heads * D;
        for (int64_t n = 0; n < N; n++)
            for (int h = 0; h < heads; h++) p[h * N + n] = dot(tokens + n * D, query + (int64_t)h * D, D);
        for (int h = 0; h < heads; h++) softmax(p + h * N, N);
        memset(to, 0, (size_t)heads * (size_t)D * sizeof *to);
        weighted_rows(to, p, tokens, N, D, heads);
    }
}

void VJ_CPU(pool_backward)(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                           const float *x, int64_t B, int64_t N, int D, int heads)
{
    int64_t share = (int64_t)heads * D, scores = heads * N;
    float *room = vj_scratch(be, B * (share + scores));
    if (!room) return;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads) if (be->threads > 1)
    for (int64_t b = 0; b < B; b++) {
        const float *tokens = x + b * N * D;
        float *mine = room + b * (share + scores), *dscore = mine + share;
        for (int h = 0; h < heads; h++) {
            const float *dp = dpooled + b * share + (int64_t)h * D, *p = prob + b * scores + h * N;
            float mean = dot(dp, pooled + b * share + (int64_t)h * D, D);
            for (int64_t n = 0; n < N; n++) dscore[h * N + n] = p[n] * (dot(dp, tokens + n * D, D) - mean);
        }
        memset(mine, 0, (size_t)share * sizeof *mine);
        weighted_rows(mine, dscore, tokens, N, D, heads);
    }
    for (int64_t i = 0; i < share; i++) {
        double sum = 0;
        for (int64_t b = 0; b < B; b++) sum += room[b * (share + scores) + i];
        dquery[i] = (float)sum;
    }
}
