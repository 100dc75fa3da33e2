/*
 * Writes features of training samples that are encoded once and then read in every epoch (probe.features stored,
 * stored:K), in files like those of vjepa-embed (docs/formats.md). Copy c of K has the training views of epoch c, so
 * with as many copies as epochs a campaign has the same bits as an online one. A file exists only when it is whole, so
 * a job that was killed loses at most the files that it was writing.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "evaluate/parts.h"
#include "evaluate/store.h"
#include "features/features.h"
#include "parallel/parallel.h"
#include "parallel/tree.h"
#include "train/spectrum.h"

/* Samples in a file, or more if there would be more than VJ_EVAL_FILES files. When a job is killed, at most so many
 * samples must be encoded again. */
enum { FILE_SAMPLES = 4096 };

/* ------------------------------------------------------------------------------------------------ copies and files */

/* Return whether a copy must contain a sample. Copy c is first read in epoch c, and a split that learns in a later
 * epoch that reads it also learns in epoch c. */
static bool is_needed(const vj_evaluation *e, int64_t sample, int64_t copy)
{
    for (int s = 0; s < e->split_count; s++)
        if (copy < e->split[s].epochs && e->split[s].member[sample]) return true;
    return false;
}

static int64_t count_samples(const vj_evaluation *e, int64_t copy)
{
    int64_t count = 0;
    for (int64_t i = 0; i < e->train.set.count; i++) count += is_needed(e, i, copy);
    return count;
}

vj_status vj_eval_copy_of(vj_eval_copy *list, const vj_evaluation *e, int64_t copy)
{
    *list = (vj_eval_copy){.sample = vj_calloc(e->train.set.count + 1, sizeof *list->sample)};
    if (!list->sample) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of samples");
    for (int64_t i = 0; i < e->train.set.count; i++)
        if (is_needed(e, i, copy)) list->sample[list->count++] = i;
    list->each = (list->count + VJ_EVAL_FILES - 1) / VJ_EVAL_FILES;
    if (list->each < FILE_SAMPLES) list->each = FILE_SAMPLES;
    list->files = (int)((list->count + list->each - 1) / list->each);
    return VJ_OK;
}

static int64_t samples_in(const vj_eval_copy *list, int file)
{
    const int64_t left = list->count - file * list->each;
    return left < list->each ? left : list->each;
}

void vj_eval_copy_path(char path[VJ_EVAL_STORE_PATH], const vj_evaluation *e, int i, int64_t copy, int file)
{
    char name[VJ_ENCODER_NAME];
    snprintf(name, sizeof name, "%s", e->encoders.name[i]);
    for (char *c = name; *c; c++)
        if (*c == '/') *c = '|';
    snprintf(path, VJ_EVAL_STORE_PATH, "%s/features/%s-%lld-%d.h5", e->dir, name, (long long)copy, file);
}

int64_t vj_eval_store_tokens(const vj_evaluation *e)
{
    return e->stored.means ? 1 : e->tokens / e->train.set.segments;
}

/* Return the number of floats stored for one sample. */
static int64_t stored_floats(const vj_evaluation *e)
{
    return e->train.set.segments * vj_eval_store_tokens(e) * e->config->model.width;
}

/* Return the bytes of one sample on disk: its features, labels and indices. */
static double sample_bytes(const vj_evaluation *e)
{
    const int64_t type = vj_features_type_bytes(vj_features_type_of(e->config->embed.dtype));
    return (double)(stored_floats(e) * type) +
           e->train.set.segments * (24.0 + 4.0 * vj_clips_label_count(e->train.clips));
}

double vj_eval_store_bytes(const vj_evaluation *e)
{
    double samples = 0.0;
    for (int64_t copy = 0; copy < e->stored.copies; copy++) samples += (double)count_samples(e, copy);
    return samples * sample_bytes(e) * e->encoders.count;
}

