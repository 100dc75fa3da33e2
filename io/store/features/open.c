/*
 * Opens a feature store: rank 0 reads the header and the file offsets of the datasets with HDF5, reads the columns, and
 * distributes all of it; rows are then read without HDF5 (read.c).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "features/inner.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

enum { PLACES = sizeof((vj_features *)0)->place / sizeof(int64_t) };

#define foreign(...) (vj_raise_h5(__VA_ARGS__), VJ_ERR_FORMAT)

/* Get the dimensions of a dataset, which must have `ndim` of them and, unless `rows` is negative, `rows` rows. */
static vj_status get_dims(hid_t dataset, const char *path, const char *name, int ndim, int64_t rows, hsize_t *dim)
{
    hid_t space = H5Dget_space(dataset);
    int found = H5Sget_simple_extent_ndims(space);
    vj_status status = VJ_OK;
    if (found != ndim || H5Sget_simple_extent_dims(space, dim, NULL) != ndim)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s has %d dimensions, expected %d", path, name, found, ndim);
    else if (rows >= 0 && dim[0] != (hsize_t)rows)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s has %llu rows, expected %lld", path, name, (unsigned long long)dim[0],
                          (long long)rows);
    H5Sclose(space); /* only read */
    return status;
}

static vj_status find_type(vj_features *f, hid_t dataset)
{
    hid_t found = H5Dget_type(dataset);
    bool same = false;
    for (vj_features_type type = VJ_FEATURES_F32; type <= VJ_FEATURES_BF16 && !same; type++) {
        hid_t known = vj_features_file_type(type);
        same = H5Tequal(found, known) > 0;
        H5Tclose(known); /* only compared */
        f->layout.type = type;
    }
    H5Tclose(found); /* only read */
    return same ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s: features are none of f4, f2 and bf16", f->path);
}

static vj_status describe_features(vj_features *f, hid_t dataset)
{
    hsize_t dim[3];
    VJ_TRY(get_dims(dataset, f->path, "features", 3, -1, dim));
    f->layout.clips = (int64_t)dim[0];
    f->layout.tokens = (int64_t)dim[1];
    f->layout.width = (int64_t)dim[2];
    VJ_TRY(find_type(f, dataset));
    const int64_t dims[] = {f->layout.clips, f->layout.tokens, f->layout.width};
    int64_t room = INT64_MAX / 2 / vj_features_type_bytes(f->layout.type); /* for the remaining dimensions */
    for (int i = 0; i < 3; i++) {
        if (dims[i] < 1 || dims[i] > room)
            return vj_raise(VJ_ERR_FORMAT, "%s: impossible features: %lld clips, %lld tokens, width %lld", f->path,
                            (long long)dims[0], (long long)dims[1], (long long)dims[2]);
        room /= dims[i];
    }
    haddr_t offset = H5Dget_offset(dataset);
    if (offset > INT64_MAX / 2) /* the largest haddr_t: undefined */
        return vj_raise(VJ_ERR_FORMAT, "%s: features are not contiguous", f->path);
    f->place.features = (int64_t)offset;
    return VJ_OK;
}

static vj_status open_dataset(hid_t file, const char *path, const char *name, hid_t *dataset)
{
    *dataset = H5Dopen2(file, name, H5P_DEFAULT);
    return *dataset < 0 ? foreign("%s: no dataset %s", path, name) : VJ_OK;
}

static vj_status read_features(vj_features *f, hid_t file)
{
    hid_t dataset;
    VJ_TRY(open_dataset(file, f->path, "features", &dataset));
    vj_status status = describe_features(f, dataset);
    H5Dclose(dataset); /* only read */
    return status;
}

