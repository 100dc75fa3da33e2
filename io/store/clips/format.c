/* Attributes and datasets of the store's files. Every HDF5 identifier opened in a function is closed in it. */
#include "clips/format.h"

#include <stdlib.h>
#include <string.h>

/* Report that a file is foreign or damaged, with HDF5's own message. */
#define foreign(...) (vj_raise_h5(__VA_ARGS__), VJ_ERR_FORMAT)

void vj_clips_shard_path(char path[VJ_CLIPS_FILE_PATH], const char *dir, int64_t shard)
{
    snprintf(path, VJ_CLIPS_FILE_PATH, "%s/shard-%05lld.h5", dir, (long long)shard);
}

void vj_clips_index_path(char path[VJ_CLIPS_FILE_PATH], const char *dir)
{
    snprintf(path, VJ_CLIPS_FILE_PATH, "%s/index.h5", dir);
}

void vj_clips_geometry_name(char name[VJ_CLIPS_OBJECT], int height, int width)
{
    snprintf(name, VJ_CLIPS_OBJECT, "/clips/%dx%d", height, width);
}

bool vj_clips_is_store(const char *folder)
{
    enum { MAX_BYTES = 65536 };
    char path[VJ_CLIPS_FILE_PATH], format[64];
    vj_clips_index_path(path, folder);
    vj_h5_format(path, format, sizeof format);
    if (strcmp(format, VJ_CLIPS_FORMAT) == 0) return true;
    snprintf(path, sizeof path, "%s/pack.yaml", folder);
    FILE *f = vj_h5_is_file(path) ? fopen(path, "r") : NULL;
    char *text = f ? vj_calloc(1, MAX_BYTES) : NULL;
    if (text) text[fread(text, 1, MAX_BYTES - 1, f)] = '\0';
    if (f) fclose(f); /* only read */
    const bool found = text && strstr(text, VJ_CLIPS_RECIPE_LINE);
    free(text);
    return found;
}

vj_status vj_clips_check_output(const char *option, const char *path)
{
    char folder[VJ_CLIPS_FILE_PATH];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    const char *store = vj_clips_is_store(path) ? path : vj_clips_is_store(folder) ? folder : NULL;
    if (!store) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s %s: %s is a clip store, where only vjepa-pack writes: choose another folder",
                    option, path, store);
}

/* ------------------------------------------------------------------------------------------------ names */

vj_status vj_clips_put_names(hid_t object, const char *path, const char *name, const char *names, int count,
                             size_t bytes)
{
    hsize_t n = (hsize_t)count;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &n, NULL), attribute = H5I_INVALID_HID;
    if (H5Tset_size(type, bytes) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0)
        attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    vj_status status = attribute >= 0 && H5Awrite(attribute, type, names) >= 0
                           ? VJ_OK
                           : vj_raise_h5("%s: cannot write attribute %s", path, name);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

vj_status vj_clips_get_names(hid_t object, const char *path, const char *name, char *names, int most, size_t bytes,
                             int32_t *count)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return foreign("%s has no attribute %s", path, name);
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    const hssize_t n = H5Sget_simple_extent_npoints(space);
    vj_status status = VJ_OK;
    if (n < 0 || n > most || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 ||
        H5Tget_size(type) != bytes)
        status =
            vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is not of the type or size that a clip store has", path, name);
    else if (H5Aread(attribute, type, names) < 0)
        status = vj_raise_h5("%s: cannot read attribute %s", path, name);
    *count = status == VJ_OK ? (int32_t)n : 0;
    for (int32_t i = 0; i < *count; i++) {
        names[(size_t)(i + 1) * bytes - 1] = '\0';
        if (status == VJ_OK && !vj_printable(names + (size_t)i * bytes))
            status = vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is no text: it holds control characters", path, name);
    }
    H5Tclose(type);
    H5Sclose(space);
    H5Aclose(attribute);
    return status;
}

/* ------------------------------------------------------------------------------------------------ header */

static vj_status get_codec(hid_t file, const char *path, vj_codec_settings *settings)
{
    char *name;
    int64_t quality, chroma;
    VJ_TRY(vj_h5_get_i64(file, path, "jpeg_quality", &quality));
    VJ_TRY(vj_h5_get_i64(file, path, "jpeg_chroma", &chroma));
    if (quality < 0 || quality > 100 || chroma < 0 || chroma > 444)
        return vj_raise(VJ_ERR_FORMAT, "%s: no JPEG has quality %lld and chroma %lld", path, (long long)quality,
                        (long long)chroma);
    VJ_TRY(vj_h5_get_text(file, path, "codec", &name));
    *settings = (vj_codec_settings){.quality = (int)quality, .chroma = (int)chroma};
    vj_status status = vj_codec_find(&settings->codec, name);
    if (status == VJ_OK) status = vj_codec_check(settings);
    free(name);
    return status == VJ_OK ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s: its codec is not one that this program has", path);
}

