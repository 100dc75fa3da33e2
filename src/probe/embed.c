/* Computes features of clips in batches of embed.batch: reads, crops, encodes, updates the effective rank, writes. */
#include "probe/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/output.h"
#include "base/progress.h"
#include "features/features.h"
#include "parallel/parallel.h"
#include "probe/frozen.h"
#include "train/spectrum.h"

#define TARGET_EPS 1e-5f /* eps of the targets' norm (docs/method.md, section 6) */

typedef struct {
    const vj_embed_request *request;
    vj_frozen frozen;    /* the clips and the encoder */
    vj_encoder *encoder; /* frozen.encoder[0] */
    vj_strings from;     /* one: its checkpoint, or random:... */
    vj_spectrum *spectrum;
    vj_features_writer *writer;
    int64_t tokens;
    int D;
    float *features;                /* host: [batch, tokens, D] */
    float *pooled;                  /* host: [batch, D] */
    uint64_t *sums;                 /* [batch] checksums of the clips */
    float *normed;                  /* device: [batch * tokens, D] */
    uint64_t failed[VJ_MAX_LABELS]; /* number of omitted clips that have each label */
    int64_t mine, done, present;    /* clips of this rank: all, before the present batch, in it */
    vj_progress_line line;
    double waited_s;
} vj_embedding;

static vj_status open_encoder(vj_embedding *e)
{
    vj_frozen *f = &e->frozen;
    e->from.count = 1;
    if (snprintf(e->from.item[0], VJ_PATH, "%s", e->request->encoder) >= VJ_PATH)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", e->request->encoder);
    VJ_TRY(vj_frozen_find_encoder(e->from.item[0], f->comm));
    VJ_TRY(vj_frozen_open_encoders(f, &e->from));
    e->encoder = f->encoder[0];
    e->tokens = e->encoder->net.tokens;
    e->D = e->encoder->net.shape.width;
    e->normed = vj_device_alloc(f->be, f->batch * e->tokens * e->D * (int64_t)sizeof(float));
    if (!e->normed) return VJ_ERR_MEMORY; /* reported by the device */
    return vj_spectrum_open(&e->spectrum, f->be, e->D, 0);
}

static vj_status allocate(vj_embedding *e)
{
    const int64_t batch = e->frozen.batch;
    e->features = vj_calloc(batch * e->tokens * e->D, sizeof *e->features);
    e->pooled = vj_calloc(batch * e->D, sizeof *e->pooled);
    e->sums = vj_calloc(batch, sizeof *e->sums);
    if (!e->features || !e->pooled || !e->sums)
        return vj_raise(VJ_ERR_MEMORY, "no memory for batches of %lld clips; a smaller embed.batch?", (long long)batch);
    return VJ_OK;
}

/* Features with NaN or infinite numbers are of no use to anybody, so they are refused where they are made. */
static vj_status check_finite(const vj_embedding *e, const vj_batch *batch)
{
    const int64_t each = e->tokens * e->D;
    for (int64_t i = 0; i < batch->count; i++) {
        float sum = 0.0f; /* of zeros, or NaN */
        for (int64_t k = 0; k < each; k++) sum += 0.0f * e->features[i * each + k];
        if (isnan(sum))
            return vj_raise(VJ_ERR_FORMAT,
                            "the features of clip %lld are not finite (NaN or infinite): look at the weights of the "
                            "encoder %s, and at data.mean and data.std",
                            (long long)batch->clips[i], e->from.item[0]);
    }
    return VJ_OK;
}

/* For vj_work_begin(): `share` of the present batch is encoded. */
static void log_progress(void *embedding, double share, double now_s)
{
    vj_embedding *e = embedding;
    const double done = (double)e->done + share * (double)e->present, spent_s = now_s - e->line.began_s,
                 rate = done / spent_s;
    if (done <= 0.0 || !vj_progress_line_is_due_in_batch(&e->line, share, now_s)) return;
    char left[32];
    vj_log("embed: %3.0f %% of %lld clips, %.5g clips/s, %.0f %% of the time waiting for clips, %s left",
           100.0 * done / (double)e->mine, (long long)e->frozen.n, rate * e->frozen.size, 100.0 * e->waited_s / spent_s,
           vj_duration(((double)e->mine - done) / rate, left));
}

