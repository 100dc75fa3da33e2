/*
 * Writes and reads the checkpoint evaluation.h5: weights and moments of all heads after their last updates
 * (docs/formats.md). The gradients of an incomplete batch are not written. After a restart its samples are encoded
 * again with the same weights, which gives the same bits.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/progress.h"
#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"

#define FORMAT "vjepa-evaluation"
enum { VERSION = 1 };

static void path_of(const vj_evaluation *e, char path[VJ_PATH + 32], const char *name)
{
    snprintf(path, VJ_PATH + 32, "%s/%s", e->dir, name);
}

/* ------------------------------------------------------------------------------------------------ what it is of */

static const char *const sections[] = {"data", "model", "probe", "evaluate"};
/* Settings of these sections that change no result, or whose effect is described by digests of samples. */
static const char *const other[] = {"data.train",
                                    "data.validation",
                                    "data.threads",
                                    "data.read_ahead",
                                    "data.weights",
                                    "data.shuffle",
                                    "data.block_shards",
                                    "data.verify",
                                    "data.io_patience_s",
                                    "data.cache",
                                    "data.cache_gb",
                                    "evaluate.batch",
                                    "evaluate.measure_every",
                                    "evaluate.sweep_flops",
                                    "probe.as_published",
                                    "probe.paper",
                                    "probe.paper_table",
                                    "probe.split_files"};

static void describe_setting(void *out, const char *key, const char *value, const char *help)
{
    (void)help;
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        if (strcmp(key, other[i]) == 0) return;
    fprintf(out, "%s: %s\n", key, value);
}

static void describe_settings(FILE *out, const vj_config *config)
{
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
        vj_config_each(config, sections[i], describe_setting, out);
}

char *vj_eval_describe(const vj_evaluation *e)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    vj_kernels kernels;
    if (!out) return NULL;
    if (e->began_as) {
        fputs(e->began_as, out);
        if (fclose(out) == 0) return text;
        free(text);
        return NULL;
    }
    vj_backend_kernels(e->frozen.be, &kernels);
    fprintf(out, "run.seed: %lld\n", (long long)e->config->run.seed);
    /* A tensor group sums in another order, which gives other bits. */
    fprintf(out, "parallel.tensor: %d%s\n", e->layout.tensor_size,
            e->tensor && e->tensor->sequence ? " by tokens" : "");
    describe_settings(out, e->config);
    for (int i = 0; i < e->encoders.count; i++)
        fprintf(out, "encoder %s: %016llx\n", e->encoders.name[i], (unsigned long long)e->encoders.digest[i]);
    for (int i = 0; i < e->split_count; i++)
        fprintf(out, "split %d: %016llx\n", i + 1, (unsigned long long)e->split[i].digest);
    fprintf(out, "training clips: %016llx\n", (unsigned long long)vj_clips_fingerprint(e->train.clips));
    fprintf(out, "validation clips: %016llx\n", (unsigned long long)vj_clips_fingerprint(e->validation.clips));
    if (e->stored.copies > 0) fprintf(out, "embed.dtype: %s\n", e->config->embed.dtype);
    fprintf(out, "kernels: %s %s %s\n", kernels.isa, kernels.library, e->config->train.precision);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

char *vj_eval_describe_campaign(const vj_evaluation *e)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fprintf(out, "run.seed: %lld\n", (long long)e->config->run.seed);
    describe_settings(out, e->config);
    for (int i = 0; i < e->request->encoder_count; i++) {
        const char *encoder = e->request->encoders[i];
        fprintf(out, "encoder %.*s=%s\n", (int)strcspn(encoder, "="), encoder, e->encoders.from[i]);
    }
    fprintf(out, "training clips: %016llx\n", (unsigned long long)vj_clips_fingerprint(e->train.clips));
    fprintf(out, "validation clips: %016llx\n", (unsigned long long)vj_clips_fingerprint(e->validation.clips));
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

vj_status vj_eval_digest(const vj_evaluation *e, uint64_t *digest)
{
    char *text = vj_eval_describe(e);
    if (!text) return vj_raise(VJ_ERR_MEMORY, "no memory for a description");
    *digest = XXH3_64bits(text, strlen(text));
    free(text);
    return VJ_OK;
}

