/*
 * The shard files that a process has open: a limited number of descriptors for any number of files. When another file
 * needs one, the least recently used descriptor that no thread is reading from is closed.
 */
#ifndef VJ_CLIPS_OPEN_FILES_H
#define VJ_CLIPS_OPEN_FILES_H

#include "base/status.h"

enum { VJ_OPEN_FILES = 256 }; /* descriptors of a process, unless its limit of open files is lower */

typedef struct vj_open_files vj_open_files;

/**
 * Create a cache of at most `limit` open descriptors. Free with vj_open_files_destroy(), when no thread holds a
 * descriptor.
 */
vj_status vj_open_files_create(vj_open_files **files, int limit);
void vj_open_files_destroy(vj_open_files *files);

/** Return the limit to pass to vj_open_files_create() in this process. */
int vj_open_files_limit(void);

/* A descriptor that a thread holds. */
typedef struct {
    int fd;
    int slot; /* -1: all descriptors are in use; this one is closed when it is given back */
} vj_open_file;

/**
 * Get a descriptor to read file number `number` at `path`; returns false, with errno, if it cannot be opened. It stays
 * open until it is given back; several threads may hold the same one. Thread-safe.
 */
bool vj_open_files_take(vj_open_files *files, int64_t number, const char *path, vj_open_file *file);

/**
 * Give a descriptor back. `failed`: reading from it failed and it may be stale (after a restart of the file server), so
 * no thread gets it any more, and it is closed when the last thread has given it back. Keeps errno. Thread-safe.
 */
void vj_open_files_give(vj_open_files *files, const vj_open_file *file, bool failed);

#endif
