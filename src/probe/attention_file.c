/* Writes and reads files of attention. */
#include "probe/attention_file.h"

#include <stdlib.h>

#include "h5/h5.h"
#include "parallel/parallel.h"

enum { VERSION = 1, MAX_SIDE = 1 << 16, MAX_MAPS = 1 << 12 };

int64_t vj_attention_cells(const vj_attention *a)
{
    return a->segments * a->t * a->y * a->x;
}

static int64_t frame_bytes(const vj_attention *a)
{
    return a->samples * a->segments * a->t * a->side * a->side * 3;
}

vj_status vj_attention_allocate(vj_attention *a, int64_t count)
{
    a->clip = vj_calloc(a->samples, sizeof *a->clip);
    a->frames = vj_calloc(frame_bytes(a), 1);
    a->map = vj_calloc(count + 1, sizeof *a->map);
    a->count = a->map ? count : 0;
    return a->clip && a->frames && a->map
               ? VJ_OK
               : vj_raise(VJ_ERR_MEMORY, "no memory for the attention in %lld samples", (long long)a->samples);
}

void vj_attention_release(vj_attention *a)
{
    for (int64_t i = 0; i < a->count; i++) free(a->map[i].weight);
    free(a->map);
    free(a->clip);
    free(a->frames);
    *a = (vj_attention){0};
}

vj_status vj_attention_may_replace(const char *path)
{
    return vj_h5_may_replace(path, VJ_ATTENTION_FORMAT, "file of attention");
}

/* ------------------------------------------------------------------------------------------------ the datasets */

/* A dataset of the file: its place in memory and its shape. */
typedef struct {
    char name[VJ_HEAD_NAME + 8];
    hid_t stored, memory; /* types, owned by HDF5 */
    void *data;
    int ndim;
    hsize_t dim[6];
    int64_t bytes;
} dataset;

static int64_t bytes_of(const dataset *d)
{
    int64_t bytes = (int64_t)H5Tget_size(d->stored);
    for (int i = 0; i < d->ndim; i++) bytes *= (int64_t)d->dim[i];
    return bytes;
}

/* Return the description of dataset i: 0: clips, 1: frames, then the maps. */
static dataset dataset_of(const vj_attention *a, int64_t i)
{
    const hsize_t n = (hsize_t)a->samples, s = (hsize_t)a->segments, t = (hsize_t)a->t, side = (hsize_t)a->side;
    dataset d = {.stored = H5T_STD_I64LE, .memory = H5T_NATIVE_INT64, .data = a->clip, .ndim = 1, .dim = {n}};
    snprintf(d.name, sizeof d.name, "clip");
    if (i == 1) {
        d = (dataset){.stored = H5T_STD_U8LE,
                      .memory = H5T_NATIVE_UINT8,
                      .data = a->frames,
                      .ndim = 6,
                      .dim = {n, s, t, side, side, 3}};
        snprintf(d.name, sizeof d.name, "frames");
    } else if (i > 1) {
        const vj_attention_map *m = &a->map[i - 2];
        d = (dataset){.stored = H5T_IEEE_F32LE,
                      .memory = H5T_NATIVE_FLOAT,
                      .data = m->weight,
                      .ndim = 6,
                      .dim = {n, (hsize_t)m->heads, s, t, (hsize_t)a->y, (hsize_t)a->x}};
        snprintf(d.name, sizeof d.name, "heads/%s", m->name);
    }
    d.bytes = bytes_of(&d);
    return d;
}

/* ------------------------------------------------------------------------------------------------ writing */

