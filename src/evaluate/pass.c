/* Runs the encoders over samples: the device and its memory, loading clips, tokens of samples. */
#include <stdlib.h>
#include <string.h>

#include "evaluate/parts.h"
#include "parallel/parallel.h"

int64_t vj_eval_test_batch(const vj_evaluation *e)
{
    const int64_t samples = e->config->evaluate.batch / e->validation.views.views;
    return samples > 0 ? samples : 1;
}

/* Clips that an encoder takes at once: those of a batch of training samples, or of test samples in all views. */
static int64_t most_clips(const vj_evaluation *e)
{
    const int64_t training = e->config->evaluate.batch, testing = vj_eval_test_batch(e) * e->validation.views.views;
    return e->train.set.segments * (training > testing ? training : testing);
}

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status open_encoders(vj_evaluation *e)
{
    vj_strings encoders = {.count = e->request->encoder_count};
    vj_frozen *f = &e->frozen;
    for (int i = 0; i < encoders.count; i++)
        snprintf(encoders.item[i], VJ_PATH, "%s", strchr(e->request->encoders[i], '=') + 1);
    *f = (vj_frozen){.config = e->config, .comm = e->comm, .rank = e->rank, .size = e->size, .batch = most_clips(e)};
    f->clips = e->train.clips;
    VJ_TRY(vj_frozen_open_encoders(f, &encoders));
    for (int i = 0; i < f->count; i++) {
        VJ_ASSERT(e->train.set.segments * f->encoder[i]->net.tokens == e->tokens);
        VJ_TRY(vj_frozen_digest(f->encoder[i], &e->encoder_digest[i]));
    }
    return VJ_OK;
}

static vj_status open_heads(vj_evaluation *e)
{
    vj_backend *be = e->frozen.be;
    for (int64_t i = 0; i < e->head_count; i++) {
        vj_eval_head *h = &e->head[i];
        const int64_t key_bytes = vj_head_key_floats(&h->shape) * (int64_t)sizeof(float);
        if (h->owner != e->rank) continue;
        VJ_TRY(vj_head_create(&h->head, be, &h->shape));
        VJ_TRY(vj_head_init(h->head, h->seed, e->config->probe.init_std));
        if (key_bytes == 0) continue;
        h->dkeys = vj_device_alloc(be, h->shape.batch * key_bytes);
        if (!h->dkeys) return VJ_ERR_MEMORY; /* reported by the device */
    }
    return VJ_OK;
}

static vj_status open_tokens(vj_evaluation *e)
{
    vj_backend *be = e->frozen.be;
    const int64_t bytes = most_clips(e) / e->train.set.segments * e->sample_floats * (int64_t)sizeof(float);
    const int64_t key = e->key_floats * (int64_t)sizeof(float);
    bool keys = false;
    for (int i = 0; i < e->frozen.count; i++) {
        if (e->keyed[i] == 0) continue;
        keys = true;
        e->keys[i] = vj_device_alloc(be, e->keyed[i] * key);
        if (!e->keys[i]) return VJ_ERR_MEMORY; /* reported by the device */
    }
    e->raw = vj_device_alloc(be, bytes);
    if (keys) e->normed = vj_device_alloc(be, bytes);
    return e->raw && (e->normed || !keys) ? VJ_OK : VJ_ERR_MEMORY;
}

vj_status vj_eval_open(vj_evaluation *e)
{
    VJ_TRY(vj_agree(e->comm, open_encoders(e)));
    if (e->rank == 0) vj_products_say(&e->frozen.products);
    vj_eval_forecast(e);
    vj_status status = open_heads(e);
    if (status == VJ_OK) status = open_tokens(e);
    if (status == VJ_OK) status = vj_exchange_open(&e->exchange, e);
    return vj_agree(e->comm, status);
}

void vj_eval_close(vj_evaluation *e)
{
    vj_backend *be = e->frozen.be;
    vj_loader_stop(e->loader);
    vj_exchange_close(e->exchange);
    for (int64_t i = 0; be && i < e->head_count; i++) {
        vj_head_destroy(e->head[i].head);
        vj_device_free(be, e->head[i].dkeys);
    }
    for (int i = 0; be && i < VJ_MAX_LIST; i++) vj_device_free(be, e->keys[i]);
    if (be) vj_device_free(be, e->raw);
    if (be) vj_device_free(be, e->normed);
    e->frozen.clips = NULL; /* closed with the training side */
    vj_frozen_release(&e->frozen);
    free(e->items);
    free(e->stream);
}

/* ------------------------------------------------------------------------------------------------ passes */

vj_status vj_eval_load(vj_evaluation *e, const vj_eval_side *side, const int64_t *samples, int64_t n, int64_t at_once,
                       int views)
{
    const int64_t each = side->set.segments * views, count = n * each;
    vj_loader_plan plan = {.shown = &side->views,
                           .be = e->frozen.be,
                           .batch = at_once * each,
                           .last = at_once * each,
                           .stop = (n + at_once - 1) / at_once,
                           .samples = count};
    vj_loader_stop(e->loader);
    e->loader = NULL;
    free(e->items);
    e->items = vj_calloc(count + 1, sizeof *e->items);
    if (!e->items) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of %lld clips", (long long)count);
    for (int64_t i = 0; i < n; i++)
        vj_eval_set_items(&side->set, samples[i], side->views.training ? e->epoch : 0, views, e->items + i * each);
    if (n == 0) return VJ_OK;
    plan.items = e->items;
    return vj_loader_start(&e->loader, side->clips, e->config, &plan);
}

/*
 * The features of clips [first, first + count) of a batch to their places: tokens are kept view by view, [samples,
 * views, segments, tokens of a clip, width], and clips come segment by segment.
 */
static void place_tokens(vj_evaluation *e, const float *features, int64_t first, int64_t count, int views)
{
    const int64_t segments = e->train.set.segments, clip = e->sample_floats / segments;
    for (int64_t i = 0; i < count; i++) {
        const int64_t sample = (first + i) / (segments * views), rest = (first + i) % (segments * views);
        const int64_t segment = rest / views, view = rest % views;
        vj_copy(e->frozen.be, e->raw + ((sample * views + view) * segments + segment) * clip, features + i * clip,
                clip);
    }
}

/* The bits of a product by a library can depend on how many rows it has. So then clips are encoded one by one. */
static bool whole_batches(vj_backend *be)
{
    vj_kernels kernels;
    vj_backend_kernels(be, &kernels);
    return vj_device_is_host(be) && kernels.library[0] == '\0';
}

void vj_eval_encode(vj_evaluation *e, int i, const vj_batch *batch, int64_t samples, int views)
{
    const vj_config *c = e->config;
    const int64_t each = whole_batches(e->frozen.be) ? batch->count : 1;
    VJ_ASSERT(batch->count == samples * views * e->train.set.segments);
    for (int64_t first = 0; first < batch->count; first += each) {
        vj_batch some = *batch;
        some.count = each;
        some.views = batch->views + first;
        if (batch->pixels) some.pixels = batch->pixels + first * 3 * c->data.frames * c->data.crop * c->data.crop;
        place_tokens(e, vj_frozen_encode(&e->frozen, i, &some), first, each, views);
    }
    if (e->keyed[i] > 0)
        vj_probe_normalise(e->frozen.be, e->normed, e->raw, samples * views * e->tokens, (int)c->model.width);
}
