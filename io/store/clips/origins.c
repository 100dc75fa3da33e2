/* Finds where clips come from, for users; training does not need this, so vj_clips does not hold it. */
#include <stdlib.h>
#include <string.h>

#include "clips/format.h"

/* Read rows [first, first + count) of the index's columns. */
static vj_status get_rows(hid_t file, const char *path, int64_t first, int64_t count, vj_clip_origin *origins,
                          int64_t *shard)
{
    int64_t n, *wide = NULL;
    double *pts_s = NULL;
    VJ_TRY(vj_clips_extent(file, path, "/clips/source", &n));
    if (first < 0 || count > n - first)
        return vj_raise(VJ_ERR_USAGE, "%s has clips 0 to %lld; %lld from clip %lld are asked for", path,
                        (long long)n - 1, (long long)count, (long long)first);
    const hsize_t rows = (hsize_t)n;
    wide = vj_calloc(n, sizeof *wide);
    pts_s = vj_calloc(n, sizeof *pts_s);
    vj_status status = wide && pts_s ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld rows", (long long)n);
    if (status == VJ_OK) status = vj_clips_get(file, path, "/clips/source", H5T_NATIVE_INT64, 1, &rows, wide);
    for (int64_t i = 0; i < count && status == VJ_OK; i++) origins[i].source = wide[first + i];
    if (status == VJ_OK) status = vj_clips_get(file, path, "/clips/window", H5T_NATIVE_INT64, 1, &rows, wide);
    for (int64_t i = 0; i < count && status == VJ_OK; i++) origins[i].window = wide[first + i];
    if (status == VJ_OK) status = vj_clips_get(file, path, "/clips/shard", H5T_NATIVE_INT64, 1, &rows, wide);
    for (int64_t i = 0; i < count && status == VJ_OK; i++) shard[i] = wide[first + i];
    if (status == VJ_OK) status = vj_clips_get(file, path, "/clips/pts", H5T_NATIVE_DOUBLE, 1, &rows, pts_s);
    for (int64_t i = 0; i < count && status == VJ_OK; i++) origins[i].pts_s = pts_s[first + i];
    free(wide);
    free(pts_s);
    return status;
}

/* Get the ledger rows of all origins in one shard. */
static vj_status get_ledger(const char *dir, int64_t number, const vj_clips_header *layout, int64_t count,
                            vj_clip_origin *origins, const int64_t *shard)
{
    vj_shard_tables tables;
    vj_status status = vj_shard_tables_read(&tables, dir, number, layout);
    for (int64_t i = 0; i < count && status == VJ_OK; i++)
        for (int64_t f = 0; f < tables.files && shard[i] == number && !origins[i].ledger_row; f++) {
            if (tables.file[f].source != origins[i].source) continue;
            origins[i].ledger_row = strdup(tables.file[f].row);
            if (!origins[i].ledger_row) status = vj_raise(VJ_ERR_MEMORY, "no memory for a row of the ledger");
        }
    vj_shard_tables_release(&tables);
    return status;
}

vj_status vj_clips_origins(const char *dir, int64_t first, int64_t count, vj_clip_origin *origins)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_header layout;
    hid_t file;
    memset(origins, 0, (size_t)count * sizeof *origins);
    int64_t *shard = vj_calloc(count, sizeof *shard);
    if (!shard) return vj_raise(VJ_ERR_MEMORY, "no memory for the shards of %lld clips", (long long)count);
    vj_clips_index_path(path, dir);
    vj_status status = vj_clips_open_file(&file, path, &layout);
    if (status == VJ_OK) {
        status = get_rows(file, path, first, count, origins, shard);
        H5Fclose(file); /* only read */
    }
    for (int64_t i = 0; i < count && status == VJ_OK; i++) /* clips of a shard are consecutive */
        if (i == 0 || shard[i] != shard[i - 1]) status = get_ledger(dir, shard[i], &layout, count, origins, shard);
    for (int64_t i = 0; i < count && status == VJ_OK; i++)
        if (!origins[i].ledger_row)
            status = vj_raise(VJ_ERR_FORMAT, "%s: shard %lld does not account for source %lld of clip %lld", dir,
                              (long long)shard[i], (long long)origins[i].source, (long long)(first + i));
    free(shard);
    if (status != VJ_OK) vj_clips_origins_release(origins, count);
    return status;
}

void vj_clips_origins_release(vj_clip_origin *origins, int64_t count)
{
    for (int64_t i = 0; i < count; i++) free(origins[i].ledger_row);
    memset(origins, 0, (size_t)count * sizeof *origins);
}
