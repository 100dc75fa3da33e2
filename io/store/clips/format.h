/*
 * The file format of the clip store, private to io/store/clips: the attributes that every file has, and the tables as
 * HDF5 datasets. output.h writes the files.
 */
#ifndef VJ_CLIPS_FORMAT_H
#define VJ_CLIPS_FORMAT_H

#include <hdf5.h>
#include <xxhash.h>

#include "clips/classes.h"
#include "clips/write.h"
#include "h5/h5.h"

enum { VJ_CLIPS_VERSION = 2, VJ_CLIPS_FILE_PATH = VJ_PATH + 64, VJ_CLIPS_OBJECT = 64 };

/** Make the paths DIR/shard-NNNNN.h5 and DIR/index.h5. */
void vj_clips_shard_path(char path[VJ_CLIPS_FILE_PATH], const char *dir, int64_t shard);
void vj_clips_index_path(char path[VJ_CLIPS_FILE_PATH], const char *dir);
/** Make the group name /clips/HxW; VJ_CLIPS_FRAMES is the dataset in it. */
#define VJ_CLIPS_FRAMES "frames"
void vj_clips_geometry_name(char name[VJ_CLIPS_OBJECT], int height, int width);

/* ------------------------------------------------------------------------------------------------ headers */

/**
 * Open a file for reading; refuses one that is not of this format and version, is cut short, or is not complete.
 * *layout: all but config_text.
 */
vj_status vj_clips_open_file(hid_t *file, const char *path, vj_clips_header *layout);

/** Compare two headers; on a difference, report the first one. `found` is the header of the file `path`. */
vj_status vj_clips_check_header(const char *path, const vj_clips_header *found, const vj_clips_header *expected);

/**
 * Add a clip to a store's fingerprint: what training depends on (bytes, shape, data set, labels), not where it is kept.
 */
void vj_clips_fingerprint_add(XXH3_state_t *state, uint64_t xxh3, int height, int width, int dataset,
                              const int32_t *labels, int label_count);

/**
 * Write or read an attribute that is an array of names of `bytes` bytes each: `count` names (reading: at most `most`).
 */
vj_status vj_clips_put_names(hid_t object, const char *path, const char *name, const char *names, int count,
                             size_t bytes);
vj_status vj_clips_get_names(hid_t object, const char *path, const char *name, char *names, int most, size_t bytes,
                             int32_t *count);

/* ------------------------------------------------------------------------------------------------ datasets */

/**
 * Create a group in a parent that exists; write a contiguous dataset; read a dataset, which must have exactly these
 * dimensions.
 */
vj_status vj_clips_make_group(hid_t file, const char *path, const char *name);
vj_status vj_clips_put(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const void *data);
vj_status vj_clips_get(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       void *data);

/** Get the first dimension of a dataset. */
vj_status vj_clips_extent(hid_t file, const char *path, const char *name, int64_t *n);

/**
 * Return the property list to create datasets with: no fill values, no time stamps. H5Pclose() it; if it is negative,
 * H5Dcreate2() reports the error.
 */
hid_t vj_clips_creation(void);

/** Write or read the ledger as a scalar text dataset; *text: allocated, free() it. */
vj_status vj_clips_put_ledger(hid_t file, const char *path, const char *text, int64_t bytes);
vj_status vj_clips_get_ledger(hid_t file, const char *path, char **text);

/* ------------------------------------------------------------------------------------------------ columns */

/* A member of the row struct that is stored as a dataset, [n] or [n, width]. */
typedef struct {
    const char *name;
    size_t at, bytes; /* offset in the row struct; size there, of all `width` values */
    int rank, width;
    hid_t type;
} vj_column;

enum { VJ_MAX_COLUMNS = 16 };

/** Get the columns of a vj_clips_entry (`shard` only in the index), or of a vj_clips_file; returns how many. */
int vj_clips_entry_columns(vj_column columns[VJ_MAX_COLUMNS], int label_count, int index);
int vj_clips_file_columns(vj_column columns[VJ_MAX_COLUMNS]);

/** Copy one column of n rows into a contiguous array. */
void vj_column_pack(const vj_column *column, const void *rows, size_t row_bytes, int64_t n, void *packed);

/** Write all columns of n rows as contiguous datasets; or read them. */
vj_status vj_columns_put(hid_t file, const char *path, const vj_column *columns, int count, const void *rows,
                         size_t row_bytes, int64_t n);
vj_status vj_columns_get(hid_t file, const char *path, const vj_column *columns, int count, void *rows,
                         size_t row_bytes, int64_t n);

#endif
