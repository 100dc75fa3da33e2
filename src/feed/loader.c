/*
 * Reads batches ahead of time. Threads take sample numbers in order, one at a time, and write each sample to its place
 * in a ring of batches; the ring's size limits how far they read ahead. A sample depends only on (seed, global sample
 * number), so neither the number of threads nor the step at which a run resumes changes it.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/thread.h"
#include "feed/loader.h"
#include "feed/sample.h"

/* One batch of the ring. */
typedef struct {
    uint8_t *memory;     /* [count] samples inside the loader's memory */
    vj_clip_view *views; /* [count] likewise */
    int64_t *clips;      /* [count] likewise */
    uint8_t *damaged;    /* [count] likewise */
    int64_t unfinished;  /* samples still to come */
    int64_t substituted; /* clips replaced in this batch */
    vj_status status;    /* the first failure in this batch, returned by vj_loader_next() */
} slot;

struct vj_loader {
    vj_sampler sampler;
    vj_loader_plan plan; /* plan.order is not used; the sampler owns it */
    int64_t count;       /* this rank's samples of a whole batch */
    bool makes_pixels;   /* the threads compute pixels; otherwise the device does */
    int64_t sample_bytes;
    slot *slot; /* [slots] */
    int64_t slots;
    uint8_t *memory; /* memory of all slots */
    vj_clip_view *views;
    int64_t *numbers;
    uint8_t *damaged;
    int32_t *labels, *source, *window; /* of the batch that the caller holds */
    vj_sample_room *own;               /* [prepared] buffers, one for each thread */
    pthread_t *thread;
    int prepared, threads; /* prepared: entries of `own`; threads: running threads */

    pthread_mutex_t lock; /* guards what follows, and all but the arrays of the slots */
    pthread_cond_t room, ready;
    int64_t next_step, next_sample; /* the next ticket */
    int64_t step;                   /* the next batch to hand out */
    int64_t released;               /* batches before this step may be overwritten */
    int64_t delivered, substituted; /* samples handed out, and how many of them were replaced */
    int64_t claimed;                /* number of entries of `own` that threads have taken */
    int quit;
};

/* ------------------------------------------------------------------------------------------------ threads */

/* Return the number of this rank's samples in batch `step`; the last batch may have fewer than the others, or none. */
static int64_t samples_in(const vj_loader *loader, int64_t step)
{
    const vj_loader_plan *plan = &loader->plan;
    if (plan->samples == 0) return plan->items ? 0 : loader->count;
    const int64_t left = plan->samples - step * plan->batch - plan->first;
    return left < 0 ? 0 : left < loader->count ? left : loader->count;
}

/*
 * Return whether there is another sample to read. Batches without samples come after all others. Called with the lock
 * held.
 */
static bool has_tickets(const vj_loader *loader)
{
    return !loader->quit && loader->next_step < loader->plan.stop && samples_in(loader, loader->next_step) > 0;
}

/*
 * Return the end of the samples that one thread makes together, from sample j of the batch on: one sample, or all items
 * of one clip.
 */
static int64_t end_of_ticket(const vj_loader *loader, int64_t step, int64_t j)
{
    const int64_t count = samples_in(loader, step), base = step * loader->plan.batch + loader->plan.first;
    const vj_eval_item *items = loader->plan.items;
    int64_t end = j + 1;
    while (items && end < count && items[base + end].clip == items[base + j].clip) end++;
    return end;
}

/*
 * Wait for room in the ring, then take samples [*j, *end) of batch *step. Returns 0 if there are no more samples.
 * Called with the lock held.
 */
static int take_ticket(vj_loader *loader, int64_t *step, int64_t *j, int64_t *end)
{
    while (has_tickets(loader) && loader->next_step >= loader->released + loader->slots)
        pthread_cond_wait(&loader->room, &loader->lock);
    if (!has_tickets(loader)) return 0;
    *step = loader->next_step;
    *j = loader->next_sample;
    *end = loader->next_sample = end_of_ticket(loader, *step, *j);
    if (loader->next_sample == samples_in(loader, *step)) {
        loader->next_sample = 0;
        loader->next_step++;
    }
    return 1;
}

