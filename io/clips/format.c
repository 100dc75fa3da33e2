/* Attributes and columns of the store's files. Every HDF5 identifier opened in a function is closed in it. */
#include "clips/format.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/program.h"

#define FORMAT "vjepa clips"
enum { VERSION = 1 };

void vj_clips_shard_path(char path[VJ_CLIPS_FILE_PATH], const char *dir, int64_t shard)
{
    snprintf(path, VJ_CLIPS_FILE_PATH, "%s/shard-%05lld.h5", dir, (long long)shard);
}

void vj_clips_index_path(char path[VJ_CLIPS_FILE_PATH], const char *dir)
{
    snprintf(path, VJ_CLIPS_FILE_PATH, "%s/index.h5", dir);
}

int64_t vj_clips_bytes(int frames, int height, int width)
{
    return (int64_t)frames * height * width * 3;
}

/* ------------------------------------------------------------------------------------------------ attributes */

hid_t vj_clips_text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

/* n NULL: a scalar. */
static vj_status put_attribute(hid_t file, const char *path, const char *name, hid_t type, const hsize_t *n,
                               const void *value)
{
    hid_t space = n ? H5Screate_simple(1, n, NULL) : H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    vj_status status = attribute >= 0 && H5Awrite(attribute, type, value) >= 0
                           ? VJ_OK
                           : vj_raise_h5("%s: cannot write attribute %s", path, name);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return status;
}

/* At most `most` elements; *n: how many there are. */
static vj_status get_attribute(hid_t file, const char *path, const char *name, hid_t type, hsize_t most, hsize_t *n,
                               void *value)
{
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) return vj_raise_h5("%s has no attribute %s", path, name);
    hid_t space = H5Aget_space(attribute), stored = H5Aget_type(attribute);
    hssize_t count = H5Sget_simple_extent_npoints(space);
    vj_status status = VJ_OK;
    if (count < 0 || (hsize_t)count > most || H5Tget_class(stored) != H5Tget_class(type) ||
        (H5Tget_class(type) == H5T_STRING && !H5Tis_variable_str(stored)))
        status =
            vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is not of the type or size that a clip store has", path, name);
    else if (H5Aread(attribute, type, value) < 0)
        status = vj_raise_h5("%s: cannot read attribute %s", path, name);
    *n = count < 0 ? 0 : (hsize_t)count;
    H5Tclose(stored);
    H5Sclose(space);
    H5Aclose(attribute);
    return status;
}

vj_status vj_clips_put_attribute(hid_t file, const char *path, const char *name, hid_t type, const void *value)
{
    return put_attribute(file, path, name, type, NULL, value);
}

vj_status vj_clips_get_attribute(hid_t file, const char *path, const char *name, hid_t type, void *value)
{
    hsize_t n;
    return get_attribute(file, path, name, type, 1, &n, value);
}

static vj_status put_text(hid_t file, const char *path, const char *name, const hsize_t *n, const char *const *text)
{
    hid_t type = vj_clips_text_type();
    vj_status status = put_attribute(file, path, name, type, n, text);
    H5Tclose(type);
    return status;
}

/* Strings are allocated by HDF5's own malloc, so free() fits them. */
static vj_status get_texts(hid_t file, const char *path, const char *name, hsize_t most, hsize_t *n, char **texts)
{
    hid_t type = vj_clips_text_type();
    vj_status status = get_attribute(file, path, name, type, most, n, texts);
    H5Tclose(type);
    return status;
}

vj_status vj_clips_get_text(hid_t file, const char *path, const char *name, char **text)
{
    hsize_t n;
    *text = NULL;
    VJ_TRY(get_texts(file, path, name, 1, &n, text));
    return *text ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is empty", path, name);
}

vj_status vj_clips_put_header(hid_t file, const char *path, const vj_clips_header *header, const char *config_text)
{
    const char *format = FORMAT, *code = vj_version(), *config = config_text ? config_text : "";
    const char *names[VJ_MAX_LABELS];
    int32_t version = VERSION;
    hsize_t labels = (hsize_t)header->label_count;
    for (int l = 0; l < header->label_count; l++) names[l] = header->label_names[l];
    VJ_TRY(put_text(file, path, "format", NULL, &format));
    VJ_TRY(vj_clips_put_attribute(file, path, "version", H5T_NATIVE_INT32, &version));
    VJ_TRY(vj_clips_put_attribute(file, path, "frames", H5T_NATIVE_INT32, &header->frames));
    VJ_TRY(put_text(file, path, "label_names", &labels, names));
    VJ_TRY(put_text(file, path, "config", NULL, &config));
    return put_text(file, path, "code", NULL, &code);
}

