/* Makes one rank's shards: hands files to the decoding processes and writes their clips in order. */
#include "pack/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/decode.h"
#include "pack/ledger.h"
#include "pack/refused.h"

_Static_assert((int)VJ_CLIPS_MAX_SIDE == VJ_VIDEO_MAX_SIDE && (int)VJ_CLIPS_MOTION_BYTES == (int)VJ_PHASH_MOTION_BYTES,
               "what is made fits what is stored");

/* A file that was given to a worker and is not written yet. */
typedef struct {
    int64_t shard, number; /* number of the shard, number of the source */
    int last;              /* whether it is the last file of its shard */
    int ready;
    vj_pack_source source;
    vj_decoded *decoded; /* the result once ready; NULL: the file is excluded and was not opened. Owned */
} slot;

typedef struct {
    const vj_pack_plan *plan;
    const int64_t *todo;
    int64_t count;
    vj_catalogue catalogue;
    vj_decoders *decoders;
    vj_decoders *again; /* one worker with wider limits, started when needed */
    int workers;
    vj_refused refused; /* counts of this rank's files */
    bool any_refused;
    vj_shard *shard; /* the shard being written */
    vj_pack_progress *progress;
    /* The next file to hand out. */
    int64_t next_todo, position;
    /* Files in progress have the running numbers [written, sent); each is in slot number mod slots. */
    slot *slot;
    int64_t slots, sent, written;
    int64_t held_bytes; /* size of the clips that wait to be written */
} maker;

static slot *slot_of(const maker *m, int64_t number)
{
    return &m->slot[number % m->slots];
}

/* ------------------------------------------------------------------------------------------------ handing out */

static vj_decode_job job_of(const slot *s)
{
    return (vj_decode_job){.source = s->number,
                           .path = s->source.path,
                           .start_s = s->source.start_s,
                           .end_s = s->source.end_s,
                           .windows = s->source.windows,
                           .look_only = s->source.dataset == VJ_SOURCE_HELD_OUT};
}

static vj_status hand_out(maker *m)
{
    int64_t first, last, shard = m->todo[m->next_todo];
    slot *s = slot_of(m, m->sent);
    vj_sharding_shard(m->plan->layout, shard, &first, &last);
    if (m->position < first) m->position = first;
    *s = (slot){
        .shard = shard, .number = vj_sharding_source(m->plan->layout, m->position), .last = m->position == last - 1};
    VJ_TRY(vj_catalogue_find(&m->catalogue, s->number, &s->source));
    int drop = m->plan->config->pack.duplicates == VJ_DUPLICATES_DROP;
    if (s->source.exclusion == VJ_SOURCE_HELD_OUT_ID || (drop && s->source.exclusion == VJ_SOURCE_LISTED_TWICE)) {
        s->ready = 1;
    } else {
        const vj_decode_job job = job_of(s);
        VJ_TRY(vj_decoders_submit(m->decoders, &job));
    }
    m->sent++;
    m->position++;
    if (s->last) {
        m->next_todo++;
        m->position = 0; /* is raised to the beginning of that shard */
    }
    return VJ_OK;
}

static int may_hand_out(const maker *m)
{
    return m->next_todo < m->count && m->sent - m->written < m->slots && vj_decoders_idle(m->decoders) > 0 &&
           m->held_bytes < m->plan->config->pack.buffer_mb * 1000000;
}

/* Store the result for a file. */
static vj_status take_back(maker *m, vj_decoded *decoded)
{
    for (int64_t n = m->written; n < m->sent; n++) {
        slot *s = slot_of(m, n);
        if (s->ready || s->number != decoded->source) continue;
        s->decoded = decoded;
        s->ready = 1;
        m->held_bytes += decoded->data_bytes;
        return VJ_OK;
    }
    vj_decoded_free(decoded);
    return vj_raise(VJ_ERR_STATE, "a file came back that was not handed out");
}

/* Return the files that are handed out and not written, each counted by the part of it that is decoded. */
static double begun(const maker *m)
{
    const int64_t at_work = m->workers - vj_decoders_idle(m->decoders);
    return (double)(m->sent - m->written - at_work) + vj_decoders_so_far(m->decoders);
}