static vj_status load(vj_loader *loader, vj_sample_room *own, int64_t step, int64_t j, int64_t *substituted)
{
    const slot *s = &loader->slot[step % loader->slots];
    uint8_t *to = s->memory + j * loader->sample_bytes;
    vj_sample sample = {.pixels = loader->makes_pixels ? (float *)(void *)to : NULL,
                        .frames = to,
                        .view = &s->views[j],
                        .clip = &s->clips[j],
                        .damaged = &s->damaged[j]};
    const vj_status status =
        vj_sample_load(&loader->sampler, own, step * loader->plan.batch + loader->plan.first + j, &sample);
    *substituted += sample.substituted;
    return status;
}

static void *work(void *argument)
{
    vj_loader *loader = argument;
    int64_t step, j, end;
    pthread_mutex_lock(&loader->lock);
    vj_sample_room *own = &loader->own[loader->claimed++];
    while (take_ticket(loader, &step, &j, &end)) {
        pthread_mutex_unlock(&loader->lock);
        const int64_t taken = end - j;
        int64_t substituted = 0;
        vj_status status = VJ_OK;
        for (; j < end && status == VJ_OK; j++) status = load(loader, own, step, j, &substituted);
        pthread_mutex_lock(&loader->lock);
        slot *s = &loader->slot[step % loader->slots];
        s->substituted += substituted;
        s->unfinished -= taken;
        /* stop handing out samples; those before this one are being read already and will be complete */
        if (status != VJ_OK) {
            s->status = status;
            loader->quit = 1;
            pthread_cond_broadcast(&loader->room);
        }
        if (s->unfinished == 0 || status != VJ_OK) pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static vj_status start_threads(vj_loader *loader, int threads)
{
    for (; loader->threads < threads; loader->threads++)
        if (!vj_thread_start(&loader->thread[loader->threads], work, loader))
            return vj_raise(VJ_ERR_IO, "start loader thread %d of %d", loader->threads + 1, threads);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ life */

/* The size of a sample in memory: its pixels, or its frames rounded up to whole cache lines. */
static int64_t sample_bytes(const vj_loader *loader)
{
    const vj_clips *clips = loader->sampler.clips;
    const int64_t side = loader->sampler.config.data.crop;
    if (loader->plan.items) return vj_loader_bytes_of_items(clips, &loader->sampler.shown).sample;
    return loader->makes_pixels ? 3 * vj_clips_frames(clips) * side * side * (int64_t)sizeof(float)
                                : (vj_clips_largest_bytes(clips) + 63) / 64 * 64;
}

/* Allocate everything the loader will ever need. */
static vj_status allocate(vj_loader *loader, int threads)
{
    const vj_clips *clips = loader->sampler.clips;
    const int64_t count = loader->count, samples = loader->slots * count;
    vj_backend *be = loader->plan.be;
    loader->sample_bytes = sample_bytes(loader);
    loader->slot = vj_calloc(loader->slots, sizeof *loader->slot);
    loader->memory = be ? vj_host_alloc(be, samples * loader->sample_bytes) : vj_calloc(samples, loader->sample_bytes);
    loader->views = vj_calloc(samples, sizeof *loader->views);
    loader->numbers = vj_calloc(samples, sizeof *loader->numbers);
    loader->damaged = vj_calloc(samples, sizeof *loader->damaged);
    loader->labels = vj_calloc(count, (1 + vj_clips_label_count(clips)) * (int64_t)sizeof *loader->labels);
    loader->source = vj_calloc(count, sizeof *loader->source);
    loader->window = vj_calloc(count, sizeof *loader->window);
    loader->own = vj_calloc(threads, sizeof *loader->own);
    loader->thread = vj_calloc(threads, sizeof *loader->thread);
    if (!loader->slot || !loader->memory || !loader->views || !loader->numbers || !loader->damaged || !loader->own ||
        !loader->thread || !loader->labels || !loader->source || !loader->window)
        return vj_raise(VJ_ERR_MEMORY, "no memory for %lld batches of %lld clips of %.1f MiB: lower data.read_ahead",
                        (long long)loader->slots, (long long)count, (double)loader->sample_bytes / 1048576.0);
    for (int64_t step = loader->step; step < loader->step + loader->slots; step++) {
        const int64_t i = step % loader->slots;
        loader->slot[i] = (slot){.memory = loader->memory + i * count * loader->sample_bytes,
                                 .views = loader->views + i * count,
                                 .clips = loader->numbers + i * count,
                                 .damaged = loader->damaged + i * count,
                                 .unfinished = samples_in(loader, step)};
        for (int64_t j = 0; j < count; j++) loader->slot[i].views[j].at = j * loader->sample_bytes;
    }
    while (loader->prepared < threads)
        VJ_TRY(vj_sample_room_init(&loader->own[loader->prepared++], &loader->sampler, loader->makes_pixels));
    return VJ_OK;
}

vj_status vj_loader_start(vj_loader **loader, const vj_clips *clips, const vj_config *config,
                          const vj_loader_plan *plan)
{
    VJ_ASSERT(plan->start >= 0 && plan->first >= 0 && plan->first <= plan->last && plan->last <= plan->batch);
    VJ_ASSERT(plan->items ? plan->shown && !plan->order : plan->order && plan->view);
    VJ_ASSERT(config->data.threads >= 1 && config->data.read_ahead >= 1 && config->data.crop >= 1);
    vj_loader *l = *loader = vj_calloc(1, sizeof *l);
    if (!l) {
        vj_order_destroy(plan->order);
        return vj_raise(VJ_ERR_MEMORY, "no memory for a loader");
    }
    l->plan = *plan;
    l->makes_pixels = plan->items || !plan->be || vj_device_is_host(plan->be);
    l->next_step = l->step = l->released = plan->start;
    l->count = plan->last - plan->first;
    l->slots = config->data.read_ahead + 1; /* one more: the batch the caller holds */
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->ready, NULL);
    vj_sampler_init(&l->sampler, clips, config, plan);
    int threads = l->count > 0 ? (int)config->data.threads : 0; /* a rank without samples needs none */
    vj_status status =
        vj_clips_count(clips) > 0 ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "the clip store is empty: nothing to read ahead");
    if (status == VJ_OK) status = allocate(l, threads);
    if (status == VJ_OK) status = start_threads(l, threads);
    if (status == VJ_OK) return VJ_OK;
    vj_loader_stop(l);
    *loader = NULL;
    return status;
}

vj_status vj_loader_start_training(vj_loader **loader, const vj_clips *clips, const vj_config *config, vj_backend *be,
                                   int64_t start, int64_t stop, int64_t first, int64_t last)
{
    vj_loader_plan plan = {.view = vj_view_random,
                           .be = be,
                           .batch = config->train.batch,
                           .first = first,
                           .last = last,
                           .start = start,
                           .stop = stop};
    *loader = NULL;
    if (vj_clips_count(clips) < 1) return vj_raise(VJ_ERR_FORMAT, "the clip store is empty: nothing to read ahead");
    VJ_TRY(vj_order_of_clips(&plan.order, clips, config));
    return vj_loader_start(loader, clips, config, &plan);
}

/* Look up labels, sources and windows of the batch's clips in the tables. */
static void look_up(vj_loader *loader, vj_batch *batch)
{
    const vj_clips *clips = loader->sampler.clips;
    const int labels = vj_clips_label_count(clips);
    for (int64_t j = 0; j < batch->count; j++) {
        for (int l = 0; l < labels; l++) loader->labels[j * labels + l] = vj_clips_labels(clips, batch->clips[j])[l];
        loader->source[j] = vj_clips_source(clips, batch->clips[j]);
        loader->window[j] = vj_clips_window(clips, batch->clips[j]);
    }
    batch->labels = loader->labels;
    batch->source = loader->source;
    batch->window = loader->window;
}

/* Release the batch that the caller got last: its place in the ring is free now. */
static void release_last(vj_loader *loader)
{
    if (loader->released == loader->step) return;
    slot *s = &loader->slot[loader->released % loader->slots];
    s->unfinished = samples_in(loader, loader->released + loader->slots);
    s->substituted = 0;
    loader->released = loader->step;
    pthread_cond_broadcast(&loader->room);
}

vj_status vj_loader_next(vj_loader *loader, vj_batch *batch, double *wait_s)
{
    double asked = vj_now();
    if (loader->step >= loader->plan.stop)
        return vj_raise(VJ_ERR_STATE, "batch %lld was asked for, the last is %lld", (long long)loader->step,
                        (long long)loader->plan.stop - 1);
    pthread_mutex_lock(&loader->lock);
    release_last(loader);
    slot *s = &loader->slot[loader->step % loader->slots];
    while (s->unfinished > 0 && s->status == VJ_OK) pthread_cond_wait(&loader->ready, &loader->lock);
    *wait_s = vj_now() - asked;
    if (s->status != VJ_OK) { /* if the caller asks again, it gets the same error again */
        vj_status status = s->status;
        pthread_mutex_unlock(&loader->lock);
        return status;
    }
    const int64_t count = samples_in(loader, loader->step);
    loader->delivered += count;
    loader->substituted += s->substituted;
    *batch = (vj_batch){.step = loader->step,
                        .first = loader->step * loader->plan.batch + loader->plan.first,
                        .count = count,
                        .pixels = loader->makes_pixels ? (const float *)(const void *)s->memory : NULL,
                        .frames = loader->makes_pixels ? NULL : s->memory,
                        .views = s->views,
                        .clips = s->clips,
                        .damaged = loader->plan.items || loader->plan.marks ? s->damaged : NULL,
                        .substituted = loader->substituted};
    if (loader->sampler.cache) batch->cached = vj_cache_count(loader->sampler.cache).hits;
    loader->step++;
    pthread_mutex_unlock(&loader->lock);
    look_up(loader, batch);
    if (vj_too_damaged(batch->substituted, loader->delivered))
        return vj_raise(VJ_ERR_FORMAT,
                        "step %lld: %lld of %lld samples were replaced since their clips are damaged; "
                        "more than 1 %% is too many",
                        (long long)batch->step, (long long)batch->substituted, (long long)loader->delivered);
    return VJ_OK;
}

static void log_cache(const vj_loader *loader)
{
    if (!loader->sampler.cache) return;
    const vj_cache_counts count = vj_cache_count(loader->sampler.cache);
    vj_log("data.cache: %lld of this rank's clips came from %s, %lld were added, %lld copies were damaged",
           (long long)count.hits, loader->sampler.config.data.cache, (long long)count.stored, (long long)count.damaged);
}

void vj_loader_stop(vj_loader *loader)
{
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->quit = 1;
    atomic_store(&loader->sampler.stop, true);
    pthread_cond_broadcast(&loader->room);
    pthread_mutex_unlock(&loader->lock);
    for (int t = 0; t < loader->threads; t++) pthread_join(loader->thread[t], NULL);
    log_cache(loader);
    vj_sampler_release(&loader->sampler);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->room);
    pthread_mutex_destroy(&loader->lock);
    free(loader->thread);
    for (int t = 0; t < loader->prepared; t++) vj_sample_room_release(&loader->own[t]);
    free(loader->own);
    free(loader->window);
    free(loader->source);
    free(loader->labels);
    free(loader->numbers);
    free(loader->damaged);
    free(loader->views);
    if (loader->plan.be)
        vj_host_free(loader->plan.be, loader->memory);
    else
        free(loader->memory);
    free(loader->slot);
    free(loader);
}
