/* Converts between rows in memory and columns in files. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "clips/format.h"

#define MEMBER(type, member) offsetof(type, member), sizeof(((type *)0)->member)

int vj_clips_entry_columns(vj_column columns[VJ_MAX_COLUMNS], int label_count, int index)
{
    const vj_column all[] = {
        {"/clips/source", MEMBER(vj_clips_entry, source), 1, 1, H5T_NATIVE_INT64},
        {"/clips/window", MEMBER(vj_clips_entry, window), 1, 1, H5T_NATIVE_INT32},
        {"/clips/dataset", MEMBER(vj_clips_entry, dataset), 1, 1, H5T_NATIVE_INT32},
        {"/clips/label", offsetof(vj_clips_entry, label), sizeof(int32_t) * (size_t)label_count, 2, label_count,
         H5T_NATIVE_INT32},
        {"/clips/pts", MEMBER(vj_clips_entry, pts_s), 1, 1, H5T_NATIVE_DOUBLE},
        {"/clips/height", MEMBER(vj_clips_entry, height), 1, 1, H5T_NATIVE_INT32},
        {"/clips/width", MEMBER(vj_clips_entry, width), 1, 1, H5T_NATIVE_INT32},
        {"/clips/row", MEMBER(vj_clips_entry, row), 1, 1, H5T_NATIVE_INT64},
        {"/clips/offset", MEMBER(vj_clips_entry, offset), 1, 1, H5T_NATIVE_INT64},
        {"/clips/bytes", MEMBER(vj_clips_entry, bytes), 1, 1, H5T_NATIVE_INT64},
        {"/clips/xxh3", MEMBER(vj_clips_entry, xxh3), 1, 1, H5T_NATIVE_UINT64},
        {"/clips/psnr", MEMBER(vj_clips_entry, psnr), 1, 1, H5T_NATIVE_FLOAT},
        {"/clips/shard", MEMBER(vj_clips_entry, shard), 1, 1, H5T_NATIVE_INT32}, /* last: only in the index */
    };
    const int count = (int)(sizeof all / sizeof all[0]) - !index;
    memcpy(columns, all, (size_t)count * sizeof *all);
    return count;
}

int vj_clips_file_columns(vj_column columns[VJ_MAX_COLUMNS])
{
    const vj_column all[] = {
        {"/files/source", MEMBER(vj_clips_file, source), 1, 1, H5T_NATIVE_INT64},
        {"/files/dataset", MEMBER(vj_clips_file, dataset), 1, 1, H5T_NATIVE_INT32},
        {"/files/verdict", MEMBER(vj_clips_file, verdict), 1, 1, H5T_NATIVE_INT32},
        {"/files/clips", MEMBER(vj_clips_file, clips), 1, 1, H5T_NATIVE_INT32},
        {"/files/look", MEMBER(vj_clips_file, look), 2, 8, H5T_NATIVE_UINT64},
        {"/files/look_valid", MEMBER(vj_clips_file, look_valid), 1, 1, H5T_NATIVE_UINT8},
    };
    memcpy(columns, all, sizeof all);
    return (int)(sizeof all / sizeof all[0]);
}

void vj_column_pack(const vj_column *column, const void *rows, size_t row_bytes, int64_t n, void *packed)
{
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)packed + (size_t)i * column->bytes, (const char *)rows + (size_t)i * row_bytes + column->at,
               column->bytes);
}

/* Allocate room for n rows of the widest column. */
static void *packed_room(const char *path, const vj_column *columns, int count, int64_t n)
{
    size_t widest = 0;
    for (int c = 0; c < count; c++)
        if (columns[c].bytes > widest) widest = columns[c].bytes;
    void *packed = vj_calloc(n, (int64_t)widest);
    if (!packed) vj_raise(VJ_ERR_MEMORY, "%s: no memory for a column of %lld rows", path, (long long)n);
    return packed;
}

vj_status vj_columns_put(hid_t file, const char *path, const vj_column *columns, int count, const void *rows,
                         size_t row_bytes, int64_t n)
{
    void *packed = packed_room(path, columns, count, n);
    vj_status status = packed ? VJ_OK : VJ_ERR_MEMORY;
    for (int c = 0; c < count && status == VJ_OK; c++) {
        const hsize_t dims[2] = {(hsize_t)n, (hsize_t)columns[c].width};
        vj_column_pack(&columns[c], rows, row_bytes, n, packed);
        status = vj_clips_put(file, path, columns[c].name, columns[c].type, columns[c].rank, dims, packed);
    }
    free(packed);
    return status;
}

vj_status vj_columns_get(hid_t file, const char *path, const vj_column *columns, int count, void *rows,
                         size_t row_bytes, int64_t n)
{
    char *packed = packed_room(path, columns, count, n);
    vj_status status = packed ? VJ_OK : VJ_ERR_MEMORY;
    for (int c = 0; c < count && status == VJ_OK; c++) {
        const size_t bytes = columns[c].bytes;
        const hsize_t dims[2] = {(hsize_t)n, (hsize_t)columns[c].width};
        status = vj_clips_get(file, path, columns[c].name, columns[c].type, columns[c].rank, dims, packed);
        for (int64_t i = 0; status == VJ_OK && i < n; i++)
            memcpy((char *)rows + (size_t)i * row_bytes + columns[c].at, packed + (size_t)i * bytes, bytes);
    }
    free(packed);
    return status;
}