static vj_status get_layout(hid_t file, const char *path, vj_clips_header *layout)
{
    int64_t frames;
    *layout = (vj_clips_header){0};
    VJ_TRY(vj_h5_get_i64(file, path, "frames", &frames));
    if (frames < 1 || frames > VJ_RECORD_MAX_FRAMES)
        return vj_raise(VJ_ERR_FORMAT, "%s: %lld frames a clip", path, (long long)frames);
    layout->frames = (int32_t)frames;
    VJ_TRY(get_codec(file, path, &layout->codec));
    VJ_TRY(vj_clips_get_names(file, path, "label_names", layout->label_names[0], VJ_MAX_LABELS, VJ_LABEL_NAME,
                              &layout->label_count));
    VJ_TRY(vj_clips_get_names(file, path, "dataset_names", layout->dataset_names[0], VJ_MAX_DATASETS, VJ_DATASET_NAME,
                              &layout->dataset_count));
    return layout->dataset_count >= 1 ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s names no data set", path);
}

static vj_status check_names(const char *path, const char *what, const char *found, int found_count,
                             const char *expected, int expected_count, size_t bytes)
{
    if (found_count != expected_count)
        return vj_raise(VJ_ERR_FORMAT, "%s has %d %s, expected %d", path, found_count, what, expected_count);
    for (size_t i = 0; i < (size_t)found_count; i++)
        if (strcmp(found + i * bytes, expected + i * bytes) != 0)
            return vj_raise(VJ_ERR_FORMAT, "%s: '%s' among its %s, expected '%s'", path, found + i * bytes, what,
                            expected + i * bytes);
    return VJ_OK;
}

vj_status vj_clips_check_header(const char *path, const vj_clips_header *found, const vj_clips_header *expected)
{
    const vj_codec_settings *a = &found->codec, *b = &expected->codec;
    if (found->frames != expected->frames)
        return vj_raise(VJ_ERR_FORMAT, "%s holds %d frames a clip, expected %d", path, found->frames, expected->frames);
    if (a->codec != b->codec || (a->codec == VJ_CODEC_JPEG && (a->quality != b->quality || a->chroma != b->chroma)))
        return vj_raise(VJ_ERR_FORMAT, "%s has codec %s, quality %d, chroma %d; expected %s, %d, %d", path,
                        vj_codec_name(a->codec), a->quality, a->chroma, vj_codec_name(b->codec), b->quality, b->chroma);
    VJ_TRY(check_names(path, "labels", found->label_names[0], found->label_count, expected->label_names[0],
                       expected->label_count, VJ_LABEL_NAME));
    return check_names(path, "data sets", found->dataset_names[0], found->dataset_count, expected->dataset_names[0],
                       expected->dataset_count, VJ_DATASET_NAME);
}

void vj_clips_fingerprint_add(XXH3_state_t *state, uint64_t xxh3, int height, int width, int dataset,
                              const int32_t *labels, int label_count)
{
    int32_t words[5 + VJ_MAX_LABELS] = {0, 0, height, width, dataset};
    memcpy(words, &xxh3, sizeof xxh3);
    for (int l = 0; l < label_count; l++) words[5 + l] = labels[l];
    VJ_ASSERT(XXH3_64bits_update(state, words, sizeof *words * (size_t)(5 + label_count)) == XXH_OK);
}

/* Return whether a file is of version 1. It has texts of variable length, which vj_h5_open() would call damaged. */
static int is_version_1(const char *path)
{
    int32_t version = 0;
    int is = 0;
    hid_t file = vj_h5_is_file(path) ? vj_h5_open_file(path) : H5I_INVALID_HID;
    if (file < 0) return 0;
    hid_t attribute = H5Aexists(file, "version") > 0 && H5Lexists(file, "clips", H5P_DEFAULT) > 0
                          ? H5Aopen(file, "version", H5P_DEFAULT)
                          : H5I_INVALID_HID;
    hid_t space = attribute < 0 ? H5I_INVALID_HID : H5Aget_space(attribute);
    if (space >= 0 && H5Sget_simple_extent_npoints(space) == 1)
        is = H5Aread(attribute, H5T_NATIVE_INT32, &version) >= 0 && version == 1;
    if (space >= 0) H5Sclose(space);
    if (attribute >= 0) H5Aclose(attribute);
    H5Fclose(file);
    return is;
}

