/* Reads the tables of a finished shard and checks them; the commit relies on nothing else. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clips/format.h"

static vj_status check_entry(const char *path, const vj_shard_tables *tables, const vj_clips_header *layout, int64_t i)
{
    const vj_clips_entry *e = &tables->entry[i];
    const int shape =
        e->height >= 1 && e->height <= VJ_CLIPS_MAX_SIDE && e->width >= 1 && e->width <= VJ_CLIPS_MAX_SIDE;
    const int64_t frames = shape ? vj_frames_bytes(layout->frames, e->height, e->width) : 0;
    if (!shape || frames > VJ_RECORD_MAX_BYTES || e->source < 0 || e->window < 0 || e->row < 0 || e->dataset < 0 ||
        e->dataset >= layout->dataset_count)
        return vj_raise(
            VJ_ERR_FORMAT,
            "%s is damaged: clip %lld is said to be row %lld, window %d of source %lld, data set %d, %d x %d pixels",
            path, (long long)i, (long long)e->row, e->window, (long long)e->source, e->dataset, e->height, e->width);
    if (e->offset < 0 || e->bytes < 1 || e->bytes > VJ_RECORD_MAX_BYTES || e->offset > tables->bytes - e->bytes ||
        !vj_record_can_hold(layout->codec.codec, e->bytes, frames))
        return vj_raise(VJ_ERR_FORMAT, "%s is damaged: clip %lld is said to be %lld bytes at %lld of %lld", path,
                        (long long)i, (long long)e->bytes, (long long)e->offset, (long long)tables->bytes);
    return VJ_OK;
}

/* Check that every clip belongs to a file, and that clips are in the order of the files. */
static vj_status check_files(const char *path, const vj_shard_tables *tables, const vj_clips_header *layout)
{
    int64_t clip = 0;
    for (int64_t f = 0; f < tables->files; f++) {
        const vj_clips_file *file = &tables->file[f];
        int good = file->source >= 0 && file->dataset >= (file->clips > 0 ? 0 : -1) &&
                   file->dataset < layout->dataset_count && file->verdict >= 0 && file->verdict < VJ_MAX_VERDICTS &&
                   file->clips >= 0 && file->clips <= tables->clips - clip;
        for (int32_t c = 0; good && c < file->clips; c++, clip++) {
            const vj_clips_entry *e = &tables->entry[clip];
            good = e->source == file->source && e->dataset == file->dataset && (c == 0 || e->window > e[-1].window);
        }
        if (!good)
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: file %lld of %lld does not fit the clips", path,
                            (long long)f, (long long)tables->files);
    }
    return clip == tables->clips ? VJ_OK
                                 : vj_raise(VJ_ERR_FORMAT, "%s is damaged: %lld clips, its files have %lld", path,
                                            (long long)tables->clips, (long long)clip);
}

/* Split the ledger into lines, which become the files' rows. */
static vj_status split_ledger(const char *path, vj_shard_tables *tables)
{
    char *line = tables->ledger;
    for (int64_t f = 0; f < tables->files; f++) {
        char *end = strchr(line, '\n');
        if (!end)
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: %lld lines in its ledger, %lld files", path, (long long)f,
                            (long long)tables->files);
        *end = '\0';
        tables->file[f].row = line;
        line = end + 1;
    }
    return *line == '\0' ? VJ_OK
                         : vj_raise(VJ_ERR_FORMAT, "%s is damaged: its ledger has more lines than %lld files", path,
                                    (long long)tables->files);
}

