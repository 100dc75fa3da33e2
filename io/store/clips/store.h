/* An open store, between open.c, which fills it, and reader.c and inspect.c, which ask it. */
#ifndef VJ_CLIPS_STORE_H
#define VJ_CLIPS_STORE_H

#include "clips/format.h"
#include "clips/open_files.h"
#include "clips/outage.h"
#include "parallel/shared.h"

typedef struct {
    char path[VJ_CLIPS_FILE_PATH];
    int64_t bytes; /* of the file */
    vj_codec codec;
} vj_clips_shard_file;

/* Sides are at most 65536: kept less one. */
typedef struct {
    uint16_t height_less_1, width_less_1;
} vj_clips_shape;

struct vj_clips {
    vj_clips_header layout; /* of the first store, but for the names of data sets: those of all */
    int64_t count, shards;
    uint64_t fingerprint;
    int64_t largest_bytes, largest_record;
    int64_t sources; /* one more than the largest number of a file */
    /* tables in memory that the ranks of a node share; sum of bytes a clip: see clips.h */
    vj_clips_shard_file *shard; /* [shards] */
    int64_t *offset;            /* [count] of the record in the shard's file */
    uint64_t *xxh3;             /* [count] */
    uint32_t *bytes;            /* [count] */
    int32_t *clip_shard;        /* [count] */
    vj_clips_shape *shape;      /* [count] */
    int32_t *source, *window;   /* [count] number of the file, through the stores, and of the window in it */
    uint8_t *dataset;           /* [count] */
    int32_t *label;             /* [count, label_count] */
    vj_shared tables;           /* which holds them; while rank 0 reads, they are its own */
    vj_clips_classes classes[VJ_MAX_LABELS];
    vj_open_files *files; /* shards that are open */
    vj_outage *outage;
};

#endif
