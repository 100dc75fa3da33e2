/* The parameter table and the starting values. */
#include "model/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/rng.h"

enum { ALIGN = 16 };

int64_t vj_params_add(vj_params *ps, vj_network_part part, vj_start start, int layer, vj_share share, int ndim,
                      const int64_t *dim, const char *format, ...)
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
    *p = (vj_param){.part = part,
                    .start = start,
                    .layer = layer,
                    .lr_scale = 1.0,
                    .ndim = ndim,
                    .offset = ps->total,
                    .whole = 1,
                    .shares = 1,
                    .runs = 1};
    va_list args;
    va_start(args, format);
    int length = vsnprintf(p->name, sizeof p->name, format, args);
    va_end(args);
    VJ_ASSERT(length < (int)sizeof p->name && ndim <= 5);
    for (int i = 0; i < ndim; i++) p->whole *= p->dim[i] = dim[i];
    p->decay = ndim > 1 && strstr(p->name, "bias") == NULL ? 1.0 : 0.0;
    if (share != VJ_SHARE_WHOLE && ps->shares > 1) {
        p->share = ps->share;
        p->shares = ps->shares;
        p->runs = share == VJ_SHARE_COLUMNS ? dim[0] : share == VJ_SHARE_THIRDS ? 3 : 1;
    }
    VJ_ASSERT(p->whole % (p->runs * p->shares) == 0);
    p->count = p->whole / p->shares;
    ps->total += p->count;
    ps->elements += p->whole;
    if (part == VJ_ENCODER) ps->encoder_total = ps->total = (ps->total + ALIGN - 1) / ALIGN * ALIGN;
    return p->offset;
}

void vj_params_release(vj_params *ps)
{
    free(ps->item);
    *ps = (vj_params){0};
}

int64_t vj_param_before(const vj_param *p, int share, int64_t at)
{
    const int64_t run = p->count / p->runs, row = run * p->shares, inside = at % row - share * run;
    return at / row * run + (inside < 0 ? 0 : inside > run ? run : inside);
}

/*
 * Return the position in the whole tensor of element `held` of a share; the *n elements from there on are contiguous in
 * both.
 */
static int64_t stretch(const vj_param *p, int share, int64_t held, int64_t end, int64_t *n)
{
    const int64_t run = p->count / p->runs, left = run - held % run;
    *n = end - held < left ? end - held : left;
    return (held / run * p->shares + share) * run + held % run;
}

void vj_param_cut(const vj_param *p, int share, int64_t first, int64_t last, const float *whole, float *held)
{
    const int64_t begin = vj_param_before(p, share, first), end = vj_param_before(p, share, last);
    for (int64_t at = begin, n; at < end; at += n) {
        const float *from = whole + (stretch(p, share, at, end, &n) - first);
        memmove(held + (at - begin), from, (size_t)n * sizeof *held);
    }
}

void vj_param_paste(const vj_param *p, int share, int64_t first, int64_t last, float *whole, const float *held)
{
    const int64_t begin = vj_param_before(p, share, first), end = vj_param_before(p, share, last);
    for (int64_t at = begin, n; at < end; at += n) {
        float *to = whole + (stretch(p, share, at, end, &n) - first);
        memcpy(to, held + (at - begin), (size_t)n * sizeof *held);
    }
}

bool vj_params_counted(const vj_params *ps, int64_t at, int64_t end, int64_t *first, int64_t *last)
{
    *first = at;
    *last = end;
    if (at >= end || ps->share == 0) return at < end;
    int i = 0;
    while (i < ps->count && (ps->item[i].shares == 1 || ps->item[i].offset + ps->item[i].count <= at)) i++;
    if (i == ps->count || ps->item[i].offset >= end) return false;
    if (ps->item[i].offset > at) *first = ps->item[i].offset;
    while (i < ps->count && ps->item[i].shares > 1) i++;
    if (i < ps->count && ps->item[i].offset < end) *last = ps->item[i].offset;
    return true;
}

