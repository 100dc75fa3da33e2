/*
 * Writes a clip store; its files are described in clips.h. A shard is the unit of work: one process writes it by
 * itself, and it counts once it has its final name. When all shards exist, one process reads their tables one after
 * another and writes index.h5; the store exists once index.h5 does. Nothing here is collective. Only one thread at a
 * time may call these functions, because they use HDF5.
 */
#ifndef VJ_CLIPS_WRITE_H
#define VJ_CLIPS_WRITE_H

#include "clips/clips.h"

/** Header that all shards and the index of a store share. */
typedef struct {
    int32_t frames, label_count, dataset_count; /* at least one data set */
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    char dataset_names[VJ_MAX_DATASETS][VJ_DATASET_NAME];
    vj_codec_settings codec;
    const char *config_text; /* provenance; borrowed, NULL: none */
} vj_clips_header;

/**
 * Make the folder of a store, durably; its parent must exist. An existing folder is left unchanged, but one that has an
 * index.h5 is refused, because that store is finished.
 */
vj_status vj_clips_make_folder(const char *dir);

/* ------------------------------------------------------------------------------------------------ shards */

/** One clip to write. */
typedef struct {
    int64_t source; /* number of its file in the manifests */
    int32_t window; /* number of the window inside the video */
    int32_t dataset;
    double pts_s; /* presentation time of its first frame */
    int height, width;
    const int32_t *labels; /* [label_count], -1: none */
    const uint8_t *record; /* as vj_record_encode() made it, with the layout's codec */
    int64_t bytes;
    float psnr;
} vj_clip;

/** One source file assigned to the shard, whether or not it gave a clip. */
typedef struct {
    int64_t source;
    int32_t dataset; /* -1: a held-out video, which has no dataset and no clips */
    int32_t verdict, clips;
    uint64_t look[8];
    uint8_t look_valid;
    const int8_t *motion; /* [VJ_CLIPS_MOTION_BYTES] motion part of the perceptual hash `look`; NULL: not known */
    const char *row;      /* its row of the ledger, without a newline */
} vj_clips_file;

typedef struct vj_shard vj_shard;

/** Create DIR/shard-NNNNN.h5.<number>.part. */
vj_status vj_shard_create(vj_shard **shard, const char *dir, int64_t number, const vj_clips_header *layout);

/**
 * Append a clip; its record is written to the file at once. Sides beyond VJ_CLIPS_MAX_SIDE, and record lengths that are
 * impossible for the shape, return VJ_ERR_FORMAT and leave the shard unchanged; after any other failure call
 * vj_shard_abandon().
 */
vj_status vj_shard_add_clip(vj_shard *shard, const vj_clip *clip);

/** Add a source file; the last `clips` clips added must be this file's, windows ascending. */
vj_status vj_shard_add_file(vj_shard *shard, const vj_clips_file *file);

/**
 * Write the tables, flush the file to disk and give it its final name. The shard is freed and *shard set to NULL in any
 * case. After a failure no file is left on disk, unless it was the folder's fsync that failed.
 */
vj_status vj_shard_publish(vj_shard **shard);
/** Close, remove the .part, free. NULL is harmless. */
void vj_shard_abandon(vj_shard *shard);

/** Remove a complete shard, so that it can be made again. */
vj_status vj_shard_remove(const char *dir, int64_t number);

/** Return whether the shard is complete: it has its final name, which is given last. */
int vj_shard_is_complete(const char *dir, int64_t number);

/* ------------------------------------------------------------------------------------------------ tables */

/** One clip of a shard. */
typedef struct {
    int64_t source, row;   /* row: in the frames of its geometry, /clips/HxW/frames */
    int64_t offset, bytes; /* of the record in the shard's file */
    uint64_t xxh3;         /* of the record */
    double pts_s;
    int32_t shard, window, dataset, height, width;
    float psnr;
    int32_t label[VJ_MAX_LABELS];
} vj_clips_entry;

/** Contents of a finished shard, in file order: the source files by position, the clips of a source file together. */
typedef struct {
    int64_t clips, files, bytes; /* bytes: of the whole file */
    vj_clips_entry *entry;       /* [clips] owned */
    vj_clips_file *file;         /* [files] owned; their rows are parts of `ledger` */
    char *ledger;                /* owned */
    int8_t *motion;              /* motion of the files with look_valid, in their order; owned */
} vj_shard_tables;

/**
 * Read and check the tables of a shard; one that was written with another header is refused. Call
 * vj_shard_tables_release() also after a failure.
 */
vj_status vj_shard_tables_read(vj_shard_tables *tables, const char *dir, int64_t number,
                               const vj_clips_header *expected);
void vj_shard_tables_release(vj_shard_tables *tables);

/* ------------------------------------------------------------------------------------------------ index */

/**
 * The passport of a store: counts of all source files and their clips by data set and verdict, and digests of the lists
 * they came from.
 */
typedef struct {
    int verdict_count;
    const char *const *verdict_names; /* [verdict_count], below VJ_VERDICT_NAME bytes each */
    const int64_t *files, *clips;     /* [dataset_count, verdict_count]; clips: listed in the index */
    int64_t duplicates, held_out;     /* files dropped as duplicates, and as copies of held-out videos, by content */
    uint64_t manifests, exclusions;   /* digests of the lists */
    const char *summary;              /* human-readable */
} vj_passport;
enum { VJ_VERDICT_NAME = 32, VJ_MAX_VERDICTS = 64 };

/**
 * Writer of index.h5. Uses a few MB of memory, nearly independent of the store's size: 16 bytes a shard and one block
 * of each column.
 */
typedef struct vj_clips_index_writer vj_clips_index_writer;

/** Create DIR/index.h5.<number>.part for shards 0 to shards - 1. */
vj_status vj_clips_index_create(vj_clips_index_writer **writer, const char *dir, const vj_clips_header *layout,
                                int64_t shards);
/** Add the clips of the next shard (0, 1, 2 ...) for which keep[clips] is not 0; keep NULL: all clips. */
vj_status vj_clips_index_append(vj_clips_index_writer *writer, int64_t shard, const vj_shard_tables *tables,
                                const uint8_t *keep);
/**
 * Write the class names of a label: names[n] [count] is the name of class n, "" if no class has this number. Call at
 * most once for each label.
 */
vj_status vj_clips_index_classes(vj_clips_index_writer *writer, int label, const char *const *names, int64_t count);
/** Write the passport. Call once. */
vj_status vj_clips_index_passport(vj_clips_index_writer *writer, const vj_passport *passport);
/**
 * When all shards are appended: flush to disk, then rename. The writer is freed and *writer set to NULL in any case.
 */
vj_status vj_clips_index_publish(vj_clips_index_writer **writer);
/** Close, remove the .part, free. NULL is harmless. */
void vj_clips_index_abandon(vj_clips_index_writer *writer);

#endif
