/*
 * Writes attention.h5: the attention weights of attentive probes on some validation samples. Rank 0 encodes these
 * samples once more; they are few, and it has the keys of all probes.
 */
#include <math.h>
#include <stdlib.h>

#include "evaluate/parts.h"
#include "probe/attention_file.h"

enum { MAX_CLIPS = 32 }; /* limit for all samples together: a clip of 224 pixels takes 1.2 MB of the file */

/* The samples, spread evenly over the validation set, and the heads to draw. */
typedef struct {
    vj_evaluation *e;
    const vj_eval_score *scores;
    int64_t *sample; /* [file.samples] */
    int64_t *head;   /* [file.count] */
    vj_attention file;
    float *prob, *host; /* device, host: [heads, tokens] */
    int crop;           /* index of the middle test crop */
} picture;

/* ------------------------------------------------------------------------------------------------ which */

static int64_t find_largest(const picture *p, int encoder, int task, bool on_tokens)
{
    const vj_evaluation *e = p->e;
    int64_t best = -1;
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        if (h->encoder != encoder || h->task != task || !p->scores[i].chosen) continue;
        if (on_tokens ? !h->on_tokens : h->key_at < 0) continue;
        if (best < 0 || e->split[h->split].labels > e->split[e->head[best].split].labels) best = i;
    }
    return best;
}

/* List for each task, encoder and kind the attentive probe of the first seed at the largest share of the labels. Return
 * their number. */
static int64_t list_heads(picture *p)
{
    int64_t n = 0;
    for (int t = 0; t < p->e->tasks.count; t++)
        for (int i = 0; i < p->e->frozen.count; i++)
            for (int on_tokens = 0; on_tokens < 2; on_tokens++) {
                const int64_t head = find_largest(p, i, t, on_tokens);
                if (head >= 0) p->head[n++] = head;
            }
    return n;
}

/* ------------------------------------------------------------------------------------------------ computing */

/* Convert the first frame of each time step of the token grid from normalised floats, [3, frames, side, side], to
 * bytes, [t, side, side, 3]. */
static void keep_frames(const picture *p, const float *pixels, uint8_t *to)
{
    const vj_eval_views *v = &p->e->validation.views;
    const int64_t plane = (int64_t)v->side * v->side, channel = v->frames * plane, step = v->frames / p->file.t;
    for (int64_t t = 0; t < p->file.t; t++)
        for (int64_t i = 0; i < plane; i++)
            for (int c = 0; c < 3; c++) {
                const double value = pixels[c * channel + t * step * plane + i];
                to[3 * (t * plane + i) + c] = vj_eval_views_byte(v, c, value);
            }
}

/*
 * Store the weights of one head on one sample, for the segments from `first` on that the probe sees at once. Tokens
 * that belong to no cell of the grid come first in each segment and are left out. If a probe sees one segment at a
 * time, the weights are scaled so that all segments together have the sum of one pass.
 */
static void keep_weights(const picture *p, vj_attention_map *map, int64_t sample, int64_t first)
{
    const int64_t cells = vj_attention_cells(&p->file), each = cells / p->file.segments;
    const int64_t seen = p->e->train.set.segments, tokens = p->e->tokens / seen;
    const float share = (float)seen / (float)p->file.segments;
    for (int64_t h = 0; h < map->heads; h++)
        for (int64_t s = 0; s < seen; s++) {
            const float *from = p->host + h * p->e->tokens + s * tokens + tokens - each;
            float *to = map->weight + (sample * map->heads + h) * cells + (first + s) * each;
            for (int64_t i = 0; i < each; i++) to[i] = share * from[i];
        }
}

/* Compute and store the weights of one map. `first`: index of the first segment that the probe sees at once. */
static vj_status attend(picture *p, int64_t map, int64_t sample, int64_t first)
{
    const vj_evaluation *e = p->e;
    const vj_eval_head *h = &e->head[p->head[map]];
    vj_backend *be = e->frozen.be;
    const int64_t floats = h->shape.heads * e->tokens;
    const int64_t at = (first * e->validation.views.views + p->crop) * e->sample_floats;
    const float *prob = p->prob;
    if (h->on_tokens) {
        vj_token_probe_forward(h->token_probe, e->encoded.raw + at);
        prob = vj_token_probe_attention(h->token_probe);
    } else {
        vj_head_pool(be, &h->shape, p->prob + floats, p->prob, e->encoded.keys[h->encoder] + h->key_at * e->key_floats,
                     e->encoded.normed + at);
    }
    vj_download(be, p->host, prob, floats * (int64_t)sizeof(float));
    VJ_TRY(vj_sync(be));
    keep_weights(p, &p->file.map[map], sample, first);
    return VJ_OK;
}