/* Standard deviation of a tensor's starting values; 0 for constants. */
static double start_std(const vj_param *p, vj_init init, int zero_mask_tokens)
{
    if (p->start == VJ_START_MASK_TOKEN) return zero_mask_tokens ? 0.0 : 0.02;
    if (p->start != VJ_START_WEIGHT && p->start != VJ_START_RESIDUAL) return 0.0;
    /* The released training re-draws every linear weight, so the sqrt(2 l) rescale is lost there (docs/method.md,
     * section 5). */
    if (init == VJ_INIT_PUBLISHED) return 0.02;
    double fan_in = (double)(p->whole / p->dim[0]);
    return sqrt(1.0 / fan_in) / (p->start == VJ_START_RESIDUAL ? sqrt(2.0 * p->layer) : 1.0);
}

/* The normal numbers of one tensor, of which those beyond the limit are left out. */
typedef struct {
    vj_rng begin;
    int64_t drawn; /* so far, those left out included */
    int threads;
} sequence;

static const double limit = 5.3; /* standard deviations */

/*
 * Draw the next n numbers, times `std`, into `host`; if it is NULL, only count. Numbers to be left out become NAN;
 * returns how many. Each number is a function of its place in the sequence, whichever thread draws it.
 */
static int64_t draw_all(sequence *s, double std, float *host, int64_t n)
{
    enum { CHUNK = 1 << 13 };
    int64_t left_out = 0;
#pragma omp parallel for schedule(static) num_threads(s->threads) reduction(+ : left_out) if (n > CHUNK)
    for (int64_t first = 0; first < n; first += CHUNK) {
        const int64_t last = first + CHUNK < n ? first + CHUNK : n;
        vj_rng rng = s->begin;
        vj_rng_go_to_normal(&rng, s->drawn + first);
        for (int64_t j = first; j < last; j++) {
            const double x = vj_rng_normal(&rng);
            const bool good = fabs(x) <= limit;
            left_out += !good;
            if (host) host[j] = good ? (float)(std * x) : NAN;
        }
    }
    s->drawn += n;
    return left_out;
}

/* Draw the next n values of a tensor into `host`; if it is NULL, only skip them. */
static void draw(sequence *s, double std, float *host, int64_t n)
{
    for (int64_t left_out; n > 0; n = left_out) {
        left_out = draw_all(s, std, host, n);
        if (!host) continue;
        float *end = host;
        for (int64_t j = 0; left_out > 0 && j < n; j++)
            if (!isnan(host[j])) *end++ = host[j];
        host = end;
    }
}

bool vj_param_is_operand(const vj_param *p)
{
    return p->start == VJ_START_WEIGHT || p->start == VJ_START_RESIDUAL;
}

bool vj_weights_are_rounded(bool host, vj_precision precision)
{
    return !host && precision == VJ_BF16;
}

vj_status vj_weights_rounded_alloc(vj_backend *be, int64_t n, uint16_t **rounded)
{
    *rounded = NULL;
    if (!vj_weights_are_rounded(vj_device_is_host(be), vj_backend_precision(be))) return VJ_OK;
    *rounded = vj_device_alloc(be, n * (int64_t)sizeof **rounded);
    return *rounded ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

void vj_params_init_weights(const vj_params *ps, vj_backend *be, float *weights, vj_init init, int zero_mask_tokens,
                            int64_t seed)
{
    const int64_t piece = VJ_MAP_BYTES / (int64_t)sizeof(float);
    vj_progress_line line = vj_progress_line_begin();
    vj_fill(be, weights, 0.0f, ps->total);
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        double std = start_std(p, init, zero_mask_tokens);
        if (p->start == VJ_START_ONE) vj_fill(be, weights + p->offset, 1.0f, p->count);
        if (std == 0.0) continue;
        const int64_t run = p->count / p->runs;
        sequence s = {.threads = vj_backend_threads(be)};
        vj_rng_init(&s.begin, (uint64_t)seed, VJ_RNG_INIT, (uint64_t)i);
        for (int64_t r = 0; r < p->runs; r++) {
            draw(&s, std, NULL, p->share * run);
            for (int64_t at = 0; at < run; at += piece) {
                const int64_t n = run - at < piece ? run - at : piece;
                float *device = weights + p->offset + r * run + at;
                float *host = vj_map(be, device, n * (int64_t)sizeof(float), VJ_MAP_WRITE);
                draw(&s, std, host, n);
                vj_unmap(be, host);
                vj_progress_line_log(&line, "initial weights", (double)(device - weights + n) / (double)ps->total,
                                     vj_now());
            }
            draw(&s, std, NULL, (p->shares - 1 - p->share) * run);
        }
    }
}
