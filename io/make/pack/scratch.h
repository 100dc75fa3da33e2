/*
 * Memory for tables that grow with the number of files: a mapped file that is unlinked at once. It uses disk and page
 * cache instead of the process's own memory, and disappears when the process ends, however it ends.
 */
#ifndef VJ_PACK_SCRATCH_H
#define VJ_PACK_SCRATCH_H

#include "base/status.h"

/** Create an unnamed file in a folder; close() *fd, which is negative if the file could not be created. */
vj_status vj_scratch_file(int *fd, const char *folder);

/* Mapped memory, zero at the start. */
typedef struct {
    void *data;
    int64_t bytes;
} vj_scratch;

/**
 * Map a new file of `bytes` bytes in `folder`. The disk space is allocated at once, so a full disk is an error here and
 * not a SIGBUS later. Call vj_scratch_release() also after a failure.
 */
vj_status vj_scratch_create(vj_scratch *scratch, const char *folder, int64_t bytes);
void vj_scratch_release(vj_scratch *scratch);

#endif
