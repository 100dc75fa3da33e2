/*
 * The file format of the clip store, private to io/store/clips: attributes every file carries, the tables as HDF5
 * datasets. How a file is written: output.h.
 */
#ifndef VJ_CLIPS_FORMAT_H
#define VJ_CLIPS_FORMAT_H

#include <hdf5.h>
#include <xxhash.h>

#include "clips/classes.h"
#include "clips/write.h"
#include "h5/h5.h"

#define VJ_CLIPS_FORMAT "vjepa clips"
enum { VJ_CLIPS_VERSION = 2, VJ_CLIPS_FILE_PATH = VJ_PATH + 64, VJ_CLIPS_OBJECT = 64 };

/** DIR/shard-NNNNN.h5, DIR/index.h5. */
void vj_clips_shard_path(char path[VJ_CLIPS_FILE_PATH], const char *dir, int64_t shard);
void vj_clips_index_path(char path[VJ_CLIPS_FILE_PATH], const char *dir);
/** /clips/HxW, and the name of the dataset in it. */
#define VJ_CLIPS_FRAMES "frames"
void vj_clips_geometry_name(char name[VJ_CLIPS_OBJECT], int height, int width);

/* ------------------------------------------------------------------------------------------------ headers */

/** Open for reading; refuses what is foreign, of another version, cut short or not complete. *layout: no config_text.
 */
vj_status vj_clips_open_file(hid_t *file, const char *path, vj_clips_header *layout);

/** Names the first difference; `path` has `found`. */
vj_status vj_clips_check_header(const char *path, const vj_clips_header *found, const vj_clips_header *expected);

/**
 * Add a clip to a store's fingerprint: what training depends on (bytes, shape, data set, labels), not where it is kept.
 */
void vj_clips_fingerprint_add(XXH3_state_t *state, uint64_t xxh3, int height, int width, int dataset,
                              const int32_t *labels, int label_count);

/** An attribute of names, a fixed number of `bytes` each: `count` of them (reading: at most `most`). */
vj_status vj_clips_put_names(hid_t object, const char *path, const char *name, const char *names, int count,
                             size_t bytes);
vj_status vj_clips_get_names(hid_t object, const char *path, const char *name, char *names, int most, size_t bytes,
                             int32_t *count);

/* ------------------------------------------------------------------------------------------------ datasets */

/** Make a group, its parent exists; write a contiguous dataset; read one of exactly these dimensions. */
vj_status vj_clips_make_group(hid_t file, const char *path, const char *name);
vj_status vj_clips_put(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const void *data);
vj_status vj_clips_get(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       void *data);

/** First dimension of a dataset. */
vj_status vj_clips_extent(hid_t file, const char *path, const char *name, int64_t *n);

/** How datasets are created: never filled, without dates. H5Pclose() it; negative: reported by H5Dcreate2(). */
hid_t vj_clips_creation(void);

/** One text as a scalar dataset; *text: allocated, free() it. */
vj_status vj_clips_put_ledger(hid_t file, const char *path, const char *text, int64_t bytes);
vj_status vj_clips_get_ledger(hid_t file, const char *path, char **text);

/* ------------------------------------------------------------------------------------------------ columns */

/* A member of a row that is a dataset of its own: [n], or [n, width]. */
typedef struct {
    const char *name;
    size_t at, bytes; /* in the row; its length there, all of the width */
    int rank, width;
    hid_t type;
} vj_column;

enum { VJ_MAX_COLUMNS = 16 };

/** The columns of a vj_clips_entry (`shard` only in the index) and of a vj_clips_file; returns how many. */
int vj_clips_entry_columns(vj_column columns[VJ_MAX_COLUMNS], int label_count, int index);
int vj_clips_file_columns(vj_column columns[VJ_MAX_COLUMNS]);

/** One column of n rows, packed. */
void vj_column_pack(const vj_column *column, const void *rows, size_t row_bytes, int64_t n, void *packed);

/** Write all columns of n rows, contiguous; read them. */
vj_status vj_columns_put(hid_t file, const char *path, const vj_column *columns, int count, const void *rows,
                         size_t row_bytes, int64_t n);
vj_status vj_columns_get(hid_t file, const char *path, const vj_column *columns, int count, void *rows,
                         size_t row_bytes, int64_t n);

#endif
