/* The bare decoding loop that packing is compared with: it opens a file, decodes every frame, scales the wanted ones,
 * and stores nothing. */
#ifndef VJ_BENCH_LIBAV_H
#define VJ_BENCH_LIBAV_H

#include "base/status.h"

typedef struct {
    char *path;      /* owned */
    int64_t bytes;   /* size of the file */
    int64_t frames;  /* frames that the last vj_libav_decode() decoded */
    int64_t *wanted; /* [wanted_count] numbers of the frames to scale, ascending; NULL: none. Owned */
    int64_t wanted_count;
} vj_libav_file;

/* Buffers that a thread reuses from file to file. Initialise it with zeros; release it with vj_libav_release(). */
typedef struct {
    uint8_t *rgb;
    int64_t room;
} vj_libav_scratch;

/** Decode all of `file` with one thread, and scale the wanted frames to RGB with `short_side` like the packer. */
vj_status vj_libav_decode(vj_libav_file *file, int short_side, vj_libav_scratch *scratch);
void vj_libav_release(vj_libav_scratch *scratch);

#endif
