/* Writes and reads probe files (probe_file.h). What is read is not trusted. */
#include "probe/probe_file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "parallel/parallel.h"
#include "probe/probe_file_parts.h"

enum { MAX_WIDTH = 1 << 16, MAX_DEPTH = 1024, MAX_VALUES = 1 << 30 };

void vj_probe_file_of_head(vj_probe_file *f, const vj_head_shape *s)
{
    const bool attentive = s->pooling == VJ_POOL_ATTENTIVE;
    snprintf(f->facts.kind, sizeof f->facts.kind, "%s", vj_pooling_name(s->pooling));
    f->facts.classes = s->classes;
    f->width = s->D;
    f->heads = attentive ? s->heads : 0;
    f->depth = s->depth;
    f->on_tokens = 0;
    f->norm_last = s->norm_last;
    f->tokens = s->tokens;
}

void vj_probe_file_of_token_probe(vj_probe_file *f, const vj_token_probe_shape *s)
{
    snprintf(f->facts.kind, sizeof f->facts.kind, "%s", vj_pooling_name(VJ_POOL_ATTENTIVE));
    f->facts.classes = s->classes;
    f->width = s->D;
    f->heads = s->heads;
    f->depth = s->depth;
    f->on_tokens = 1;
    f->norm_last = 0;
    f->tokens = s->tokens;
}

vj_head_shape vj_probe_file_head_shape(const vj_probe_file *f, int64_t tokens, int64_t batch)
{
    return (vj_head_shape){.pooling = f->heads > 0 ? VJ_POOL_ATTENTIVE : VJ_POOL_AVERAGE,
                           .D = f->width,
                           .heads = f->heads,
                           .classes = f->facts.classes,
                           .depth = f->depth,
                           .tokens = tokens,
                           .batch = batch,
                           .norm_last = f->norm_last};
}

/* Return whether a fact is about the measurement; a probe's file does not have such facts. */
static bool is_measured(const vj_fact *fact)
{
    static const char *const measured[] = {"counted", "failed", "store_digest"};
    for (size_t i = 0; i < sizeof measured / sizeof measured[0]; i++)
        if (strcmp(fact->name, measured[i]) == 0) return true;
    return false;
}

/* Compute the dimensions of a tensor in the file, as in the published code, and return their number. */
static int dims_of(const char *name, int64_t rows, int64_t cols, hsize_t dim[VJ_PROBE_DIMS])
{
    if (strcmp(name, "pooler.query_tokens") == 0) {
        dim[0] = dim[1] = 1;
        dim[2] = (hsize_t)(rows * cols);
        return 3;
    }
    const size_t length = strlen(name);
    const bool vector = cols == 1 && (strstr(name, "norm") || (length > 5 && strcmp(name + length - 5, ".bias") == 0));
    dim[0] = (hsize_t)rows;
    dim[1] = (hsize_t)cols;
    return vector ? 1 : 2;
}

/* ------------------------------------------------------------------------------------------------ tensors in memory */

/* The tensors of a head or of a probe with blocks on the tokens. */
typedef struct {
    vj_backend *be;
    vj_head *head;
    const vj_token_probe *token_probe;
} tensors;

static int tensor_count(const tensors *t)
{
    return t->head ? vj_head_tensor_count(t->head) : vj_token_probe_tensor_count(t->token_probe);
}

static const vj_probe_tensor *tensor_at(const tensors *t, int i)
{
    return t->head ? vj_head_tensor_at(t->head, i) : vj_token_probe_tensor_at(t->token_probe, i);
}

static int64_t values_of(const vj_probe_tensor *t)
{
    return t->rows * t->cols;
}

/* Copy a tensor's values to the host; free() them. */
static vj_status download(const tensors *t, const vj_probe_tensor *tensor, float **host)
{
    *host = vj_calloc(values_of(tensor), sizeof **host);
    if (!*host) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", tensor->name);
    vj_download(t->be, *host, tensor->weight, values_of(tensor) * (int64_t)sizeof **host);
    const vj_status status = vj_sync(t->be);
    if (status != VJ_OK) free(*host);
    return status;
}

