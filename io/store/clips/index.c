/*
 * Writes index.h5, the list of all clips, shard after shard. Its columns are chunked, because the number of clips is
 * known only at the end; only one block of each column is in memory.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "clips/output.h"

/* Rows of a chunk: small stores stay small, and a million clips make only 250 chunks a column. */
enum { BLOCK_ROWS = 4096 };

struct vj_clips_index_writer {
    char dir[VJ_PATH];
    vj_output part;
    vj_clips_header layout;
    vj_column column[VJ_MAX_COLUMNS];
    hid_t dataset[VJ_MAX_COLUMNS]; /* [columns], negative once closed */
    int columns;
    int64_t shards, appended; /* number of all shards, and of those appended so far */
    int64_t *shard_clips, *shard_bytes;
    int64_t clips;
    void *packed;         /* one block of the widest column */
    vj_clips_entry *kept; /* [BLOCK_ROWS] */
    XXH3_state_t *fingerprint;
};

/* ------------------------------------------------------------------------------------------------ life */

/*
 * Create a column. HDF5's cache holds one chunk, the one that is being filled: at most BLOCK_ROWS rows of labels. The
 * unused rest of the last chunk is filled with zeros, so that equal stores are equal files.
 */
static hid_t create_column(hid_t file, const vj_column *column)
{
    enum { CACHE_BYTES = BLOCK_ROWS * sizeof(int32_t) * VJ_MAX_LABELS };
    const hsize_t width = (hsize_t)column->width, dims[2] = {0, width}, max_dims[2] = {H5S_UNLIMITED, width};
    const hsize_t chunk[2] = {BLOCK_ROWS, width ? width : 1}; /* no labels: a column without elements */
    hid_t space = H5Screate_simple(column->rank, dims, max_dims), creation = vj_clips_creation();
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS), dataset = H5I_INVALID_HID;
    if (creation >= 0 && H5Pset_chunk(creation, column->rank, chunk) >= 0 &&
        H5Pset_fill_time(creation, H5D_FILL_TIME_ALLOC) >= 0 &&
        H5Pset_chunk_cache(access, 1, CACHE_BYTES, H5D_CHUNK_CACHE_W0_DEFAULT) >= 0)
        dataset = H5Dcreate2(file, column->name, column->type, space, H5P_DEFAULT, creation, access);
    H5Pclose(access);
    if (creation >= 0) H5Pclose(creation);
    H5Sclose(space);
    return dataset;
}

static vj_status create_columns(vj_clips_index_writer *w)
{
    w->columns = vj_clips_entry_columns(w->column, w->layout.label_count, 1);
    for (int c = 0; c < w->columns; c++) w->dataset[c] = H5I_INVALID_HID;
    VJ_TRY(vj_clips_make_group(w->part.file, w->part.path, "/clips"));
    VJ_TRY(vj_clips_make_group(w->part.file, w->part.path, "/shards"));
    for (int c = 0; c < w->columns; c++) {
        w->dataset[c] = create_column(w->part.file, &w->column[c]);
        if (w->dataset[c] < 0) return vj_raise_h5("%s: cannot create %s", w->part.path, w->column[c].name);
    }
    return VJ_OK;
}

static vj_status close_columns(vj_clips_index_writer *w)
{
    vj_status status = VJ_OK;
    for (int c = 0; c < w->columns; c++) {
        if (w->dataset[c] >= 0 && H5Dclose(w->dataset[c]) < 0 && status == VJ_OK)
            status = vj_raise_h5("%s: cannot write %s", w->part.path, w->column[c].name);
        w->dataset[c] = H5I_INVALID_HID;
    }
    return status;
}

static void release(vj_clips_index_writer *w)
{
    if (w->fingerprint) XXH3_freeState(w->fingerprint);
    free(w->kept);
    free(w->packed);
    free(w->shard_bytes);
    free(w->shard_clips);
    free(w);
}

void vj_clips_index_abandon(vj_clips_index_writer *writer)
{
    if (!writer) return;
    vj_output_stop(&writer->part);
    (void)close_columns(writer); /* the file is discarded */
    vj_output_discard(&writer->part);
    release(writer);
}

