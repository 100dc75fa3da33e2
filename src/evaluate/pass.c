/* Runs the encoders over samples: opens the device and its memory, loads clips, and computes the tokens of samples. */
#include <stdlib.h>

#include "evaluate/exchange.h"
#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "evaluate/store.h"
#include "parallel/parallel.h"

int64_t vj_eval_test_batch(const vj_evaluation *e)
{
    const int64_t samples = e->config->evaluate.batch / vj_eval_test_views(e);
    return samples > 0 ? samples : 1;
}

int vj_eval_test_views(const vj_evaluation *e)
{
    return e->validation.views.views * (e->validation.set.segments / e->train.set.segments);
}

int64_t vj_eval_max_clips(const vj_evaluation *e)
{
    const int64_t training = e->config->evaluate.batch, testing = vj_eval_test_batch(e) * vj_eval_test_views(e);
    return e->train.set.segments * (training > testing ? training : testing);
}

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status open_encoders(vj_evaluation *e)
{
    vj_strings encoders = {.count = e->encoders.count};
    vj_frozen *f = &e->frozen;
    for (int i = 0; i < encoders.count; i++)
        snprintf(encoders.item[i], VJ_PATH, "%s", e->encoders.from[e->encoders.at[i]]);
    *f = (vj_frozen){.config = e->config,
                     .comm = e->layout.world,
                     .rank = e->layout.rank,
                     .size = e->layout.size,
                     .batch = e->max_clips,
                     .tensor = e->tensor};
    f->clips = e->train.clips;
    VJ_TRY(vj_frozen_open_encoders(f, &encoders));
    VJ_TRY(vj_tensor_use_device(e->tensor, f->be, &e->layout));
    for (int i = 0; i < f->count; i++) {
        VJ_ASSERT(e->layout.tensor_rank > 0 || e->train.set.segments * f->encoder[i]->net.tokens == e->tokens);
        VJ_TRY(vj_frozen_digest(f->encoder[i], &e->encoders.digest[i]));
    }
    return VJ_OK;
}

static vj_status open_tokens(vj_evaluation *e)
{
    vj_backend *be = e->frozen.be;
    const int64_t bytes = e->max_clips / e->train.set.segments * e->sample_floats * (int64_t)sizeof(float);
    const int64_t key = e->key_floats * (int64_t)sizeof(float);
    bool keys = false;
    for (int i = 0; i < e->frozen.count; i++) {
        if (e->encoded.keyed[i] == 0) continue;
        keys = true;
        e->encoded.keys[i] = vj_device_alloc(be, e->encoded.keyed[i] * key);
        if (!e->encoded.keys[i]) return VJ_ERR_MEMORY; /* reported by the device */
    }
    e->encoded.raw = vj_device_alloc(be, bytes);
    if (keys) e->encoded.normed = vj_device_alloc(be, bytes);
    return e->encoded.raw && (e->encoded.normed || !keys) ? VJ_OK : VJ_ERR_MEMORY;
}

/* Open what only leaders have: heads, token buffers and the exchange. */
static vj_status open_campaign(vj_evaluation *e)
{
    if (e->rank == 0) vj_products_log(&e->frozen.products);
    VJ_TRY(vj_eval_forecast(e));
    VJ_TRY(vj_eval_open_heads(e));
    VJ_TRY(open_tokens(e));
    return vj_exchange_open(&e->exchange, e);
}

vj_status vj_eval_open(vj_evaluation *e)
{
    VJ_TRY(vj_agree(e->layout.world, open_encoders(e)));
    return vj_agree(e->layout.world, e->layout.tensor_rank == 0 ? open_campaign(e) : VJ_OK);
}

void vj_eval_close(vj_evaluation *e)
{
    vj_backend *be = e->frozen.be;
    vj_loader_stop(e->loader);
    vj_eval_reader_close(e->reader);
    vj_exchange_close(e->exchange);
    vj_eval_close_heads(e);
    for (int i = 0; be && i < VJ_MAX_LIST; i++) vj_device_free(be, e->encoded.keys[i]);
    if (be) vj_device_free(be, e->encoded.raw);
    if (be) vj_device_free(be, e->encoded.normed);
    e->frozen.clips = NULL; /* closed with the training side */
    vj_frozen_release(&e->frozen);
    free(e->items);
    free(e->stream.sample);
}

