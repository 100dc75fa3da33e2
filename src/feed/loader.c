/*
 * Batches ahead of time. Threads take samples in order, one ticket each, and put them where they belong; the ring of
 * batches bounds how far they run ahead. What a sample is depends on (seed, global sample) alone, so neither the number
 * of threads nor the place where a run resumes can change it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "feed/loader.h"
#include "feed/sample.h"

/* One batch of the ring. */
typedef struct {
    float *pixels;       /* [count, 3, T, crop, crop] inside the loader's block */
    int64_t *clips;      /* [count] likewise */
    int64_t unfinished;  /* samples still to come */
    int64_t substituted; /* clips replaced in this batch */
    vj_status status;    /* a failure in it, for whoever asks for it */
} slot;

struct vj_loader {
    vj_sampler sampler;
    int64_t stop, batch, first, count; /* step after the last; samples of a batch; this rank's samples of each */
    int64_t sample_floats;
    slot *slot; /* [slots] */
    int64_t slots;
    float *pixels; /* the blocks of all slots */
    int64_t *numbers;
    vj_sample_room *own; /* [prepared] one for each thread */
    pthread_t *thread;
    int prepared, threads; /* the latter are running */

    pthread_mutex_t lock; /* guards what follows, and all but the arrays of the slots */
    pthread_cond_t room, ready;
    int64_t next_step, next_sample; /* the next ticket */
    int64_t step;                   /* the next batch to hand out */
    int64_t released;               /* batches before this step may be overwritten */
    int64_t delivered, substituted; /* samples handed out, and how many of them were replaced */
    int64_t claimed;                /* of `own` that a thread has taken */
    int quit;
};

/* ------------------------------------------------------------------------------------------------ threads */

/* Waits for room in the ring. 0: there are no more. Called with the lock held. */
static int take_ticket(vj_loader *loader, int64_t *step, int64_t *j)
{
    while (!loader->quit && loader->next_step < loader->stop && loader->next_step >= loader->released + loader->slots)
        pthread_cond_wait(&loader->room, &loader->lock);
    if (loader->quit || loader->next_step >= loader->stop) return 0;
    *step = loader->next_step;
    *j = loader->next_sample++;
    if (loader->next_sample == loader->count) {
        loader->next_sample = 0;
        loader->next_step++;
    }
    return 1;
}

static void *work(void *argument)
{
    vj_loader *loader = argument;
    int64_t step, j;
    pthread_mutex_lock(&loader->lock);
    vj_sample_room *own = &loader->own[loader->claimed++];
    while (take_ticket(loader, &step, &j)) {
        pthread_mutex_unlock(&loader->lock);
        slot *s = &loader->slot[step % loader->slots];
        int64_t sample = step * loader->batch + loader->first + j, substituted = 0;
        vj_status status = vj_sample_load(&loader->sampler, own, sample, s->pixels + j * loader->sample_floats,
                                          &s->clips[j], &substituted);
        pthread_mutex_lock(&loader->lock);
        s->substituted += substituted;
        s->unfinished--;
        if (status != VJ_OK) { /* earlier samples are in work already and will end; later ones are not begun */
            s->status = status;
            loader->quit = 1;
            pthread_cond_broadcast(&loader->room);
        }
        if (s->unfinished == 0 || status != VJ_OK) pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Signals are for the program's own thread, which knows what to do about them. */
static vj_status start_threads(vj_loader *loader, int threads)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (loader->threads < threads && error == 0) {
        error = pthread_create(&loader->thread[loader->threads], NULL, work, loader);
        loader->threads += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "start loader thread %d of %d", loader->threads + 1, threads);
}

/* ------------------------------------------------------------------------------------------------ life */

/* Everything the loader will ever need. */
static vj_status allocate(vj_loader *loader, int threads)
{
    int64_t size = loader->sampler.config.data.crop, samples = loader->slots * loader->count;
    loader->sample_floats = 3 * vj_clips_frames(loader->sampler.clips) * size * size;
    loader->slot = vj_calloc(loader->slots, sizeof *loader->slot);
    loader->pixels = vj_calloc(samples, loader->sample_floats * (int64_t)sizeof *loader->pixels);
    loader->numbers = vj_calloc(samples, sizeof *loader->numbers);
    loader->own = vj_calloc(threads, sizeof *loader->own);
    loader->thread = vj_calloc(threads, sizeof *loader->thread);
    if (!loader->slot || !loader->pixels || !loader->numbers || !loader->own || !loader->thread)
        return vj_raise(VJ_ERR_MEMORY, "no memory for %lld batches of %lld clips of %.1f MiB: lower data.read_ahead",
                        (long long)loader->slots, (long long)loader->count,
                        (double)loader->sample_floats * sizeof(float) / 1048576.0);
    for (int64_t i = 0; i < loader->slots; i++)
        loader->slot[i] = (slot){.pixels = loader->pixels + i * loader->count * loader->sample_floats,
                                 .clips = loader->numbers + i * loader->count,
                                 .unfinished = loader->count};
    while (loader->prepared < threads)
        VJ_TRY(vj_sample_room_init(&loader->own[loader->prepared++], loader->sampler.clips));
    return VJ_OK;
}

vj_status vj_loader_start(vj_loader **loader, const vj_clips *clips, const vj_config *config, int64_t start,
                          int64_t stop, int64_t first, int64_t last)
{
    VJ_ASSERT(start >= 0 && first >= 0 && first <= last && last <= config->train.batch);
    VJ_ASSERT(config->data.threads >= 1 && config->data.read_ahead >= 1 && config->data.crop >= 1);
    *loader = NULL;
    if (vj_clips_count(clips) < 1) return vj_raise(VJ_ERR_FORMAT, "the clip store is empty: nothing to read ahead");
    vj_loader *l = vj_calloc(1, sizeof *l);
    if (!l) return vj_raise(VJ_ERR_MEMORY, "no memory for a loader");
    l->next_step = l->step = l->released = start;
    l->stop = stop;
    l->batch = config->train.batch;
    l->first = first;
    l->count = last - first;
    l->slots = config->data.read_ahead + 1; /* one more: the batch the caller holds */
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->ready, NULL);
    int threads = l->count > 0 ? (int)config->data.threads : 0; /* a rank without samples needs none */
    vj_status status = vj_sampler_init(&l->sampler, clips, config);
    if (status == VJ_OK) status = allocate(l, threads);
    if (status == VJ_OK) status = start_threads(l, threads);
    if (status == VJ_OK)
        *loader = l;
    else
        vj_loader_stop(l);
    return status;
}

