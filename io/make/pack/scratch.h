/*
 * Room for tables that grow with the number of files: an unlinked file that is mapped, so that it takes disk and page
 * cache, not memory of the process, and is gone whenever the process is.
 */
#ifndef VJ_PACK_SCRATCH_H
#define VJ_PACK_SCRATCH_H

#include "base/status.h"

/** A file without a name in a folder; close() *fd, which is negative after a failure to open. */
vj_status vj_scratch_file(int *fd, const char *folder);

/* Zeroed. */
typedef struct {
    void *data;
    int64_t bytes;
} vj_scratch;

/** The disk space is taken at once: a full disk is an error here, and not a signal later. Release in any case. */
vj_status vj_scratch_create(vj_scratch *scratch, const char *folder, int64_t bytes);
void vj_scratch_release(vj_scratch *scratch);

#endif
