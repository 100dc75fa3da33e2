/*
 * A file of the store while HDF5 writes it. HDF5 1.10 does not recover from a failed write (on a full disk it crashes
 * in its exit handler, if not before). So our own small HDF5 file driver does the writing: after a failure it records
 * the error, writes nothing more, and reports success to HDF5; we then check the recorded error. The driver also notes
 * the file offset of each chunk written; asking HDF5 for that would walk the chunk index from its start for every
 * chunk.
 */
#ifndef VJ_CLIPS_OUTPUT_H
#define VJ_CLIPS_OUTPUT_H

#include "base/file.h"
#include "clips/format.h"

/* Not to be moved while the file is open. */
typedef struct {
    hid_t file; /* negative: not open */
    vj_file on_disk;
    const char *path;            /* its temporary name, in on_disk */
    int error;                   /* errno of the first failure; nothing is written after it */
    int64_t data_at, data_bytes; /* file offset and length of the last write that was not HDF5 metadata */
} vj_output;

/**
 * Create PATH under a temporary name, which it keeps until it is published, with the attributes of the layout. Neither
 * date nor host is written, so the same content gives the same file, byte for byte. On failure no file is left.
 */
vj_status vj_output_create(vj_output *output, const char *path, const vj_clips_header *layout);

/** Return the error if any write has failed so far. */
vj_status vj_output_check(const vj_output *output);

/**
 * Finish the file: add `complete`, close, check for failed writes, and rename to the final name. All datasets must be
 * closed before. On failure the .part is removed.
 */
vj_status vj_output_publish(vj_output *output);

/** Stop writing to disk, so that datasets can be closed whatever data they still buffer. */
void vj_output_stop(vj_output *output);

/** Close and remove the file. */
void vj_output_discard(vj_output *output);

#endif