int vj_eval_store_sums(const vj_evaluation *e)
{
    const int64_t largest = count_samples(e, 0), each = largest < FILE_SAMPLES ? largest : FILE_SAMPLES;
    return vj_tree_levels((each + e->size - 1) / e->size) + 1;
}

/* ------------------------------------------------------------------------------------------------ one file of each */

/* One file of each encoder that does not have it yet, while these are written. */
typedef struct {
    vj_evaluation *e;
    int64_t copy;
    int file;
    const int64_t *sample; /* [count] borrowed */
    int64_t count;
    vj_features_writer *writer[VJ_MAX_LIST]; /* NULL: the file of this encoder exists */
    vj_spectrum *spectrum[VJ_MAX_LIST];
    float *normed;   /* device, [batch, sample floats] */
    float *mean;     /* device, [batch * segments, D] */
    float *host;     /* [batch, stored floats] */
    uint64_t *sums;  /* [batch * segments] checksums of clips; 0: damaged, labels -1 */
    int32_t *labels; /* [batch * segments, labels] */
} unit;

/* Progress, for messages. */
typedef struct {
    int64_t done, present, all; /* samples: before the present round, in it, of all files */
    vj_progress_line line;
    double waited_s;
} progress;

static vj_status describe(vj_features_header *layout, char preprocessing[256], const vj_evaluation *e,
                          const vj_eval_side *side, int i, int64_t copy, int64_t samples)
{
    char views[128];
    uint64_t digest;
    VJ_TRY(vj_eval_digest(e, &digest));
    vj_eval_views_describe(&side->views, views, sizeof views);
    snprintf(preprocessing, 256, "%s, %s, copy %lld of evaluation %016llx", views, e->config->train.precision,
             (long long)copy, (unsigned long long)digest);
    *layout = (vj_features_header){.clips = samples * e->train.set.segments,
                                   .tokens = vj_eval_store_tokens(e),
                                   .width = e->config->model.width,
                                   .label_count = vj_clips_label_count(e->train.clips),
                                   .store_fingerprint = vj_clips_fingerprint(e->train.clips),
                                   .encoder_digest = e->encoders.digest[i],
                                   .preprocessing = preprocessing};
    if (layout->tokens > 1) vj_frozen_grid(e->frozen.encoder[i], layout->grid);
    layout->type = vj_features_type_of(e->config->embed.dtype);
    for (int l = 0; l < layout->label_count; l++) {
        snprintf(layout->label_names[l], VJ_LABEL_NAME, "%s", vj_clips_label_name(e->train.clips, l));
        layout->classes[l] = *vj_clips_classes_of(e->train.clips, l);
    }
    return VJ_OK;
}

/* Find out whether a file of encoder i exists. Fails if there is a file of other contents in its place. On rank 0. */
static vj_status find_file(bool *there, const vj_evaluation *e, const vj_eval_side *side, int i, int64_t copy, int file,
                           int64_t samples)
{
    char path[VJ_EVAL_STORE_PATH], preprocessing[256];
    vj_features_header layout = {0};
    vj_eval_copy_path(path, e, i, copy, file);
    *there = access(path, F_OK) == 0;
    if (!*there) return VJ_OK;
    VJ_TRY(describe(&layout, preprocessing, e, side, i, copy, samples));
    layout.encoder = e->encoders.name[i];
    const vj_status status = vj_features_may_replace(path, &layout);
    if (status == VJ_ERR_USAGE)
        vj_warn("%s/features was made with other settings, or by an earlier version that was stopped while it stored "
                "features: go on with those, or remove the folder, and all features are stored anew",
                e->dir);
    return status;
}

