/* index.h5: what the shards hold, in canonical order. Its fingerprint covers checksums and labels, so damage to it
 * shows. */
#include "clips/format.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"

static int by_source_and_window(const void *a, const void *b)
{
    const vj_clips_entry *x = a, *y = b;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return (x->window > y->window) - (x->window < y->window);
}

static vj_status fingerprint(const vj_clips_index *index, uint64_t *value)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return vj_raise(VJ_ERR_MEMORY, "no memory for a checksum");
    int bad = XXH3_64bits_reset(state) != XXH_OK;
    for (int64_t i = 0; i < index->clips && !bad; i++) {
        const vj_clips_entry *entry = &index->entry[i];
        bad = XXH3_64bits_update(state, &entry->xxh3, sizeof entry->xxh3) != XXH_OK ||
              XXH3_64bits_update(state, entry->label, sizeof(int32_t) * (size_t)index->header.label_count) != XXH_OK;
    }
    *value = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    VJ_ASSERT(!bad);
    return VJ_OK;
}

vj_status vj_clips_index_order(vj_clips_index *index, const char *dir)
{
    qsort(index->entry, (size_t)index->clips, sizeof *index->entry, by_source_and_window);
    for (int64_t i = 1; i < index->clips; i++)
        if (by_source_and_window(&index->entry[i - 1], &index->entry[i]) == 0)
            return vj_raise(VJ_ERR_STATE, "%s: source %lld, window %d was packed twice", dir,
                            (long long)index->entry[i].source, index->entry[i].window);
    return fingerprint(index, &index->fingerprint);
}

/* ------------------------------------------------------------------------------------------------ the file */

static const struct {
    const char *name;
    size_t at; /* of an int64_t in vj_clips_shard */
} shard_columns[] = {
    {"/shards/height", offsetof(vj_clips_shard, height)},
    {"/shards/width", offsetof(vj_clips_shard, width)},
    {"/shards/clips", offsetof(vj_clips_shard, clips)},
    {"/shards/bytes", offsetof(vj_clips_shard, bytes)},
};
enum { SHARD_COLUMNS = sizeof shard_columns / sizeof shard_columns[0] };

static vj_status put_shards(hid_t file, const char *path, const vj_clips_index *index)
{
    int64_t *values = vj_calloc(index->shards, sizeof *values);
    if (!values) return vj_raise(VJ_ERR_MEMORY, "no memory for a table of %lld shards", (long long)index->shards);
    hsize_t dims[1] = {(hsize_t)index->shards};
    vj_status status = VJ_OK;
    for (int c = 0; c < SHARD_COLUMNS && status == VJ_OK; c++) {
        for (int64_t s = 0; s < index->shards; s++)
            values[s] = *(const int64_t *)((const char *)&index->shard[s] + shard_columns[c].at);
        status = vj_clips_put(file, path, shard_columns[c].name, H5T_NATIVE_INT64, 1, dims, values);
    }
    free(values);
    return status;
}

static vj_status get_shards(hid_t file, const char *path, vj_clips_index *index)
{
    int64_t *values = vj_calloc(index->shards, sizeof *values);
    if (!values) return vj_raise(VJ_ERR_MEMORY, "no memory for a table of %lld shards", (long long)index->shards);
    hsize_t dims[1] = {(hsize_t)index->shards};
    vj_status status = VJ_OK;
    for (int c = 0; c < SHARD_COLUMNS && status == VJ_OK; c++) {
        status = vj_clips_get(file, path, shard_columns[c].name, H5T_NATIVE_INT64, 1, dims, values);
        for (int64_t s = 0; s < index->shards && status == VJ_OK; s++)
            *(int64_t *)((char *)&index->shard[s] + shard_columns[c].at) = values[s];
    }
    free(values);
    return status;
}

static vj_status put_sources(hid_t file, const char *path, const char *const *source_paths, int64_t sources)
{
    hid_t text = vj_clips_text_type();
    hsize_t dims[1] = {(hsize_t)sources};
    vj_status status = vj_clips_put(file, path, "/sources/path", text, 1, dims, source_paths);
    H5Tclose(text);
    return status;
}

static vj_status put_index(hid_t file, const char *path, const vj_clips_index *index, const char *config_text,
                           const char *const *source_paths, int64_t sources)
{
    VJ_TRY(vj_clips_put_header(file, path, &index->header, config_text));
    VJ_TRY(vj_clips_put_attribute(file, path, "fingerprint", H5T_NATIVE_UINT64, &index->fingerprint));
    VJ_TRY(put_shards(file, path, index));
    VJ_TRY(put_sources(file, path, source_paths, sources));
    return vj_clips_put_columns(file, path, 1, index->header.label_count, index->clips, index->entry);
}

