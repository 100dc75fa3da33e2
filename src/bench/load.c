/*
 * Loading clips as training does - read, checksum, crop, resize, normalise, by data.threads threads - against reading
 * the same clips and nothing else. The loader's first pass also fills the system's cache, so unless the store is larger
 * than memory both read from there: this measures the loader, not the disk.
 */
#include <omp.h>
#include <stdlib.h>

#include "bench/inner.h"
#include "clips/clips.h"
#include "parallel/parallel.h"

typedef struct {
    vj_clips *clips;
    vj_loader *loader;
    int64_t batches;  /* in one sample: more than are read ahead, so that none was ready before */
    int64_t *number;  /* [samples] clips of the last sample */
    int64_t samples;  /* clips of this rank in a sample */
    uint8_t *records; /* [threads] one each */
    int threads;
} loading;

static vj_status load(void *user)
{
    loading *l = user;
    int64_t at = 0;
    for (int64_t i = 0; i < l->batches; i++) {
        vj_batch batch;
        double wait_s;
        VJ_TRY(vj_loader_next(l->loader, &batch, &wait_s));
        for (int64_t j = 0; j < batch.count; j++) l->number[at++] = batch.clips[j];
    }
    return VJ_OK;
}

static vj_status fetch(void *user)
{
    loading *l = user;
    vj_status worst = VJ_OK;
#pragma omp parallel for num_threads(l->threads) schedule(dynamic)
    for (int64_t i = 0; i < l->samples; i++) {
        const vj_status status = vj_clips_fetch(l->clips, l->number[i],
                                                l->records + omp_get_thread_num() * vj_clips_largest_record(l->clips));
        if (status != VJ_OK) {
#pragma omp critical
            worst = status;
        }
    }
    return worst;
}

/* Bytes of the last sample's clips, over all ranks. */
static double sample_bytes(const vj_bench_work *work, const loading *l)
{
    double bytes = 0;
    for (int64_t i = 0; i < l->samples; i++) {
        int height, width;
        vj_clips_geometry(l->clips, l->number[i], &height, &width);
        bytes += 3.0 * vj_clips_frames(l->clips) * height * width;
    }
    vj_sum_doubles(work->comm, &bytes, 1);
    return bytes;
}

static double put(const vj_bench_work *work, const loading *l, const char *what, const vj_samples *samples)
{
    const vj_timing time = vj_samples_timing(samples);
    const double bytes = sample_bytes(work, l), clips = (double)l->batches * (double)work->config->train.batch;
    json_t *row = vj_put_row(work->report, "load");
    vj_put_text(row, "what", what);
    vj_put_number(row, "clips", clips);
    vj_put_number(row, "mb", 1e-6 * bytes);
    vj_put_count(row, "repeats", samples->count);
    vj_put_timing(row, "time_s", time);
    vj_put_number(row, "clips_s", clips / time.median);
    vj_put_number(row, "mb_s", 1e-6 * bytes / time.median);
    return time.median;
}

static vj_status open_store(loading *l, const vj_bench_work *work)
{
    const vj_config *c = work->config;
    int64_t first, last;
    VJ_TRY(vj_clips_open(&l->clips, &c->data.train, work->comm));
    vj_split(c->train.batch, work->size, work->rank, &first, &last);
    l->batches = c->data.read_ahead + 1;
    l->samples = l->batches * (last - first);
    l->threads = (int)c->data.threads;
    l->number = vj_calloc(l->samples, sizeof *l->number);
    l->records = vj_calloc(l->threads, vj_clips_largest_record(l->clips));
    vj_status status = l->number && l->records ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the clips of a batch");
    if (status == VJ_OK) status = vj_loader_start(&l->loader, l->clips, c, 0, INT32_MAX, first, last);
    return vj_agree(work->comm, status);
}

static vj_status measure(vj_bench_work *work, loading *l)
{
    static vj_samples samples;
    VJ_TRY(open_store(l, work));
    vj_put_count(work->report, "loader_threads", l->threads);
    vj_put_count(work->report, "batch", work->config->train.batch);
    VJ_TRY(vj_bench_time(work, load, l, &samples));
    const double loaded = put(work, l, "loader", &samples);
    vj_loader_stop(l->loader); /* its threads would go on reading */
    l->loader = NULL;
    VJ_TRY(vj_bench_time(work, fetch, l, &samples));
    const double bare = put(work, l, "bare read", &samples);
    vj_put_number(work->report, "fraction_of_bare_read", bare / loaded);
    return VJ_OK;
}

vj_status vj_bench_load(vj_bench_work *work)
{
    loading l = {0};
    const vj_status status = measure(work, &l);
    vj_loader_stop(l.loader);
    vj_clips_close(l.clips);
    free(l.number);
    free(l.records);
    return status;
}