static vj_status allocate(vj_clips_index_writer *w)
{
    w->shard_clips = vj_calloc(w->shards, sizeof *w->shard_clips);
    w->shard_bytes = vj_calloc(w->shards, sizeof *w->shard_bytes);
    w->packed = vj_calloc(BLOCK_ROWS, sizeof w->kept->label);
    w->kept = vj_calloc(BLOCK_ROWS, sizeof *w->kept);
    w->fingerprint = XXH3_createState();
    if (!w->shard_clips || !w->shard_bytes || !w->packed || !w->kept || !w->fingerprint)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the index of %lld shards", (long long)w->shards);
    VJ_ASSERT(XXH3_64bits_reset(w->fingerprint) == XXH_OK);
    return VJ_OK;
}

vj_status vj_clips_index_create(vj_clips_index_writer **writer, const char *dir, const vj_clips_header *layout,
                                int64_t shards)
{
    *writer = NULL;
    VJ_ASSERT(strlen(dir) < VJ_PATH && shards >= 0);
    vj_clips_index_writer *w = vj_calloc(1, sizeof *w);
    if (!w) return vj_raise(VJ_ERR_MEMORY, "no memory for an index");
    w->layout = *layout;
    w->layout.config_text = NULL; /* borrowed, and written by now */
    w->shards = shards;
    char path[VJ_CLIPS_FILE_PATH];
    snprintf(w->dir, sizeof w->dir, "%s", dir);
    vj_clips_index_path(path, dir);
    vj_status status = allocate(w);
    if (status == VJ_OK) status = vj_output_create(&w->part, path, layout);
    if (status != VJ_OK) {
        release(w);
        return status;
    }
    status = create_columns(w);
    if (status == VJ_OK)
        *writer = w;
    else
        vj_clips_index_abandon(w);
    return status;
}

/* ------------------------------------------------------------------------------------------------ append */

static vj_status append_column(const vj_clips_index_writer *w, int c, int64_t n)
{
    const hsize_t width = (hsize_t)w->column[c].width, dims[2] = {(hsize_t)(w->clips + n), width};
    const hsize_t start[2] = {(hsize_t)w->clips, 0}, count[2] = {(hsize_t)n, width};
    if (width == 0)
        return H5Dset_extent(w->dataset[c], dims) < 0 ? vj_raise_h5("%s: extend the labels", w->part.path) : VJ_OK;
    vj_column_pack(&w->column[c], w->kept, sizeof *w->kept, n, w->packed);
    int good = H5Dset_extent(w->dataset[c], dims) >= 0;
    hid_t space = good ? H5Dget_space(w->dataset[c]) : H5I_INVALID_HID;
    hid_t memory = H5Screate_simple(w->column[c].rank, count, NULL);
    good = good && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
           H5Dwrite(w->dataset[c], w->column[c].type, memory, space, H5P_DEFAULT, w->packed) >= 0;
    if (space >= 0) H5Sclose(space);
    H5Sclose(memory);
    return good ? VJ_OK : vj_raise_h5("%s: cannot write %s", w->part.path, w->column[c].name);
}

static vj_status append_rows(vj_clips_index_writer *w, int64_t n)
{
    for (int c = 0; c < w->columns; c++) VJ_TRY(append_column(w, c, n));
    w->clips += n;
    return vj_output_check(&w->part);
}