vj_status vj_clips_index_write(const vj_clips_index *index, const char *dir, const char *config_text,
                               const char *const *source_paths, int64_t sources)
{
    char path[VJ_CLIPS_FILE_PATH], part[VJ_CLIPS_FILE_PATH + 8];
    vj_clips_index_path(path, dir);
    snprintf(part, sizeof part, "%s.part", path);
    hid_t file = H5Fcreate(part, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0) return vj_raise_h5("create %s", part);
    vj_status status = put_index(file, part, index, config_text, source_paths, sources);
    if (status != VJ_OK)
        vj_clips_discard_file(file, -1, part);
    else
        status = vj_clips_finish_file(file, -1, part);
    VJ_TRY(status);
    VJ_TRY(vj_file_sync(dir)); /* the shards' new names before the index that needs them */
    return vj_file_publish(part, path);
}

/* ------------------------------------------------------------------------------------------------ reading */

static vj_status check_shards(const vj_clips_index *index, const char *dir)
{
    for (int64_t s = 0; s < index->shards; s++) {
        const vj_clips_shard *shard = &index->shard[s];
        char path[VJ_CLIPS_FILE_PATH];
        struct stat found;
        vj_clips_shard_path(path, dir, s);
        if (stat(path, &found) != 0) return vj_raise(VJ_ERR_IO, "a shard of the store is missing: %s", path);
        if (found.st_size < shard->bytes)
            return vj_raise(VJ_ERR_FORMAT, "%s is truncated: %lld bytes found, %lld expected", path,
                            (long long)found.st_size, (long long)shard->bytes);
    }
    return VJ_OK;
}

static vj_status check_entries(const vj_clips_index *index, const char *path)
{
    uint64_t computed;
    VJ_TRY(fingerprint(index, &computed));
    if (computed != index->fingerprint)
        return vj_raise(VJ_ERR_FORMAT, "%s is damaged: fingerprint %016llx of its clips, %016llx stored", path,
                        (unsigned long long)computed, (unsigned long long)index->fingerprint);
    for (int64_t s = 0; s < index->shards; s++)
        if (index->shard[s].height < 1 || index->shard[s].width < 1 || index->shard[s].height > VJ_VIDEO_MAX_SIDE ||
            index->shard[s].width > VJ_VIDEO_MAX_SIDE || index->shard[s].clips < 0)
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: shard %lld has %lld clips of %lld x %lld pixels", path,
                            (long long)s, (long long)index->shard[s].clips, (long long)index->shard[s].height,
                            (long long)index->shard[s].width);
    for (int64_t i = 0; i < index->clips; i++) {
        const vj_clips_entry *entry = &index->entry[i];
        if (entry->shard < 0 || entry->shard >= index->shards || entry->row < 0 ||
            entry->row >= index->shard[entry->shard].clips)
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: clip %lld is said to be row %lld of shard %d", path,
                            (long long)i, (long long)entry->row, entry->shard);
    }
    return VJ_OK;
}

static vj_status get_index(hid_t file, const char *path, vj_clips_index *index)
{
    VJ_TRY(vj_clips_get_header(file, path, &index->header));
    VJ_TRY(vj_clips_get_attribute(file, path, "fingerprint", H5T_NATIVE_UINT64, &index->fingerprint));
    VJ_TRY(vj_clips_extent(file, path, "/shards/clips", &index->shards));
    VJ_TRY(vj_clips_extent(file, path, "/clips/xxh3", &index->clips));
    index->shard = vj_calloc(index->shards, sizeof *index->shard);
    index->entry = vj_calloc(index->clips, sizeof *index->entry);
    if (!index->shard || !index->entry)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the index of %lld clips", (long long)index->clips);
    VJ_TRY(get_shards(file, path, index));
    return vj_clips_get_columns(file, path, 1, index->header.label_count, index->clips, index->entry);
}

vj_status vj_clips_index_read(vj_clips_index *index, const char *dir)
{
    char path[VJ_CLIPS_FILE_PATH];
    *index = (vj_clips_index){0};
    vj_clips_index_path(path, dir);
    if (access(dir, F_OK) != 0) return vj_raise(VJ_ERR_IO, "open clip store %s", dir);
    if (access(path, R_OK) != 0)
        return vj_raise(VJ_ERR_FORMAT, "%s is not a clip store, or was never finished: no readable index.h5 in it",
                        dir);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) {
        vj_raise_h5("open %s", path);
        return VJ_ERR_FORMAT;
    }
    vj_status status = get_index(file, path, index);
    if (H5Fclose(file) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", path);
    VJ_TRY(status);
    VJ_TRY(check_entries(index, path));
    return check_shards(index, dir);
}

void vj_clips_index_release(vj_clips_index *index)
{
    free(index->entry);
    free(index->shard);
    index->entry = NULL;
    index->shard = NULL;
}
