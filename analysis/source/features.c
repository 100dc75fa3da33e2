/* A source of feature stores of the same clips: compares the stores, and reads their rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "features/features.h"
#include "kernels/kernels.h"
#include "parallel/parallel.h"
#include "source/inner.h"

typedef struct {
    int count;
    bool average;
    const char *path[VJ_MAX_REPRESENTATIONS]; /* belongs to the caller; only used while opening */
    vj_features *store[VJ_MAX_REPRESENTATIONS];
    float *tokens; /* with average: all tokens of a few clips */
} stores;

static vj_status begin(void *from, int64_t first, int64_t last)
{
    (void)from, (void)first, (void)last; /* rows are found by their number */
    return VJ_OK;
}

/* Read the mean tokens of clips. Only a few clips at a time are in memory with all their tokens. */
static vj_status read_means(const stores *s, const vj_features *store, int64_t first, int64_t count, float *x)
{
    const vj_features_header *layout = vj_features_describe(store);
    const int64_t limit = vj_features_slab(store);
    for (int64_t i = 0; i < count; i += limit) {
        const int64_t n = count - i < limit ? count - i : limit;
        VJ_TRY(vj_features_read_rows(store, first + i, n, s->tokens));
        vj_host_mean_tokens(x + i * layout->width, s->tokens, n, layout->tokens, (int)layout->width);
    }
    return VJ_OK;
}

static vj_status read(void *from, int64_t first, int64_t count, float *const *x)
{
    const stores *s = from;
    for (int i = 0; i < s->count; i++)
        if (s->average && vj_features_describe(s->store[i])->tokens > 1)
            VJ_TRY(read_means(s, s->store[i], first, count, x[i]));
        else
            VJ_TRY(vj_features_read_rows(s->store[i], first, count, x[i]));
    return VJ_OK;
}

static void close_stores(void *from)
{
    stores *s = from;
    for (int i = 0; i < s->count; i++) vj_features_close(s->store[i]);
    free(s->tokens);
    free(s);
}

static const vj_source_kind kind = {.begin = begin, .read = read, .close = close_stores, .cheap = true};

/* ------------------------------------------------------------------------------------------------ the same clips */

/* Compare the number of clips, labels and classes of two stores. */
static vj_status compare_layouts(const char *path, const vj_features_header *a, const char *other,
                                 const vj_features_header *b)
{
    if (a->clips != b->clips)
        return vj_raise(VJ_ERR_FORMAT, "%s holds %lld clips, %s %lld: these are not features of the same clips", path,
                        (long long)a->clips, other, (long long)b->clips);
    if (a->label_count != b->label_count)
        return vj_raise(VJ_ERR_FORMAT, "%s has %d labels a clip, %s %d", path, a->label_count, other, b->label_count);
    for (int l = 0; l < a->label_count; l++) {
        if (strcmp(a->label_names[l], b->label_names[l]) != 0)
            return vj_raise(VJ_ERR_FORMAT, "label %d of %s is '%s', of %s '%s'", l, path, a->label_names[l], other,
                            b->label_names[l]);
        const vj_clips_classes *x = &a->classes[l], *y = &b->classes[l]; /* older files have no names of classes */
        for (int64_t k = 0; x->count > 0 && y->count > 0 && (k < x->count || k < y->count); k++)
            if (strcmp(vj_clips_classes_name(x, k), vj_clips_classes_name(y, k)) != 0)
                return vj_raise(VJ_ERR_FORMAT, "class %lld of label '%s' is '%s' in %s, '%s' in %s", (long long)k,
                                a->label_names[l], vj_clips_classes_name(x, k), path, vj_clips_classes_name(y, k),
                                other);
    }
    return VJ_OK;
}

/* Compare the clips and labels of two stores. `known`: both have checksums of the clips' content. */
static vj_status compare_rows(const char *path, const vj_features *a, const char *other, const vj_features *b,
                              bool known)
{
    const vj_features_header *h = vj_features_describe(a);
    const int64_t *x = vj_features_clips(a), *y = vj_features_clips(b);
    const uint64_t *x_sums = vj_features_clip_sums(a), *y_sums = vj_features_clip_sums(b);
    const int32_t *x_labels = vj_features_labels(a), *y_labels = vj_features_labels(b);
    const int labels = h->label_count;
    for (int64_t i = 0; i < h->clips; i++) {
        const long long row = (long long)i;
        if (x[i] != y[i])
            return vj_raise(VJ_ERR_FORMAT,
                            "row %lld of %s is clip %lld, of %s clip %lld: both must be features of the same clips in "
                            "the same order, as vjepa-embed writes them of one store with one embed.limit and run.seed",
                            row, path, (long long)x[i], other, (long long)y[i]);
        if (known && x_sums[i] != y_sums[i])
            return vj_raise(VJ_ERR_FORMAT,
                            "row %lld, clip %lld, has other content in %s than in %s, by the clips' checksums: they "
                            "were made of different clip stores",
                            row, (long long)x[i], path, other);
        for (int l = 0; l < labels; l++)
            if (x_labels[i * labels + l] != y_labels[i * labels + l])
                return vj_raise(VJ_ERR_FORMAT, "row %lld, clip %lld, has label %d in %s, %d in %s (label number %d)",
                                row, (long long)x[i], x_labels[i * labels + l], path, y_labels[i * labels + l], other,
                                l);
    }
    return VJ_OK;
}

