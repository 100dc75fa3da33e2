/* Computes features of clips in batches of embed.batch: read, crop, encode, update the effective rank, write. */
#include "probe/embed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/rng.h"
#include "clips/clips.h"
#include "features/features.h"
#include "feed/loader.h"
#include "model/model.h"
#include "parallel/parallel.h"
#include "train/alike.h"
#include "train/checkpoint.h"
#include "train/products.h"
#include "train/spectrum.h"

#define TARGET_EPS 1e-5f /* of the targets' norm (docs/method.md, section 6) */

typedef struct {
    const vj_config *config;
    const vj_embed_request *request;
    MPI_Comm comm;
    int rank, size;
    vj_clips *clips;
    vj_backend *be;
    vj_products products; /* how fast it multiplies */
    vj_encoder *encoder;
    vj_spectrum *spectrum;
    vj_features_writer *writer;
    int64_t *chosen, n; /* clip numbers, ascending */
    int64_t tokens, batch;
    int D;
    vj_loader *loader;
    float *features; /* host: [batch, tokens, D] */
    float *pooled;   /* host: [batch, D] */
    uint64_t *sums;  /* [batch] checksums of the clips */
    float *normed;   /* device: [batch * tokens, D] */
} vj_embedding;

/* ------------------------------------------------------------------------------------------------ the encoder */

/* "random:published:7" to its rule and seed; *random is 0 for anything that does not begin with "random:". */
static vj_status parse_random(const char *text, int64_t default_seed, int *random, vj_init *init, int64_t *seed)
{
    static const struct {
        const char *name;
        vj_init init;
    } rules[] = {{"published", VJ_INIT_PUBLISHED}, {"fan_in", VJ_INIT_FAN_IN}};
    *random = strncmp(text, "random:", 7) == 0;
    if (!*random) return VJ_OK;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        size_t length = strlen(rules[i].name);
        const char *rest = text + 7 + length;
        if (strncmp(text + 7, rules[i].name, length) != 0 || (*rest && *rest != ':')) continue;
        *init = rules[i].init;
        *seed = default_seed;
        if (!*rest) return VJ_OK;
        char *end;
        errno = 0;
        *seed = strtoll(rest + 1, &end, 10);
        if (errno == 0 && end != rest + 1 && !*end) return VJ_OK;
    }
    return vj_raise(VJ_ERR_USAGE, "'%s' is neither random:published[:SEED] nor random:fan_in[:SEED]", text);
}

/* "run/step_00001200.h5", or "random published seed 3". */
static void describe_encoder(const vj_embedding *e, char *text, size_t bytes)
{
    int random;
    int64_t seed;
    vj_init init;
    if (parse_random(e->request->encoder, e->config->run.seed, &random, &init, &seed) == VJ_OK && random)
        snprintf(text, bytes, "random %s seed %lld", init == VJ_INIT_PUBLISHED ? "published" : "fan_in",
                 (long long)seed);
    else
        snprintf(text, bytes, "%s", e->request->encoder);
}

static vj_status open_encoder(vj_embedding *e)
{
    int random;
    int64_t seed;
    vj_init init;
    vj_shape shape = vj_shape_from(e->config);
    vj_precision precision = strcmp(e->config->train.precision, "bf16") == 0 ? VJ_BF16 : VJ_FP32;
    const vj_place place = vj_place_of(e->comm);
    vj_place_say(&place, e->comm, "");
    VJ_TRY(parse_random(e->request->encoder, e->config->run.seed, &random, &init, &seed));
    VJ_TRY(vj_backend_open_alike(&e->be, e->config->train.backend, precision, &place, e->comm));
    VJ_TRY(vj_products_settle(&e->products, e->be, e->config->train.products, e->comm));
    VJ_TRY(vj_encoder_open(&e->encoder, &shape, e->batch, e->be));
    VJ_TRY(vj_encoder_accept_frames(e->encoder, vj_clips_largest_bytes(e->clips)));
    if (random)
        vj_encoder_init_weights(e->encoder, init, seed);
    else
        VJ_TRY(vj_checkpoint_load_encoder(e->request->encoder, e->encoder));
    e->tokens = e->encoder->net.tokens;
    e->D = shape.width;
    e->normed = vj_device_alloc(e->be, e->batch * e->tokens * e->D * (int64_t)sizeof(float));
    if (!e->normed) return VJ_ERR_MEMORY; /* reported by the device */
    return vj_spectrum_open(&e->spectrum, e->be, e->D, 0);
}

/* Of the weights, tensor by tensor, and of the shape: what tells one encoder from another, wherever its file lies. */
static vj_status digest_encoder(const vj_embedding *e, uint64_t *digest)
{
    const vj_params *params = &e->encoder->net.params;
    const vj_shape *s = &e->encoder->net.shape;
    const int64_t shape[] = {s->frames, s->height, s->width_px, s->patch, s->tubelet, s->width, s->depth, s->heads};
    int64_t most = 1;
    for (int i = 0; i < params->count; i++)
        if (params->item[i].count > most) most = params->item[i].count;
    float *host = vj_calloc(most, sizeof *host);
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory for a tensor of %lld numbers", (long long)most);
    *digest = XXH3_64bits(shape, sizeof shape);
    for (int i = 0; i < params->count; i++) {
        const vj_param *p = &params->item[i];
        const int64_t bytes = p->count * (int64_t)sizeof *host;
        vj_download(e->be, host, e->encoder->weights + p->offset, bytes);
        *digest = XXH3_64bits_withSeed(host, (size_t)bytes, *digest);
    }
    free(host);
    return vj_sync(e->be);
}

