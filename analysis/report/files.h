/*
 * Files of a report. Reads whole files; what is wrong becomes a sentence in a list of problems instead of an error
 * message. Creates files in a folder.
 */
#ifndef VJ_REPORT_FILES_H
#define VJ_REPORT_FILES_H

#include "base/file.h"

/* Sentences about what is wrong. Initialise it with zeros; release it with vj_problems_release(). */
typedef struct {
    char **text;
    int count;
} vj_problems;
/** Add a sentence. */
void vj_problems_add(vj_problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vj_problems_release(vj_problems *problems);

/**
 * Open a regular file to read it. *bytes is its size. Returns a file descriptor, or -1 and adds a problem if the file
 * is missing, cannot be read, is not a regular file, or is larger than `limit` bytes.
 */
int vj_report_open(const char *path, int64_t limit, int64_t *bytes, vj_problems *problems);

/**
 * Return all bytes of a regular file, followed by a 0; free them with free(). Returns NULL and adds a problem if
 * vj_report_open() fails or the file cannot be read.
 */
char *vj_report_load(const char *path, int64_t limit, int64_t *bytes, vj_problems *problems);

/** Create a folder if it does not exist. */
vj_status vj_report_make_folder(const char *folder);
/** Begin to write the text file FOLDER/NAME with ENDING appended (base/file.h). */
vj_status vj_report_begin(vj_file *file, const char *folder, const char *name, const char *ending);

#endif