vj_status vj_clips_open_file(hid_t *file, const char *path, vj_clips_header *layout)
{
    vj_status status = VJ_OK;
    *file = H5I_INVALID_HID;
    H5E_BEGIN_TRY
    {
        if (is_version_1(path))
            status = vj_raise(VJ_ERR_FORMAT,
                              "%s is of version 1 of the clip store, this program reads version %d: pack again", path,
                              VJ_CLIPS_VERSION);
        if (status == VJ_OK) status = vj_h5_open(file, path, VJ_CLIPS_FORMAT, VJ_CLIPS_VERSION);
        if (status == VJ_OK) {
            status = get_layout(*file, path, layout);
            if (status != VJ_OK) H5Fclose(*file); /* already failing; only read */
        }
    }
    H5E_END_TRY
    return status;
}

/* ------------------------------------------------------------------------------------------------ datasets */

vj_status vj_clips_make_group(hid_t file, const char *path, const char *name)
{
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE), group = H5I_INVALID_HID;
    if (H5Pset_obj_track_times(creation, 0) >= 0) group = H5Gcreate2(file, name, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Pclose(creation);
    const int failed = group < 0 || H5Gclose(group) < 0;
    return failed ? vj_raise_h5("%s: cannot make %s", path, name) : VJ_OK;
}

hid_t vj_clips_creation(void)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(creation, 0) >= 0)
        return creation;
    H5Pclose(creation);
    return H5I_INVALID_HID;
}

static vj_status put(hid_t file, const char *path, const char *name, hid_t type, hid_t space, const void *data)
{
    hid_t creation = vj_clips_creation(), dataset = H5I_INVALID_HID;
    if (creation >= 0) dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    int failed = dataset < 0 || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0;
    if (dataset >= 0) failed |= H5Dclose(dataset) < 0;
    if (creation >= 0) H5Pclose(creation);
    return failed ? vj_raise_h5("%s: cannot write %s", path, name) : VJ_OK;
}

vj_status vj_clips_put(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const void *data)
{
    hid_t space = H5Screate_simple(rank, dims, NULL);
    vj_status status = put(file, path, name, type, space, data);
    H5Sclose(space);
    return status;
}

vj_status vj_clips_get(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       void *data)
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return foreign("%s: cannot open %s", path, name);
    hid_t space = H5Dget_space(dataset);
    hsize_t found[H5S_MAX_RANK];
    int same = H5Sget_simple_extent_ndims(space) == rank && H5Sget_simple_extent_dims(space, found, NULL) == rank;
    for (int i = 0; same && i < rank; i++) same = found[i] == dims[i];
    vj_status status = VJ_OK;
    if (!same)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s does not have the shape that its neighbours ask for", path, name);
    else if ((status = vj_h5_check_stored(dataset, path, name)) == VJ_OK &&
             H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = foreign("%s: cannot read %s", path, name);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

vj_status vj_clips_extent(hid_t file, const char *path, const char *name, int64_t *n)
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return foreign("%s: cannot open %s", path, name);
    hid_t space = H5Dget_space(dataset);
    hsize_t dims[H5S_MAX_RANK] = {0};
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    *n = (int64_t)dims[0];
    vj_status status = rank >= 1 && *n >= 0 ? vj_h5_check_stored(dataset, path, name)
                                            : vj_raise(VJ_ERR_FORMAT, "%s: %s is not a table", path, name);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

vj_status vj_clips_put_ledger(hid_t file, const char *path, const char *text, int64_t bytes)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    vj_status status = H5Tset_size(type, (size_t)bytes) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0
                           ? put(file, path, "/files/ledger", type, space, text)
                           : vj_raise_h5("%s: a ledger of %lld bytes", path, (long long)bytes);
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

vj_status vj_clips_get_ledger(hid_t file, const char *path, char **text)
{
    hid_t dataset = H5Dopen2(file, "/files/ledger", H5P_DEFAULT);
    *text = NULL;
    if (dataset < 0) return foreign("%s: cannot open /files/ledger", path);
    hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    vj_status status = VJ_OK;
    if (H5Sget_simple_extent_npoints(space) != 1 || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0)
        status = vj_raise(VJ_ERR_FORMAT, "%s: /files/ledger is not one text", path);
    else if ((status = vj_h5_check_stored(dataset, path, "/files/ledger")) != VJ_OK)
        ; /* reported */
    else if (!(*text = vj_calloc((int64_t)H5Tget_size(type) + 1, 1)))
        status = vj_raise(VJ_ERR_MEMORY, "no memory for the ledger in %s", path);
    else if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *text) < 0)
        status = foreign("%s: cannot read /files/ledger", path);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}