/* Encode one batch, and write its features to the file's rows from `first` on. */
static vj_status encode(vj_embedding *e, const vj_batch *batch, int64_t first)
{
    const int average = e->request->keep == VJ_POOL_AVERAGE;
    const int64_t count = batch->count, rows = count * e->tokens;
    vj_work_begin(e->frozen.be, vj_frozen_flops(&e->frozen, count), log_progress, e);
    const float *features = vj_frozen_encode(&e->frozen, 0, batch);
    vj_work_end(e->frozen.be);
    VJ_TRY(vj_encoder_download(e->encoder, e->features, count));
    VJ_TRY(check_finite(e, batch));
    vj_layernorm_forward(e->frozen.be, vj_f32(e->normed), NULL, NULL, features, NULL, NULL, rows, e->D, TARGET_EPS);
    vj_spectrum_add(e->spectrum, e->normed, rows, 1);
    if (average) vj_host_mean_tokens(e->pooled, e->features, count, e->tokens, e->D);
    for (int64_t i = 0; i < count; i++) e->sums[i] = vj_clips_checksum(e->frozen.clips, batch->clips[i]);
    return vj_features_write(e->writer, first, count, average ? e->pooled : e->features, batch->labels, batch->clips,
                             e->sums);
}

/* After this many batches the ranks tell each other of damage, so that none encodes for long what will not be used. */
enum { BATCHES_BETWEEN = 16 };

/* Encode this rank's clips; after the first damaged one of any rank only search for more of them. */
static vj_status encode_mine(vj_embedding *e, int *searching)
{
    vj_frozen *f = &e->frozen;
    int64_t begin, end, first_count;
    vj_split(f->n, f->size, 0, &begin, &first_count);
    const int64_t batches = (first_count + f->batch - 1) / f->batch; /* of rank 0, which has the most */
    vj_split(f->n, f->size, f->rank, &begin, &end);
    VJ_TRY(vj_frozen_start(f, begin, end));
    double wait_s;
    e->mine = end - begin;
    e->done = e->present = 0;
    e->line = vj_progress_line_begin();
    e->waited_s = 0.0;
    *searching = 0;
    for (int64_t b = 0, first = begin; b < batches; b++) {
        vj_batch batch = {0};
        if (first < end) {
            VJ_TRY(vj_frozen_next(f, &batch, &wait_s));
            e->waited_s += wait_s;
            e->present = batch.count;
            if (f->damaged_count > 0) *searching = 1;
            if (!*searching) VJ_TRY(encode(e, &batch, first));
            first += batch.count;
            e->done = first - begin;
            e->present = 0;
        }
        if (b % BATCHES_BETWEEN == BATCHES_BETWEEN - 1 || b == batches - 1)
            MPI_Allreduce(MPI_IN_PLACE, searching, 1, MPI_INT, MPI_MAX, f->comm);
        if (b == batches - 1) e->line.logged_s = -INFINITY; /* always say that it is done */
        log_progress(e, 0.0, vj_now());
    }
    return vj_sync(f->be);
}