/* Open the file for reading rows and get its size. Rows beyond its end are refused. */
static vj_status open_rows(vj_features *f, int64_t *file_bytes)
{
    struct stat info;
    const int64_t end = f->place.features + f->layout.clips * vj_features_row_bytes(&f->layout);
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0) return vj_raise(VJ_ERR_IO, "open %s", f->path);
    if (fstat(f->fd, &info) != 0) return vj_raise(VJ_ERR_IO, "size of %s", f->path);
    *file_bytes = (int64_t)info.st_size;
    if (info.st_size < end)
        return vj_raise(VJ_ERR_FORMAT, "%s is truncated: features end at byte %lld of %lld", f->path, (long long)end,
                        (long long)info.st_size);
    return VJ_OK;
}

/* Find the file offset of a small dataset of n rows, whose elements must be stored as `type` has them in memory. */
static vj_status find_column(const vj_features *f, hid_t file, int64_t file_bytes, const char *name, hid_t type,
                             int ndim, hsize_t *dim, int64_t *place)
{
    hid_t dataset;
    VJ_TRY(open_dataset(file, f->path, name, &dataset));
    vj_status status = get_dims(dataset, f->path, name, ndim, f->layout.clips, dim);
    if (status == VJ_OK && ndim == 2 && dim[1] > VJ_MAX_LABELS)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s has %llu columns, at most %d are expected", f->path, name,
                          (unsigned long long)dim[1], VJ_MAX_LABELS);
    if (status == VJ_OK) status = vj_h5_check_stored(dataset, f->path, name);
    if (status == VJ_OK) {
        const int64_t bytes = (int64_t)(dim[0] * (ndim == 2 ? dim[1] : 1)) * (int64_t)H5Tget_size(type);
        const haddr_t offset = H5Dget_offset(dataset); /* undefined (the largest haddr_t) without elements */
        hid_t found = H5Dget_type(dataset);
        if (H5Tequal(found, type) <= 0)
            status = vj_raise(VJ_ERR_FORMAT, "%s: %s has elements of another type than vjepa writes", f->path, name);
        else if (bytes > 0 && (offset > INT64_MAX / 2 || (int64_t)offset > file_bytes - bytes))
            status = vj_raise(VJ_ERR_FORMAT, "%s: %s is not in the file in one piece", f->path, name);
        *place = bytes > 0 ? (int64_t)offset : 0;
        H5Tclose(found); /* only read */
    }
    H5Dclose(dataset); /* only read */
    return status;
}

static vj_status read_label_names(vj_features *f, hid_t file)
{
    hid_t dataset;
    char *text;
    VJ_TRY(open_dataset(file, f->path, "label", &dataset));
    vj_status status = vj_h5_get_text(dataset, f->path, "names", &text);
    H5Dclose(dataset); /* only read */
    VJ_TRY(status);
    char *at = text;
    for (int i = 0; i < f->layout.label_count; i++) {
        const char *name = strsep(&at, "\n");
        snprintf(f->layout.label_names[i], VJ_LABEL_NAME, "%s", name ? name : "");
    }
    free(text);
    return VJ_OK;
}

static vj_status find_labels(vj_features *f, hid_t file, int64_t file_bytes)
{
    hsize_t dim[2];
    VJ_TRY(find_column(f, file, file_bytes, "label", H5T_NATIVE_INT32, 2, dim, &f->place.label));
    f->layout.label_count = (int)dim[1];
    return read_label_names(f, file);
}

/* Read what files of the first release lack; for these the digest is 0, the text "", and there are no checksums. */
static vj_status read_origin(vj_features *f, hid_t file, int64_t file_bytes)
{
    hsize_t dim[1];
    if (H5Aexists(file, "encoder_digest") <= 0) return VJ_OK;
    VJ_TRY(vj_h5_get_u64(file, f->path, "encoder_digest", &f->layout.encoder_digest));
    VJ_TRY(vj_h5_get_text(file, f->path, "preprocessing", &f->preprocessing));
    vj_status status = find_column(f, file, file_bytes, "clip_xxh3", H5T_NATIVE_UINT64, 1, dim, &f->place.clip_sums);
    for (int l = 0; l < f->layout.label_count && status == VJ_OK; l++)
        status = vj_clips_get_classes(file, f->path, f->layout.label_names[l], &f->layout.classes[l]);
    return status;
}

