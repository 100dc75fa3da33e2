/* Cuts clips into tubelets, and normalises tubelets as pixel targets. */
#include <math.h>

#include "cpu.h"
#include "vector.h"

void VJ_CPU(patchify)(vj_backend *be, vj_array patches, const float *clips, int64_t B, int C, int T, int H, int W,
                      int tubelet, int patch)
{
    int64_t gt = T / tubelet, gh = H / patch, gw = W / patch, P = (int64_t)C * tubelet * patch * patch;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t token = 0; token < B * gt * gh * gw; token++) {
        int64_t x = token % gw, y = token / gw % gh, t = token / gw / gh % gt, b = token / gw / gh / gt;
        int64_t to = token * P;
        for (int c = 0; c < C; c++)
            for (int dt = 0; dt < tubelet; dt++)
                for (int dy = 0; dy < patch; dy++, to += patch) {
                    int64_t frame = (b * C + c) * T + t * tubelet + dt, row = y * patch + dy;
                    const float *from = clips + (frame * H + row) * W + x * patch;
                    for (int dx = 0; dx < patch; dx += LANES)
                        vstore_to(patches.data, patches.type, to + dx, vload_part(from + dx, patch - dx), patch - dx);
                }
    }
}

void VJ_CPU(normalise_rows)(vj_backend *be, float *y, const float *x, int64_t R, int P, float eps)
{
#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + r * P;
        double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < P; i++) sum += row[i];
        double mean = sum / P;
#pragma omp simd reduction(+ : squares)
        for (int i = 0; i < P; i++) squares += (row[i] - mean) * (row[i] - mean);
        double scale = 1 / sqrt(squares / (P - 1) + eps);
        for (int i = 0; i < P; i++) y[r * P + i] = (float)((row[i] - mean) * scale);
    }
}
