/* The bare decoding loop that packing is compared with: open, decode every frame, scale those wanted, keep nothing. */
#ifndef VJ_BENCH_LIBAV_H
#define VJ_BENCH_LIBAV_H

#include "base/status.h"

typedef struct {
    char *path;      /* owned */
    int64_t bytes;   /* of the file */
    int64_t frames;  /* that came out of the decoder the last time */
    int64_t *wanted; /* [wanted_count] numbers of frames, ascending, to scale; owned; NULL: none */
    int64_t wanted_count;
} vj_libav_file;

/* What a thread keeps from file to file. Starts zeroed; release it at the end. */
typedef struct {
    uint8_t *rgb;
    int64_t room;
} vj_libav_scratch;

/** Decode all of `file` with one thread, scale the wanted frames to RGB with `short_side`, as the packer does it. */
vj_status vj_libav_decode(vj_libav_file *file, int short_side, vj_libav_scratch *scratch);
void vj_libav_release(vj_libav_scratch *scratch);

#endif