/* Check that store i has the same clips as store 0. */
static vj_status compare_stores(const stores *s, int i)
{
    const vj_features_header *first = vj_features_describe(s->store[0]), *h = vj_features_describe(s->store[i]);
    const bool known = vj_features_clip_sums(s->store[0]) && vj_features_clip_sums(s->store[i]);
    VJ_TRY(compare_layouts(s->path[i], h, s->path[0], first));
    if (!known && h->store_fingerprint != first->store_fingerprint)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s and %s are features of different clip stores, by the stores' fingerprints, and not both "
                        "have checksums of the clips to say that their content is the same",
                        s->path[i], s->path[0]);
    return compare_rows(s->path[i], s->store[i], s->path[0], s->store[0], known);
}

static vj_status check_all(const stores *s)
{
    for (int i = 0; i < s->count; i++) {
        const int64_t width = vj_features_describe(s->store[i])->width;
        if (width > INT32_MAX)
            return vj_raise(VJ_ERR_FORMAT, "%s: no encoder has width %lld", s->path[i], (long long)width);
        if (i > 0) VJ_TRY(compare_stores(s, i));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ opening */

static vj_status allocate(stores *s)
{
    int64_t largest = 0; /* floats of the clips whose means are made at a time */
    for (int i = 0; i < s->count; i++) {
        const vj_features_header *h = vj_features_describe(s->store[i]);
        const int64_t values = vj_features_slab(s->store[i]) * h->tokens * h->width;
        if (h->tokens > 1 && values > largest) largest = values;
    }
    if (!s->average || largest == 0) return VJ_OK;
    s->tokens = vj_calloc(largest, sizeof *s->tokens);
    return s->tokens ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld tokens' values", (long long)largest);
}

/* Name a representation by its file: "val" for "a/val.h5". */
static void set_name(vj_representation *r, const char *path)
{
    const char *slash = strrchr(path, '/'), *stem = slash ? slash + 1 : path, *dot = strrchr(stem, '.');
    const int length = dot && dot > stem ? (int)(dot - stem) : (int)strlen(stem);
    snprintf(r->name, sizeof r->name, "%.*s", length, stem);
    snprintf(r->origin, sizeof r->origin, "%s", path);
}

/* Return the class names of a label, from the first store that has them. */
static const vj_clips_classes *classes_of(const stores *s, int label)
{
    for (int i = 0; i < s->count; i++) {
        const vj_clips_classes *classes = &vj_features_describe(s->store[i])->classes[label];
        if (classes->count > 0) return classes;
    }
    return &vj_features_describe(s->store[0])->classes[label];
}

static void describe(vj_source *source, const stores *s)
{
    const vj_features_header *first = vj_features_describe(s->store[0]);
    const char *encoders[VJ_MAX_REPRESENTATIONS];
    source->count = s->count;
    source->clips = first->clips;
    source->fingerprint = first->store_fingerprint;
    source->label_count = first->label_count;
    for (int l = 0; l < first->label_count; l++) {
        memcpy(source->label_names[l], first->label_names[l], VJ_LABEL_NAME);
        source->classes[l] = classes_of(s, l);
    }
    memcpy(source->failed, first->failed, sizeof source->failed);
    snprintf(source->preprocessing, sizeof source->preprocessing, "%s", first->preprocessing);
    for (int i = 0; i < s->count; i++) {
        const vj_features_header *h = vj_features_describe(s->store[i]);
        vj_representation *r = &source->representation[i];
        set_name(r, s->path[i]);
        r->width = (int)h->width;
        r->tokens = s->average ? 1 : h->tokens;
        if (r->tokens > 1) memcpy(r->grid, h->grid, sizeof r->grid);
        r->digest = h->encoder_digest;
        encoders[i] = h->encoder;
    }
    vj_source_make_names_unique(source, encoders);
}

static vj_status fill(vj_source *source, const stores *s)
{
    bool sums = false;
    int with = 0; /* a store that has checksums of the clips, which are the same in all */
    for (int i = s->count - 1; i >= 0; i--)
        if (vj_features_clip_sums(s->store[i])) sums = true, with = i;
    describe(source, s);
    VJ_TRY(vj_source_take_columns(source, sums));
    const size_t n = (size_t)source->clips;
    memcpy(source->numbers, vj_features_clips(s->store[0]), n * sizeof *source->numbers);
    memcpy(source->labels, vj_features_labels(s->store[0]), n * (size_t)source->label_count * sizeof *source->labels);
    if (sums) memcpy(source->sums, vj_features_clip_sums(s->store[with]), n * sizeof *source->sums);
    return vj_source_take_slabs(source, 0);
}

vj_status vj_source_open_features(vj_source **source, const char *const *paths, int count, bool average, MPI_Comm comm)
{
    *source = NULL;
    if (count < 1 || count > VJ_MAX_REPRESENTATIONS)
        return vj_raise(VJ_ERR_USAGE, "%d feature stores; 1 to %d can be looked at together", count,
                        VJ_MAX_REPRESENTATIONS);
    stores *s = vj_calloc(1, sizeof *s);
    VJ_TRY(vj_source_create(source, &kind, s, comm));
    *s = (stores){.count = count, .average = average};
    for (int i = 0; i < count; i++) s->path[i] = paths[i];
    for (int i = 0; i < count; i++) VJ_TRY(vj_features_open(&s->store[i], paths[i], comm));
    VJ_TRY(vj_agree(comm, (*source)->rank == 0 ? check_all(s) : VJ_OK)); /* errors are reported once */
    vj_status status = allocate(s);
    if (status == VJ_OK) status = fill(*source, s);
    return vj_agree(comm, status);
}