/* Return the length of a line; key_length(): of its key, up to and including ": ". */
static size_t line_length(const char *line)
{
    return strcspn(line, "\n");
}

static size_t key_length(const char *line)
{
    const size_t length = line_length(line);
    const char *end = memmem(line, length, ": ", 2);
    return end ? (size_t)(end + 2 - line) : length;
}

static const char *next_line(const char *line)
{
    line += line_length(line);
    return line + (*line != '\0');
}

/* Return the first line of a description that begins with the first `length` characters of `line`; with `whole`, one
 * that is not longer. NULL: there is none. */
static const char *find_line(const char *text, const char *line, size_t length, bool whole)
{
    for (; *text; text = next_line(text))
        if (strncmp(text, line, length) == 0 && (!whole || line_length(text) == length)) return text;
    return NULL;
}

/*
 * Check that the description `old` of a checkpoint is of the evaluation described by `now`. A setting that is missing
 * in `old` did not exist in the version that wrote the checkpoint. It counts as having its default, which has the
 * effect of that version.
 */
static vj_status compare(const char *path, const char *old, const char *now, const char *defaults)
{
    static const char what[] = "give another --out, or the same settings, encoders and clips";
    for (const char *line = now; *line; line = next_line(line)) {
        const size_t length = line_length(line);
        if (find_line(old, line, length, true)) continue;
        const char *before = find_line(old, line, key_length(line), false);
        if (before)
            return vj_raise(VJ_ERR_USAGE, "%s is of another evaluation: it has \"%.*s\", this one \"%.*s\"; %s", path,
                            (int)line_length(before), before, (int)length, line, what);
        if (!find_line(defaults, line, length, true))
            return vj_raise(VJ_ERR_USAGE, "%s is of another evaluation, without \"%.*s\"; %s", path, (int)length, line,
                            what);
    }
    for (const char *line = old; *line; line = next_line(line))
        if (!find_line(now, line, key_length(line), false))
            return vj_raise(VJ_ERR_USAGE, "%s is of another evaluation: it has \"%.*s\"; %s", path,
                            (int)line_length(line), line, what);
    return VJ_OK;
}

/* Return the default settings in the form of vj_eval_describe(). Free with free(). */
static char *describe_defaults(void)
{
    char *text = NULL;
    size_t bytes = 0;
    vj_config *defaults = vj_calloc(1, sizeof *defaults);
    FILE *out = defaults ? open_memstream(&text, &bytes) : NULL;
    if (out) {
        vj_config_defaults(defaults);
        describe_settings(out, defaults);
    }
    free(defaults);
    if (out && fclose(out) == 0) return text;
    free(text);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ writing */

/* A file that is being written, and the byte offsets of its data. */
typedef struct {
    vj_h5_writer out;
    int64_t *state; /* [heads] */
    int64_t update, sum, damaged;
} file;

static vj_status lay_out(const vj_evaluation *e, file *f, const char *text, const int64_t *floats)
{
    const hsize_t splits = (hsize_t)e->split_count, heads = (hsize_t)e->head_count;
    const hsize_t clips = (hsize_t)vj_clips_count(e->train.clips);
    char name[VJ_HEAD_NAME], path[VJ_HEAD_NAME + 8];
    VJ_TRY(vj_h5_dataset(&f->out, "update", H5T_STD_I64LE, 1, &splits, &f->update));
    VJ_TRY(vj_h5_dataset(&f->out, "xxh3", H5T_STD_U64LE, 1, &heads, &f->sum));
    VJ_TRY(vj_h5_dataset(&f->out, "damaged", H5T_STD_U8LE, 1, &clips, &f->damaged));
    for (int64_t h = 0; h < e->head_count; h++) {
        const hsize_t dim[] = {3, (hsize_t)floats[h]};
        vj_eval_head_name(e, &e->head[h], name);
        snprintf(path, sizeof path, "heads/%s", name);
        VJ_TRY(vj_h5_dataset(&f->out, path, H5T_IEEE_F32LE, 2, dim, &f->state[h]));
    }
    VJ_TRY(vj_h5_put_i64(f->out.file, "epoch", e->stream.epoch));
    VJ_TRY(vj_h5_put_text(f->out.file, "products", vj_backend_products(e->frozen.be)));
    return vj_h5_put_text(f->out.file, "evaluation", text);
}

static vj_status write_head(const vj_evaluation *e, file *f, int64_t h)
{
    int64_t count;
    float *state = vj_eval_head_state(&e->head[h], &count), *host = vj_calloc(3 * count, sizeof *host);
    const int64_t bytes = 3 * count * (int64_t)sizeof *host;
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory to write %lld weights", (long long)count);
    vj_download(e->frozen.be, host, state, bytes);
    const uint64_t sum = XXH3_64bits(host, (size_t)bytes);
    vj_status status = vj_sync(e->frozen.be);
    if (status == VJ_OK) status = vj_h5_write(&f->out, f->state[h], host, bytes);
    if (status == VJ_OK) status = vj_h5_write(&f->out, f->sum + h * (int64_t)sizeof sum, &sum, (int64_t)sizeof sum);
    free(host);
    return status;
}

static vj_status write_data(const vj_evaluation *e, file *f)
{
    for (int s = 0; e->rank == 0 && s < e->split_count; s++)
        VJ_TRY(vj_h5_write(&f->out, f->update + 8 * s, &e->split[s].update, 8));
    if (e->rank == 0) VJ_TRY(vj_h5_write(&f->out, f->damaged, e->train.damaged, vj_clips_count(e->train.clips)));
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t h = 0; h < e->head_count; h++) {
        if (e->head[h].owner == e->rank) VJ_TRY(write_head(e, f, h));
        vj_progress_line_log(&line, "writing the checkpoint", (double)(h + 1) / (double)e->head_count, vj_now());
    }
    return vj_h5_flush(&f->out);
}

