/*
 * Files of a report: whole files read, with a sentence about what is wrong instead of a message; and files begun in a
 * folder that is made.
 */
#ifndef VJ_REPORT_FILES_H
#define VJ_REPORT_FILES_H

#include "base/file.h"

/* Sentences about what is wrong. Zero-initialised; release with vj_problems_release(). */
typedef struct {
    char **text;
    int count;
} vj_problems;
void vj_problems_add(vj_problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vj_problems_release(vj_problems *problems);

/**
 * Open a regular file to read it; *bytes: its size. -1 with a problem if it is missing, cannot be read, is no regular
 * file, or is larger than `limit` bytes.
 */
int vj_report_open(const char *path, int64_t limit, int64_t *bytes, vj_problems *problems);

/**
 * Return all bytes of a regular file, followed by a 0, to be freed; NULL with a problem if it cannot be opened like
 * that, or read.
 */
char *vj_report_load(const char *path, int64_t limit, int64_t *bytes, vj_problems *problems);

/** Make a folder, unless it is there. */
vj_status vj_report_make_folder(const char *folder);
/** Begin FOLDER/NAME + ENDING. */
vj_status vj_report_begin(vj_file *file, const char *folder, const char *name, const char *ending);

#endif
