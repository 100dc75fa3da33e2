/*
 * Verifies a store in three ways: the shards' own tables against the index, the record addresses in them against
 * HDF5's, and the records themselves.
 */
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "clips/store.h"
#include "codec/filter.h"
#include "parallel/parallel.h"

typedef struct {
    const vj_clips *clips;
    const char *dir;
    int64_t *damaged;
} verifier;

/* ------------------------------------------------------------------------------------------------ frames */

/* Return whether the dataset is as described in clips.h: u8 [n, T, H, W, 3] in chunks of one clip, with the filter of
 * the codec. */
static int frames_fit(hid_t dataset, const vj_clips_header *layout, int height, int width, int64_t *n)
{
    const hsize_t want[5] = {1, (hsize_t)layout->frames, (hsize_t)height, (hsize_t)width, 3};
    hsize_t dims[H5S_MAX_RANK] = {0}, chunk[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset), creation = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
    unsigned flags, values[VJ_FILTER_VALUES] = {0}, filters = layout->codec.codec == VJ_CODEC_JPEG;
    size_t count = VJ_FILTER_VALUES;
    int fit = H5Sget_simple_extent_ndims(space) == 5 && H5Sget_simple_extent_dims(space, dims, NULL) == 5 &&
              H5Pget_layout(creation) == H5D_CHUNKED && H5Pget_chunk(creation, H5S_MAX_RANK, chunk) == 5 &&
              H5Pget_nfilters(creation) == (int)filters && H5Tequal(type, H5T_STD_U8LE) > 0;
    for (int i = 0; fit && i < 5; i++) fit = chunk[i] == want[i] && (i == 0 || dims[i] == want[i]);
    if (fit && filters)
        fit = H5Pget_filter2(creation, 0, &flags, &count, values, 0, NULL, NULL) == VJ_JPEG_FILTER &&
              count == VJ_FILTER_VALUES && values[VJ_FILTER_T] == want[1] && values[VJ_FILTER_H] == want[2] &&
              values[VJ_FILTER_W] == want[3];
    *n = (int64_t)dims[0];
    H5Tclose(type);
    H5Pclose(creation);
    H5Sclose(space);
    return fit;
}

/*
 * Compare the chunks of one geometry with the table's rows. HDF5 1.10 walks its tree from the start for each chunk: 10
 * ms for 1,000 clips of a geometry, 0.7 s for 10,000.
 */
static vj_status check_chunks(hid_t dataset, const char *path, const vj_shard_tables *tables, int64_t n, int height,
                              int width, int64_t *wrong)
{
    if (n > tables->clips) { /* check before memory is allocated for them */
        vj_raise(VJ_ERR_FORMAT, "%s: %lld frames of %d x %d pixels, the table has %lld clips in all", path,
                 (long long)n, height, width, (long long)tables->clips);
        ++*wrong;
        return VJ_OK;
    }
    int64_t *address = vj_calloc(n, sizeof *address), *bytes = vj_calloc(n, sizeof *bytes), rows = 0;
    hid_t space = H5Dget_space(dataset);
    vj_status status = address && bytes ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the chunks of %s", path);
    for (int64_t i = 0; i < n && status == VJ_OK; i++) {
        hsize_t at[5] = {0}, stored;
        unsigned filters;
        haddr_t where;
        if (H5Dget_chunk_info(dataset, space, (hsize_t)i, at, &filters, &where, &stored) < 0 || at[0] >= (hsize_t)n) {
            vj_raise_h5("%s: chunk %lld of %d x %d pixels", path, (long long)i, height, width);
            continue; /* its address stays 0, which no record has */
        }
        address[at[0]] = (int64_t)where;
        bytes[at[0]] = filters == 0 ? (int64_t)stored : -1; /* -1: a filter of the codec was skipped */
    }
    for (int64_t c = 0; c < tables->clips && status == VJ_OK; c++) {
        const vj_clips_entry *e = &tables->entry[c];
        if (e->height != height || e->width != width) continue;
        rows++;
        if (e->row < n && e->offset == address[e->row] && e->bytes == bytes[e->row]) continue;
        vj_raise(VJ_ERR_FORMAT, "%s: row %lld of its clips is said to be %lld bytes at %lld, HDF5 has %lld at %lld",
                 path, (long long)c, (long long)e->bytes, (long long)e->offset,
                 e->row < n ? (long long)bytes[e->row] : -1, e->row < n ? (long long)address[e->row] : -1);
        ++*wrong;
    }
    if (status == VJ_OK && rows != n) {
        vj_raise(VJ_ERR_FORMAT, "%s: %lld frames of %d x %d pixels, %lld rows", path, (long long)n, height, width,
                 (long long)rows);
        ++*wrong;
    }
    H5Sclose(space);
    free(bytes);
    free(address);
    return status;
}