static vj_status digest_tensors(uint64_t *digest, const tensors *t)
{
    *digest = 0;
    for (int i = 0; i < tensor_count(t); i++) {
        float *host;
        VJ_TRY(download(t, tensor_at(t, i), &host));
        *digest = vj_probe_digest_add(*digest, tensor_at(t, i)->name, host, values_of(tensor_at(t, i)));
        free(host);
    }
    return VJ_OK;
}

vj_status vj_head_digest(uint64_t *digest, vj_backend *be, vj_head *head)
{
    return digest_tensors(digest, &(tensors){.be = be, .head = head});
}

vj_status vj_token_probe_digest(uint64_t *digest, vj_backend *be, const vj_token_probe *probe)
{
    return digest_tensors(digest, &(tensors){.be = be, .token_probe = probe});
}

/* ------------------------------------------------------------------------------------------------ writing */

typedef struct {
    vj_h5_writer out;
    vj_probe_file *file;
    tensors from;
    int64_t *place, classes_place; /* offsets in the file */
    uint64_t *sum;                 /* checksums of the tensors */
} writer;

static void dataset_name(char name[VJ_TENSOR_NAME + 8], const char *tensor)
{
    snprintf(name, VJ_TENSOR_NAME + 8, "weights/%s", tensor);
}

static vj_status put_attributes(hid_t file, const vj_probe_file *f)
{
    VJ_TRY(vj_h5_put_text(file, "name", f->facts.name));
    for (const vj_fact *fact = vj_facts; fact->name; fact++)
        if (!is_measured(fact)) VJ_TRY(vj_fact_put(file, fact, &f->facts));
    VJ_TRY(vj_h5_put_i64(file, "width", f->width));
    VJ_TRY(vj_h5_put_i64(file, "heads", f->heads));
    VJ_TRY(vj_h5_put_i64(file, "depth", f->depth));
    VJ_TRY(vj_h5_put_text(file, "blocks_on", f->on_tokens ? "tokens" : "query"));
    VJ_TRY(vj_h5_put_i64(file, "norm_last", f->norm_last));
    return vj_h5_put_i64(file, "tokens", f->tokens);
}

static vj_status lay_out(writer *w)
{
    char name[VJ_TENSOR_NAME + 8];
    for (int i = 0; i < tensor_count(&w->from); i++) {
        const vj_probe_tensor *t = tensor_at(&w->from, i);
        hsize_t dim[VJ_PROBE_DIMS];
        const int ndim = dims_of(t->name, t->rows, t->cols, dim);
        dataset_name(name, t->name);
        VJ_TRY(vj_h5_dataset(&w->out, name, H5T_IEEE_F32LE, ndim, dim, &w->place[i]));
    }
    VJ_TRY(vj_clips_lay_out_classes(&w->out, w->file->facts.task, &w->file->classes, &w->classes_place));
    return put_attributes(w->out.file, w->file);
}

/* Write each tensor to its place, and compute the checksums. */
static vj_status write_tensors(writer *w)
{
    w->file->facts.probe_digest = 0;
    for (int i = 0; i < tensor_count(&w->from); i++) {
        const vj_probe_tensor *t = tensor_at(&w->from, i);
        const int64_t n = values_of(t), bytes = n * (int64_t)sizeof(float);
        float *host;
        VJ_TRY(download(&w->from, t, &host));
        w->sum[i] = XXH3_64bits(host, (size_t)bytes);
        w->file->facts.probe_digest = vj_probe_digest_add(w->file->facts.probe_digest, t->name, host, n);
        const vj_status status = vj_h5_write(&w->out, w->place[i], host, bytes);
        free(host);
        VJ_TRY(status);
    }
    return vj_clips_write_classes(&w->out, &w->file->classes, w->classes_place);
}

