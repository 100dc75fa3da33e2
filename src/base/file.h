/*
 * Atomic writing of files: a file is written under a unique temporary name (PATH.<number>.part), flushed to disk and
 * renamed, so an incomplete file never has the final name, even if other jobs write to the same folder. Also pread()
 * and pwrite() that continue after short transfers and EINTR.
 */
#ifndef VJ_BASE_FILE_H
#define VJ_BASE_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/config.h"
#include "base/status.h"

enum { VJ_FILE_PATH = VJ_PATH + 128 };

/* A file that is being written under its temporary name. */
typedef struct {
    char path[VJ_FILE_PATH]; /* the final name */
    char part[VJ_FILE_PATH]; /* the temporary name; "" if there is no such file (any more) */
    int fd;                  /* open for reading and writing; -1 when not open */
    FILE *stream;            /* set by vj_file_begin_text(), else NULL; owned */
} vj_file;

/** Initial value: no file. vj_file_rollback() does nothing with it. */
#define VJ_FILE_NONE ((vj_file){.fd = -1})

/** Create PATH.<number>.part (O_EXCL, so no other process has it) and open it. On failure no file is left. Not
 * collective. */
vj_status vj_file_begin(vj_file *file, const char *path);

/** Like vj_file_begin(), and open file->stream for writing. vj_file_commit() checks the stream for write errors. */
vj_status vj_file_begin_text(vj_file *file, const char *path);

/**
 * Like vj_file_begin_text(), after removing the temporary files that killed writers of the same file left. For files
 * that no other process writes meanwhile: that process would fail to commit its own.
 */
vj_status vj_file_begin_anew(vj_file *file, const char *path);

/**
 * Flush the file to disk, rename it to its final name, close it and flush its folder. Fails if the temporary name no
 * longer refers to the file we wrote, because another process removed or replaced it. On failure the temporary file is
 * removed; if only closing or flushing the folder failed, the complete file already has its final name. Not collective.
 */
vj_status vj_file_commit(vj_file *file);

/** Close and remove the temporary file, if there is one. Does nothing after vj_file_commit(). Not collective. */
void vj_file_rollback(vj_file *file);

/** Write `text` to a file as vj_file_commit() does; the file is on disk when this returns VJ_OK. */
vj_status vj_file_put_text(const char *path, const char *text);

/**
 * Remove the temporary files that killed writers of `name` left in a folder: NAME.part and NAME.<number>.part. The
 * caller must know that no other process is writing `name`. A file that cannot be removed causes a warning.
 */
void vj_file_remove_parts(const char *folder, const char *name);

/** fsync a folder, so that renames in it are durable. Succeeds on file systems that do not support it. Not collective.
 */
vj_status vj_folder_sync(const char *path);

/** Read `bytes` bytes at offset `at`. Returns the number read, smaller only at the end of the file; -1 with errno set.
 */
int64_t vj_read_at(int fd, void *to, int64_t bytes, int64_t at);

/** Write `bytes` bytes at offset `at`. Returns false with errno set if not all were written. */
bool vj_write_at(int fd, const void *from, int64_t bytes, int64_t at);

#endif