/* Keep the previous checkpoint under another name as well, so that at no time there is none. */
static void keep_previous(const char *path, const char *before)
{
    if (access(path, F_OK) != 0) return;
    (void)unlink(before); /* it may not exist */
    if (link(path, before) != 0) vj_warn("the checkpoint before cannot be kept as %s", before);
}

vj_status vj_eval_publish(vj_evaluation *e, vj_h5_writer *out, const char *before, vj_status status)
{
    const vj_lease_seal lease = vj_lease_seal_of(e->lease);
    VJ_TRY(vj_h5_gather(out, status));
    VJ_TRY(vj_h5_gather(out, vj_h5_verify(out)));
    if (e->rank == 0) {
        status = vj_lease_check(&lease);
        if (status == VJ_OK && before) keep_previous(out->path, before);
        if (status == VJ_OK) status = vj_h5_publish(out);
    }
    return vj_h5_commit(out, status);
}

static vj_status save(vj_evaluation *e, file *f, const char *path, const char *text, int64_t *floats)
{
    for (int64_t h = 0; h < e->head_count; h++)
        if (e->head[h].owner == e->rank) (void)vj_eval_head_state(&e->head[h], &floats[h]);
    MPI_Allreduce(MPI_IN_PLACE, floats, (int)e->head_count, MPI_INT64_T, MPI_SUM, e->comm);
    VJ_TRY(vj_h5_create(&f->out, path, FORMAT, VERSION,
                        (e->head_count + 5) * (2 * VJ_H5_OBJECT_BYTES + VJ_HEAD_NAME) + (int64_t)strlen(text),
                        e->comm));
    VJ_TRY(vj_h5_share(&f->out, e->rank == 0 ? lay_out(e, f, text, floats) : VJ_OK));
    int64_t places[] = {f->update, f->sum, f->damaged};
    vj_broadcast(places, (int64_t)sizeof places, e->comm);
    vj_broadcast(f->state, e->head_count * (int64_t)sizeof *f->state, e->comm);
    f->update = places[0];
    f->sum = places[1];
    f->damaged = places[2];
    char before[VJ_PATH + 32];
    path_of(e, before, VJ_EVALUATION_BEFORE);
    return vj_eval_publish(e, &f->out, before, write_data(e, f));
}