static vj_status open_file(unit *u, const vj_eval_side *side, int i)
{
    vj_evaluation *e = u->e;
    char path[VJ_EVAL_STORE_PATH], preprocessing[256], encoder[VJ_PATH + 64];
    vj_features_header layout = {0};
    char *config = vj_products_config_text(e->config, e->frozen.be);
    vj_status status = config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    if (status == VJ_OK) status = describe(&layout, preprocessing, e, side, i, u->copy, u->count);
    status = vj_agree(e->comm, status);
    vj_frozen_describe_encoder(e->config, e->encoders.from[e->encoders.at[i]], encoder, sizeof encoder);
    layout.encoder = encoder;
    layout.config = config;
    vj_eval_copy_path(path, e, i, u->copy, u->file);
    if (status == VJ_OK) status = vj_features_create(&u->writer[i], path, &layout, e->comm);
    free(config);
    return status;
}

static vj_status open_unit(unit *u, const bool *there, const vj_eval_side *side, int64_t mine)
{
    vj_evaluation *e = u->e;
    const int64_t batch = e->config->evaluate.batch;
    const int D = (int)e->config->model.width;
    vj_status status = VJ_OK;
    u->normed = vj_device_alloc(e->frozen.be, batch * e->sample_floats * (int64_t)sizeof *u->normed);
    u->mean = vj_device_alloc(e->frozen.be, batch * e->train.set.segments * D * (int64_t)sizeof *u->mean);
    u->host = vj_calloc(batch * stored_floats(e), sizeof *u->host);
    u->sums = vj_calloc(batch * e->train.set.segments, sizeof *u->sums);
    u->labels =
        vj_calloc(batch * e->train.set.segments * (1 + vj_clips_label_count(e->train.clips)), sizeof *u->labels);
    if (!u->normed || !u->mean || !u->host || !u->sums || !u->labels)
        status = vj_raise(VJ_ERR_MEMORY, "no memory to store features");
    for (int i = 0; status == VJ_OK && i < e->frozen.count; i++)
        if (!there[i]) status = vj_spectrum_open(&u->spectrum[i], e->frozen.be, D, mine > 0 ? mine : 1);
    status = vj_agree(e->comm, status);
    for (int i = 0; status == VJ_OK && i < e->frozen.count; i++)
        if (!there[i]) status = open_file(u, side, i);
    return status;
}

/* Publish the files; if status is not VJ_OK, remove them. */
static vj_status close_unit(unit *u, vj_status status, int64_t mine)
{
    vj_evaluation *e = u->e;
    for (int i = 0; i < e->frozen.count; i++) {
        vj_spread spread = {.effective_rank = NAN};
        if (u->writer[i] && status == VJ_OK) {
            if (mine == 0) vj_spectrum_add(u->spectrum[i], u->normed, 0, 1);
            status = vj_agree(e->comm, vj_spectrum_finish(u->spectrum[i], e->comm, &spread));
        }
        if (u->writer[i]) {
            const vj_status written = vj_features_commit(u->writer[i], status, spread.effective_rank);
            if (status == VJ_OK) status = written;
        }
        vj_spectrum_close(u->spectrum[i]);
    }
    vj_device_free(e->frozen.be, u->normed);
    vj_device_free(e->frozen.be, u->mean);
    free(u->host);
    free(u->sums);
    free(u->labels);
    return status;
}

/* Encode samples [first, first + count) of the unit with encoder i and write them. The sums for the effective rank are
 * made sample by sample, in double, so that it depends neither on batches nor on ranks. */
static vj_status encode(unit *u, int i, const vj_batch *clips, int64_t first, int64_t count)
{
    vj_evaluation *e = u->e;
    const int segments = e->train.set.segments, D = (int)e->config->model.width;
    const int labels = vj_clips_label_count(e->train.clips);
    VJ_TRY(vj_eval_encode(e, i, clips, count, 1));
    if (e->stored.means)
        vj_mean_tokens(e->frozen.be, u->mean, e->encoded.raw, count * segments, e->tokens / segments, D);
    vj_download(e->frozen.be, u->host, e->stored.means ? u->mean : e->encoded.raw,
                count * stored_floats(e) * (int64_t)sizeof *u->host);
    vj_probe_normalise(e->frozen.be, u->normed, e->encoded.raw, count * e->tokens, D);
    for (int64_t k = 0; k < count; k++) vj_spectrum_add(u->spectrum[i], u->normed + k * e->sample_floats, e->tokens, 1);
    VJ_TRY(vj_sync(e->frozen.be));
    for (int64_t k = 0; k < count * segments; k++) {
        u->sums[k] = clips->damaged[k] ? 0 : vj_clips_checksum(e->train.clips, clips->clips[k]);
        for (int64_t l = k * labels; l < (k + 1) * labels; l++)
            u->labels[l] = clips->damaged[k] ? -1 : clips->labels[l];
    }
    return vj_features_write(u->writer[i], first * segments, count * segments, u->host, u->labels, clips->clips,
                             u->sums);
}

