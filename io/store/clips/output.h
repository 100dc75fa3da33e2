/*
 * A file of the store while HDF5 writes it. HDF5 1.10 does not recover from a write that fails (a full disk: it crashes
 * in its exit handler, if not before), so it never sees one: a small file driver of ours writes for it, keeps the first
 * failure to itself and goes on as if nothing had happened; we ask it. The driver also knows where each chunk went, for
 * which HDF5 would have to be asked chunk by chunk, walking its tree from the start each time.
 */
#ifndef VJ_CLIPS_OUTPUT_H
#define VJ_CLIPS_OUTPUT_H

#include "base/file.h"
#include "clips/format.h"

/* Not to be moved while the file is open. */
typedef struct {
    hid_t file; /* negative: not open */
    vj_file on_disk;
    const char *path;            /* of on_disk: its name for now */
    int error;                   /* errno of the first failure; nothing is written after it */
    int64_t data_at, data_bytes; /* of the last write that was not HDF5's own structures */
} vj_output;

/**
 * Create PATH, under a name of its own until it is published, with the layout's attributes. What is written holds no
 * date and no host: the same content is the same file, byte for byte. On failure nothing is left.
 */
vj_status vj_output_create(vj_output *output, const char *path, const vj_clips_header *layout);

/** Has everything been written so far? */
vj_status vj_output_check(const vj_output *output);

/** The end: add `complete`, close, check, and give it its final name. The datasets were closed before. On failure the
 * part is removed. */
vj_status vj_output_publish(vj_output *output);

/** Write no more; then datasets can be closed, whatever they still hold. */
void vj_output_stop(vj_output *output);

/** Close and remove the file. */
void vj_output_discard(vj_output *output);

#endif