vj_status vj_eval_save(vj_evaluation *e)
{
    char path[VJ_PATH + 32], *text = vj_eval_describe(e);
    const double begin = vj_now();
    file f = {.state = vj_calloc(e->head_count, sizeof *f.state)};
    int64_t *floats = vj_calloc(e->head_count, sizeof *floats);
    const bool there = f.state && floats && text;
    vj_status status = vj_agree(e->comm, there ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a checkpoint"));
    path_of(e, path, VJ_EVALUATION_FILE);
    H5E_BEGIN_TRY
    {
        if (status == VJ_OK) status = save(e, &f, path, text, floats);
    }
    H5E_END_TRY
    free(f.state);
    free(floats);
    free(text);
    e->progress.saved_s = vj_now();
    vj_stop_record_checkpoint(&e->stop, e->progress.saved_s - begin);
    return status;
}

/* ------------------------------------------------------------------------------------------------ reading */

static vj_status read_head(vj_evaluation *e, hid_t in, const char *path, int64_t number, uint64_t sum)
{
    char name[VJ_HEAD_NAME], dataset[VJ_HEAD_NAME + 8];
    vj_eval_head *h = &e->head[number];
    int64_t count;
    float *state = vj_eval_head_state(h, &count), *host = vj_calloc(3 * count, sizeof *host);
    const int64_t bytes = 3 * count * (int64_t)sizeof *host;
    if (!host) return vj_raise(VJ_ERR_MEMORY, "no memory to read %lld weights", (long long)count);
    vj_eval_head_name(e, h, name);
    snprintf(dataset, sizeof dataset, "heads/%s", name);
    vj_status status = vj_h5_read_array(in, path, dataset, H5T_NATIVE_FLOAT, 3 * count, host);
    if (status == VJ_OK && XXH3_64bits(host, (size_t)bytes) != sum)
        status = vj_raise(VJ_ERR_FORMAT, "%s of %s is damaged: its checksum differs", dataset, path);
    if (status == VJ_OK) {
        vj_upload(e->frozen.be, state, host, bytes);
        status = vj_sync(e->frozen.be);
        vj_eval_changed(h);
    }
    free(host);
    return status;
}

/* Set the progress of each split, which follows from its number of updates and the epoch. */
static vj_status take_places(vj_evaluation *e, const char *path, const int64_t *update)
{
    for (int i = 0; i < e->split_count; i++) {
        vj_eval_split *s = &e->split[i];
        const int64_t batch = e->config->probe.batch, each = (s->learned + batch - 1) / batch;
        const int64_t epochs = e->stream.epoch < s->epochs ? e->stream.epoch : s->epochs,
                      more = update[i] - epochs * each;
        if (more < 0 || more > (e->stream.epoch < s->epochs ? each : 0))
            return vj_raise(VJ_ERR_FORMAT, "%s has %lld updates in epoch %lld, which cannot be", path,
                            (long long)update[i], (long long)e->stream.epoch);
        s->update = update[i];
        s->done = more * batch < s->learned ? more * batch : s->learned;
    }
    return VJ_OK;
}

/* Check the description of a checkpoint, and keep it as e->began_as. From here on vj_eval_describe() returns it, even
 * if this version would list more settings, because other files in the folder have the same description. */
static vj_status check(vj_evaluation *e, hid_t in, const char *path)
{
    char *old = NULL, *now = vj_eval_describe(e), *defaults = describe_defaults();
    vj_status status = now && defaults ? vj_h5_get_text(in, path, "evaluation", &old)
                                       : vj_raise(VJ_ERR_MEMORY, "no memory for a description");
    if (status == VJ_OK && e->rank == 0) status = compare(path, old, now, defaults); /* says what differs, once */
    if (status == VJ_OK) {
        free(e->began_as);
        e->began_as = old;
    } else
        free(old);
    free(now);
    free(defaults);
    return status;
}

static vj_status read_all(vj_evaluation *e, hid_t in, const char *path, int64_t *update, uint64_t *sum)
{
    VJ_TRY(vj_h5_get_i64(in, path, "epoch", &e->stream.epoch));
    VJ_TRY(vj_h5_read_array(in, path, "update", H5T_NATIVE_INT64, e->split_count, update));
    VJ_TRY(vj_h5_read_array(in, path, "xxh3", H5T_NATIVE_UINT64, e->head_count, sum));
    VJ_TRY(vj_h5_read_array(in, path, "damaged", H5T_NATIVE_UINT8, vj_clips_count(e->train.clips), e->train.damaged));
    VJ_TRY(take_places(e, path, update));
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t h = 0; h < e->head_count; h++) {
        if (vj_eval_has_weights(e, &e->head[h])) VJ_TRY(read_head(e, in, path, h, sum[h]));
        vj_progress_line_log(&line, "reading the checkpoint", (double)(h + 1) / (double)e->head_count, vj_now());
    }
    return VJ_OK;
}

