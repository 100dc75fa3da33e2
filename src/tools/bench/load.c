/*
 * Measures loading clips, compared with two lower bounds on as many threads: pread() of the same bytes (raw), and
 * libjpeg-turbo on one frame after another of the same records (jpeg). In turns with them it measures reading as in the
 * loader, with and without the checksum, and the whole loader, which also crops, resizes and normalises. With --views
 * it also measures the loader with training and test views of an evaluation.
 */
#include <endian.h>
#include <fcntl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <unistd.h>

#include "bench/inner.h"
#include "clips/clips.h"
#include "feed/loader.h"
#include "parallel/parallel.h"

/* The state of one thread. */
typedef struct {
    uint8_t *record, *frames;
    vj_coder *coder;
    tjhandle jpeg;
} own;

typedef struct {
    vj_bench_work *work;
    vj_clips *clips;
    vj_loader *loader;
    int *shard; /* [shards] own file descriptors */
    int64_t shards;
    int64_t batches; /* number of timed batches */
    int64_t *number; /* [samples] numbers of this rank's clips in the timed batches */
    int64_t samples, first, last;
    vj_eval_views shown[2]; /* of training and testing; --views */
    vj_eval_item *items;    /* [samples * most crops of a clip] */
    double bytes;           /* of the records of these clips, on all ranks */
    double loader_s;        /* seconds of the last call of the loader */
    own *own;               /* [threads] */
    int threads;
} loading;

/* ------------------------------------------------------------------------------------------------ bare loops */

static vj_status read_bare(const loading *l, own *o, int64_t clip)
{
    const vj_clips_place place = vj_clips_find(l->clips, clip);
    const ssize_t got = pread(l->shard[vj_clips_shard(l->clips, clip)], o->record, (size_t)place.bytes, place.offset);
    return got == place.bytes ? VJ_OK : vj_raise(VJ_ERR_IO, "read %s", place.path);
}

static uint32_t word(const uint8_t *record, int i)
{
    uint32_t value;
    memcpy(&value, record + 4 * i, sizeof value);
    return le32toh(value);
}

/* Decode a record. Its header is not checked, because the loader has read the same clips before. */
static vj_status decode_bare(const loading *l, own *o, int64_t clip)
{
    const int T = vj_clips_frames(l->clips);
    int height, width;
    vj_clips_geometry(l->clips, clip, &height, &width);
    const uint8_t *stream = o->record + 4 * (2 + T);
    for (int t = 0; t < T; t++) {
        const uint32_t bytes = word(o->record, 2 + t);
        if (tjDecompress2(o->jpeg, stream, bytes, o->frames + (int64_t)t * height * width * 3, width, 0, height,
                          TJPF_RGB, TJFLAG_ACCURATEDCT) != 0)
            return vj_raise(VJ_ERR_LIBRARY, "clip %lld: %s", (long long)clip, tjGetErrorStr2(o->jpeg));
        stream += bytes;
    }
    return VJ_OK;
}