/* For vj_work_begin(): `share` of the present round is encoded. */
static void log_progress(void *user, double share, double now_s)
{
    progress *p = user;
    const double done = (double)p->done + share * (double)p->present, spent_s = now_s - p->line.began_s,
                 rate = done / spent_s;
    char left[32];
    if (rate <= 0.0 || !vj_progress_line_is_due_in_batch(&p->line, share, now_s)) return;
    vj_log("evaluate: features of %3.0f %% of %lld samples are stored, %.5g samples/s, %.1f %% of the time waiting for "
           "clips, %s left to store",
           100.0 * done / (double)p->all, (long long)p->all, rate, 100.0 * p->waited_s / spent_s,
           vj_duration(((double)p->all - done) / rate, left));
}

static vj_status encode_batch(unit *u, vj_batch *clips, int64_t first, int64_t count, progress *p)
{
    double wait_s;
    if (count <= 0) return VJ_OK;
    VJ_TRY(vj_loader_next(u->e->loader, clips, &wait_s));
    p->waited_s += wait_s;
    const vj_frozen *f = &u->e->frozen;
    int writers = 0;
    for (int i = 0; i < f->count; i++) writers += u->writer[i] != NULL;
    vj_work_begin(f->be, vj_frozen_flops(f, count * u->e->train.set.segments) * writers / f->count, log_progress, p);
    for (int i = 0; i < f->count; i++)
        if (u->writer[i]) VJ_TRY(encode(u, i, clips, first, count));
    vj_work_end(f->be);
    return VJ_OK;
}

static int asked_to_stop(vj_evaluation *e)
{
    if (e->rank == 0) vj_stop_poll(&e->stop);
    int stop = vj_stop_requests()[VJ_REQUEST_STOP];
    MPI_Allreduce(MPI_IN_PLACE, &stop, 1, MPI_INT, MPI_MAX, e->comm);
    return stop;
}

static vj_status encode_all(unit *u, int64_t begin, int64_t end, progress *p, int *stop)
{
    vj_evaluation *e = u->e;
    const int64_t batch = e->config->evaluate.batch;
    const int64_t rounds = ((u->count + e->size - 1) / e->size + batch - 1) / batch, before = p->done;
    for (int64_t r = 0; r < rounds && !*stop; r++) {
        const double start = vj_now();
        const int64_t first = begin + r * batch, count = end - first < batch ? end - first : batch;
        const int64_t done = (r + 1) * batch * e->size;
        vj_batch clips;
        p->present = before + (done < u->count ? done : u->count) - p->done;
        VJ_TRY(vj_agree(e->comm, encode_batch(u, &clips, first, count, p)));
        VJ_TRY(vj_eval_note_damage(e, &e->train, count > 0 ? &clips : NULL));
        p->done += p->present;
        p->present = 0;
        vj_stop_record_step(&e->stop, vj_now() - start);
        log_progress(p, 0.0, vj_now());
        *stop = asked_to_stop(e);
    }
    return VJ_OK;
}

