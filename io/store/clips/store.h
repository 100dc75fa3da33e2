/* An open store: filled in by open.c, read by reader.c and inspect.c. */
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
    int32_t frames; /* of a record; 1 although layout.frames is more: an image, whose frame is repeated */
} vj_clips_shard_file;

/* Height and width in pixels, 1 to 65536, stored minus 1 so that they fit in 16 bits. */
typedef struct {
    uint16_t height_less_1, width_less_1;
} vj_clips_shape;

struct vj_clips {
    vj_clips_header layout; /* header of the first store, but with the data set names of all stores */
    int64_t count, shards;
    uint64_t fingerprint;
    int64_t largest_bytes, largest_record;
    int64_t sources; /* 1 + the largest number of a source file */
    /* tables in memory shared by the ranks of a node; their total size per clip is stated in clips.h */
    vj_clips_shard_file *shard; /* [shards] */
    int64_t *offset;            /* [count] of the record in the shard's file */
    uint64_t *xxh3;             /* [count] */
    uint32_t *bytes;            /* [count] */
    int32_t *clip_shard;        /* [count] */
    vj_clips_shape *shape;      /* [count] */
    int32_t *source, *window;   /* [count] number of the source file, across all stores; number of the window in it */
    uint8_t *dataset;           /* [count] */
    int32_t *label;             /* [count, label_count] */
    vj_shared tables; /* the shared memory of the tables above; while rank 0 reads, they are in its own memory */
    vj_clips_classes classes[VJ_MAX_LABELS];
    vj_open_files *files; /* descriptors of open shards */
    vj_outage *outage;
};

#endif