vj_status vj_clips_index_append(vj_clips_index_writer *writer, int64_t shard, const vj_shard_tables *tables,
                                const uint8_t *keep)
{
    VJ_ASSERT(shard == writer->appended && shard < writer->shards);
    const int64_t before = writer->clips;
    int64_t waiting = 0;
    for (int64_t i = 0; i < tables->clips; i++) {
        if (keep && !keep[i]) continue;
        vj_clips_entry *entry = &writer->kept[waiting++];
        *entry = tables->entry[i];
        entry->shard = (int32_t)shard;
        vj_clips_fingerprint_add(writer->fingerprint, entry->xxh3, entry->height, entry->width, entry->dataset,
                                 entry->label, writer->layout.label_count);
        if (waiting < BLOCK_ROWS) continue;
        VJ_TRY(append_rows(writer, waiting));
        waiting = 0;
    }
    if (waiting > 0) VJ_TRY(append_rows(writer, waiting));
    writer->shard_clips[shard] = writer->clips - before;
    writer->shard_bytes[shard] = tables->bytes;
    writer->appended++;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the end */

static vj_status put_passport_names(hid_t group, const char *path, const vj_passport *passport)
{
    char names[VJ_MAX_VERDICTS][VJ_VERDICT_NAME] = {{0}};
    for (int v = 0; v < passport->verdict_count; v++) {
        VJ_ASSERT(strlen(passport->verdict_names[v]) < VJ_VERDICT_NAME);
        strcpy(names[v], passport->verdict_names[v]);
    }
    return vj_clips_put_names(group, path, "verdict_names", names[0], passport->verdict_count, VJ_VERDICT_NAME);
}

vj_status vj_clips_index_passport(vj_clips_index_writer *writer, const vj_passport *passport)
{
    VJ_ASSERT(passport->verdict_count >= 0 && passport->verdict_count <= VJ_MAX_VERDICTS);
    const hsize_t dims[2] = {(hsize_t)writer->layout.dataset_count, (hsize_t)passport->verdict_count};
    VJ_TRY(vj_clips_make_group(writer->part.file, writer->part.path, "/passport"));
    VJ_TRY(vj_clips_put(writer->part.file, writer->part.path, "/passport/files", H5T_NATIVE_INT64, 2, dims,
                        passport->files));
    VJ_TRY(vj_clips_put(writer->part.file, writer->part.path, "/passport/clips", H5T_NATIVE_INT64, 2, dims,
                        passport->clips));
    hid_t group = H5Gopen2(writer->part.file, "/passport", H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: open /passport", writer->part.path);
    vj_status status = put_passport_names(group, writer->part.path, passport);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "duplicates", passport->duplicates);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "held_out", passport->held_out);
    if (status == VJ_OK) status = vj_h5_put_u64(group, "manifests", passport->manifests);
    if (status == VJ_OK) status = vj_h5_put_u64(group, "exclusions", passport->exclusions);
    if (status == VJ_OK) status = vj_h5_put_text(group, "summary", passport->summary);
    if (H5Gclose(group) < 0 && status == VJ_OK) status = vj_raise_h5("%s: close /passport", writer->part.path);
    return status;
}

vj_status vj_clips_index_classes(vj_clips_index_writer *writer, int label, const char *const *names, int64_t count)
{
    VJ_ASSERT(label >= 0 && label < writer->layout.label_count && count > 0 && count <= VJ_MAX_CLASSES);
    vj_clips_classes classes = {.count = count, .bytes = 1};
    for (int64_t i = 0; i < count; i++)
        if ((int64_t)strlen(names[i]) >= classes.bytes) classes.bytes = (int64_t)strlen(names[i]) + 1;
    VJ_ASSERT(classes.bytes <= VJ_CLASS_NAME);
    classes.names = vj_calloc(count, classes.bytes);
    if (!classes.names) return vj_raise(VJ_ERR_MEMORY, "no memory for the names of %lld classes", (long long)count);
    for (int64_t i = 0; i < count; i++) strcpy(classes.names + i * classes.bytes, names[i]);
    vj_status status =
        vj_clips_put_classes(writer->part.file, writer->part.path, writer->layout.label_names[label], &classes);
    vj_clips_classes_release(&classes);
    return status;
}

static vj_status put_shards(const vj_clips_index_writer *w)
{
    const hsize_t dims[1] = {(hsize_t)w->shards};
    VJ_TRY(vj_clips_put(w->part.file, w->part.path, "/shards/clips", H5T_NATIVE_INT64, 1, dims, w->shard_clips));
    VJ_TRY(vj_clips_put(w->part.file, w->part.path, "/shards/bytes", H5T_NATIVE_INT64, 1, dims, w->shard_bytes));
    return vj_h5_put_u64(w->part.file, "fingerprint", XXH3_64bits_digest(w->fingerprint));
}

vj_status vj_clips_index_publish(vj_clips_index_writer **writer)
{
    vj_clips_index_writer *w = *writer;
    *writer = NULL;
    VJ_ASSERT(w->appended == w->shards);
    vj_status status = put_shards(w);
    if (status == VJ_OK) status = close_columns(w);
    if (status == VJ_OK) status = vj_folder_sync(w->dir); /* the shards' names before the index that needs them */
    if (status != VJ_OK) {
        vj_clips_index_abandon(w);
        return status;
    }
    status = vj_output_publish(&w->part);
    release(w);
    return status;
}
