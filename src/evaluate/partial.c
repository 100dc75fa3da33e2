/*
 * Writes and reads measured-NAME.h5, the checkpoint of a measuring pass with the predictions so far (docs/formats.md).
 * Samples are measured in the order of their list, so the file holds the first samples of the list, whatever the number
 * of ranks. It is removed when the evaluation is complete.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "evaluate/heads.h"
#include "evaluate/partial.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"
#include "probe/predictions_table.h"

#define FORMAT "vjepa-measured"
enum { VERSION = 1 };

static void path_of(const vj_evaluation *e, char path[VJ_PATH + 32], const char *name)
{
    snprintf(path, VJ_PATH + 32, "%s/measured-%s.h5", e->dir, name);
}

/* Describe what the predictions depend on: settings, stores, and digests of the weights of all heads. Free *text with
 * free(). Collective, agreed. */
static vj_status describe(vj_evaluation *e, char **text)
{
    uint64_t *digest = vj_calloc(e->head_count, sizeof *digest);
    char name[VJ_HEAD_NAME], *settings = vj_eval_describe(e);
    size_t bytes = 0;
    FILE *out = open_memstream(text, &bytes);
    vj_status status = digest && settings && out ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to describe probes");
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++)
        if (e->head[h].owner == e->rank) status = vj_eval_head_digest(&digest[h], e, &e->head[h]);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) {
        MPI_Allreduce(MPI_IN_PLACE, digest, (int)e->head_count, MPI_UINT64_T, MPI_BOR, e->comm);
        fputs(settings, out);
    }
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++) {
        vj_eval_head_name(e, &e->head[h], name);
        fprintf(out, "head %s: %016llx\n", name, (unsigned long long)digest[h]);
    }
    free(digest);
    free(settings);
    if (out && fclose(out) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_MEMORY, "no memory to describe probes");
    return vj_agree(e->comm, status);
}

/* ------------------------------------------------------------------------------------------------ writing */

/* A file that is being written, and the byte offsets of its data. */
typedef struct {
    vj_h5_writer out;
    int64_t *rows; /* [heads] */
    int64_t sum, damaged;
} file;

static vj_status lay_out(const vj_evaluation *e, const vj_eval_measured *m, file *f, const char *text)
{
    const hsize_t heads = (hsize_t)e->head_count, clips = (hsize_t)vj_clips_count(m->side->clips);
    const hsize_t rows = (hsize_t)m->place;
    const hid_t type = vj_prediction_type();
    char name[VJ_HEAD_NAME], path[VJ_HEAD_NAME + 8];
    vj_status status = vj_h5_dataset(&f->out, "xxh3", H5T_STD_U64LE, 1, &heads, &f->sum);
    if (status == VJ_OK) status = vj_h5_dataset(&f->out, "damaged", H5T_STD_U8LE, 1, &clips, &f->damaged);
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++) {
        vj_eval_head_name(e, &e->head[h], name);
        snprintf(path, sizeof path, "heads/%s", name);
        status = vj_h5_dataset(&f->out, path, type, 1, &rows, &f->rows[h]);
    }
    H5Tclose(type);
    VJ_TRY(status);
    return vj_h5_put_text(f->out.file, "evaluation", text);
}

static vj_status write_data(const vj_evaluation *e, const vj_eval_measured *m, file *f)
{
    const int64_t bytes = m->place * (int64_t)sizeof(vj_prediction);
    if (e->rank == 0) VJ_TRY(vj_h5_write(&f->out, f->damaged, m->side->damaged, vj_clips_count(m->side->clips)));
    for (int64_t h = 0; h < e->head_count; h++) {
        if (e->head[h].owner != e->rank) continue;
        const uint64_t sum = XXH3_64bits(m->prediction[h], (size_t)bytes);
        VJ_TRY(vj_h5_write(&f->out, f->rows[h], m->prediction[h], bytes));
        VJ_TRY(vj_h5_write(&f->out, f->sum + h * (int64_t)sizeof sum, &sum, (int64_t)sizeof sum));
    }
    return vj_h5_flush(&f->out);
}

static vj_status save(vj_evaluation *e, const vj_eval_measured *m, file *f, const char *text)
{
    char path[VJ_PATH + 32];
    path_of(e, path, m->name);
    VJ_TRY(vj_h5_create(&f->out, path, FORMAT, VERSION,
                        (e->head_count + 4) * (2 * VJ_H5_OBJECT_BYTES + VJ_HEAD_NAME) + (int64_t)strlen(text),
                        e->comm));
    VJ_TRY(vj_h5_share(&f->out, e->rank == 0 ? lay_out(e, m, f, text) : VJ_OK));
    int64_t places[] = {f->sum, f->damaged};
    vj_broadcast(places, (int64_t)sizeof places, e->comm);
    vj_broadcast(f->rows, e->head_count * (int64_t)sizeof *f->rows, e->comm);
    f->sum = places[0];
    f->damaged = places[1];
    return vj_eval_publish(e, &f->out, NULL, write_data(e, m, f));
}