vj_status vj_clips_finish_file(hid_t file, hid_t dataset, const char *path)
{
    int32_t one = 1;
    vj_status status = vj_clips_put_attribute(file, path, "complete", H5T_NATIVE_INT32, &one);
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == VJ_OK) status = vj_raise_h5("%s: close its frames", path);
    if (H5Fclose(file) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", path);
    VJ_TRY(status);
    return vj_file_sync(path);
}

/* On a full disk HDF5 can close only once the space is given back; the failure that led here was reported. */
void vj_clips_discard_file(hid_t file, hid_t dataset, const char *path)
{
    if (truncate(path, 0) != 0) vj_warn("%s: cannot be truncated", path);
    if (dataset >= 0) H5Dclose(dataset);
    H5Fclose(file);
    if (unlink(path) != 0) vj_warn("%s: cannot be removed", path);
}

static vj_status check_format(hid_t file, const char *path)
{
    int32_t version = 0, complete = 0;
    if (H5Aexists(file, "format") <= 0)
        return vj_raise(VJ_ERR_FORMAT, "%s is not of a clip store: no format attribute", path);
    char *format;
    VJ_TRY(vj_clips_get_text(file, path, "format", &format));
    vj_status status = strcmp(format, FORMAT) == 0
                           ? VJ_OK
                           : vj_raise(VJ_ERR_FORMAT, "%s is of format '%s', expected '%s'", path, format, FORMAT);
    free(format);
    VJ_TRY(status);
    VJ_TRY(vj_clips_get_attribute(file, path, "version", H5T_NATIVE_INT32, &version));
    if (version != VERSION)
        return vj_raise(VJ_ERR_FORMAT, "%s is of version %d, this program reads version %d", path, version, VERSION);
    if (H5Aexists(file, "complete") > 0)
        VJ_TRY(vj_clips_get_attribute(file, path, "complete", H5T_NATIVE_INT32, &complete));
    if (!complete) return vj_raise(VJ_ERR_FORMAT, "%s is incomplete: its writer did not finish; pack again", path);
    return VJ_OK;
}

