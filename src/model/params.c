/* The parameter table and the starting values. */
#include "model/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { ALIGN = 16 };

int64_t vj_params_add(vj_params *ps, vj_network_part part, vj_start start, int layer, int ndim, const int64_t *dim,
                      const char *format, ...)
{
    if (ps->count == ps->capacity) {
        ps->capacity = ps->capacity ? 2 * ps->capacity : 64;
        ps->item = realloc(ps->item, (size_t)ps->capacity * sizeof *ps->item);
        VJ_ASSERT(ps->item);
    }
    VJ_ASSERT(part == VJ_PREDICTOR || ps->count == 0 || ps->item[ps->count - 1].part == VJ_ENCODER);
    vj_param *p = &ps->item[ps->count++];
    /* Mask tokens follow one another without a gap: kernels read them as one matrix. */
    if (!(start == VJ_START_MASK_TOKEN && ps->count > 1 && p[-1].start == start))
        ps->total = (ps->total + ALIGN - 1) / ALIGN * ALIGN;
    *p = (vj_param){.part = part, .start = start, .layer = layer, .ndim = ndim, .offset = ps->total, .count = 1};
    va_list args;
    va_start(args, format);
    int length = vsnprintf(p->name, sizeof p->name, format, args);
    va_end(args);
    VJ_ASSERT(length < (int)sizeof p->name && ndim <= 5);
    for (int i = 0; i < ndim; i++) p->count *= p->dim[i] = dim[i];
    p->decay = ndim > 1 && strstr(p->name, "bias") == NULL;
    ps->total += p->count;
    ps->elements += p->count;
    if (part == VJ_ENCODER) ps->encoder_total = ps->total = (ps->total + ALIGN - 1) / ALIGN * ALIGN;
    return p->offset;
}

void vj_params_release(vj_params *ps)
{
    free(ps->item);
    *ps = (vj_params){0};
}

const vj_param *vj_params_find(const vj_params *ps, vj_network_part part, const char *name)
{
    for (int i = 0; i < ps->count; i++)
        if (ps->item[i].part == part && strcmp(ps->item[i].name, name) == 0) return &ps->item[i];
    return NULL;
}

/* Standard deviation of a tensor's starting values; 0 for constants. */
static double start_std(const vj_param *p, vj_init init, int zero_mask_tokens)
{
    if (p->start == VJ_START_MASK_TOKEN) return zero_mask_tokens ? 0.0 : 0.02;
    if (p->start != VJ_START_WEIGHT && p->start != VJ_START_RESIDUAL) return 0.0;
    /* The released training re-draws every linear weight, so the sqrt(2 l) rescale is lost there (spec section 5). */
    if (init == VJ_INIT_PUBLISHED) return 0.02;
    double fan_in = (double)(p->count / p->dim[0]);
    return sqrt(1.0 / fan_in) / (p->start == VJ_START_RESIDUAL ? sqrt(2.0 * p->layer) : 1.0);
}

void vj_params_start(const vj_params *ps, vj_backend *be, float *weights, vj_init init, int zero_mask_tokens,
                     int64_t seed)
{
    const int64_t piece = VJ_MAP_BYTES / (int64_t)sizeof(float);
    vj_fill(be, weights, 0.0f, ps->total);
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        double std = start_std(p, init, zero_mask_tokens);
        if (p->start == VJ_START_ONE) vj_fill(be, weights + p->offset, 1.0f, p->count);
        if (std == 0.0) continue;
        vj_rng rng;
        vj_rng_init(&rng, (uint64_t)seed, VJ_RNG_INIT, (uint64_t)i);
        for (int64_t at = 0; at < p->count; at += piece) {
            int64_t n = p->count - at < piece ? p->count - at : piece;
            float *host = vj_map(be, weights + p->offset + at, n * (int64_t)sizeof(float), VJ_MAP_WRITE);
            for (int64_t j = 0; j < n; j++) {
                double x;
                do x = vj_rng_normal(&rng);
                while (fabs(x) > 5.3);
                host[j] = (float)(std * x);
            }
            vj_unmap(be, host);
        }
    }
}
