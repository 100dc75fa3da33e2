/* AdamW and the moving average of the weights, in one pass: the update is limited by memory, so everything is read
 * once. */
#include <math.h>

#include "cpu.h"

void VJ_CPU(adamw)(vj_backend *be, float *w, float *first_moment, float *second_moment, float *target,
                   const float *gradient, int64_t n, const vj_adamw_step *step)
{
    enum { BLOCK = 4096 };
    const float scale = (float)step->gradient_scale, decay = (float)(step->lr * step->weight_decay);
    const float keep1 = (float)step->beta1, new1 = (float)(1 - step->beta1);
    const float keep2 = (float)step->beta2, new2 = (float)(1 - step->beta2);
    const float rate = (float)(step->lr / step->correction1), root = (float)(1 / sqrt(step->correction2));
    const float eps = (float)step->eps, ema = (float)(1 - step->ema);

#pragma omp parallel for schedule(static) num_threads(be->threads) if (be->threads > 1)
    for (int64_t block = 0; block < n; block += BLOCK) {
        int64_t end = least(n, block + BLOCK);
#pragma omp simd
        for (int64_t i = block; i < end; i++) {
            float g = gradient[i] * scale;
            float m = keep1 * first_moment[i] + new1 * g;
            float v = keep2 * second_moment[i] + new2 * (g * g);
            first_moment[i] = m;
            second_moment[i] = v;
            w[i] = (w[i] - decay * w[i]) - rate * (m / (sqrtf(v) * root + eps));
        }
        if (target)
#pragma omp simd
            for (int64_t i = block; i < end; i++) target[i] += ema * (w[i] - target[i]);
    }
}
