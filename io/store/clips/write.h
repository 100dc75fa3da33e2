/*
 * Writing a clip store (what is in its files: clips.h). A shard is the unit of work: one process writes it by itself,
 * and it counts once it has its final name. When all are there, one process streams over their tables and writes
 * index.h5, from which moment the store exists. Nothing here is collective; one thread at a time may be in it, for it
 * is inside HDF5.
 */
#ifndef VJ_CLIPS_WRITE_H
#define VJ_CLIPS_WRITE_H

#include "clips/clips.h"

/** What all shards and the index of a store say alike. */
typedef struct {
    int32_t frames, label_count, dataset_count; /* at least one data set */
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    char dataset_names[VJ_MAX_DATASETS][VJ_DATASET_NAME];
    vj_codec_settings codec;
    const char *config_text; /* provenance; borrowed, NULL: none */
} vj_clips_header;

/**
 * Make the folder of a store, durably, its parent exists; a folder that is there already stays as it is, but one with
 * an index.h5 is refused: the store is finished.
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

/** One file that the shard accounts for, whether or not it gave a clip. */
typedef struct {
    int64_t source;
    int32_t dataset; /* -1: of none, without clips (a held-out video) */
    int32_t verdict, clips;
    uint64_t look[8];
    uint8_t look_valid;
    const int8_t *motion; /* [VJ_CLIPS_MOTION_BYTES] of the look; NULL: not known */
    const char *row;      /* its row of the ledger, without a newline */
} vj_clips_file;

typedef struct vj_shard vj_shard;

/** Create DIR/shard-NNNNN.h5.<number>.part. */
vj_status vj_shard_create(vj_shard **shard, const char *dir, int64_t number, const vj_clips_header *layout);

/**
 * Append a clip: its record goes to the file at once. Sides beyond VJ_CLIPS_MAX_SIDE, and lengths that no record of
 * that shape has, are VJ_ERR_FORMAT and leave the shard as it was; after any other failure abandon it.
 */
vj_status vj_shard_add_clip(vj_shard *shard, const vj_clip *clip);

/** Account for a file; the last `clips` clips added are its own, windows ascending. */
vj_status vj_shard_add_file(vj_shard *shard, const vj_clips_file *file);

/**
 * Write the tables, make the file durable and give it its final name; whether or not that succeeds the shard is freed
 * and *shard NULL. After a failure nothing is left of it on disk, but when the folder's fsync is what failed.
 */
vj_status vj_shard_publish(vj_shard **shard);
/** Close, remove the .part, free. NULL is harmless. */
void vj_shard_abandon(vj_shard *shard);

/** Remove a complete shard, so that it can be made again. */
vj_status vj_shard_remove(const char *dir, int64_t number);

/** The shard has its final name, which it got last of all. */
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

/** What a finished shard holds, in its order: files by position, the clips of a file together. */
typedef struct {
    int64_t clips, files, bytes; /* bytes: of the whole file */
    vj_clips_entry *entry;       /* [clips] owned */
    vj_clips_file *file;         /* [files] owned; their rows are parts of `ledger` */
    char *ledger;                /* owned */
    int8_t *motion;              /* of the files that have a look */
} vj_shard_tables;

/** Read and check them; a shard that was made with another layout is refused. Release in any case. */
vj_status vj_shard_tables_read(vj_shard_tables *tables, const char *dir, int64_t number,
                               const vj_clips_header *expected);
void vj_shard_tables_release(vj_shard_tables *tables);

/* ------------------------------------------------------------------------------------------------ index */

/** What became of all files: the store's passport. */
typedef struct {
    int verdict_count;
    const char *const *verdict_names; /* [verdict_count], below VJ_VERDICT_NAME bytes each */
    const int64_t *files, *clips;     /* [dataset_count, verdict_count]; clips: listed in the index */
    int64_t duplicates, held_out;     /* files dropped as such, by content */
    uint64_t manifests, exclusions;   /* digests of the lists */
    const char *summary;              /* for people */
} vj_passport;
enum { VJ_VERDICT_NAME = 32, VJ_MAX_VERDICTS = 64 };

/** Holds a few MB whatever the store's size: 16 bytes a shard and one block of each column. */
typedef struct vj_clips_index_writer vj_clips_index_writer;

/** Create DIR/index.h5.<number>.part for shards 0 to shards - 1. */
vj_status vj_clips_index_create(vj_clips_index_writer **writer, const char *dir, const vj_clips_header *layout,
                                int64_t shards);
/** List the clips of the next shard, in ascending order from 0, of which keep[clips] is not 0 (NULL: all). */
vj_status vj_clips_index_append(vj_clips_index_writer *writer, int64_t shard, const vj_shard_tables *tables,
                                const uint8_t *keep);
/** What the numbers of a label mean: names[n] for class n, [count], "" where no class has the number. Once a label. */
vj_status vj_clips_index_classes(vj_clips_index_writer *writer, int label, const char *const *names, int64_t count);
/** Once. */
vj_status vj_clips_index_passport(vj_clips_index_writer *writer, const vj_passport *passport);
/** When all shards were appended: make it durable, then rename. The writer is freed and *writer NULL in any case. */
vj_status vj_clips_index_publish(vj_clips_index_writer **writer);
/** Close, remove the .part, free. NULL is harmless. */
void vj_clips_index_abandon(vj_clips_index_writer *writer);

#endif