/* ------------------------------------------------------------------------------------------------ passes */

vj_status vj_eval_load(vj_evaluation *e, const vj_eval_side *side, const int64_t *samples, int64_t n, int64_t at_once,
                       int crops, int64_t epoch)
{
    const int64_t each = side->set.segments * crops, count = n * each;
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
    for (int64_t i = 0; i < n; i++) vj_eval_set_items(&side->set, samples[i], epoch, crops, e->items + i * each);
    if (n == 0) return VJ_OK;
    plan.items = e->items;
    plan.damaged = side->damaged;
    return vj_loader_start(&e->loader, side->clips, e->config, &plan);
}

/*
 * Copy the features of clips [first, first + count) of a batch to their places in e->encoded.raw. Its order is
 * [samples, views, segments, tokens of a clip, width], while the clips of a sample come in the order [segments, views].
 */
static void place_tokens(vj_evaluation *e, const float *features, int64_t first, int64_t count, int views)
{
    const int64_t segments = e->train.set.segments, clip = e->sample_floats / segments;
    for (int64_t i = 0; i < count; i++) {
        const int64_t sample = (first + i) / (segments * views), rest = (first + i) % (segments * views);
        const int64_t segment = rest / views, view = rest % views;
        vj_copy(e->frozen.be, e->encoded.raw + ((sample * views + view) * segments + segment) * clip,
                features + i * clip, clip);
    }
}

/* Return whether a whole batch can be encoded at once. The bits of a library's matrix product can depend on its number
 * of rows; so with a library, or on a GPU, clips are encoded one by one. */
static bool whole_batches(vj_backend *be)
{
    vj_kernels kernels;
    vj_backend_kernels(be, &kernels);
    return vj_device_is_host(be) && kernels.library[0] == '\0';
}

static void normalise(vj_evaluation *e, int i, int64_t samples)
{
    if (e->encoded.keyed[i] == 0) return;
    vj_probe_normalise(e->frozen.be, e->encoded.normed, e->encoded.raw, samples * e->tokens,
                       (int)e->config->model.width);
}

vj_status vj_eval_encode(vj_evaluation *e, int i, const vj_batch *batch, int64_t samples, int views)
{
    const vj_config *c = e->config;
    const int64_t each = whole_batches(e->frozen.be) ? batch->count : 1;
    VJ_ASSERT(batch->count == samples * views * e->train.set.segments);
    e->encoded.raw_means = false;
    for (int64_t first = 0; first < batch->count; first += each) {
        vj_batch some = *batch;
        some.count = each;
        some.views = batch->views + first;
        if (batch->pixels) some.pixels = batch->pixels + first * 3 * c->data.frames * c->data.crop * c->data.crop;
        place_tokens(e, vj_frozen_encode(&e->frozen, i, &some), first, each, views);
    }
    normalise(e, i, samples * views);
    if (e->frozen.lost == VJ_OK) return VJ_OK;
    return vj_raise(e->frozen.lost, "another rank of this tensor group cannot encode any more");
}

/* ------------------------------------------------------------------------------------------------ training */

vj_status vj_eval_start(vj_evaluation *e, const int64_t *samples, int64_t n)
{
    const int64_t batch = e->config->evaluate.batch;
    if (e->stored.copies > 0) return vj_eval_reader_start(e, samples, n);
    return vj_agree(e->comm, vj_eval_load(e, &e->train, samples, n, batch, 1, e->stream.epoch));
}

vj_status vj_eval_next(vj_evaluation *e, vj_batch *clips)
{
    double wait_s = 0.0;
    vj_status status = e->stored.copies > 0 ? VJ_OK : vj_loader_next(e->loader, clips, &wait_s);
    e->progress.waited_s += wait_s;
    return status;
}

vj_status vj_eval_tokens(vj_evaluation *e, int i, const vj_batch *clips, int64_t samples)
{
    double wait_s = 0.0;
    if (e->stored.copies == 0) return vj_eval_encode(e, i, clips, samples, 1);
    VJ_TRY(vj_eval_reader_next(e, samples, &wait_s));
    e->progress.waited_s += wait_s;
    normalise(e, i, samples);
    return VJ_OK;
}