static vj_status put_sums(writer *w)
{
    char name[VJ_TENSOR_NAME + 8];
    for (int i = 0; i < tensor_count(&w->from); i++) {
        dataset_name(name, tensor_at(&w->from, i)->name);
        const hid_t dataset = H5Dopen2(w->out.file, name, H5P_DEFAULT);
        if (dataset < 0) return vj_raise_h5("open %s", name);
        vj_status status = vj_h5_put_u64s(dataset, "xxh3", &w->sum[i], 1);
        if (H5Dclose(dataset) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", name);
        VJ_TRY(status);
    }
    return vj_h5_put_u64(w->out.file, "probe_digest", w->file->facts.probe_digest);
}

static vj_status write_all(writer *w)
{
    const int64_t objects = tensor_count(&w->from) + 4;
    VJ_TRY(vj_h5_create(&w->out, w->file->path, VJ_PROBE_FORMAT, VJ_PROBE_FILE_VERSION,
                        2 * objects * VJ_H5_OBJECT_BYTES + 4 * (int64_t)sizeof(vj_head_facts), VJ_ALONE));
    VJ_TRY(vj_h5_share(&w->out, lay_out(w)));
    vj_status status = write_tensors(w);
    if (status == VJ_OK) status = vj_h5_flush(&w->out);
    VJ_TRY(vj_h5_gather(&w->out, status));
    VJ_TRY(vj_h5_gather(&w->out, vj_h5_verify(&w->out)));
    status = put_sums(w);
    if (status == VJ_OK) status = vj_h5_publish(&w->out);
    return vj_h5_commit(&w->out, status);
}

static vj_status write_file(vj_probe_file *file, const tensors *from)
{
    writer w = {.file = file, .from = *from};
    vj_status status = VJ_OK;
    file->facts.class_digest = vj_clips_classes_digest(&file->classes);
    w.place = vj_calloc(tensor_count(from), sizeof *w.place);
    w.sum = vj_calloc(tensor_count(from), sizeof *w.sum);
    if (status == VJ_OK && (!w.place || !w.sum)) status = vj_raise(VJ_ERR_MEMORY, "no memory to write %s", file->path);
    if (status == VJ_OK) {
        H5E_BEGIN_TRY
        {
            status = write_all(&w);
        }
        H5E_END_TRY
    }
    free(w.place);
    free(w.sum);
    return status;
}

vj_status vj_probe_file_write_head(vj_probe_file *file, vj_backend *be, vj_head *head)
{
    return write_file(file, &(tensors){.be = be, .head = head});
}

vj_status vj_probe_file_write_token_probe(vj_probe_file *file, vj_backend *be, const vj_token_probe *probe)
{
    return write_file(file, &(tensors){.be = be, .token_probe = probe});
}

/* ------------------------------------------------------------------------------------------------ reading */

vj_status vj_probe_file_with(const char *path, vj_status (*work)(hid_t file, void *with), void *with)
{
    hid_t file;
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = vj_h5_open(&file, path, VJ_PROBE_FORMAT, VJ_PROBE_FILE_VERSION);
        if (status == VJ_OK) {
            status = work(file, with);
            H5Fclose(file); /* only read */
        }
    }
    H5E_END_TRY
    return status;
}

static vj_status read_number(hid_t file, const char *path, const char *name, int64_t low, int64_t high, int *value)
{
    int64_t number;
    VJ_TRY(vj_h5_get_i64(file, path, name, &number));
    if (number < low || number > high)
        return vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is %lld, expected %lld to %lld", path, name, (long long)number,
                        (long long)low, (long long)high);
    *value = (int)number;
    return VJ_OK;
}

static vj_status read_word(hid_t file, const char *path, const char *name, char *to, size_t bytes)
{
    char *text;
    VJ_TRY(vj_h5_get_text(file, path, name, &text));
    const bool fits = strlen(text) < bytes;
    if (fits) strcpy(to, text);
    free(text);
    return fits ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is longer than %zu bytes", path, name, bytes - 1);
}

