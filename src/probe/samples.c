/* Copies labels by task; computes statistics of tokens and means of clips. */
#include "probe/samples.h"

#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "parallel/parallel.h"

/* Copy labels from rows for clips to rows for tasks. */
static void copy_labels(vj_samples *s)
{
    const int32_t *rows = vj_features_labels(s->store);
    for (int64_t i = 0; i < s->count; i++)
        for (int l = 0; l < s->label_count; l++) s->labels[l * s->count + i] = rows[i * s->label_count + l];
}

vj_status vj_samples_open(vj_samples *s, const char *path, MPI_Comm comm)
{
    *s = (vj_samples){0};
    VJ_TRY(vj_features_open(&s->store, path, comm));
    const vj_features_header *layout = vj_features_describe(s->store);
    s->count = layout->clips;
    s->tokens = layout->tokens;
    s->D = (int)layout->width;
    s->label_count = layout->label_count;
    s->labels = vj_calloc(s->label_count * s->count + 1, sizeof *s->labels);
    s->clips = vj_calloc(s->count, sizeof *s->clips);
    const uint64_t *sums = vj_features_clip_sums(s->store);
    if (sums) s->contents = vj_calloc(s->count, sizeof *s->contents);
    const bool room = s->labels && s->clips && (s->contents || !sums);
    VJ_TRY(vj_agree(
        comm, room ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the labels of %lld clips", (long long)s->count)));
    memcpy(s->clips, vj_features_clips(s->store), (size_t)s->count * sizeof *s->clips);
    if (sums) memcpy(s->contents, sums, (size_t)s->count * sizeof *s->contents);
    copy_labels(s);
    return VJ_OK;
}

void vj_samples_release(vj_samples *s)
{
    vj_samples_forget(s);
    vj_features_close(s->store);
    free(s->labels);
    free(s->clips);
    free(s->contents);
    *s = (vj_samples){0};
}

int vj_samples_label(const vj_samples *s, const char *name)
{
    for (int l = 0; l < s->label_count; l++)
        if (strcmp(vj_features_describe(s->store)->label_names[l], name) == 0) return l;
    return -1;
}

int vj_samples_classes(const vj_samples *s, int label)
{
    int32_t largest = -1;
    for (int64_t i = 0; i < s->count; i++)
        if (s->labels[label * s->count + i] > largest) largest = s->labels[label * s->count + i];
    return largest + 1;
}

int64_t vj_samples_labelled(const vj_samples *s, int label)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->count; i++) n += s->labels[label * s->count + i] >= 0;
    return n;
}

static void log_reading(const vj_samples *s, vj_progress_line *line, int64_t done)
{
    vj_progress_line_log(line, "probe: features read for their statistics", (double)done / (double)s->count, vj_now());
}

static vj_status compute_statistics(vj_samples *s, vj_backend *be, float *x, int64_t slab)
{
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t i = 0; i < s->count; i += slab) {
        const int64_t n = s->count - i < slab ? s->count - i : slab;
        VJ_TRY(vj_features_read_rows(s->store, i, n, x));
        log_reading(s, &line, i + n);
        vj_layernorm_forward(be, vj_f32(x), s->mean + i * s->tokens, s->rstd + i * s->tokens, x, NULL, NULL,
                             n * s->tokens, s->D, VJ_PROBE_EPS);
    }
    return vj_sync(be);
}

static vj_status compute_means(vj_samples *s, float *x, int64_t slab)
{
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t i = 0; i < s->count; i += slab) {
        const int64_t n = s->count - i < slab ? s->count - i : slab;
        VJ_TRY(vj_features_read_rows(s->store, i, n, x));
        log_reading(s, &line, i + n);
        vj_host_mean_tokens(s->pooled + i * s->D, x, n, s->tokens, s->D);
    }
    return VJ_OK;
}

vj_status vj_samples_prepare(vj_samples *s, vj_backend *be, vj_pooling pooling, int folded)
{
    int average = pooling == VJ_POOL_AVERAGE;
    if (average ? s->pooled != NULL : s->mean || !folded) return VJ_OK;
    const int64_t slab = vj_features_slab(s->store);
    float *x = vj_calloc(slab * s->tokens * s->D, sizeof *x);
    if (average) {
        s->pooled = vj_calloc(s->count * s->D, sizeof *s->pooled);
    } else {
        s->mean = vj_calloc(s->count * s->tokens, sizeof *s->mean);
        s->rstd = vj_calloc(s->count * s->tokens, sizeof *s->rstd);
    }
    vj_status status;
    if (!x || (average ? !s->pooled : !s->mean || !s->rstd))
        status = vj_raise(VJ_ERR_MEMORY, "no memory to prepare %lld clips", (long long)s->count);
    else
        status = average ? compute_means(s, x, slab) : compute_statistics(s, be, x, slab);
    free(x);
    return status;
}

void vj_samples_forget(vj_samples *s)
{
    free(s->mean);
    free(s->rstd);
    free(s->pooled);
    s->mean = s->rstd = s->pooled = NULL;
}

vj_probe_data vj_samples_data(const vj_samples *s, int label, vj_pooling pooling)
{
    vj_probe_data data = {.count = s->count,
                          .tokens = s->tokens,
                          .D = s->D,
                          .labels = s->labels + label * s->count,
                          .clips = s->clips,
                          .contents = s->contents};
    if (pooling == VJ_POOL_AVERAGE) {
        data.tokens = 1;
        data.features = s->pooled;
    } else {
        data.store = s->store;
        data.mean = s->mean;
        data.rstd = s->rstd;
    }
    return data;
}

vj_split_samples vj_samples_for_split(const vj_samples *s, int label, const char *name)
{
    return (vj_split_samples){.id = s->clips,
                              .labels = s->labels + label * s->count,
                              .count = s->count,
                              .fingerprint = vj_features_describe(s->store)->store_fingerprint,
                              .name = name};
}
