/*
 * The shards that a process has open: a limited number of descriptors for any number of files. A descriptor that nobody
 * reads from is closed when another file needs its place, the one that was not used for the longest time first.
 */
#ifndef VJ_CLIPS_OPEN_FILES_H
#define VJ_CLIPS_OPEN_FILES_H

#include "base/status.h"

enum { VJ_OPEN_FILES = 256 }; /* descriptors of a process, unless its limit of open files is lower */

typedef struct vj_open_files vj_open_files;

/** At most `limit` descriptors stay open. Free with vj_open_files_destroy(); nobody may hold one then. */
vj_status vj_open_files_create(vj_open_files **files, int limit);
void vj_open_files_destroy(vj_open_files *files);

/** What vj_open_files_create() is to be given in this process. */
int vj_open_files_limit(void);

/* A descriptor that was taken. */
typedef struct {
    int fd;
    int slot; /* -1: all descriptors are in use; this one is closed when it is given back */
} vj_open_file;

/**
 * A descriptor to read file number `number` at `path` from; false, with errno, if it cannot be opened. It stays open
 * until it is given back; several threads may hold the same one. Thread-safe.
 */
bool vj_open_files_take(vj_open_files *files, int64_t number, const char *path, vj_open_file *file);

/**
 * Give it back. `failed`: reading from it failed, and it may be stale (a file server that was restarted): nobody gets
 * it any more, and it is closed once the last thread has given it back. Keeps errno. Thread-safe.
 */
void vj_open_files_give(vj_open_files *files, const vj_open_file *file, bool failed);

#endif