/* Check that the members are consistent. */
static vj_status check(const vj_probe_file *f, const char *blocks_on)
{
    vj_pooling pooling;
    VJ_TRY(vj_pooling_parse(&pooling, f->facts.kind) == VJ_OK ? VJ_OK : VJ_ERR_FORMAT);
    const bool attentive = pooling == VJ_POOL_ATTENTIVE;
    if (strcmp(blocks_on, "query") != 0 && strcmp(blocks_on, "tokens") != 0)
        return vj_raise(VJ_ERR_FORMAT, "%s: blocks_on is '%s', expected query or tokens", f->path, blocks_on);
    if (attentive ? f->heads < 1 || f->width % f->heads != 0 : f->heads != 0 || f->depth != 1)
        return vj_raise(VJ_ERR_FORMAT, "%s: an %s probe of width %d with %d heads and depth %d cannot be", f->path,
                        f->facts.kind, f->width, f->heads, f->depth);
    if (f->on_tokens && !attentive)
        return vj_raise(VJ_ERR_FORMAT, "%s: an average probe has no blocks on tokens", f->path);
    if (f->norm_last && (!attentive || f->depth != 1 || f->on_tokens))
        return vj_raise(VJ_ERR_FORMAT, "%s: norm_last belongs to an attentive probe of depth 1", f->path);
    const uint64_t digest = vj_clips_classes_digest(&f->classes);
    if (digest != f->facts.class_digest)
        return vj_raise(VJ_ERR_FORMAT, "%s: the names of the classes have the digest %016llx, not %016llx: damaged",
                        f->path, (unsigned long long)digest, (unsigned long long)f->facts.class_digest);
    return VJ_OK;
}

static vj_status open_work(hid_t file, void *with)
{
    vj_probe_file *f = with;
    char blocks_on[16];
    VJ_TRY(read_word(file, f->path, "name", f->facts.name, sizeof f->facts.name));
    for (const vj_fact *fact = vj_facts; fact->name; fact++)
        if (!is_measured(fact)) VJ_TRY(vj_fact_get(file, f->path, fact, &f->facts));
    VJ_TRY(vj_h5_get_u64(file, f->path, "probe_digest", &f->facts.probe_digest));
    VJ_TRY(read_number(file, f->path, "width", 1, MAX_WIDTH, &f->width));
    VJ_TRY(read_number(file, f->path, "heads", 0, MAX_WIDTH, &f->heads));
    VJ_TRY(read_number(file, f->path, "depth", 1, MAX_DEPTH, &f->depth));
    VJ_TRY(read_number(file, f->path, "norm_last", 0, 1, &f->norm_last));
    VJ_TRY(read_word(file, f->path, "blocks_on", blocks_on, sizeof blocks_on));
    f->on_tokens = strcmp(blocks_on, "tokens") == 0;
    VJ_TRY(vj_h5_get_i64(file, f->path, "tokens", &f->tokens));
    if (f->facts.task[0]) VJ_TRY(vj_clips_get_classes(file, f->path, f->facts.task, &f->classes));
    return check(f, blocks_on);
}

