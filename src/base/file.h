/*
 * Writing files so that nothing half-written ever has its final name, on any file system and beside other jobs: a file
 * is written under a name of its own (PATH.<number>.part), flushed to disk, and renamed; and reading and writing at a
 * place of a file in whole, whatever a single system call does.
 */
#ifndef VJ_BASE_FILE_H
#define VJ_BASE_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/config.h"
#include "base/status.h"

enum { VJ_FILE_PATH = VJ_PATH + 128 };

/* A file on its way to its final name. */
typedef struct {
    char path[VJ_FILE_PATH]; /* the final name */
    char part[VJ_FILE_PATH]; /* the name until then; "" when there is no such file (any more) */
    int fd;                  /* open for reading and writing; -1 when not open */
    FILE *stream;            /* of vj_file_begin_text(); else NULL */
} vj_file;

/** Nothing is open or on disk: what vj_file_rollback() may be called with. */
#define VJ_FILE_NONE ((vj_file){.fd = -1})

/** Create PATH.<number>.part, which no other process has. On failure nothing is left. Not collective. */
vj_status vj_file_begin(vj_file *file, const char *path);

/** The same with file->stream to write through; its errors are met by vj_file_commit(). */
vj_status vj_file_begin_text(vj_file *file, const char *path);

/**
 * Give the file its final name: flush it to disk, rename it, flush the folder, close. A part that is not the file we
 * wrote any more, because another process removed or replaced it, is refused. On failure the part is removed; when it
 * was flushing the folder that failed, the file, whole, already stands under its final name. Not collective.
 */
vj_status vj_file_commit(vj_file *file);

/** Close and remove the part, if there is one. Harmless after commit. Not collective. */
void vj_file_rollback(vj_file *file);

/** Write a whole text file; it is on disk when this returns. */
vj_status vj_file_put_text(const char *path, const char *text);

/**
 * Remove the parts that killed writers of `name` left in a folder: NAME.part and NAME.<number>.part. Only for who knows
 * that no other process writes it. What cannot be removed is warned of.
 */
void vj_file_remove_parts(const char *folder, const char *name);

/** fsync a folder, so that names in it last; a file system that cannot is accepted. Not collective. */
vj_status vj_folder_sync(const char *path);

/** Read up to `bytes` at a place of a file: how many there were (fewer: the file ends there), or -1 with errno. */
int64_t vj_read_at(int fd, void *to, int64_t bytes, int64_t at);

/** Write all `bytes` at a place of a file; false with errno. */
bool vj_write_at(int fd, const void *from, int64_t bytes, int64_t at);

#endif