/* The batch handed out last is the caller's no more: its place in the ring is free. */
static void release_last(vj_loader *loader)
{
    if (loader->released == loader->step) return;
    slot *s = &loader->slot[loader->released % loader->slots];
    s->unfinished = loader->count;
    s->substituted = 0;
    loader->released = loader->step;
    pthread_cond_broadcast(&loader->room);
}

vj_status vj_loader_next(vj_loader *loader, vj_batch *batch, double *wait_s)
{
    double asked = vj_now();
    if (loader->step >= loader->stop)
        return vj_raise(VJ_ERR_STATE, "batch %lld was asked for, the last is %lld", (long long)loader->step,
                        (long long)loader->stop - 1);
    pthread_mutex_lock(&loader->lock);
    release_last(loader);
    slot *s = &loader->slot[loader->step % loader->slots];
    while (s->unfinished > 0 && s->status == VJ_OK) pthread_cond_wait(&loader->ready, &loader->lock);
    *wait_s = vj_now() - asked;
    if (s->status != VJ_OK) { /* and again if asked again */
        vj_status status = s->status;
        pthread_mutex_unlock(&loader->lock);
        return status;
    }
    loader->delivered += loader->count;
    loader->substituted += s->substituted;
    *batch = (vj_batch){.step = loader->step,
                        .first = loader->step * loader->batch + loader->first,
                        .count = loader->count,
                        .pixels = s->pixels,
                        .clips = s->clips,
                        .substituted = loader->substituted};
    if (loader->sampler.cache) batch->cached = vj_cache_count(loader->sampler.cache).hits;
    loader->step++;
    pthread_mutex_unlock(&loader->lock);
    if (batch->substituted > 10 && 100 * batch->substituted > loader->delivered)
        return vj_raise(VJ_ERR_FORMAT,
                        "step %lld: %lld of %lld samples were replaced since their clips are damaged; "
                        "more than 1 %% is too many",
                        (long long)batch->step, (long long)batch->substituted, (long long)loader->delivered);
    return VJ_OK;
}

static void say_cache(const vj_loader *loader)
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
    say_cache(loader);
    vj_sampler_release(&loader->sampler);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->room);
    pthread_mutex_destroy(&loader->lock);
    free(loader->thread);
    for (int t = 0; t < loader->prepared; t++) vj_sample_room_release(&loader->own[t]);
    free(loader->own);
    free(loader->numbers);
    free(loader->pixels);
    free(loader->slot);
    free(loader);
}
