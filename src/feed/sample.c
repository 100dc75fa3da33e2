/* Loads samples: clip number, record, frames, crop. Nothing is allocated after vj_sample_room_init(); HDF5 is not
 * called. */
#include "feed/sample.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "feed/loader.h"

enum { LONGEST_ROW = 64 }; /* more damaged clips in a row than this mean that the store is damaged, not single clips */

/* ------------------------------------------------------------------------------------------------ life */

vj_status vj_order_of_clips(vj_order **order, const vj_clips *clips, const vj_config *config)
{
    const char *names[VJ_MAX_DATASETS];
    const int64_t count = vj_clips_count(clips), shards = vj_clips_shard_count(clips);
    vj_order_clips what = {.shards = shards,
                           .datasets = vj_clips_dataset_count(clips),
                           .dataset_name = names,
                           .dataset = vj_clips_datasets(clips)};
    for (int d = 0; d < what.datasets; d++) names[d] = vj_clips_dataset_name(clips, d);
    int64_t *shard_clips = vj_calloc(shards, sizeof *shard_clips);
    if (!shard_clips) return vj_raise(VJ_ERR_MEMORY, "no memory for the order of clips");
    for (int64_t i = 0; i < count; i++) shard_clips[vj_clips_shard(clips, i)]++;
    what.shard_clips = shard_clips;
    vj_status status = vj_order_create(order, &what, config);
    free(shard_clips);
    return status;
}

void vj_sampler_init(vj_sampler *sampler, const vj_clips *clips, const vj_config *config, const vj_loader_plan *plan)
{
    *sampler = (vj_sampler){.clips = clips,
                            .config = *config,
                            .order = plan->order,
                            .view = plan->view,
                            .marks = plan->marks,
                            .items = plan->items,
                            .damaged = plan->damaged};
    if (plan->items) sampler->shown = *plan->shown;
    sampler->patience = (vj_patience){
        .limit_s = vj_config_io_patience_s(config), .setting = "data.io_patience_s", .stop = &sampler->stop};
    if (config->data.cache[0])
        sampler->cache = vj_cache_open(config->data.cache, config->data.cache_gb, vj_clips_fingerprint(clips),
                                       vj_clips_count(clips));
}

void vj_sampler_release(vj_sampler *sampler)
{
    vj_cache_close(sampler->cache);
    vj_order_destroy(sampler->order);
}

vj_loader_bytes vj_loader_bytes_of(const vj_clips *clips, const vj_config *config)
{
    const int64_t frames = vj_clips_largest_bytes(clips), record = vj_clips_largest_coded(clips);
    const int64_t values = 3 * vj_clips_frames(clips) * config->data.crop * config->data.crop;
    if (vj_backend_is_host(config->train.backend))
        return (vj_loader_bytes){.sample = values * (int64_t)sizeof(float), .thread = frames + record};
    return (vj_loader_bytes){.sample = frames, .thread = record, .frames = frames};
}

vj_loader_bytes vj_loader_bytes_of_items(const vj_clips *clips, const vj_eval_views *shown)
{
    return (vj_loader_bytes){.sample = INT64_C(3) * shown->frames * shown->side * shown->side * (int64_t)sizeof(float),
                             .thread = vj_clips_largest_bytes(clips) + vj_clips_largest_coded(clips) +
                                       vj_eval_room_bytes(shown, clips)};
}

vj_status vj_sample_room_init(vj_sample_room *room, const vj_sampler *sampler, bool makes_pixels)
{
    const vj_clips *clips = sampler->clips;
    const int64_t record = vj_clips_largest_coded(clips), frames = makes_pixels ? vj_clips_largest_bytes(clips) : 0;
    *room = (vj_sample_room){.held = -1};
    VJ_TRY(vj_coder_create(&room->coder));
    if (makes_pixels) room->frames = vj_calloc(frames, 1);
    if ((makes_pixels && !room->frames) || (record > 0 && !vj_coder_scratch(room->coder, record)))
        return vj_raise(VJ_ERR_MEMORY, "no memory for a clip of %lld bytes", (long long)(record + frames));
    return sampler->items ? vj_eval_room_init(&room->eval, &sampler->shown, clips) : VJ_OK;
}

void vj_sample_room_release(vj_sample_room *room)
{
    vj_coder_destroy(room->coder);
    vj_eval_room_release(&room->eval);
    free(room->frames);
}