vj_status vj_clips_get_header(hid_t file, const char *path, vj_clips_header *header)
{
    char *names[VJ_MAX_LABELS];
    hsize_t n = 0;
    *header = (vj_clips_header){0};
    VJ_TRY(check_format(file, path));
    VJ_TRY(vj_clips_get_attribute(file, path, "frames", H5T_NATIVE_INT32, &header->frames));
    VJ_TRY(get_texts(file, path, "label_names", VJ_MAX_LABELS, &n, names));
    header->label_count = (int32_t)n;
    for (int l = 0; l < header->label_count; l++) {
        snprintf(header->label_names[l], VJ_LABEL_NAME, "%s", names[l] ? names[l] : "");
        free(names[l]);
    }
    if (header->frames < 1) return vj_raise(VJ_ERR_FORMAT, "%s: %d frames a clip", path, header->frames);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ datasets */

vj_status vj_clips_put(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const void *data)
{
    hid_t space = H5Screate_simple(rank, dims, NULL), links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t dataset = H5Dcreate2(file, name, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    vj_status status = dataset >= 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0
                           ? VJ_OK
                           : vj_raise_h5("%s: cannot write %s", path, name);
    if (dataset >= 0) H5Dclose(dataset);
    H5Pclose(links);
    H5Sclose(space);
    return status;
}

vj_status vj_clips_get(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       void *data)
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("%s: cannot open %s", path, name);
    hid_t space = H5Dget_space(dataset);
    hsize_t found[H5S_MAX_RANK];
    int same = H5Sget_simple_extent_ndims(space) == rank && H5Sget_simple_extent_dims(space, found, NULL) == rank;
    for (int i = 0; same && i < rank; i++) same = found[i] == dims[i];
    vj_status status = VJ_OK;
    if (!same)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s does not have the shape that its neighbours ask for", path, name);
    else if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = vj_raise_h5("%s: cannot read %s", path, name);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

vj_status vj_clips_extent(hid_t file, const char *path, const char *name, int64_t *n)
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("%s: cannot open %s", path, name);
    hid_t space = H5Dget_space(dataset);
    hsize_t dims[H5S_MAX_RANK] = {0};
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    *n = (int64_t)dims[0];
    H5Sclose(space);
    H5Dclose(dataset);
    return rank >= 1 ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s: %s is a scalar", path, name);
}

/* ------------------------------------------------------------------------------------------------ columns */

typedef enum { I32, I64, U64, F64, LABELS } column_type;

static const struct column {
    const char *name;
    size_t at; /* in vj_clips_entry */
    column_type type;
    int index_only;
} columns[] = {
    {"/clips/shard", offsetof(vj_clips_entry, shard), I32, 1},
    {"/clips/row", offsetof(vj_clips_entry, row), I64, 1},
    {"/clips/height", offsetof(vj_clips_entry, height), I32, 1},
    {"/clips/width", offsetof(vj_clips_entry, width), I32, 1},
    {"/clips/label", offsetof(vj_clips_entry, label), LABELS, 0},
    {"/clips/source", offsetof(vj_clips_entry, source), I64, 0},
    {"/clips/window", offsetof(vj_clips_entry, window), I32, 0},
    {"/clips/pts", offsetof(vj_clips_entry, pts_s), F64, 0},
    {"/clips/xxh3", offsetof(vj_clips_entry, xxh3), U64, 0},
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

static hid_t h5_type(column_type type)
{
    switch (type) {
    case I64:
        return H5T_NATIVE_INT64;
    case U64:
        return H5T_NATIVE_UINT64;
    case F64:
        return H5T_NATIVE_DOUBLE;
    default:
        return H5T_NATIVE_INT32;
    }
}

static size_t column_bytes(column_type type, int label_count)
{
    if (type == LABELS) return sizeof(int32_t) * (size_t)label_count;
    return type == I32 ? sizeof(int32_t) : sizeof(int64_t);
}

vj_status vj_clips_put_columns(hid_t file, const char *path, int index, int label_count, int64_t n,
                               const vj_clips_entry *entries)
{
    char *packed = vj_calloc(n, sizeof entries->label);
    if (!packed) return vj_raise(VJ_ERR_MEMORY, "no memory for a column of %lld clips", (long long)n);
    vj_status status = VJ_OK;
    for (int c = 0; c < COLUMNS && status == VJ_OK; c++) {
        const struct column *column = &columns[c];
        if (column->index_only && !index) continue;
        size_t bytes = column_bytes(column->type, label_count);
        for (int64_t i = 0; i < n; i++)
            memcpy(packed + (size_t)i * bytes, (const char *)&entries[i] + column->at, bytes);
        hsize_t dims[2] = {(hsize_t)n, (hsize_t)label_count};
        status =
            vj_clips_put(file, path, column->name, h5_type(column->type), column->type == LABELS ? 2 : 1, dims, packed);
    }
    free(packed);
    return status;
}

vj_status vj_clips_get_columns(hid_t file, const char *path, int index, int label_count, int64_t n,
                               vj_clips_entry *entries)
{
    char *packed = vj_calloc(n, sizeof entries->label);
    if (!packed) return vj_raise(VJ_ERR_MEMORY, "no memory for a column of %lld clips", (long long)n);
    vj_status status = VJ_OK;
    for (int c = 0; c < COLUMNS && status == VJ_OK; c++) {
        const struct column *column = &columns[c];
        if (column->index_only && !index) continue;
        size_t bytes = column_bytes(column->type, label_count);
        hsize_t dims[2] = {(hsize_t)n, (hsize_t)label_count};
        status =
            vj_clips_get(file, path, column->name, h5_type(column->type), column->type == LABELS ? 2 : 1, dims, packed);
        for (int64_t i = 0; status == VJ_OK && i < n; i++)
            memcpy((char *)&entries[i] + column->at, packed + (size_t)i * bytes, bytes);
    }
    free(packed);
    return status;
}
