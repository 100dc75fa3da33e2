/* Reading the feature store: HDF5 says where the rows lie, then they are mapped. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "features/half.h"
#include "features/inner.h"
#include "h5/h5.h"

struct vj_features {
    char path[VJ_PATH];
    vj_features_header layout;
    char *encoder, *preprocessing, *config;
    double effective_rank;
    int32_t *labels;           /* [n, L] */
    int64_t *clips;            /* [n] */
    uint64_t *clip_sums;       /* [n], NULL in files that lack them */
    uint64_t *sums;            /* [n] */
    const char *map;           /* the file's first bytes up to the end of /features */
    int64_t map_bytes, offset; /* offset: of /features in the map */
};

#define foreign(...) (vj_raise_h5(__VA_ARGS__), VJ_ERR_FORMAT)

/* Dimensions of a dataset of `ndim` of them, its rows as many as `rows` unless that is negative. */
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

static vj_status describe_features(vj_features *f, hid_t dataset)
{
    hsize_t dim[3];
    VJ_TRY(get_dims(dataset, f->path, "features", 3, -1, dim));
    f->layout.clips = (int64_t)dim[0];
    f->layout.tokens = (int64_t)dim[1];
    f->layout.width = (int64_t)dim[2];
    hid_t type = H5Dget_type(dataset);
    size_t bytes = H5Tget_size(type);
    int is_float = H5Tget_class(type) == H5T_FLOAT && (bytes == 2 || bytes == 4);
    H5Tclose(type); /* only read */
    if (!is_float) return vj_raise(VJ_ERR_FORMAT, "%s: features are neither f2 nor f4", f->path);
    f->layout.type = bytes == 2 ? VJ_FEATURES_F16 : VJ_FEATURES_F32;
    const int64_t dims[] = {f->layout.clips, f->layout.tokens, f->layout.width};
    int64_t room = INT64_MAX / 2 / (int64_t)bytes; /* for what is left of the elements */
    for (int i = 0; i < 3; i++) {
        if (dims[i] < 1 || dims[i] > room)
            return vj_raise(VJ_ERR_FORMAT, "%s: impossible features: %lld clips, %lld tokens, width %lld", f->path,
                            (long long)dims[0], (long long)dims[1], (long long)dims[2]);
        room /= dims[i];
    }
    haddr_t offset = H5Dget_offset(dataset);
    if (offset > INT64_MAX / 2) /* undefined is the largest number there is */
        return vj_raise(VJ_ERR_FORMAT, "%s: features are not contiguous", f->path);
    f->offset = (int64_t)offset;
    f->map_bytes = f->offset + f->layout.clips * vj_features_row_bytes(&f->layout);
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

/* Refuses rows beyond the end of the file: touching them would be a bus error. */
static vj_status map_rows(vj_features *f)
{
    struct stat info;
    int fd = open(f->path, O_RDONLY);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "open %s", f->path);
    vj_status status = VJ_OK;
    void *map = MAP_FAILED;
    if (fstat(fd, &info) != 0)
        status = vj_raise(VJ_ERR_IO, "size of %s", f->path);
    else if (info.st_size < f->map_bytes)
        status = vj_raise(VJ_ERR_FORMAT, "%s is truncated: features end at byte %lld of %lld", f->path,
                          (long long)f->map_bytes, (long long)info.st_size);
    else if ((map = mmap(NULL, (size_t)f->map_bytes, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
        status = vj_raise(VJ_ERR_IO, "map %s", f->path);
    if (status == VJ_OK) f->map = map;
    close(fd); /* only read; the map stays */
    return status;
}

/* All of a small dataset of n rows. *values: allocated also when reading fails. */
static vj_status read_column(vj_features *f, hid_t file, const char *name, hid_t type, int ndim, hsize_t *dim,
                             void **values)
{
    hid_t dataset;
    *values = NULL;
    VJ_TRY(open_dataset(file, f->path, name, &dataset));
    vj_status status = get_dims(dataset, f->path, name, ndim, f->layout.clips, dim);
    if (status == VJ_OK && ndim == 2 && dim[1] > VJ_MAX_LABELS)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s has %llu columns, at most %d are expected", f->path, name,
                          (unsigned long long)dim[1], VJ_MAX_LABELS);
    if (status == VJ_OK) status = vj_h5_check_stored(dataset, f->path, name);
    if (status == VJ_OK) {
        int64_t count = (int64_t)(dim[0] * (ndim == 2 ? dim[1] : 1));
        *values = vj_calloc(count, (int64_t)H5Tget_size(type));
        if (!*values)
            status = vj_raise(VJ_ERR_MEMORY, "no memory for %s of %s", name, f->path);
        else if (count > 0 && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values) < 0)
            status = foreign("read %s of %s", name, f->path);
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

static vj_status read_labels(vj_features *f, hid_t file)
{
    hsize_t dim[2];
    void *values;
    vj_status status = read_column(f, file, "label", H5T_NATIVE_INT32, 2, dim, &values);
    f->labels = values;
    VJ_TRY(status);
    f->layout.label_count = (int)dim[1];
    return read_label_names(f, file);
}

/* What files of the first release lack: then the digest is 0, the text "" and there are no checksums. */
static vj_status read_origin(vj_features *f, hid_t file)
{
    hsize_t dim[1];
    void *values;
    f->layout.preprocessing = "";
    if (H5Aexists(file, "encoder_digest") <= 0) return VJ_OK;
    VJ_TRY(vj_h5_get_u64(file, f->path, "encoder_digest", &f->layout.encoder_digest));
    VJ_TRY(vj_h5_get_text(file, f->path, "preprocessing", &f->preprocessing));
    f->layout.preprocessing = f->preprocessing;
    vj_status status = read_column(f, file, "clip_xxh3", H5T_NATIVE_UINT64, 1, dim, &values);
    f->clip_sums = values;
    for (int l = 0; l < f->layout.label_count && status == VJ_OK; l++)
        status = vj_clips_get_classes(file, f->path, f->layout.label_names[l], &f->layout.classes[l]);
    return status;
}

static vj_status read_all(vj_features *f, hid_t file)
{
    hsize_t dim[1];
    void *values;
    VJ_TRY(read_features(f, file));
    VJ_TRY(map_rows(f)); /* from here on n is known to be sane */
    VJ_TRY(read_labels(f, file));
    vj_status status = read_column(f, file, "clip", H5T_NATIVE_INT64, 1, dim, &values);
    f->clips = values;
    VJ_TRY(status);
    status = read_column(f, file, "xxh3", H5T_NATIVE_UINT64, 1, dim, &values);
    f->sums = values;
    VJ_TRY(status);
    VJ_TRY(vj_h5_get_f64(file, f->path, "effective_rank", &f->effective_rank));
    VJ_TRY(vj_h5_get_u64(file, f->path, "store_fingerprint", &f->layout.store_fingerprint));
    VJ_TRY(vj_h5_get_text(file, f->path, "encoder", &f->encoder));
    VJ_TRY(vj_h5_get_text(file, f->path, "config", &f->config));
    VJ_TRY(read_origin(f, file));
    f->layout.encoder = f->encoder;
    f->layout.config = f->config;
    return VJ_OK;
}

static vj_status open_store(vj_features *f)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, f->path, VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION));
    vj_status status = read_all(f, file);
    H5Fclose(file); /* only read */
    return status;
}