vj_status vj_loader_check(const vj_clips *clips, const vj_config *config)
{
    vj_order *order;
    VJ_TRY(vj_order_of_clips(&order, clips, config));
    vj_order_log(order);
    vj_order_destroy(order);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ one sample */

static bool is_verified(const vj_sampler *sampler, int64_t sample)
{
    vj_rng rng;
    vj_rng_init(&rng, (uint64_t)sampler->config.run.seed, VJ_RNG_VERIFY, (uint64_t)sample);
    return vj_rng_uniform(&rng) < sampler->config.data.verify;
}

/*
 * Read the record of a clip, from the cache if it has an undamaged copy. Only undamaged records are put into the cache.
 * Whether the damage of a record of the store is detected depends on data.verify alone, so batches are the same with
 * and without a cache.
 */
static vj_status read_record(const vj_sampler *sampler, int64_t sample, int64_t clip, uint8_t *record)
{
    const vj_clips *clips = sampler->clips;
    const int64_t bytes = vj_clips_record_bytes(clips, clip);
    const uint64_t xxh3 = vj_clips_checksum(clips, clip);
    if (sampler->cache && vj_cache_get(sampler->cache, clip, record, bytes, xxh3)) return VJ_OK;
    VJ_TRY(vj_clips_fetch(clips, clip, &sampler->patience, record));
    if (is_verified(sampler, sample)) VJ_TRY(vj_clips_check(clips, clip, record));
    if (sampler->cache) vj_cache_put(sampler->cache, clip, record, bytes, xxh3);
    return VJ_OK;
}

/* A raw record is its frames. */
static vj_status read_clip(const vj_sampler *sampler, vj_coder *coder, int64_t sample, int64_t clip, uint8_t *frames)
{
    const vj_clips *clips = sampler->clips;
    const bool raw = vj_clips_find(clips, clip).codec == VJ_CODEC_RAW;
    uint8_t *record = raw ? frames : vj_coder_scratch(coder, vj_clips_record_bytes(clips, clip));
    VJ_ASSERT(record != NULL); /* the room has it already */
    VJ_TRY(read_record(sampler, sample, clip, record));
    return vj_clips_decode(clips, clip, coder, record, frames);
}

/*
 * Read the clip of a sample, or if its bytes are damaged, the first of its replacements that is not. Other failures, of
 * the file system or for lack of memory, say nothing about the clip: they are errors, because training on another clip
 * would make it another run.
 */
static vj_status read_sample(const vj_sampler *sampler, vj_coder *coder, int64_t sample, uint8_t *frames, int64_t *clip,
                             int64_t *substituted)
{
    int64_t spare = 0;
    for (; spare < LONGEST_ROW && (*clip = vj_order_clip(sampler->order, sample, spare)) >= 0; spare++) {
        const vj_status status = read_clip(sampler, coder, sample, *clip, frames);
        if (status == VJ_ERR_FORMAT) continue; /* which reported it */
        VJ_TRY(status);
        *substituted += spare > 0;
        if (spare > 0)
            vj_warn("sample %lld: clip %lld replaces one that is damaged", (long long)sample, (long long)*clip);
        return VJ_OK;
    }
    if (spare <= 1)
        return vj_raise(VJ_ERR_FORMAT, "sample %lld: its clip is damaged, and no other may take its place",
                        (long long)sample);
    return vj_raise(VJ_ERR_FORMAT, "sample %lld: %lld clips in a row are damaged", (long long)sample, (long long)spare);
}

/* Read the clip of a sample. If it is damaged, mark it and set its frames to zero. */
static vj_status read_or_mark(const vj_sampler *sampler, vj_coder *coder, int64_t number, uint8_t *frames,
                              vj_sample *sample)
{
    const int64_t clip = *sample->clip = vj_order_clip(sampler->order, number, 0);
    int height, width;
    const vj_status status = read_clip(sampler, coder, number, clip, frames);
    if (status != VJ_ERR_FORMAT) VJ_TRY(status);
    *sample->damaged = status != VJ_OK;
    if (status == VJ_OK) return VJ_OK;
    vj_clips_geometry(sampler->clips, clip, &height, &width);
    memset(frames, 0, (size_t)vj_frames_bytes(vj_clips_frames(sampler->clips), height, width));
    return VJ_OK;
}

/*
 * Read an item's clip into the room, unless it is there from the item before. A damaged clip is reported when it is
 * read; a clip that is known to be damaged is not read.
 */
static vj_status hold_clip(const vj_sampler *sampler, vj_sample_room *room, int64_t number)
{
    const int64_t clip = sampler->items[number].clip;
    if (room->held == clip) return VJ_OK;
    const bool known = sampler->damaged && sampler->damaged[clip];
    room->held = -1;
    const vj_status status = known ? VJ_ERR_FORMAT : read_clip(sampler, room->coder, number, clip, room->frames);
    if (status != VJ_ERR_FORMAT) VJ_TRY(status);
    room->whole = status == VJ_OK;
    room->held = clip;
    return VJ_OK;
}

static vj_status load_item(const vj_sampler *sampler, vj_sample_room *room, int64_t number, vj_sample *sample)
{
    const vj_eval_item *item = &sampler->items[number];
    vj_clip_view *view = sample->view;
    VJ_TRY(hold_clip(sampler, room, number));
    *sample->clip = item->clip;
    *sample->damaged = !room->whole;
    vj_clips_geometry(sampler->clips, item->clip, &view->height, &view->width);
    if (!room->whole) {
        memset(sample->pixels, 0, (size_t)vj_loader_bytes_of_items(sampler->clips, &sampler->shown).sample);
        return VJ_OK;
    }
    vj_eval_show(&sampler->shown, &room->eval, item, room->frames, view->height, view->width, sample->pixels);
    return VJ_OK;
}

vj_status vj_sample_load(const vj_sampler *sampler, vj_sample_room *room, int64_t number, vj_sample *sample)
{
    if (sampler->items) return load_item(sampler, room, number, sample);
    const vj_config *config = &sampler->config;
    uint8_t *frames = sample->pixels ? room->frames : sample->frames;
    vj_clip_view view = {.at = 0};
    VJ_TRY(sampler->marks ? read_or_mark(sampler, room->coder, number, frames, sample)
                          : read_sample(sampler, room->coder, number, frames, sample->clip, &sample->substituted));
    vj_clips_geometry(sampler->clips, *sample->clip, &view.height, &view.width);
    view.crop = sampler->view(config, number, view.height, view.width);
    if (sample->pixels)
        vj_host_crop(sample->pixels, frames, &view, vj_clips_frames(sampler->clips), (int)config->data.crop,
                     config->data.mean, config->data.std);
    view.at = sample->view->at;
    *sample->view = view;
    return VJ_OK;
}