static vj_status bare(const loading *l, own *o, int64_t clip)
{
    VJ_TRY(read_bare(l, o, clip));
    return vj_clips_find(l->clips, clip).codec == VJ_CODEC_JPEG ? decode_bare(l, o, clip) : VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ ours */

static vj_status read_unverified(const loading *l, own *o, int64_t clip)
{
    if (vj_clips_find(l->clips, clip).codec == VJ_CODEC_RAW) return vj_clips_fetch(l->clips, clip, NULL, o->frames);
    VJ_TRY(vj_clips_fetch(l->clips, clip, NULL, o->record));
    return vj_clips_decode(l->clips, clip, o->coder, o->record, o->frames);
}

static vj_status read_verified(const loading *l, own *o, int64_t clip)
{
    return vj_clips_read(l->clips, clip, o->coder, o->frames);
}

/* ------------------------------------------------------------------------------------------------ in turns */

/* Call take() for every clip of the list, on all threads. */
static vj_status each(const loading *l, vj_status (*take)(const loading *l, own *o, int64_t clip))
{
    vj_status worst = VJ_OK;
#pragma omp parallel for num_threads(l->threads) schedule(dynamic)
    for (int64_t i = 0; i < l->samples; i++) {
        const vj_status status = take(l, &l->own[omp_get_thread_num()], l->number[i]);
        if (status != VJ_OK) {
#pragma omp critical
            worst = status;
        }
    }
    return worst;
}

/* Run the loader. As many batches as it reads ahead are not timed, so that memory is touched and all threads work. */
static vj_status load(loading *l)
{
    const vj_config *c = l->work->config;
    vj_batch batch;
    double wait_s;
    int64_t at = 0;
    const int64_t before = c->data.read_ahead + 1;
    VJ_TRY(vj_loader_start_training(&l->loader, l->clips, c, NULL, 0, before + l->batches, l->first, l->last));
    for (int64_t i = 0; i < before; i++) VJ_TRY(vj_loader_next(l->loader, &batch, &wait_s));
    const double begin = vj_now();
    for (int64_t i = 0; i < l->batches; i++) {
        VJ_TRY(vj_loader_next(l->loader, &batch, &wait_s));
        for (int64_t j = 0; j < batch.count; j++) l->number[at++] = batch.clips[j];
    }
    l->loader_s = vj_now() - begin;
    vj_loader_stop(l->loader);
    l->loader = NULL;
    return VJ_OK;
}

/* Load the same clips as views of an evaluation, with all crops of each; all batches are timed. */
static vj_status show(loading *l, const vj_eval_views *shown)
{
    const int64_t count = l->samples * shown->views, batch_size = (l->last - l->first) * shown->views;
    const vj_loader_plan plan = {.items = l->items,
                                 .shown = shown,
                                 .batch = batch_size,
                                 .last = batch_size,
                                 .stop = batch_size > 0 ? l->batches : 0,
                                 .samples = count};
    vj_batch batch;
    double wait_s;
    for (int64_t i = 0; i < count; i++) {
        const int64_t clip = l->number[i / shown->views];
        l->items[i] = (vj_eval_item){clip, vj_eval_key(0, 0, clip), (int32_t)(i % shown->views)};
    }
    const double begin = vj_now();
    VJ_TRY(vj_loader_start(&l->loader, l->clips, l->work->config, &plan));
    for (int64_t i = 0; i < plan.stop; i++) {
        VJ_TRY(vj_loader_next(l->loader, &batch, &wait_s));
        for (int64_t j = 0; j < batch.count; j++)
            if (batch.damaged[j]) return vj_raise(VJ_ERR_FORMAT, "a damaged clip is not timed");
    }
    l->loader_s = vj_now() - begin;
    vj_loader_stop(l->loader);
    l->loader = NULL;
    return VJ_OK;
}

/* For --cold drop the shards from the system's cache. */
static void forget(const loading *l)
{
    for (int64_t s = 0; l->work->bench->cold && s < l->shards; s++)
        (void)posix_fadvise(l->shard[s], 0, 0, POSIX_FADV_DONTNEED); /* advice */
    MPI_Barrier(l->work->comm);
}

enum { LOADER, BARE, UNVERIFIED, VERIFIED, TRAINING_VIEWS, TEST_VIEWS, KINDS };

static vj_status once(loading *l, double seconds[KINDS])
{
    static vj_status (*const take[KINDS])(const loading *, own *, int64_t) = {
        [BARE] = bare, [UNVERIFIED] = read_unverified, [VERIFIED] = read_verified};
    forget(l);
    vj_status status = load(l);
    seconds[LOADER] = l->loader_s;
    for (int k = BARE; k < TRAINING_VIEWS && status == VJ_OK; k++) {
        forget(l);
        const double begin = vj_now();
        status = each(l, take[k]);
        seconds[k] = vj_now() - begin;
    }
    for (int k = TRAINING_VIEWS; l->items && k < KINDS && status == VJ_OK; k++) {
        forget(l);
        status = show(l, &l->shown[k - TRAINING_VIEWS]);
        seconds[k] = l->loader_s;
    }
    return vj_agree(l->work->comm, status);
}

static void put(loading *l, const vj_measurements samples[KINDS])
{
    static const char *const what[KINDS] = {[LOADER] = "whole loader",
                                            [BARE] = "bare loop",
                                            [UNVERIFIED] = "read and decode",
                                            [VERIFIED] = "the same with checksum",
                                            [TRAINING_VIEWS] = "loader, training views",
                                            [TEST_VIEWS] = "loader, test views"};
    const double clips = (double)l->batches * (double)l->work->config->train.batch;
    const double bare_s = vj_measurements_timing(&samples[BARE]).median;
    l->bytes = 0;
    for (int64_t i = 0; i < l->samples; i++) l->bytes += (double)vj_clips_record_bytes(l->clips, l->number[i]);
    vj_sum_doubles(l->work->comm, &l->bytes, 1);
    for (int k = 0; k < (l->items ? KINDS : TRAINING_VIEWS); k++) {
        const vj_timing time = vj_measurements_timing(&samples[k]);
        json_t *row = vj_put_row(l->work->report, "load");
        vj_put_text(row, "what", what[k]);
        vj_put_number(row, "clips", clips);
        vj_put_number(row, "mb", 1e-6 * l->bytes);
        vj_put_count(row, "repeats", samples[k].count);
        vj_put_timing(row, "time_s", time);
        vj_put_number(row, "clips_s", clips / time.median);
        vj_put_number(row, "mb_s", 1e-6 * l->bytes / time.median);
        vj_put_number(row, "fraction_of_bare", bare_s / time.median);
    }
}

/* ------------------------------------------------------------------------------------------------ life */

static vj_status open_shards(loading *l)
{
    l->shards = vj_clips_shard_count(l->clips);
    l->shard = vj_calloc(l->shards, sizeof *l->shard);
    if (!l->shard) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld descriptors", (long long)l->shards);
    for (int64_t s = 0; s < l->shards; s++) l->shard[s] = -1;
    for (int64_t i = 0; i < vj_clips_count(l->clips); i++) {
        int *fd = &l->shard[vj_clips_shard(l->clips, i)];
        const char *path = vj_clips_find(l->clips, i).path;
        if (*fd < 0 && (*fd = open(path, O_RDONLY | O_CLOEXEC)) < 0) return vj_raise(VJ_ERR_IO, "open %s", path);
    }
    return VJ_OK;
}

static vj_status make_own(loading *l)
{
    const vj_config *c = l->work->config;
    vj_split(c->train.batch, l->work->size, l->work->rank, &l->first, &l->last);
    l->batches = c->data.read_ahead + 1;
    l->samples = l->batches * (l->last - l->first);
    l->threads = (int)c->data.threads;
    l->number = vj_calloc(l->samples, sizeof *l->number);
    l->own = vj_calloc(l->threads, sizeof *l->own);
    bool fine = l->number && l->own;
    for (int t = 0; t < l->threads && fine; t++) {
        own *o = &l->own[t];
        o->record = vj_calloc(vj_clips_largest_record(l->clips), 1);
        o->frames = vj_calloc(vj_clips_largest_bytes(l->clips), 1);
        o->jpeg = tjInitDecompress();
        VJ_TRY(vj_coder_create(&o->coder));
        fine = o->record && o->frames && o->jpeg;
    }
    return fine ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the clips of a batch");
}

static vj_status prepare_views(loading *l)
{
    vj_bench_work *work = l->work;
    static const char *const names[2] = {"training_views", "test_views"};
    char text[256];
    for (int i = 0; i < 2; i++) {
        VJ_TRY(vj_eval_views_init(&l->shown[i], work->config, l->clips, i == 0));
        vj_eval_views_describe(&l->shown[i], text, sizeof text);
        vj_put_text(work->report, names[i], text);
    }
    l->items = vj_calloc(l->samples * l->shown[1].views + 1, sizeof *l->items);
    return l->items ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of views");
}

static vj_status measure(vj_bench_work *work, loading *l)
{
    static vj_measurements samples[KINDS];
    double seconds[KINDS];
    memset(samples, 0, sizeof samples);
    VJ_TRY(vj_clips_open(&l->clips, &work->config->data.train, work->comm));
    vj_status status = make_own(l);
    if (status == VJ_OK) status = open_shards(l);
    if (status == VJ_OK && work->bench->views) status = prepare_views(l);
    VJ_TRY(vj_agree(work->comm, status));
    vj_put_count(work->report, "loader_threads", l->threads);
    vj_put_count(work->report, "batch", work->config->train.batch);
    vj_put_text(work->report, "codec", vj_codec_name(vj_clips_find(l->clips, 0).codec));
    vj_put_text(work->report, "from",
                work->bench->cold ? "disk (--cold)" : "the system's cache, if it is large enough");
    VJ_TRY(once(l, seconds));
    while (vj_plan_goes_on(&work->plan, &samples[LOADER])) {
        VJ_TRY(once(l, seconds));
        for (int k = 0; k < (l->items ? KINDS : TRAINING_VIEWS); k++) vj_bench_sample(work, &samples[k], seconds[k]);
    }
    put(l, samples);
    return VJ_OK;
}

vj_status vj_bench_load(vj_bench_work *work)
{
    loading l = {.work = work};
    const vj_status status = measure(work, &l);
    vj_loader_stop(l.loader);
    for (int t = 0; l.own && t < l.threads; t++) {
        own *o = &l.own[t];
        if (o->jpeg) (void)tjDestroy(o->jpeg); /* fails on NULL only */
        vj_coder_destroy(o->coder);
        free(o->frames);
        free(o->record);
    }
    for (int64_t s = 0; l.shard && s < l.shards; s++)
        if (l.shard[s] >= 0) (void)close(l.shard[s]); /* read only */
    vj_clips_close(l.clips);
    free(l.own);
    free(l.items);
    free(l.number);
    free(l.shard);
    return status;
}