vj_status vj_features_open(vj_features **features, const char *path)
{
    *features = NULL;
    vj_features *f = calloc(1, sizeof *f);
    if (!f) return vj_raise(VJ_ERR_MEMORY, "no memory to open %s", path);
    if (snprintf(f->path, sizeof f->path, "%s", path) >= (int)sizeof f->path) {
        free(f);
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    }
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = open_store(f);
    }
    H5E_END_TRY
    if (status == VJ_OK)
        *features = f;
    else
        vj_features_close(f);
    return status;
}

void vj_features_close(vj_features *f)
{
    if (!f) return;
    if (f->map) munmap((void *)f->map, (size_t)f->map_bytes);
    free(f->labels);
    free(f->clips);
    free(f->clip_sums);
    free(f->sums);
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

const int32_t *vj_features_labels(const vj_features *f, int64_t row)
{
    return f->labels + row * f->layout.label_count;
}

int64_t vj_features_clip(const vj_features *f, int64_t row)
{
    return f->clips[row];
}

const uint64_t *vj_features_clip_sums(const vj_features *f)
{
    return f->clip_sums;
}

/* The row as stored, or NULL, reported, when it does not fit its checksum. */
static const void *checked_row(const vj_features *f, int64_t row)
{
    const char *stored = f->map + f->offset + row * vj_features_row_bytes(&f->layout);
    if (vj_features_checksum(&f->layout, stored, vj_features_labels(f, row), f->clips[row]) == f->sums[row])
        return stored;
    vj_raise(VJ_ERR_FORMAT, "%s is damaged: row %lld of %lld does not fit its checksum", f->path, (long long)row,
             (long long)f->layout.clips);
    return NULL;
}

vj_status vj_features_read(const vj_features *f, int64_t row, float *out)
{
    VJ_ASSERT(row >= 0 && row < f->layout.clips);
    const void *stored = checked_row(f, row);
    if (!stored) return VJ_ERR_FORMAT;
    if (f->layout.type == VJ_FEATURES_F32) {
        memcpy(out, stored, (size_t)vj_features_row_bytes(&f->layout));
        return VJ_OK;
    }
    for (int64_t i = 0; i < f->layout.tokens * f->layout.width; i++) {
        uint16_t half; /* HDF5 does not promise that rows are aligned */
        memcpy(&half, (const char *)stored + 2 * i, sizeof half);
        out[i] = vj_half_to_float(half);
    }
    return VJ_OK;
}

vj_status vj_features_verify(const char *path, int64_t *rows, int64_t *damaged)
{
    vj_features *f;
    *rows = *damaged = 0;
    VJ_TRY(vj_features_open(&f, path));
    *rows = f->layout.clips;
    for (int64_t row = 0; row < *rows; row++) *damaged += checked_row(f, row) == NULL;
    vj_features_close(f);
    return VJ_OK;
}

static vj_status print_provenance(const char *path, FILE *out)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, path, VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION));
    vj_status status = vj_h5_print_provenance(file, path, out);
    H5Fclose(file); /* only read */
    return status;
}

