/*
 * A source of clips and encoders that run over them. Each requested layer of each encoder is one representation. In a
 * pass each encoder sees each clip once, and one forward pass gives all its layers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/number.h"
#include "parallel/parallel.h"
#include "probe/frozen.h"
#include "source/inner.h"

typedef struct {
    vj_frozen frozen;
    const vj_source *source; /* that this belongs to; borrowed */
    int64_t present;         /* clips in the batch at hand */
    bool average;
    int layers;                        /* number of requested layers of each encoder */
    int layer[VJ_MAX_REPRESENTATIONS]; /* [layers] from 1; the depth stands for the features after the final norm */
    float *tokens;                     /* with average: [batch, tokens, width] of one layer */
} encoders;

static int depth_of(const encoders *e)
{
    return (int)e->frozen.config->model.depth;
}

/* ------------------------------------------------------------------------------------------------ passes */

static vj_status begin(void *from, int64_t first, int64_t last)
{
    encoders *e = from;
    return vj_frozen_start(&e->frozen, first, last);
}

/* Copy the layers that encoder i computed for a batch of clips to x[j], from row `at` on. */
static vj_status take_layers(encoders *e, int i, int64_t count, float *const *x, int64_t at)
{
    vj_encoder *encoder = e->frozen.encoder[i];
    const int64_t tokens = encoder->net.tokens;
    const int D = encoder->net.shape.width;
    for (int j = 0; j < e->layers; j++) {
        float *rows = x[j] + at * (e->average ? 1 : tokens) * D, *to = e->average ? e->tokens : rows;
        if (e->layer[j] == depth_of(e))
            VJ_TRY(vj_encoder_download(encoder, to, count));
        else
            VJ_TRY(vj_encoder_download_layer(encoder, e->layer[j], to, count));
        if (e->average) vj_host_mean_tokens(rows, to, count, tokens, D);
    }
    return VJ_OK;
}

static int64_t count_damaged(const void *from)
{
    const encoders *e = from;
    return e->frozen.damaged_count;
}

/* For vj_work_begin(): `share` of the present batch is done. */
static void tell_progress(void *from, double share, double now_s)
{
    const encoders *e = from;
    if (e->source->tell) e->source->tell(e->source->listener, share * (double)e->present, now_s);
}

static vj_status read(void *from, int64_t first, int64_t count, float *const *x)
{
    encoders *e = from;
    for (int64_t done = 0; done < count;) {
        vj_batch batch;
        double wait_s;
        VJ_TRY(vj_frozen_next(&e->frozen, &batch, &wait_s));
        VJ_ASSERT(batch.clips[0] == e->frozen.chosen[first + done] && batch.count <= count - done);
        e->present = batch.count;
        vj_work_begin(e->frozen.be, vj_frozen_flops(&e->frozen, batch.count), tell_progress, e);
        for (int i = 0; x && count_damaged(e) == 0 && i < e->frozen.count; i++) {
            (void)vj_frozen_encode(&e->frozen, i, &batch); /* the features are fetched like the other layers */
            VJ_TRY(take_layers(e, i, batch.count, x + i * e->layers, done));
        }
        vj_work_end(e->frozen.be);
        done += batch.count;
    }
    return VJ_OK;
}

static vj_status leave_out(void *from, const int64_t **left, int64_t *count, uint64_t *failed)
{
    encoders *e = from;
    int64_t damaged;
    const vj_status status = vj_frozen_leave_out(&e->frozen, &damaged, failed);
    *left = e->frozen.chosen;
    *count = e->frozen.n;
    return status;
}

static void close_encoders(void *from)
{
    encoders *e = from;
    vj_frozen_release(&e->frozen);
    free(e->tokens);
    free(e);
}

static const vj_source_kind kind = {
    .begin = begin, .read = read, .damaged = count_damaged, .leave_out = leave_out, .close = close_encoders};

/* ------------------------------------------------------------------------------------------------ opening */

/* Parse "all", "last" or "1,6,12". */
static vj_status parse_layers(encoders *e, const char *text)
{
    const int depth = depth_of(e), limit = VJ_MAX_REPRESENTATIONS;
    if (!text || strcmp(text, "last") == 0) {
        e->layers = 1;
        e->layer[0] = depth;
        return VJ_OK;
    }
    if (strcmp(text, "all") == 0) {
        if (depth > limit)
            return vj_raise(VJ_ERR_USAGE, "--layers all: %d layers are more than %d; name some", depth, limit);
        for (e->layers = 0; e->layers < depth; e->layers++) e->layer[e->layers] = e->layers + 1;
        return VJ_OK;
    }
    int64_t layer[VJ_MAX_REPRESENTATIONS];
    const int count = vj_parse_list(text, 1, depth, layer, limit);
    if (count < 0)
        return vj_raise(VJ_ERR_USAGE,
                        "--layers %s: expected all, last, or numbers from 1 to %d (model.depth) with commas between "
                        "them",
                        text, depth);
    for (e->layers = 0; e->layers < count; e->layers++) {
        for (int i = 0; i < e->layers; i++)
            if (layer[i] == layer[e->layers])
                return vj_raise(VJ_ERR_USAGE, "--layers %s: layer %lld is there twice", text, (long long)layer[i]);
        e->layer[e->layers] = (int)layer[e->layers];
    }
    return VJ_OK;
}

