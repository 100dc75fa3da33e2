/*
 * The file format of the clip store, private to io/clips: attributes every file carries, the per-clip columns, and the
 * index as one struct. Only this folder's format.c and index.c know dataset names.
 */
#ifndef VJ_CLIPS_FORMAT_H
#define VJ_CLIPS_FORMAT_H

#include <hdf5.h>

#include "clips/clips.h"
#include "video/video.h" /* VJ_VIDEO_MAX_SIDE, which holds for clips too */

enum { VJ_CLIPS_FILE_PATH = VJ_PATH + 64 };

/* One clip, as a row of the columns. */
typedef struct {
    int64_t source, row;
    uint64_t xxh3;
    double pts_s;
    int32_t window, shard, height, width;
    int32_t label[VJ_MAX_LABELS];
} vj_clips_entry;

/* One shard, as a row of /shards. */
typedef struct {
    int64_t height, width, clips, bytes;
} vj_clips_shard;

/* What shards and index say alike. */
typedef struct {
    int32_t frames, label_count;
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
} vj_clips_header;

typedef struct {
    vj_clips_header header;
    int64_t clips, shards;
    vj_clips_entry *entry; /* [clips] owned */
    vj_clips_shard *shard; /* [shards] owned */
    uint64_t fingerprint;
} vj_clips_index;

/** DIR/shard-NNNNN.h5, DIR/index.h5. */
void vj_clips_shard_path(char path[VJ_CLIPS_FILE_PATH], const char *dir, int64_t shard);
void vj_clips_index_path(char path[VJ_CLIPS_FILE_PATH], const char *dir);

/** Bytes of a clip of this geometry. */
int64_t vj_clips_bytes(int frames, int height, int width);

/** The attributes of a file but for `complete`. */
vj_status vj_clips_put_header(hid_t file, const char *path, const vj_clips_header *header, const char *config_text);

/** Mark complete, close `dataset` (negative: none) and the file, fsync. Both are closed whatever happens. */
vj_status vj_clips_finish_file(hid_t file, hid_t dataset, const char *path);

/** Close without wanting what was written, and remove the file. */
void vj_clips_discard_file(hid_t file, hid_t dataset, const char *path);

/** Read them back; refuses a file that is foreign, of another version or not complete. */
vj_status vj_clips_get_header(hid_t file, const char *path, vj_clips_header *header);

/** Scalar attributes; text is allocated, free() it. */
vj_status vj_clips_put_attribute(hid_t file, const char *path, const char *name, hid_t type, const void *value);
vj_status vj_clips_get_attribute(hid_t file, const char *path, const char *name, hid_t type, void *value);
vj_status vj_clips_get_text(hid_t file, const char *path, const char *name, char **text);
/** Strings are of variable length and UTF-8, which h5py shows as str. H5Tclose() it. */
hid_t vj_clips_text_type(void);

/** Write a dataset, making the groups of its name; read one of exactly these dimensions. */
vj_status vj_clips_put(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const void *data);
vj_status vj_clips_get(hid_t file, const char *path, const char *name, hid_t type, int rank, const hsize_t *dims,
                       void *data);

/** First dimension of a dataset. */
vj_status vj_clips_extent(hid_t file, const char *path, const char *name, int64_t *n);

/** The columns of n clips, those of a shard or (index != 0) those of the index too. */
vj_status vj_clips_put_columns(hid_t file, const char *path, int index, int label_count, int64_t n,
                               const vj_clips_entry *entries);
vj_status vj_clips_get_columns(hid_t file, const char *path, int index, int label_count, int64_t n,
                               vj_clips_entry *entries);

/** Sort into canonical order and fingerprint; refuses a (source, window) that occurs twice. */
vj_status vj_clips_index_order(vj_clips_index *index, const char *dir);

/** Write DIR/index.h5 by way of .part. The index was ordered. */
vj_status vj_clips_index_write(const vj_clips_index *index, const char *dir, const char *config_text,
                               const char *const *source_paths, int64_t sources);

/**
 * Read DIR/index.h5, check it against itself and against the sizes of the shards on disk. Release in any case. The
 * entries' shard and row are then known to be in range.
 */
vj_status vj_clips_index_read(vj_clips_index *index, const char *dir);
void vj_clips_index_release(vj_clips_index *index);

#endif