static vj_status store_unit(unit *u, const bool *there, const vj_eval_side *side, progress *p, int *stop)
{
    vj_evaluation *e = u->e;
    int64_t begin, end;
    vj_split(u->count, e->size, e->rank, &begin, &end);
    vj_status status = open_unit(u, there, side, end - begin);
    if (status == VJ_OK)
        status = vj_agree(e->comm, vj_eval_load(e, side, u->sample + begin, end - begin, e->config->evaluate.batch, 1,
                                                side->views.training ? u->copy : 0));
    if (status == VJ_OK) status = encode_all(u, begin, end, p, stop);
    if (status == VJ_OK && *stop) {
        (void)close_unit(u, VJ_ERR_STATE, end - begin); /* given up */
        return VJ_OK;
    }
    return close_unit(u, status, end - begin);
}

/* ------------------------------------------------------------------------------------------------ all files */

/* Which files exist. Files of copies that no epoch will read count as existing. */
typedef struct {
    vj_evaluation *e;
    vj_eval_side side;      /* e->train with the views that are stored; borrows from e->train */
    bool *there;            /* [copies, VJ_EVAL_FILES, VJ_MAX_LIST] owned */
    int64_t samples, files; /* missing ones */
} survey;

static bool *there_at(const survey *s, int64_t copy, int file)
{
    return s->there + (copy * VJ_EVAL_FILES + file) * VJ_MAX_LIST;
}

/* Return whether an epoch from e->stream.epoch on will read a copy. */
static bool is_read(const vj_evaluation *e, int64_t copy)
{
    const int64_t ahead = (copy - e->stream.epoch % e->stored.copies + e->stored.copies) % e->stored.copies;
    return e->stream.epoch + ahead < e->epochs;
}

static vj_status survey_file(survey *s, int64_t copy, int file, int64_t samples)
{
    bool all = true, *there = there_at(s, copy, file);
    for (int i = 0; i < s->e->frozen.count; i++) {
        there[i] = true;
        if (is_read(s->e, copy)) VJ_TRY(find_file(&there[i], s->e, &s->side, i, copy, file, samples));
        all &= there[i];
        s->files += !there[i];
    }
    if (!all) s->samples += samples;
    return VJ_OK;
}

/* Look for all files, and add up the bytes of missing ones. On rank 0. */
static vj_status survey_files(survey *s, double *bytes)
{
    for (int64_t copy = 0; copy < s->e->stored.copies; copy++) {
        vj_eval_copy list;
        vj_status status = vj_eval_copy_of(&list, s->e, copy);
        for (int file = 0; status == VJ_OK && file < list.files; file++) {
            const int64_t before = s->files, samples = samples_in(&list, file);
            status = survey_file(s, copy, file, samples);
            *bytes += (double)((s->files - before) * samples) * sample_bytes(s->e);
        }
        free(list.sample);
        VJ_TRY(status);
    }
    return VJ_OK;
}

/* Make the folder, and check that the disk has room for the missing files. On rank 0. */
static vj_status check_room(const survey *s, double bytes)
{
    char dir[VJ_PATH + 16];
    struct statvfs disk;
    const double mib = 1.0 / 1048576.0;
    snprintf(dir, sizeof dir, "%s/features", s->e->dir);
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", dir);
    if (statvfs(dir, &disk) != 0) return vj_raise(VJ_ERR_IO, "free space of %s", dir);
    const double room = (double)disk.f_bavail * (double)disk.f_frsize;
    vj_log("evaluate: features of %lld samples are stored in %lld files in %s: %.1f MiB, %.1f MiB are free",
           (long long)s->samples, (long long)s->files, dir, bytes * mib, room * mib);
    /* Some file systems always report 0. */
    if (disk.f_bavail == 0 || bytes <= room) return VJ_OK;
    return vj_raise(
        VJ_ERR_USAGE,
        "%s needs %.1f MiB, %.1f MiB are free: fewer copies (probe.features), embed.dtype bf16 (half of f32), "
        "another --out, or probe.features online, which stores nothing",
        dir, bytes * mib, room * mib);
}