/* Return whether the grid has at least one cell and at most N. */
static bool is_grid(const uint64_t *grid, int64_t tokens)
{
    uint64_t left = (uint64_t)tokens;
    for (int i = 0; i < 3; i++) {
        if (grid[i] < 1 || grid[i] > left) return false;
        left /= grid[i];
    }
    return true;
}

static vj_status read_grid(vj_features *f, hid_t file)
{
    uint64_t *grid = f->layout.grid;
    if (H5Aexists(file, "grid") <= 0) return VJ_OK;
    VJ_TRY(vj_h5_get_u64s(file, f->path, "grid", grid, 3));
    if (is_grid(grid, f->layout.tokens)) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT, "%s: a grid of %llu x %llu x %llu cells does not fit %lld tokens", f->path,
                    (unsigned long long)grid[0], (unsigned long long)grid[1], (unsigned long long)grid[2],
                    (long long)f->layout.tokens);
}

static vj_status read_failed(vj_features *f, hid_t file)
{
    uint64_t *failed = f->layout.failed;
    if (H5Aexists(file, "failed") <= 0) return VJ_OK;
    VJ_TRY(vj_h5_get_u64s(file, f->path, "failed", failed, f->layout.label_count));
    for (int l = 0; l < f->layout.label_count; l++)
        if (failed[l] > INT32_MAX)
            return vj_raise(VJ_ERR_FORMAT, "%s: %llu damaged clips with label %s cannot be", f->path,
                            (unsigned long long)failed[l], f->layout.label_names[l]);
    return VJ_OK;
}

static vj_status read_header(vj_features *f, hid_t file)
{
    hsize_t dim[1];
    int64_t file_bytes = 0;
    VJ_TRY(read_features(f, file));
    VJ_TRY(open_rows(f, &file_bytes)); /* from here on n is known to be sane */
    VJ_TRY(find_labels(f, file, file_bytes));
    VJ_TRY(find_column(f, file, file_bytes, "clip", H5T_NATIVE_INT64, 1, dim, &f->place.clip));
    VJ_TRY(find_column(f, file, file_bytes, "xxh3", H5T_NATIVE_UINT64, 1, dim, &f->place.sums));
    VJ_TRY(vj_h5_get_f64(file, f->path, "effective_rank", &f->effective_rank));
    VJ_TRY(vj_h5_get_u64(file, f->path, "store_fingerprint", &f->layout.store_fingerprint));
    VJ_TRY(vj_h5_get_text(file, f->path, "encoder", &f->encoder));
    VJ_TRY(vj_h5_get_text(file, f->path, "config", &f->config));
    VJ_TRY(read_origin(f, file, file_bytes));
    VJ_TRY(read_grid(f, file));
    return read_failed(f, file);
}

static vj_status open_with_hdf5(vj_features *f)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, f->path, VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION));
    vj_status status = read_header(f, file);
    H5Fclose(file); /* only read */
    return status;
}

/* On rank 0: read what is in the file, and where. */
static vj_status open_store(vj_features *f)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = open_with_hdf5(f);
    }
    H5E_END_TRY
    return status;
}

/* ------------------------------------------------------------------------------------------------ all ranks */