static vj_status lay_out(vj_h5_writer *out, const vj_attention *a, int64_t *place)
{
    const uint64_t grid[3] = {(uint64_t)a->t, (uint64_t)a->y, (uint64_t)a->x};
    for (int64_t i = 0; i < a->count + 2; i++) {
        const dataset d = dataset_of(a, i);
        VJ_TRY(vj_h5_dataset(out, d.name, d.stored, d.ndim, d.dim, &place[i]));
        if (i < 2) continue;
        const hid_t map = H5Dopen2(out->file, d.name, H5P_DEFAULT);
        if (map < 0) return vj_raise_h5("open %s", d.name);
        vj_status status = vj_h5_put_i64(map, "number", i - 2);
        if (H5Dclose(map) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", d.name);
        VJ_TRY(status);
    }
    return vj_h5_put_u64s(out->file, "grid", grid, 3);
}

static vj_status write_all(vj_h5_writer *out, const vj_attention *a, const char *path, int64_t *place)
{
    VJ_TRY(vj_h5_create(out, path, VJ_ATTENTION_FORMAT, VERSION, (a->count + 4) * 2 * VJ_H5_OBJECT_BYTES, VJ_ALONE));
    VJ_TRY(vj_h5_share(out, lay_out(out, a, place)));
    vj_status status = VJ_OK;
    for (int64_t i = 0; i < a->count + 2 && status == VJ_OK; i++) {
        const dataset d = dataset_of(a, i);
        status = vj_h5_write(out, place[i], d.data, d.bytes);
    }
    if (status == VJ_OK) status = vj_h5_flush(out);
    VJ_TRY(vj_h5_gather(out, status));
    VJ_TRY(vj_h5_gather(out, vj_h5_verify(out)));
    return vj_h5_commit(out, vj_h5_publish(out));
}

vj_status vj_attention_write(const vj_attention *a, const char *path)
{
    vj_h5_writer *out = vj_calloc(1, sizeof *out);
    int64_t *place = vj_calloc(a->count + 2, sizeof *place);
    vj_status status = out && place ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write %s", path);
    if (status == VJ_OK) {
        H5E_BEGIN_TRY
        {
            status = write_all(out, a, path, place);
        }
        H5E_END_TRY
    }
    free(out);
    free(place);
    return status;
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Read the dimensions of a dataset, which must have `ndim` of them. */
static vj_status read_dims(hid_t data, const char *path, const char *name, int ndim, hsize_t *dim)
{
    const hid_t space = H5Dget_space(data);
    const bool good =
        space >= 0 && H5Sget_simple_extent_ndims(space) == ndim && H5Sget_simple_extent_dims(space, dim, NULL) == ndim;
    H5Sclose(space); /* only read */
    if (!good) return vj_raise(VJ_ERR_FORMAT, "%s: /%s has not %d dimensions", path, name, ndim);
    for (int i = 0; i < ndim; i++)
        if (dim[i] < 1 || dim[i] > MAX_SIDE)
            return vj_raise(VJ_ERR_FORMAT, "%s: /%s has a dimension of %llu", path, name, (unsigned long long)dim[i]);
    return vj_h5_check_stored(data, path, name);
}

/* Read a dataset whose shape is known. */
static vj_status read_data(hid_t file, const char *path, const dataset *want)
{
    hsize_t dim[6];
    const hid_t data = H5Dopen2(file, want->name, H5P_DEFAULT);
    if (data < 0) return vj_raise_h5("%s: no /%s", path, want->name), VJ_ERR_FORMAT;
    vj_status status = read_dims(data, path, want->name, want->ndim, dim);
    for (int i = 0; status == VJ_OK && i < want->ndim; i++)
        if (dim[i] != want->dim[i])
            status = vj_raise(VJ_ERR_FORMAT, "%s: /%s does not fit the other arrays", path, want->name);
    if (status == VJ_OK && H5Dread(data, want->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, want->data) < 0)
        status = vj_raise_h5("%s: /%s cannot be read", path, want->name);
    H5Dclose(data); /* only read */
    return status;
}

static vj_status read_sizes(vj_attention *a, hid_t file, const char *path)
{
    hsize_t dim[6];
    uint64_t grid[3];
    VJ_TRY(vj_h5_get_u64s(file, path, "grid", grid, 3));
    const hid_t data = H5Dopen2(file, "frames", H5P_DEFAULT);
    if (data < 0) return vj_raise_h5("%s: no /frames", path), VJ_ERR_FORMAT;
    const vj_status status = read_dims(data, path, "frames", 6, dim);
    H5Dclose(data); /* only read */
    VJ_TRY(status);
    for (int i = 0; i < 3; i++)
        if (grid[i] < 1 || grid[i] > MAX_SIDE)
            return vj_raise(VJ_ERR_FORMAT, "%s: the grid has a side of %llu", path, (unsigned long long)grid[i]);
    *a = (vj_attention){.samples = (int64_t)dim[0],
                        .segments = (int64_t)dim[1],
                        .side = (int64_t)dim[3],
                        .t = (int64_t)grid[0],
                        .y = (int64_t)grid[1],
                        .x = (int64_t)grid[2]};
    return VJ_OK;
}

static vj_status read_map(vj_attention *a, hid_t group, const char *path, hsize_t at)
{
    char name[VJ_HEAD_NAME];
    hsize_t dim[6];
    int64_t number;
    if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, at, name, sizeof name, H5P_DEFAULT) <= 0)
        return vj_raise_h5("%s: the name of a probe cannot be read", path);
    const hid_t data = H5Dopen2(group, name, H5P_DEFAULT);
    if (data < 0) return vj_raise_h5("%s: %s is no array", path, name), VJ_ERR_FORMAT;
    vj_status status = vj_h5_get_i64(data, path, "number", &number);
    if (status == VJ_OK) status = read_dims(data, path, name, 6, dim);
    H5Dclose(data); /* only read */
    VJ_TRY(status);
    if (number < 0 || number >= a->count || a->map[number].weight || !vj_printable(name))
        return vj_raise(VJ_ERR_FORMAT, "%s: a probe has the number %lld of another", path, (long long)number);
    vj_attention_map *m = &a->map[number];
    const int64_t weights = a->samples * (int64_t)dim[1] * vj_attention_cells(a);
    m->heads = (int64_t)dim[1];
    m->weight = vj_calloc(weights, sizeof *m->weight);
    if (!m->weight) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld weights", (long long)weights);
    snprintf(m->name, sizeof m->name, "%s", name);
    dataset d = dataset_of(a, number + 2);
    snprintf(d.name, sizeof d.name, "%s", name);
    VJ_TRY(read_data(group, path, &d));
    for (int64_t i = 0; i < weights; i++)
        if (!(m->weight[i] >= 0.0f && m->weight[i] <= 1.0f))
            return vj_raise(VJ_ERR_FORMAT, "%s: a weight of %s is %g", path, name, m->weight[i]);
    return VJ_OK;
}