vj_status vj_probe_file_open(vj_probe_file *f, const char *path)
{
    *f = (vj_probe_file){0};
    if (snprintf(f->path, sizeof f->path, "%s", path) >= (int)sizeof f->path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    return vj_probe_file_with(path, open_work, f);
}

void vj_probe_file_release(vj_probe_file *f)
{
    vj_clips_classes_release(&f->classes);
}

/* Read the dataset's dimensions; refuses anything but an array of floats as this program writes it. */
static vj_status check_tensor(hid_t dataset, const char *path, vj_probe_file_tensor *t)
{
    const hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    vj_status status = VJ_OK;
    t->ndim = H5Sget_simple_extent_ndims(space);
    if (t->ndim < 1 || t->ndim > VJ_PROBE_DIMS || H5Tequal(type, H5T_IEEE_F32LE) <= 0)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s is no array of f4 with 1 to 3 dimensions", path, t->name);
    if (status == VJ_OK) {
        H5Sget_simple_extent_dims(space, t->dim, NULL);
        t->count = H5Sget_simple_extent_npoints(space);
        if (t->count < 1 || t->count > MAX_VALUES)
            status = vj_raise(VJ_ERR_FORMAT, "%s: %s has %lld values", path, t->name, (long long)t->count);
    }
    H5Tclose(type);
    H5Sclose(space);
    VJ_TRY(status);
    return vj_h5_check_stored(dataset, path, t->name);
}

vj_status vj_probe_file_tensor_read(hid_t file, const char *path, const char *name, vj_probe_file_tensor *t)
{
    char full[VJ_TENSOR_NAME + 8];
    uint64_t sum = 0;
    *t = (vj_probe_file_tensor){0};
    if (strlen(name) >= sizeof t->name)
        return vj_raise(VJ_ERR_FORMAT, "%s: a tensor's name has %zu bytes", path, strlen(name));
    strcpy(t->name, name);
    dataset_name(full, name);
    const hid_t dataset = H5Dopen2(file, full, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("%s: no tensor %s", path, full), VJ_ERR_FORMAT;
    vj_status status = check_tensor(dataset, path, t);
    if (status == VJ_OK) status = vj_h5_get_u64s(dataset, path, "xxh3", &sum, 1);
    if (status == VJ_OK && !(t->values = vj_calloc(t->count, sizeof *t->values)))
        status = vj_raise(VJ_ERR_MEMORY, "no memory to read %s of %s", name, path);
    if (status == VJ_OK && H5Dread(dataset, H5T_IEEE_F32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, t->values) < 0)
        status = (vj_raise_h5("%s: read %s", path, full), VJ_ERR_FORMAT);
    if (status == VJ_OK) t->intact = XXH3_64bits(t->values, (size_t)t->count * sizeof *t->values) == sum;
    H5Dclose(dataset);
    return status;
}

typedef struct {
    const vj_probe_file *file;
    tensors to;
} reader;

static vj_status read_tensor(hid_t file, const reader *r, const vj_probe_tensor *to, uint64_t *digest)
{
    const char *path = r->file->path;
    vj_probe_file_tensor t;
    hsize_t dim[VJ_PROBE_DIMS];
    const int ndim = dims_of(to->name, to->rows, to->cols, dim);
    vj_status status = vj_probe_file_tensor_read(file, path, to->name, &t);
    if (status == VJ_OK && (t.ndim != ndim || memcmp(t.dim, dim, sizeof *dim * (size_t)ndim) != 0))
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s has %lld values in %d dimensions, expected %lld in %d", path, to->name,
                          (long long)t.count, t.ndim, (long long)values_of(to), ndim);
    if (status == VJ_OK && !t.intact)
        status = vj_raise(VJ_ERR_FORMAT, "%s is damaged: %s does not fit its checksum", path, to->name);
    if (status == VJ_OK) {
        *digest = vj_probe_digest_add(*digest, to->name, t.values, t.count);
        vj_upload(r->to.be, to->weight, t.values, t.count * (int64_t)sizeof *t.values);
        status = vj_sync(r->to.be);
    }
    free(t.values);
    return status;
}

static vj_status read_work(hid_t file, void *with)
{
    const reader *r = with;
    uint64_t digest = 0;
    H5G_info_t info;
    const hid_t group = H5Gopen2(file, "weights", H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: no group weights", r->file->path), VJ_ERR_FORMAT;
    const bool listed = H5Gget_info(group, &info) >= 0;
    H5Gclose(group);
    if (!listed || info.nlinks != (hsize_t)tensor_count(&r->to))
        return vj_raise(VJ_ERR_FORMAT, "%s has %lld tensors, a probe of its kind and depth has %d", r->file->path,
                        listed ? (long long)info.nlinks : 0, tensor_count(&r->to));
    for (int i = 0; i < tensor_count(&r->to); i++) VJ_TRY(read_tensor(file, r, tensor_at(&r->to, i), &digest));
    if (digest != r->file->facts.probe_digest)
        return vj_raise(VJ_ERR_FORMAT, "%s: its tensors have the digest %016llx, not %016llx: damaged", r->file->path,
                        (unsigned long long)digest, (unsigned long long)r->file->facts.probe_digest);
    return VJ_OK;
}

vj_status vj_probe_file_read_head(const vj_probe_file *file, vj_backend *be, vj_head *head)
{
    vj_head_weights_changed(head);
    return vj_probe_file_with(file->path, read_work, &(reader){file, {.be = be, .head = head}});
}

vj_status vj_probe_file_read_token_probe(const vj_probe_file *file, vj_backend *be, vj_token_probe *probe)
{
    return vj_probe_file_with(file->path, read_work, &(reader){file, {.be = be, .token_probe = probe}});
}

vj_status vj_probe_file_check_classes(const vj_probe_file *file, const char *label, const vj_clips_classes *classes,
                                      const char *path, bool *compared)
{
    return vj_clips_check_classes(label, &file->classes, file->path, classes, path, compared);
}