static vj_status broadcast_text(char **text, MPI_Comm comm)
{
    const bool first = vj_comm_rank(comm) == 0;
    int64_t bytes = first && *text ? (int64_t)strlen(*text) + 1 : 0;
    vj_broadcast(&bytes, sizeof bytes, comm);
    if (!first) *text = bytes > 0 ? vj_calloc(bytes, 1) : NULL;
    VJ_TRY(vj_agree(comm, bytes == 0 || *text ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a text")));
    vj_broadcast(*text, bytes, comm);
    return VJ_OK;
}

/* Broadcast rank 0's header. The other ranks open the file for reading rows. */
static vj_status broadcast_header(vj_features *f, MPI_Comm comm)
{
    struct {
        vj_features_header layout;
        double effective_rank;
        int64_t place[PLACES];
    } all = {f->layout, f->effective_rank, {0}};
    const bool first = vj_comm_rank(comm) == 0;
    memcpy(all.place, &f->place, sizeof all.place);
    vj_broadcast(&all, sizeof all, comm);
    if (!first) {
        memset(all.layout.classes, 0, sizeof all.layout.classes); /* rank 0's pointers */
        f->layout = all.layout;
        f->effective_rank = all.effective_rank;
        memcpy(&f->place, all.place, sizeof all.place);
    }
    VJ_TRY(broadcast_text(&f->encoder, comm));
    VJ_TRY(broadcast_text(&f->preprocessing, comm));
    VJ_TRY(broadcast_text(&f->config, comm));
    f->layout.encoder = f->encoder;
    f->layout.config = f->config;
    f->layout.preprocessing = f->preprocessing ? f->preprocessing : "";
    for (int l = 0; l < f->layout.label_count; l++) VJ_TRY(vj_clips_broadcast_classes(&f->layout.classes[l], comm));
    if (!first) f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    return vj_agree(comm, f->fd >= 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "open %s", f->path));
}

static vj_status read_columns(const vj_features *f)
{
    const int64_t n = f->layout.clips;
    VJ_TRY(vj_features_read_bytes(f, f->clip, n * (int64_t)sizeof *f->clip, f->place.clip));
    VJ_TRY(vj_features_read_bytes(f, f->sums, n * (int64_t)sizeof *f->sums, f->place.sums));
    if (f->clip_sums)
        VJ_TRY(vj_features_read_bytes(f, f->clip_sums, n * (int64_t)sizeof *f->clip_sums, f->place.clip_sums));
    return vj_features_read_bytes(f, f->label, n * f->layout.label_count * (int64_t)sizeof *f->label, f->place.label);
}

/* Read the columns on rank 0 and distribute them; each node holds them once. */
static vj_status share_columns(vj_features *f, MPI_Comm comm)
{
    const int64_t n = f->layout.clips, wide = f->place.clip_sums > 0 ? 3 : 2; /* columns of 8 bytes */
    const int64_t bytes = n * (8 * wide + 4 * f->layout.label_count);
    VJ_TRY(vj_shared_open(&f->memory, comm, bytes, "columns of a feature file"));
    f->clip = f->memory.memory;
    f->sums = (uint64_t *)(f->clip + n);
    f->clip_sums = wide == 3 ? f->sums + n : NULL;
    f->label = (int32_t *)(f->clip + wide * n);
    vj_status status = vj_comm_rank(comm) == 0 ? read_columns(f) : VJ_OK;
    if (f->memory.writers != MPI_COMM_NULL) vj_broadcast(f->memory.memory, bytes, f->memory.writers);
    vj_shared_publish(&f->memory);
    return vj_agree(comm, status);
}

vj_status vj_features_open(vj_features **features, const char *path, MPI_Comm comm)
{
    *features = NULL;
    vj_features *f = calloc(1, sizeof *f);
    vj_status status = f ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to open %s", path);
    if (f) f->fd = -1;
    if (f && snprintf(f->path, sizeof f->path, "%s", path) >= (int)sizeof f->path)
        status = vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    if (status == VJ_OK && vj_comm_rank(comm) == 0) status = open_store(f);
    status = vj_agree(comm, status);
    if (status == VJ_OK) status = broadcast_header(f, comm);
    if (status == VJ_OK) status = share_columns(f, comm);
    if (status == VJ_OK)
        *features = f;
    else
        vj_features_close(f);
    return status;
}

void vj_features_close(vj_features *f)
{
    if (!f) return;
    if (f->fd >= 0) (void)close(f->fd); /* only read */
    vj_shared_close(&f->memory);
    for (int l = 0; l < VJ_MAX_LABELS; l++) vj_clips_classes_release(&f->layout.classes[l]);
    free(f->encoder);
    free(f->preprocessing);
    free(f->config);
    free(f);
}

const vj_features_header *vj_features_describe(const vj_features *f)
{
    return &f->layout;
}

double vj_features_effective_rank(const vj_features *f)
{
    return f->effective_rank;
}