static vj_status restore(vj_evaluation *e, const char *path)
{
    hid_t in;
    int64_t *update = vj_calloc(e->split_count, sizeof *update);
    uint64_t *sum = vj_calloc(e->head_count, sizeof *sum);
    vj_status status = update && sum ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    if (status == VJ_OK) status = vj_h5_open(&in, path, FORMAT, VERSION);
    const bool open = status == VJ_OK;
    if (open) status = check(e, in, path);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = read_all(e, in, path, update, sum);
    if (open) H5Fclose(in); /* only read */
    free(update);
    free(sum);
    return status;
}

/* Return whether a checkpoint `name` exists in the folder. Rank 0 looks and tells all ranks. Collective. */
static bool is_there(const vj_evaluation *e, const char *name, char path[VJ_PATH + 32])
{
    int there = 0;
    path_of(e, path, name);
    if (e->rank == 0) there = access(path, F_OK) == 0;
    vj_broadcast(&there, (int64_t)sizeof there, e->comm);
    return there;
}

/* Rename a damaged checkpoint, so that writing the next one does not replace the good one before it. On rank 0. */
static vj_status put_aside(const vj_evaluation *e)
{
    char path[VJ_PATH + 32], aside[VJ_PATH + 32];
    path_of(e, path, VJ_EVALUATION_FILE);
    path_of(e, aside, VJ_EVALUATION_DAMAGED);
    if (rename(path, aside) != 0) return vj_raise(VJ_ERR_IO, "rename %s to %s", path, aside);
    vj_warn("%s is damaged and now called %s; going on from the checkpoint before it, " VJ_EVALUATION_BEFORE, path,
            aside);
    return VJ_OK;
}

vj_status vj_eval_restore(vj_evaluation *e, bool *found)
{
    char newest[VJ_PATH + 32], before[VJ_PATH + 32];
    const bool has_newest = is_there(e, VJ_EVALUATION_FILE, newest);
    const bool has_before = is_there(e, VJ_EVALUATION_BEFORE, before);
    vj_status status = VJ_OK;
    *found = has_newest || has_before;
    H5E_BEGIN_TRY
    {
        if (has_newest) status = vj_agree(e->comm, restore(e, newest));
        const bool damaged = status == VJ_ERR_FORMAT;
        if (has_before && (damaged || !has_newest)) status = vj_agree(e->comm, restore(e, before));
        if (status == VJ_ERR_FORMAT && e->rank == 0)
            vj_warn("no checkpoint of %s can be read: to begin anew remove " VJ_EVALUATION_FILE
                    " and " VJ_EVALUATION_BEFORE " there",
                    e->dir);
        if (status == VJ_OK && damaged && !e->request->dry_run)
            status = vj_agree(e->comm, e->rank == 0 ? put_aside(e) : VJ_OK);
    }
    H5E_END_TRY
    return status;
}

static vj_status read_products(char **products, const char *path)
{
    hid_t in;
    VJ_TRY(vj_h5_open(&in, path, FORMAT, VERSION));
    vj_status status = vj_h5_get_text(in, path, "products", products);
    H5Fclose(in); /* only read */
    return status;
}

vj_status vj_eval_keep_products(vj_evaluation *e)
{
    char newest[VJ_PATH + 32], before[VJ_PATH + 32], *products = NULL;
    const bool has_newest = is_there(e, VJ_EVALUATION_FILE, newest);
    const bool has_before = is_there(e, VJ_EVALUATION_BEFORE, before);
    vj_status status = VJ_OK;
    if (strcmp(e->config->train.products, "auto") != 0) return VJ_OK;
    H5E_BEGIN_TRY
    {
        if (has_newest) status = vj_agree(e->comm, read_products(&products, newest));
        if (has_before && (status == VJ_ERR_FORMAT || !has_newest)) {
            free(products);
            products = NULL;
            status = vj_agree(e->comm, read_products(&products, before));
        }
    }
    H5E_END_TRY
    if (status == VJ_OK && products)
        snprintf(e->config->train.products, sizeof e->config->train.products, "%s", products);
    free(products);
    return status;
}