/* Take all results that are ready, so that no worker waits; with `wait`, wait for one if none is ready. */
static vj_status take_back_all(maker *m, int wait)
{
    enum { SPEAK_S = 1 };
    vj_decoded *decoded;
    do {
        VJ_TRY(vj_decoders_next(m->decoders, &decoded, wait ? SPEAK_S : 0));
        if (decoded) VJ_TRY(take_back(m, decoded));
        wait = 0;
    } while (decoded);
    vj_pack_progress_wait(m->progress, begun(m));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ once more */

/* Return the largest number of windows of any file. */
static int64_t max_windows(const vj_config *config)
{
    int64_t largest = config->pack.windows;
    for (int i = 0; i < config->pack.dataset_count; i++)
        if (config->pack.dataset[i].windows > largest) largest = config->pack.dataset[i].windows;
    return largest;
}

static vj_decode_settings decode_settings(const vj_pack_plan *plan)
{
    const vj_config *c = plan->config;
    return (vj_decode_settings){
        .frames = c->pack.frames,
        .step = c->pack.step,
        .windows = max_windows(c),
        .place = c->pack.random_windows,
        .overlap = c->pack.overlap,
        .seed = (uint64_t)c->pack.seed,
        .short_side = (int)c->pack.short_side,
        .codec = plan->clips->codec,
        .looks = c->pack.duplicates == VJ_DUPLICATES_DROP || c->pack.held_out_videos.count > 0,
        .limits = {.max_bytes = c->pack.max_file_mb * 1000000,
                   .max_kept = vj_video_usual_limits.max_kept,
                   .max_pixels = c->pack.max_pixels_m * 1000000,
                   .max_damage = c->pack.max_damage,
                   .decode_all = c->pack.decode_all},
        .memory_mb = c->pack.worker_memory_mb,
        .seconds = c->pack.worker_seconds,
    };
}

/*
 * Decode the oldest file in progress again, because its verdict may have a temporary cause: with twice the memory and
 * time, while all other workers of this rank are idle. It keeps its place in the shard.
 */
static vj_status decode_again(maker *m, slot *s)
{
    const vj_decode_job job = job_of(s);
    vj_decoded *decoded = NULL;
    while (vj_decoders_idle(m->decoders) < m->workers) VJ_TRY(take_back_all(m, 1));
    if (!m->again) {
        vj_decode_settings wider = decode_settings(m->plan);
        wider.memory_mb *= 2;
        wider.seconds *= 2;
        VJ_TRY(vj_decoders_start(&m->again, &wider, 1));
    }
    vj_warn("%s: %s (%s), tried again", s->source.path, vj_video_verdict_name(s->decoded->verdict), s->decoded->reason);
    m->held_bytes -= s->decoded->data_bytes;
    vj_decoded_free(s->decoded);
    s->decoded = NULL;
    s->ready = 0;
    VJ_TRY(vj_decoders_submit(m->again, &job));
    while (!decoded) {
        VJ_TRY(vj_decoders_next(m->again, &decoded, 1));
        vj_pack_progress_wait(m->progress, begun(m) - 1 + vj_decoders_so_far(m->again));
    }
    return take_back(m, decoded);
}

/* ------------------------------------------------------------------------------------------------ writing */

/* Return the verdict on a file that was packed. */
static int judge_packed(const vj_config *config, const vj_decoded *d, char reason[VJ_VIDEO_REASON])
{
    const vj_video_info *info = &d->info;
    int64_t span = config->pack.frames * config->pack.step;
    if (info->corrupt + info->missing > 0) {
        snprintf(reason, VJ_VIDEO_REASON, "%lld frames damaged, %lld missing%s%.120s", (long long)info->corrupt,
                 (long long)info->missing, *d->reason ? "; " : "", d->reason);
        return VJ_LEDGER_DAMAGED;
    }
    if (!info->is_image && d->clips > 0 && d->frames / d->clips < span) {
        snprintf(reason, VJ_VIDEO_REASON, "a window spans %lld frames: the last frame is held", (long long)span);
        return VJ_LEDGER_SHORT;
    }
    return VJ_VIDEO_OK;
}

static int judge(const maker *m, const slot *s, char reason[VJ_VIDEO_REASON])
{
    const vj_decoded *d = s->decoded;
    reason[0] = '\0';
    if (!d && s->source.exclusion == VJ_SOURCE_HELD_OUT_ID) return VJ_LEDGER_HELD_OUT_ID;
    if (!d) {
        snprintf(reason, VJ_VIDEO_REASON, "listed before, as source %lld", (long long)s->source.first);
        return VJ_LEDGER_DUPLICATE;
    }
    memcpy(reason, d->reason, VJ_VIDEO_REASON);
    if (d->verdict != VJ_VIDEO_OK) return (int)d->verdict;
    if (s->source.dataset == VJ_SOURCE_HELD_OUT) return VJ_LEDGER_HELD_OUT;
    return judge_packed(m->plan->config, d, reason);
}

static vj_status add_file(maker *m, const slot *s)
{
    static const vj_decoded nothing;
    const vj_decoded *d = s->decoded ? s->decoded : &nothing;
    char reason[VJ_VIDEO_REASON];
    vj_clips_file file = {.source = s->number, .dataset = s->source.dataset, .clips = d->clips};
    file.verdict = judge(m, s, reason);
    if (!d->info.is_image) { /* one picture is too little to identify a file by its look */
        memcpy(file.look, d->look.bits, sizeof file.look);
        file.look_valid = d->look.valid;
        file.motion = &d->look.motion[0][0];
    }
    const vj_ledger_row row = {
        .source = s->number,
        .dataset = s->source.dataset < 0 ? "" : m->plan->summary->names.dataset_names[s->source.dataset],
        .path = s->source.path,
        .reason = reason,
        .verdict = file.verdict,
        .info = &d->info,
        .bytes = d->bytes,
        .digest = d->digest,
        .shard = s->shard,
        .clips = d->clips,
        .seconds = d->seconds};
    char *text = vj_ledger_text(&row);
    if (!text) return vj_raise(VJ_ERR_MEMORY, "no memory for a row of the ledger");
    file.row = text;
    vj_status status = vj_shard_add_file(m->shard, &file);
    free(text);
    return status;
}

static vj_status add_clips(maker *m, const slot *s)
{
    const vj_decoded *d = s->decoded;
    for (int i = 0; d && i < d->clips; i++) {
        const vj_clip clip = {.source = s->number,
                              .window = d->clip[i].window,
                              .dataset = s->source.dataset,
                              .pts_s = d->clip[i].pts_s,
                              .height = d->clip[i].height,
                              .width = d->clip[i].width,
                              .labels = s->source.labels,
                              .record = d->data + d->clip[i].at,
                              .bytes = d->clip[i].bytes,
                              .psnr = d->clip[i].psnr};
        VJ_TRY(vj_shard_add_clip(m->shard, &clip));
    }
    return VJ_OK;
}

/* Write the oldest file in progress, whose result is ready, into its shard. */
static vj_status write_oldest(maker *m)
{
    slot *s = slot_of(m, m->written);
    if (s->decoded && vj_refused_decode_again((int)s->decoded->verdict)) VJ_TRY(decode_again(m, s));
    if (s->decoded && vj_refused_counts((int)s->decoded->verdict)) {
        m->any_refused = true;
        vj_refused_add(&m->refused, s->source.dataset, (int)s->decoded->verdict, s->source.path, s->decoded->reason);
        VJ_TRY(vj_refused_check(&m->refused, m->plan));
    }
    if (!m->shard) VJ_TRY(vj_shard_create(&m->shard, m->plan->config->pack.store, s->shard, m->plan->clips));
    VJ_TRY(add_clips(m, s));
    VJ_TRY(add_file(m, s));
    vj_pack_progress_add(m->progress, s->decoded ? s->decoded->bytes : 0, s->decoded ? s->decoded->clips : 0);
    if (s->decoded) m->held_bytes -= s->decoded->data_bytes;
    vj_decoded_free(s->decoded);
    s->decoded = NULL;
    m->written++;
    if (!s->last) return VJ_OK;
    VJ_TRY(vj_lease_check(m->plan->lease));
    return vj_shard_publish(&m->shard);
}

/* ------------------------------------------------------------------------------------------------ the whole */

static vj_status make_all(maker *m)
{
    while (m->written < m->sent || m->next_todo < m->count) {
        int ready = m->written < m->sent && slot_of(m, m->written)->ready;
        VJ_TRY(take_back_all(m, !ready));
        while (may_hand_out(m)) VJ_TRY(hand_out(m));
        if (ready) VJ_TRY(write_oldest(m));
    }
    return VJ_OK;
}

vj_status vj_pack_shards(const vj_pack_plan *plan, const int64_t *todo, int64_t count, int workers,
                         vj_pack_progress *progress, bool *refused)
{
    enum { AHEAD = 256, AHEAD_A_WORKER = 8 }; /* limit of files in progress */
    const vj_decode_settings settings = decode_settings(plan);
    maker m = {.plan = plan, .todo = todo, .count = count, .workers = workers, .progress = progress};
    *refused = false;
    if (count == 0) return VJ_OK;
    m.slots = AHEAD + AHEAD_A_WORKER * (int64_t)workers;
    m.slot = vj_calloc(m.slots, sizeof *m.slot);
    vj_status status = vj_catalogue_open(&m.catalogue, plan->config->pack.store, plan->layout->sources);
    if (status == VJ_OK && !m.slot)
        status = vj_raise(VJ_ERR_MEMORY, "no memory for %lld files at a time", (long long)m.slots);
    if (status == VJ_OK) status = vj_decoders_start(&m.decoders, &settings, workers);
    if (status == VJ_OK) status = make_all(&m);
    for (int64_t i = 0; m.slot && i < m.slots; i++) vj_decoded_free(m.slot[i].decoded);
    vj_shard_abandon(m.shard);
    vj_decoders_stop(m.decoders);
    vj_decoders_stop(m.again);
    *refused = m.any_refused;
    vj_catalogue_close(&m.catalogue);
    free(m.slot);
    return status;
}