static vj_status open_survey(survey *s, vj_evaluation *e)
{
    const int64_t cells = e->stored.copies * VJ_EVAL_FILES * VJ_MAX_LIST;
    double bytes = 0.0;
    *s = (survey){.e = e, .side = e->train, .there = vj_calloc(cells, sizeof *s->there)};
    vj_status status = s->there ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of files");
    if (status == VJ_OK) status = vj_eval_views_init(&s->side.views, e->config, e->train.clips, !e->stored.centre);
    s->side.views.views = 1;
    VJ_TRY(vj_agree(e->comm, status));
    status = e->rank == 0 ? survey_files(s, &bytes) : VJ_OK;
    if (status == VJ_OK && s->files > 0) status = check_room(s, bytes);
    VJ_TRY(vj_agree(e->comm, status));
    vj_broadcast(s->there, cells * (int64_t)sizeof *s->there, e->comm);
    vj_broadcast(&s->samples, (int64_t)sizeof s->samples, e->comm);
    return VJ_OK;
}

static vj_status store_copy(const survey *s, int64_t copy, progress *p, int *stop)
{
    vj_evaluation *e = s->e;
    vj_eval_copy list;
    vj_status status = vj_agree(e->comm, vj_eval_copy_of(&list, e, copy));
    for (int file = 0; status == VJ_OK && file < list.files && !*stop; file++) {
        const bool *there = there_at(s, copy, file);
        unit u = {.e = e,
                  .copy = copy,
                  .file = file,
                  .sample = list.sample + file * list.each,
                  .count = samples_in(&list, file)};
        bool all = true;
        for (int i = 0; i < e->frozen.count; i++) all &= there[i];
        if (!all) status = store_unit(&u, there, &s->side, p, stop);
    }
    free(list.sample);
    return status;
}

vj_status vj_eval_store(vj_evaluation *e, int *stop)
{
    survey s;
    progress p = {.line = vj_progress_line_begin()};
    if (e->stored.copies == 0) return VJ_OK;
    vj_status status = open_survey(&s, e);
    p.all = s.samples;
    if (status == VJ_OK && p.all > 0 && !e->began_as) status = vj_eval_tolerate(e, vj_eval_save(e), 0);
    for (int64_t copy = 0; status == VJ_OK && p.all > 0 && copy < e->stored.copies && !*stop; copy++)
        status = store_copy(&s, copy, &p, stop);
    free(s.there);
    if (status != VJ_OK || p.all == 0) return status;
    const double spent_s = vj_now() - p.line.began_s;
    vj_log("evaluate: features of %lld samples stored in %.1f s, %.1f samples/s, %.1f %% of the time waiting for clips",
           (long long)p.done, spent_s, (double)p.done / spent_s, 100.0 * p.waited_s / spent_s);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ afterwards */

vj_status vj_eval_store_remove(const vj_evaluation *e)
{
    char path[VJ_EVAL_STORE_PATH], dir[VJ_PATH + 16];
    if (e->request->keep_features) return VJ_OK;
    for (int64_t copy = 0; copy < e->stored.copies; copy++) {
        const int64_t count = count_samples(e, copy);
        for (int i = 0; count > 0 && i < e->frozen.count; i++)
            for (int file = 0; file < VJ_EVAL_FILES; file++) {
                vj_eval_copy_path(path, e, i, copy, file);
                if (unlink(path) != 0 && errno != ENOENT) return vj_raise(VJ_ERR_IO, "remove %s", path);
            }
    }
    snprintf(dir, sizeof dir, "%s/features", e->dir);
    (void)rmdir(dir); /* fails if it has other files or does not exist */
    return VJ_OK;
}

double vj_eval_store_rank(const vj_evaluation *e, int i)
{
    char path[VJ_EVAL_STORE_PATH];
    vj_features *file;
    vj_eval_copy_path(path, e, i, 0, 0);
    if (e->stored.copies == 0 || access(path, F_OK) != 0 || vj_features_open(&file, path, VJ_ALONE) != VJ_OK)
        return NAN;
    const double rank = vj_features_effective_rank(file);
    vj_features_close(file);
    return rank;
}