/* Set name, origin and digest of layer j of encoder i. */
static vj_status describe_layer(encoders *e, vj_representation *r, const char *encoder, int i, int j, uint64_t digest)
{
    char what[VJ_PATH + 64], layer[32] = "";
    const vj_network *net = &e->frozen.encoder[i]->net;
    vj_frozen_describe_encoder(e->frozen.config, encoder, what, sizeof what);
    const bool last = e->layer[j] == depth_of(e);
    if (!last) snprintf(layer, sizeof layer, " layer %d", e->layer[j]);
    const char *slash = strrchr(what, '/'), *stem = slash ? slash + 1 : what, *dot = strrchr(stem, '.');
    const int length = dot && strcmp(dot, ".h5") == 0 ? (int)(dot - stem) : (int)strlen(stem);
    snprintf(r->name, sizeof r->name, "%.*s%s", length < 64 ? length : 64, stem, layer);
    if (snprintf(r->origin, sizeof r->origin, "%s%s", what, layer) >= (int)sizeof r->origin)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", what);
    r->width = net->shape.width;
    r->tokens = e->average ? 1 : net->tokens;
    if (!e->average) vj_frozen_grid(e->frozen.encoder[i], r->grid);
    r->digest = last ? digest : XXH3_64bits_withSeed(&e->layer[j], sizeof e->layer[j], digest);
    return VJ_OK;
}

static vj_status describe(vj_source *source, encoders *e, const vj_strings *list)
{
    const char *other[VJ_MAX_REPRESENTATIONS];
    for (int i = 0; i < list->count; i++) {
        uint64_t digest;
        VJ_TRY(vj_frozen_digest(e->frozen.encoder[i], &digest));
        for (int j = 0; j < e->layers; j++) {
            vj_representation *r = &source->representation[source->count];
            VJ_TRY(describe_layer(e, r, list->item[i], i, j, digest));
            other[source->count++] = r->origin;
        }
    }
    vj_source_make_names_unique(source, other);
    vj_frozen_describe_preprocessing(&e->frozen, source->preprocessing, sizeof source->preprocessing);
    return VJ_OK;
}

static vj_status take_clips(vj_source *source, const encoders *e)
{
    const vj_clips *clips = e->frozen.clips;
    source->clips = e->frozen.n;
    source->fingerprint = vj_clips_fingerprint(clips);
    source->label_count = vj_clips_label_count(clips);
    for (int l = 0; l < source->label_count; l++) {
        snprintf(source->label_names[l], VJ_LABEL_NAME, "%s", vj_clips_label_name(clips, l));
        source->classes[l] = vj_clips_classes_of(clips, l);
    }
    VJ_TRY(vj_source_take_columns(source, true));
    for (int64_t i = 0; i < source->clips; i++) {
        const int64_t clip = e->frozen.chosen[i];
        source->numbers[i] = clip;
        source->sums[i] = vj_clips_checksum(clips, clip);
        for (int l = 0; l < source->label_count; l++)
            source->labels[i * source->label_count + l] = vj_clips_labels(clips, clip)[l];
    }
    return VJ_OK;
}

static vj_status keep_layers(encoders *e)
{
    const vj_network *net = &e->frozen.encoder[0]->net;
    for (int i = 0; i < e->frozen.count; i++)
        for (int j = 0; j < e->layers; j++)
            if (e->layer[j] != depth_of(e)) VJ_TRY(vj_encoder_keep_layer(e->frozen.encoder[i], e->layer[j]));
    if (!e->average) return VJ_OK;
    e->tokens = vj_calloc(e->frozen.batch * net->tokens * net->shape.width, sizeof *e->tokens);
    return e->tokens ? VJ_OK
                     : vj_raise(VJ_ERR_MEMORY, "no memory for the tokens of %lld clips; a smaller embed.batch?",
                                (long long)e->frozen.batch);
}

static vj_status open_all(vj_source *source, encoders *e, const vj_config *config, const vj_source_request *request)
{
    vj_strings list;
    VJ_TRY(vj_frozen_split_paths(&list, request->encoders));
    VJ_TRY(vj_frozen_open_clips(&e->frozen, config, request->stores, source->comm));
    e->frozen.marks = true;
    VJ_TRY(parse_layers(e, request->layers));
    if (list.count * e->layers > VJ_MAX_REPRESENTATIONS)
        return vj_raise(VJ_ERR_USAGE,
                        "%d layers of %d encoders are more than %d representations; name fewer (--layers)", e->layers,
                        list.count, VJ_MAX_REPRESENTATIONS);
    for (int i = 0; i < list.count; i++) VJ_TRY(vj_frozen_find_encoder(list.item[i], source->comm));
    VJ_TRY(vj_frozen_open_encoders(&e->frozen, &list));
    vj_products_log(&e->frozen.products);
    VJ_TRY(keep_layers(e));
    VJ_TRY(describe(source, e, &list));
    VJ_TRY(take_clips(source, e));
    vj_log("encoding %lld clips of %s in each pass: %d encoder%s, %d layer%s each, %s", (long long)source->clips,
           request->stores, list.count, list.count == 1 ? "" : "s", e->layers, e->layers == 1 ? "" : "s",
           vj_backend_describe(e->frozen.be));
    vj_frozen_log_time(&e->frozen, "each pass takes", source->clips);
    return vj_source_take_slabs(source, e->frozen.batch); /* encoding takes longest: progress is seen batch by batch */
}

vj_status vj_source_open_encoder(vj_source **source, const vj_config *config, const vj_source_request *request,
                                 MPI_Comm comm)
{
    encoders *e = vj_calloc(1, sizeof *e);
    VJ_TRY(vj_source_create(source, &kind, e, comm));
    e->average = request->average;
    e->source = *source;
    return vj_agree(comm, open_all(*source, e, config, request));
}