/* Read the motion of the files that have a look. Shards of the first release lack it. */
static vj_status get_motion(hid_t file, const char *path, vj_shard_tables *tables)
{
    int64_t valid = 0, rows;
    for (int64_t f = 0; f < tables->files; f++) valid += tables->file[f].look_valid != 0;
    if (valid == 0 || H5Lexists(file, "/files/motion", H5P_DEFAULT) <= 0) return VJ_OK;
    VJ_TRY(vj_clips_extent(file, path, "/files/motion", &rows));
    if (rows != valid)
        return vj_raise(VJ_ERR_FORMAT, "%s is damaged: /files/motion has %lld rows, %lld files have a look", path,
                        (long long)rows, (long long)valid);
    tables->motion = vj_calloc(valid, VJ_CLIPS_MOTION_BYTES);
    if (!tables->motion) return vj_raise(VJ_ERR_MEMORY, "no memory for the looks of %lld files", (long long)valid);
    const hsize_t dims[2] = {(hsize_t)valid, VJ_CLIPS_MOTION_BYTES};
    VJ_TRY(vj_clips_get(file, path, "/files/motion", H5T_NATIVE_INT8, 2, dims, tables->motion));
    const int8_t *next = tables->motion;
    for (int64_t f = 0; f < tables->files; f++) {
        if (tables->file[f].look_valid == 0) continue;
        tables->file[f].motion = next;
        next += VJ_CLIPS_MOTION_BYTES;
    }
    return VJ_OK;
}

static vj_status get_tables(hid_t file, const char *path, vj_shard_tables *tables, const vj_clips_header *layout)
{
    vj_column columns[VJ_MAX_COLUMNS];
    VJ_TRY(vj_clips_extent(file, path, "/clips/source", &tables->clips));
    VJ_TRY(vj_clips_extent(file, path, "/files/source", &tables->files));
    tables->entry = vj_calloc(tables->clips, sizeof *tables->entry);
    tables->file = vj_calloc(tables->files, sizeof *tables->file);
    if (!tables->entry || !tables->file)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the tables of %s: %lld clips, %lld files", path,
                        (long long)tables->clips, (long long)tables->files);
    int count = vj_clips_entry_columns(columns, layout->label_count, 0);
    VJ_TRY(vj_columns_get(file, path, columns, count, tables->entry, sizeof *tables->entry, tables->clips));
    count = vj_clips_file_columns(columns);
    VJ_TRY(vj_columns_get(file, path, columns, count, tables->file, sizeof *tables->file, tables->files));
    VJ_TRY(get_motion(file, path, tables));
    VJ_TRY(vj_clips_get_ledger(file, path, &tables->ledger));
    VJ_TRY(split_ledger(path, tables));
    for (int64_t i = 0; i < tables->clips; i++) VJ_TRY(check_entry(path, tables, layout, i));
    return check_files(path, tables, layout);
}

static vj_status read_open(hid_t file, const char *path, int64_t number, vj_shard_tables *tables,
                           const vj_clips_header *layout)
{
    int64_t found;
    struct stat info;
    if (stat(path, &info) != 0) return vj_raise(VJ_ERR_IO, "stat %s", path);
    tables->bytes = info.st_size;
    VJ_TRY(vj_h5_get_i64(file, path, "shard", &found));
    if (found != number)
        return vj_raise(VJ_ERR_FORMAT, "%s says that it is shard %lld: it was renamed", path, (long long)found);
    VJ_TRY(get_tables(file, path, tables, layout));
    for (int64_t i = 0; i < tables->clips; i++) tables->entry[i].shard = (int32_t)number;
    return VJ_OK;
}

vj_status vj_shard_tables_read(vj_shard_tables *tables, const char *dir, int64_t number,
                               const vj_clips_header *expected)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_header layout;
    hid_t file;
    *tables = (vj_shard_tables){0};
    vj_clips_shard_path(path, dir, number);
    VJ_TRY(vj_clips_open_file(&file, path, &layout));
    vj_status status = vj_clips_check_header(path, &layout, expected);
    if (status == VJ_OK) {
        H5E_BEGIN_TRY
        {
            status = read_open(file, path, number, tables, &layout);
        }
        H5E_END_TRY
    }
    H5Fclose(file); /* only read */
    return status;
}

void vj_shard_tables_release(vj_shard_tables *tables)
{
    free(tables->entry);
    free(tables->file);
    free(tables->ledger);
    free(tables->motion);
    *tables = (vj_shard_tables){0};
}
