/* AdamW and the moving average of the weights in one pass: memory bandwidth limits the update, so everything is read
 * once. */
#include <math.h>

#include "cpu.h"
#include "vector.h"

enum { BLOCK = 4096 };

/* Write bf16 copies of x[begin, end). */
static void round_to(uint16_t *rounded, const float *x, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i += LANES)
        vstore_half_part(rounded + i, vnarrow(vload_part(x + i, end - i)), end - i);
}

void VJ_CPU(adamw)(vj_backend *be, const vj_adamw_vectors *v, const vj_segment *segments, int count,
                   const vj_adamw_step *step)
{
    float *restrict w = v->w, *restrict first_moment = v->first_moment, *restrict second_moment = v->second_moment,
                    *restrict target = v->target;
    const float *restrict gradient = v->gradient;
    const float scale = (float)step->gradient_scale, root = (float)(1 / sqrt(step->correction2));
    const float keep1 = (float)step->beta1, new1 = (float)(1 - step->beta1);
    const float keep2 = (float)step->beta2, new2 = (float)(1 - step->beta2);
    const float eps = (float)step->eps, ema = (float)(1 - step->ema);

#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    for (int s = 0; s < count; s++) {
        const vj_segment *piece = &segments[s];
        const float decay = (float)(piece->lr * piece->weight_decay), rate = (float)(piece->lr / step->correction1);
        const int64_t last = piece->offset + piece->count;
#pragma omp for schedule(static) nowait
        for (int64_t block = piece->offset; block < last; block += BLOCK) {
            const int64_t end = least(last, block + BLOCK);
#pragma omp simd
            for (int64_t i = block; i < end; i++) {
                float g = gradient[i] * scale;
                float m = keep1 * first_moment[i] + new1 * g;
                float u = keep2 * second_moment[i] + new2 * (g * g);
                first_moment[i] = m;
                second_moment[i] = u;
                w[i] = (w[i] - decay * w[i]) - rate * (m / (sqrtf(u) * root + eps));
            }
            if (target)
#pragma omp simd
                for (int64_t i = block; i < end; i++) target[i] += ema * (w[i] - target[i]);
            if (v->rounded_w) round_to(v->rounded_w, w, block, end);
            if (v->rounded_target) round_to(v->rounded_target, target, block, end);
        }
    }
}