vj_status vj_features_print(const char *path, FILE *out)
{
    vj_features *f;
    VJ_TRY(vj_features_open(&f, path));
    const vj_features_header *layout = &f->layout;
    fprintf(out, "%s: features\n  clips      %lld, of a store with fingerprint %016llx\n", path,
            (long long)layout->clips, (unsigned long long)layout->store_fingerprint);
    fprintf(out, "  a clip     %lld tokens of width %lld, %s\n", (long long)layout->tokens, (long long)layout->width,
            layout->type == VJ_FEATURES_F16 ? "f16" : "f32");
    fprintf(out, "  encoder    %s, digest %016llx\n", layout->encoder, (unsigned long long)layout->encoder_digest);
    fprintf(out, "  input      %s\n", layout->preprocessing[0] ? layout->preprocessing : "not known");
    fprintf(out, "  effective rank %.2f\n  labels    ", f->effective_rank);
    for (int i = 0; i < layout->label_count; i++) {
        fprintf(out, " %s", layout->label_names[i]);
        if (layout->classes[i].count > 0) fprintf(out, " (%lld named classes)", (long long)layout->classes[i].count);
    }
    fprintf(out, "\n");
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = print_provenance(path, out);
    }
    H5E_END_TRY
    if (status == VJ_OK) fprintf(out, "  configuration\n%s", layout->config);
    vj_features_close(f);
    return status;
}