vj_status vj_eval_save_measured(vj_evaluation *e, const vj_eval_measured *m)
{
    char *text = NULL;
    const double begin = vj_now();
    file f = {.rows = vj_calloc(e->head_count, sizeof *f.rows)};
    vj_status status = vj_agree(e->comm, f.rows ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a checkpoint"));
    if (status == VJ_OK) status = describe(e, &text);
    H5E_BEGIN_TRY
    {
        if (status == VJ_OK) status = save(e, m, &f, text);
    }
    H5E_END_TRY
    free(f.rows);
    free(text);
    e->progress.saved_s = vj_now();
    vj_stop_record_checkpoint(&e->stop, e->progress.saved_s - begin);
    return status;
}

/* ------------------------------------------------------------------------------------------------ reading */

static vj_status read_head(const vj_evaluation *e, vj_eval_measured *m, hid_t in, const char *path, int64_t h,
                           uint64_t sum)
{
    char name[VJ_HEAD_NAME], dataset[VJ_HEAD_NAME + 8];
    vj_prediction *rows = m->prediction[h];
    const hid_t type = vj_prediction_type();
    vj_eval_head_name(e, &e->head[h], name);
    snprintf(dataset, sizeof dataset, "heads/%s", name);
    vj_status status = vj_h5_read_array(in, path, dataset, type, m->place, rows);
    H5Tclose(type);
    if (status == VJ_OK && XXH3_64bits(rows, (size_t)m->place * sizeof *rows) != sum)
        status = vj_raise(VJ_ERR_FORMAT, "%s of %s is damaged: its checksum differs", dataset, path);
    return status;
}

/* Read the number of measured samples: the number of rows of the first head, which all heads must have. */
static vj_status read_place(const vj_evaluation *e, vj_eval_measured *m, hid_t in, const char *path)
{
    char name[VJ_HEAD_NAME], dataset[VJ_HEAD_NAME + 8];
    vj_eval_head_name(e, &e->head[0], name);
    snprintf(dataset, sizeof dataset, "heads/%s", name);
    const hid_t table = H5Dopen2(in, dataset, H5P_DEFAULT);
    if (table < 0) return vj_raise(VJ_ERR_FORMAT, "%s is damaged: it has no %s", path, dataset);
    const hid_t space = H5Dget_space(table);
    m->place = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    H5Dclose(table);
    if (m->place >= 0 && m->place <= m->count) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT, "%s has %lld samples of %lld", path, (long long)m->place, (long long)m->count);
}

static vj_status read_all(const vj_evaluation *e, vj_eval_measured *m, hid_t in, const char *path)
{
    uint64_t *sum = vj_calloc(e->head_count, sizeof *sum);
    vj_status status = sum ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    if (status == VJ_OK) status = read_place(e, m, in, path);
    if (status == VJ_OK) status = vj_h5_read_array(in, path, "xxh3", H5T_STD_U64LE, e->head_count, sum);
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++)
        if (e->head[h].owner == e->rank) status = read_head(e, m, in, path, h, sum[h]);
    free(sum);
    return status;
}

static vj_status read_damaged(vj_eval_measured *m, hid_t in, const char *path)
{
    const int64_t n = vj_clips_count(m->side->clips);
    uint8_t *damaged = vj_calloc(n + 1, sizeof *damaged);
    if (!damaged) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    vj_status status = vj_h5_read_array(in, path, "damaged", H5T_STD_U8LE, n, damaged);
    for (int64_t i = 0; status == VJ_OK && i < n; i++) m->side->damaged[i] |= damaged[i] != 0;
    free(damaged);
    return status;
}

/* Compare the description in the file with `now`. VJ_ERR_STATE, without an error message, if it is of other probes or
 * samples. */
static vj_status check(const vj_evaluation *e, hid_t in, const char *path, const char *now)
{
    char *old;
    VJ_TRY(vj_h5_get_text(in, path, "evaluation", &old));
    const bool same = strcmp(old, now) == 0;
    free(old);
    if (!same && e->rank == 0) vj_log("evaluate: %s is of other probes or samples; measuring anew", path);
    return same ? VJ_OK : VJ_ERR_STATE;
}

static vj_status restore(vj_evaluation *e, vj_eval_measured *m, const char *path, const char *text)
{
    hid_t in;
    vj_status status = vj_h5_open(&in, path, FORMAT, VERSION);
    const bool open = status == VJ_OK;
    if (open) status = check(e, in, path, text);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = vj_agree(e->comm, read_all(e, m, in, path));
    if (status == VJ_OK) status = vj_agree(e->comm, read_damaged(m, in, path));
    if (open) H5Fclose(in); /* only read */
    return status;
}

vj_status vj_eval_find_measured(vj_evaluation *e, vj_eval_measured *m)
{
    char path[VJ_PATH + 32], *text = NULL;
    int there = 0;
    path_of(e, path, m->name);
    m->place = 0;
    if (e->rank == 0) there = access(path, F_OK) == 0;
    vj_broadcast(&there, (int64_t)sizeof there, e->comm);
    if (!there) return VJ_OK;
    vj_status status = describe(e, &text);
    H5E_BEGIN_TRY
    {
        if (status == VJ_OK) status = restore(e, m, path, text);
    }
    H5E_END_TRY
    free(text);
    if (status != VJ_OK) m->place = 0;
    if (status == VJ_ERR_FORMAT && e->rank == 0) vj_warn("%s cannot be used; measuring anew", path);
    return status == VJ_ERR_FORMAT || status == VJ_ERR_STATE ? VJ_OK : status;
}

static void remove_file(const char *path)
{
    if (access(path, F_OK) == 0 && unlink(path) != 0) vj_warn("%s, which is not needed any more, stays", path);
}

void vj_eval_remove_restart_files(const vj_evaluation *e)
{
    char path[VJ_PATH + 32];
    path_of(e, path, VJ_PASS_HELD_OUT);
    remove_file(path);
    path_of(e, path, VJ_PASS_VALIDATION);
    remove_file(path);
    snprintf(path, sizeof path, "%s/" VJ_EVALUATION_BEFORE, e->dir);
    remove_file(path);
}