static vj_status measure_sample(picture *p, int64_t sample)
{
    vj_evaluation *e = p->e;
    const vj_attention *f = &p->file;
    const int crops = e->validation.views.views;
    const int64_t pixels = (int64_t)3 * e->validation.views.frames * f->side * f->side;
    const int64_t frames = f->t * f->side * f->side * 3;
    vj_batch clips;
    double wait_s;
    VJ_TRY(vj_loader_next(e->loader, &clips, &wait_s));
    p->file.clip[sample] = vj_eval_set_clip(&e->validation.set, p->sample[sample], 0, 0);
    for (int64_t s = 0; s < f->segments; s++)
        keep_frames(p, clips.pixels + (s * crops + p->crop) * pixels, f->frames + (sample * f->segments + s) * frames);
    for (int i = 0; i < e->frozen.count; i++) {
        VJ_TRY(vj_eval_encode(e, i, &clips, 1, vj_eval_test_views(e)));
        for (int64_t m = 0; m < f->count; m++)
            for (int64_t s = 0; s < f->segments && e->head[p->head[m]].encoder == i; s += e->train.set.segments)
                VJ_TRY(attend(p, m, sample, s));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the file */

/* Choose up to `samples` different undamaged samples, spread over the set in steps of the golden section, which does
 * not coincide with an order of classes. Returns how many were found. */
static int64_t spread(const vj_evaluation *e, int64_t *sample, int64_t samples)
{
    const int64_t count = e->validation.set.count;
    int64_t found = 0;
    int64_t step = llround(0.6180339887 * (double)count), a = count, b = 0;
    for (; a != 1; step++) /* a step coprime with count reaches every sample once */
        for (a = step, b = count; b != 0;) {
            const int64_t rest = a % b;
            a = b;
            b = rest;
        }
    step--;
    for (int64_t i = 0; i < count && found < samples; i++)
        if (!vj_eval_is_lost(&e->validation, (i + 1) * step % count, 0)) sample[found++] = (i + 1) * step % count;
    return found;
}

static vj_status open_picture(picture *p, int64_t samples)
{
    vj_evaluation *e = p->e;
    const int64_t count = e->validation.set.count, limit = MAX_CLIPS / e->validation.set.segments;
    int64_t heads = e->key_heads;
    for (int64_t i = 0; i < e->head_count; i++) heads = e->head[i].shape.heads > heads ? e->head[i].shape.heads : heads;
    const int64_t floats = heads * e->tokens;
    uint64_t grid[3];
    vj_frozen_grid(e->frozen.encoder[0], grid);
    if (samples > limit) samples = limit > 1 ? limit : 1;
    if (samples > count) samples = count;
    p->file = (vj_attention){.samples = samples,
                             .segments = e->validation.set.segments,
                             .side = e->validation.views.side,
                             .t = (int64_t)grid[0],
                             .y = (int64_t)grid[1],
                             .x = (int64_t)grid[2]};
    p->crop = e->validation.views.views / 2;
    p->sample = vj_calloc(samples, sizeof *p->sample);
    p->head = vj_calloc(2 * (int64_t)e->tasks.count * e->frozen.count, sizeof *p->head);
    p->host = vj_calloc(floats, sizeof *p->host);
    if (!p->sample || !p->head || !p->host) return vj_raise(VJ_ERR_MEMORY, "no memory for pictures of attention");
    p->prob = vj_device_alloc(e->frozen.be, (floats + e->key_floats) * (int64_t)sizeof *p->prob);
    if (!p->prob) return VJ_ERR_MEMORY; /* reported by the device */
    samples = p->file.samples = spread(e, p->sample, samples);
    if (samples == 0) return VJ_OK; /* all are damaged */
    VJ_TRY(vj_attention_allocate(&p->file, list_heads(p)));
    for (int64_t m = 0; m < p->file.count; m++) {
        vj_attention_map *map = &p->file.map[m];
        const vj_eval_head *h = &e->head[p->head[m]];
        const vj_head_facts facts = vj_eval_head_facts(e, h);
        snprintf(map->name, sizeof map->name, "%s", facts.name);
        map->heads = h->shape.heads;
        map->weight = vj_calloc(samples * map->heads * vj_attention_cells(&p->file), sizeof *map->weight);
        if (!map->weight) return vj_raise(VJ_ERR_MEMORY, "no memory for the attention of %s", map->name);
    }
    return VJ_OK;
}

static vj_status draw(picture *p, int64_t samples, const char *path)
{
    vj_evaluation *e = p->e;
    VJ_TRY(open_picture(p, samples));
    if (p->file.count == 0) return VJ_OK; /* no attentive probe */
    VJ_TRY(vj_eval_load(e, &e->validation, p->sample, p->file.samples, 1, e->validation.views.views, 0));
    for (int64_t i = 0; i < p->file.samples; i++) VJ_TRY(measure_sample(p, i));
    return vj_attention_write(&p->file, path);
}

vj_status vj_eval_write_attention(vj_evaluation *e, const vj_eval_score *scores)
{
    picture p = {.e = e, .scores = scores};
    char path[VJ_PATH + 32];
    if (e->request->attention < 1 || e->validation.set.count < 1) return VJ_OK;
    snprintf(path, sizeof path, "%s/" VJ_ATTENTION_FILE, e->dir);
    const vj_status status = draw(&p, e->request->attention, path);
    vj_attention_release(&p.file);
    vj_device_free(e->frozen.be, p.prob);
    free(p.host);
    free(p.sample);
    free(p.head);
    return status;
}