/* Create the file with its description. */
static vj_status create_store(vj_embedding *e)
{
    const vj_frozen *f = &e->frozen;
    char *config = vj_products_config_text(f->config, f->be), encoder[VJ_PATH + 64], preprocessing[256];
    if (!config) return vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    vj_frozen_describe_encoder(f->config, e->from.item[0], encoder, sizeof encoder);
    vj_frozen_describe_preprocessing(f, preprocessing, sizeof preprocessing);
    vj_features_header layout = {.clips = f->n,
                                 .tokens = e->request->keep == VJ_POOL_AVERAGE ? 1 : e->tokens,
                                 .width = e->D,
                                 .label_count = vj_clips_label_count(f->clips),
                                 .store_fingerprint = vj_clips_fingerprint(f->clips),
                                 .encoder = encoder,
                                 .preprocessing = preprocessing,
                                 .config = config};
    memcpy(layout.failed, e->failed, sizeof layout.failed);
    if (layout.tokens > 1) vj_frozen_grid(e->encoder, layout.grid);
    layout.type = vj_features_type_of(f->config->embed.dtype);
    for (int l = 0; l < layout.label_count; l++) {
        snprintf(layout.label_names[l], VJ_LABEL_NAME, "%s", vj_clips_label_name(f->clips, l));
        layout.classes[l] = *vj_clips_classes_of(f->clips, l);
    }
    vj_log("embed: %lld clips of %s, %lld tokens of width %d%s, encoder %s, %s", (long long)f->n, e->request->stores,
           (long long)e->tokens, e->D, e->request->keep == VJ_POOL_AVERAGE ? " averaged" : "", encoder,
           vj_backend_describe(f->be));
    vj_products_log(&f->products);
    vj_frozen_log_time(f, "embed: this takes", f->n);
    vj_status status = vj_frozen_digest(e->encoder, &layout.encoder_digest);
    if (status == VJ_OK && f->rank == 0) status = vj_features_may_replace(e->request->out, &layout);
    status = vj_agree(f->comm, status);
    if (status == VJ_OK && !e->request->dry_run)
        status = vj_features_create(&e->writer, e->request->out, &layout, f->comm);
    free(config);
    return status;
}

/* Begin a new file without the damaged clips. */
static vj_status begin_anew(vj_embedding *e)
{
    vj_frozen *f = &e->frozen;
    vj_features_abandon(e->writer);
    e->writer = NULL;
    int64_t count;
    VJ_TRY(vj_frozen_leave_out(f, &count, e->failed));
    vj_log("embed: damaged clips are left out; encoding the other %lld from the beginning", (long long)f->n);
    vj_spectrum_close(e->spectrum);
    e->spectrum = NULL;
    VJ_TRY(vj_spectrum_open(&e->spectrum, f->be, e->D, 0));
    return create_store(e);
}

static vj_status write_store(vj_embedding *e)
{
    vj_spread spread;
    int searching;
    VJ_TRY(encode_mine(e, &searching));
    while (searching) {
        VJ_TRY(begin_anew(e));
        VJ_TRY(encode_mine(e, &searching));
    }
    VJ_TRY(vj_spectrum_finish(e->spectrum, e->frozen.comm, &spread));
    VJ_TRY(vj_features_commit(e->writer, VJ_OK, spread.effective_rank));
    vj_log("embed: %s: effective rank %.2f of %d, deviation of the features %.3f", e->request->out,
           spread.effective_rank, e->D, spread.std);
    return VJ_OK;
}

static vj_status run(vj_embedding *e, const vj_config *config, MPI_Comm comm)
{
    /* Also checked with the features' description, but before that large encoders are read. */
    const bool first = vj_comm_rank(comm) == 0;
    VJ_TRY(vj_agree(comm, first ? vj_output_check_file("--out", e->request->out) : VJ_OK));
    VJ_TRY(vj_frozen_open_clips(&e->frozen, config, e->request->stores, comm));
    e->frozen.marks = true;
    VJ_TRY(open_encoder(e));
    VJ_TRY(allocate(e));
    VJ_TRY(create_store(e));
    return e->request->dry_run ? VJ_OK : write_store(e);
}

vj_status vj_embed(const vj_config *config, const vj_embed_request *request, MPI_Comm comm)
{
    vj_embedding e = {.request = request};
    vj_status status = run(&e, config, comm);
    if (e.frozen.be) vj_device_free(e.frozen.be, e.normed);
    vj_spectrum_close(e.spectrum);
    vj_frozen_release(&e.frozen);
    free(e.features);
    free(e.pooled);
    free(e.sums);
    return status;
}