static vj_status read_all(vj_attention *a, hid_t file, const char *path)
{
    H5G_info_t info;
    VJ_TRY(read_sizes(a, file, path));
    const hid_t group = H5Gopen2(file, "heads", H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: no /heads", path), VJ_ERR_FORMAT;
    vj_status status = H5Gget_info(group, &info) >= 0 && info.nlinks <= MAX_MAPS
                           ? vj_attention_allocate(a, (int64_t)info.nlinks)
                           : vj_raise(VJ_ERR_FORMAT, "%s: /heads cannot be read", path);
    for (int64_t i = 0; status == VJ_OK && i < 2; i++) {
        const dataset d = dataset_of(a, i);
        status = read_data(file, path, &d);
    }
    for (hsize_t i = 0; status == VJ_OK && i < info.nlinks; i++) status = read_map(a, group, path, i);
    H5Gclose(group); /* only read */
    return status;
}

vj_status vj_attention_read(vj_attention *a, const char *path)
{
    hid_t file;
    vj_status status;
    *a = (vj_attention){0};
    VJ_TRY(vj_h5_open(&file, path, VJ_ATTENTION_FORMAT, VERSION));
    H5E_BEGIN_TRY
    {
        status = read_all(a, file, path);
    }
    H5E_END_TRY
    H5Fclose(file); /* only read */
    return status;
}