/* Everything between a stored clip and the encoder's first product that changes what it sees. */
static void describe_preprocessing(const vj_embedding *e, char *text, size_t bytes)
{
    const vj_config *c = e->config;
    snprintf(text, bytes, "%lld frames, centre crop %lld, mean [%g, %g, %g], std [%g, %g, %g], %s",
             (long long)c->data.frames, (long long)c->data.crop, c->data.mean[0], c->data.mean[1], c->data.mean[2],
             c->data.std[0], c->data.std[1], c->data.std[2], c->train.precision);
}

/* ------------------------------------------------------------------------------------------------ the clips */

/* "A.clips,B.clips" */
static vj_status split_paths(vj_strings *paths, const char *text)
{
    for (paths->count = 0; *text;) {
        int length = (int)strcspn(text, ",");
        if (paths->count == VJ_MAX_LIST || length == 0 || length >= VJ_PATH)
            return vj_raise(VJ_ERR_USAGE, "'%s' is no list of at most %d paths with commas between them", text,
                            VJ_MAX_LIST);
        snprintf(paths->item[paths->count++], VJ_PATH, "%.*s", length, text);
        text += length + (text[length] == ',');
    }
    return VJ_OK;
}

static vj_status open_clips(vj_embedding *e)
{
    vj_strings paths;
    VJ_TRY(split_paths(&paths, e->request->stores));
    VJ_TRY(vj_clips_open(&e->clips, &paths, e->comm));
    if (vj_clips_frames(e->clips) != e->config->data.frames)
        return vj_raise(VJ_ERR_FORMAT, "%s holds %d frames a clip, the configuration has data.frames %lld",
                        e->request->stores, vj_clips_frames(e->clips), (long long)e->config->data.frames);
    return VJ_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static vj_status choose(vj_embedding *e)
{
    int64_t all = vj_clips_count(e->clips), limit = e->config->embed.limit;
    e->n = limit > 0 && limit < all ? limit : all;
    e->chosen = vj_calloc(e->n, sizeof *e->chosen);
    if (!e->chosen) return vj_raise(VJ_ERR_MEMORY, "no memory to choose %lld clips", (long long)e->n);
    for (int64_t i = 0; i < e->n; i++)
        e->chosen[i] = e->n < all ? vj_permute((uint64_t)e->config->run.seed, 0, all, i) : i;
    qsort(e->chosen, (size_t)e->n, sizeof *e->chosen, compare_numbers);
    return VJ_OK;
}

/*
 * Clips chosen[begin .. end), each once, as the evaluation sees them: whole batches of the next clips are read while
 * one is encoded. Every checksum is compared, whatever training may leave out.
 */
static vj_status start_loader(vj_embedding *e, int64_t begin, int64_t end)
{
    vj_loader_plan plan = {.view = vj_view_centre,
                           .be = e->be,
                           .batch = e->batch,
                           .last = e->batch,
                           .stop = (end - begin + e->batch - 1) / e->batch,
                           .samples = end - begin};
    vj_config *c = vj_calloc(1, sizeof *c);
    if (!c) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *c = *e->config;
    c->data.read_ahead = 1;
    c->data.verify = 1.0;
    c->data.cache[0] = '\0';
    vj_status status = vj_order_create_once(&plan.order, e->chosen + begin, end - begin);
    if (status == VJ_OK) status = vj_loader_start(&e->loader, e->clips, c, &plan);
    free(c);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the work */

static vj_status allocate(vj_embedding *e)
{
    e->features = vj_calloc(e->batch * e->tokens * e->D, sizeof *e->features);
    e->pooled = vj_calloc(e->batch * e->D, sizeof *e->pooled);
    e->sums = vj_calloc(e->batch, sizeof *e->sums);
    if (!e->features || !e->pooled || !e->sums)
        return vj_raise(VJ_ERR_MEMORY, "no memory for batches of %lld clips; a smaller embed.batch?",
                        (long long)e->batch);
    return VJ_OK;
}

/* One batch to features, and to the file's rows from `first` on. */
static vj_status encode(vj_embedding *e, const vj_batch *batch, int64_t first)
{
    const int average = e->request->keep == VJ_POOL_AVERAGE;
    const int64_t count = batch->count, rows = count * e->tokens;
    const vj_input clips = {batch->pixels, batch->frames, batch->views, e->config->data.mean, e->config->data.std};
    const float *features = vj_encoder_run(e->encoder, vj_encoder_upload(e->encoder, &clips, count), count);
    VJ_TRY(vj_encoder_download(e->encoder, e->features, count));
    vj_layernorm_forward(e->be, vj_f32(e->normed), NULL, NULL, features, NULL, NULL, rows, e->D, TARGET_EPS);
    vj_spectrum_add(e->spectrum, e->normed, rows, 1);
    if (average) vj_host_mean_tokens(e->pooled, e->features, count, e->tokens, e->D);
    for (int64_t i = 0; i < count; i++) e->sums[i] = vj_clips_checksum(e->clips, batch->clips[i]);
    return vj_features_write(e->writer, first, count, average ? e->pooled : e->features, batch->labels, batch->clips,
                             e->sums);
}

static vj_status encode_mine(vj_embedding *e)
{
    int64_t begin, end;
    vj_split(e->n, e->size, e->rank, &begin, &end);
    VJ_TRY(start_loader(e, begin, end));
    double start = vj_now(), said = start, wait_s, waited_s = 0.0;
    for (int64_t first = begin; first < end;) {
        vj_batch batch;
        VJ_TRY(vj_loader_next(e->loader, &batch, &wait_s));
        VJ_TRY(encode(e, &batch, first));
        first += batch.count;
        waited_s += wait_s;
        double now = vj_now(), rate = (double)(first - begin) / (now - start);
        if (now - said < 5.0 && first < end) continue;
        said = now;
        vj_log("embed: %3.0f %% of %lld clips, %.0f clips/s, %.0f %% of the time waiting for clips, %.0f s left",
               100.0 * (double)(first - begin) / (double)(end - begin), (long long)e->n, rate * e->size,
               100.0 * waited_s / (now - start), (double)(end - first) / rate);
    }
    return vj_sync(e->be);
}

/* What the file says of itself. */
static vj_status create_store(vj_embedding *e)
{
    char *config = vj_products_config_text(e->config, e->be), encoder[VJ_PATH + 64], preprocessing[256];
    if (!config) return vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    describe_encoder(e, encoder, sizeof encoder);
    describe_preprocessing(e, preprocessing, sizeof preprocessing);
    vj_features_header layout = {.clips = e->n,
                                 .tokens = e->request->keep == VJ_POOL_AVERAGE ? 1 : e->tokens,
                                 .width = e->D,
                                 .label_count = vj_clips_label_count(e->clips),
                                 .store_fingerprint = vj_clips_fingerprint(e->clips),
                                 .encoder = encoder,
                                 .preprocessing = preprocessing,
                                 .config = config};
    layout.type = strcmp(e->config->embed.dtype, "f16") == 0 ? VJ_FEATURES_F16 : VJ_FEATURES_F32;
    for (int l = 0; l < layout.label_count; l++) {
        snprintf(layout.label_names[l], VJ_LABEL_NAME, "%s", vj_clips_label_name(e->clips, l));
        layout.classes[l] = *vj_clips_classes_of(e->clips, l);
    }
    vj_log("embed: %lld clips of %s, %lld tokens of width %d%s, encoder %s, %s", (long long)e->n, e->request->stores,
           (long long)e->tokens, e->D, e->request->keep == VJ_POOL_AVERAGE ? " averaged" : "", encoder,
           vj_backend_describe(e->be));
    vj_products_say(&e->products);
    vj_status status = digest_encoder(e, &layout.encoder_digest);
    if (status == VJ_OK && e->rank == 0) status = vj_features_may_replace(e->request->out, &layout);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK && !e->request->dry_run)
        status = vj_features_create(&e->writer, e->request->out, &layout, e->comm);
    free(config);
    return status;
}

static vj_status write_store(vj_embedding *e)
{
    vj_spread spread;
    VJ_TRY(encode_mine(e));
    VJ_TRY(vj_spectrum_finish(e->spectrum, e->comm, &spread));
    VJ_TRY(vj_features_commit(e->writer, VJ_OK, spread.effective_rank));
    vj_log("embed: %s: effective rank %.2f of %d, deviation of the features %.3f", e->request->out,
           spread.effective_rank, e->D, spread.std);
    return VJ_OK;
}

static vj_status run(vj_embedding *e)
{
    VJ_TRY(open_clips(e));
    VJ_TRY(choose(e));
    VJ_TRY(open_encoder(e));
    VJ_TRY(allocate(e));
    VJ_TRY(create_store(e));
    return e->request->dry_run ? VJ_OK : write_store(e);
}

vj_status vj_embed(const vj_config *config, const vj_embed_request *request, MPI_Comm comm)
{
    vj_embedding e = {.config = config, .request = request, .comm = comm, .batch = config->embed.batch};
    MPI_Comm_rank(comm, &e.rank);
    MPI_Comm_size(comm, &e.size);
    vj_status status = run(&e);
    vj_loader_stop(e.loader);
    if (e.be) vj_device_free(e.be, e.normed);
    vj_spectrum_close(e.spectrum);
    vj_encoder_close(e.encoder);
    vj_backend_close(e.be);
    vj_clips_close(e.clips);
    free(e.chosen);
    free(e.features);
    free(e.pooled);
    free(e.sums);
    return status;
}