static vj_status check_geometry(const verifier *v, hid_t file, const char *path, const vj_shard_tables *tables,
                                const vj_clips_entry *first, int64_t *wrong)
{
    char group[VJ_CLIPS_OBJECT], name[VJ_CLIPS_OBJECT + 16];
    int64_t n = 0;
    vj_status status = VJ_OK;
    vj_clips_geometry_name(group, first->height, first->width);
    snprintf(name, sizeof name, "%s/%s", group, VJ_CLIPS_FRAMES);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0 || !frames_fit(dataset, &v->clips->layout, first->height, first->width, &n)) {
        vj_raise(VJ_ERR_FORMAT,
                 "%s: %s is missing, or is not u8 [n, %d, %d, %d, 3] in chunks of one clip with the filter of "
                 "codec %s",
                 path, name, v->clips->layout.frames, first->height, first->width,
                 vj_codec_name(v->clips->layout.codec.codec));
        ++*wrong;
    } else {
        status = check_chunks(dataset, path, tables, n, first->height, first->width, wrong);
    }
    if (dataset >= 0) H5Dclose(dataset);
    return status;
}

/* Check each geometry once, when its row 0 comes. */
static vj_status check_addresses(const verifier *v, const char *path, const vj_shard_tables *tables, int64_t *wrong)
{
    vj_clips_header layout;
    hid_t file;
    VJ_TRY(vj_clips_open_file(&file, path, &layout));
    vj_status status = VJ_OK;
    H5E_BEGIN_TRY
    {
        for (int64_t c = 0; c < tables->clips && status == VJ_OK; c++)
            if (tables->entry[c].row == 0) status = check_geometry(v, file, path, tables, &tables->entry[c], wrong);
    }
    H5E_END_TRY
    H5Fclose(file); /* only read */
    return status;
}

/* ------------------------------------------------------------------------------------------------ index */

static int same_clip(const vj_clips *clips, int64_t clip, const vj_clips_entry *e)
{
    const int labels = clips->layout.label_count;
    int height, width;
    vj_clips_geometry(clips, clip, &height, &width);
    return e->offset == clips->offset[clip] && e->bytes == clips->bytes[clip] && e->xxh3 == clips->xxh3[clip] &&
           e->height == height && e->width == width && e->dataset == clips->dataset[clip] &&
           memcmp(e->label, clips->label + clip * labels, sizeof *e->label * (size_t)labels) == 0;
}

/* Check that clips [first, last), which the index lists for a shard, are rows of its table in the same order. */
static void compare_index(const verifier *v, const char *path, const vj_shard_tables *tables, int64_t first,
                          int64_t last, int64_t *wrong)
{
    for (int64_t clip = first, row = 0; clip < last; clip++) {
        int64_t found = row;
        while (found < tables->clips && !same_clip(v->clips, clip, &tables->entry[found])) found++;
        if (found < tables->clips) {
            row = found + 1;
            continue;
        }
        vj_raise(VJ_ERR_FORMAT, "%s has no row that says what index.h5 says of clip %lld", path, (long long)clip);
        ++*wrong;
    }
}

/* ------------------------------------------------------------------------------------------------ all */

static vj_status verify_shard(const verifier *v, int64_t shard, int64_t first, int64_t last)
{
    const char *path = v->clips->shard[shard].path;
    vj_shard_tables tables;
    int64_t wrong = 0;
    vj_status status = vj_shard_tables_read(&tables, v->dir, shard, &v->clips->layout);
    if (status == VJ_OK) {
        compare_index(v, path, &tables, first, last, &wrong);
        status = check_addresses(v, path, &tables, &wrong);
    } else if (status != VJ_ERR_MEMORY) {
        wrong++; /* reported */
        status = VJ_OK;
    }
    *v->damaged += wrong;
    vj_shard_tables_release(&tables);
    return status;
}

static vj_status verify_shards(const verifier *v)
{
    int64_t first = 0, last;
    for (int64_t s = 0; s < v->clips->shards; s++, first = last) {
        for (last = first; last < v->clips->count && v->clips->clip_shard[last] == s; last++) continue;
        VJ_TRY(verify_shard(v, s, first, last));
    }
    return VJ_OK;
}

static vj_status verify_records(const verifier *v)
{
    vj_coder *coder;
    uint8_t *frames = vj_calloc(1, vj_clips_largest_bytes(v->clips));
    vj_status status = frames ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for one clip");
    if (status == VJ_OK) status = vj_coder_create(&coder);
    if (status == VJ_OK) {
        vj_progress_line line = vj_progress_line_begin();
        for (int64_t i = 0; i < v->clips->count; i++) {
            *v->damaged += vj_clips_read(v->clips, i, coder, frames) != VJ_OK;
            vj_progress_line_log(&line, v->dir, (double)(i + 1) / (double)v->clips->count, vj_now());
        }
        vj_coder_destroy(coder);
    }
    free(frames);
    return status;
}

vj_status vj_clips_verify(const char *path, int64_t *damaged)
{
    vj_strings paths;
    vj_clips *clips;
    *damaged = 0;
    VJ_TRY(vj_strings_one(&paths, path));
    VJ_TRY(vj_clips_open(&clips, &paths, VJ_ALONE));
    const verifier v = {.clips = clips, .dir = path, .damaged = damaged};
    vj_status status = verify_shards(&v);
    if (status == VJ_OK) status = verify_records(&v);
    vj_clips_close(clips);
    return status;
}
