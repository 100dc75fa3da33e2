/*
 * The names of a label's classes, as clip stores and feature files keep them: dataset /classes/LABEL, fixed-length
 * UTF-8, row k is the name of class k.
 */
#ifndef VJ_CLIPS_CLASSES_H
#define VJ_CLIPS_CLASSES_H

#include <hdf5.h>
#include <stdio.h>

#include "base/status.h"

/** The names of one label's classes. */
typedef struct vj_clips_classes {
    int64_t count, bytes; /* 0: the numbers have no names; bytes of each name with its zero */
    char *names;          /* [count, bytes], owned; "": no class has this number */
} vj_clips_classes;

void vj_clips_classes_release(vj_clips_classes *classes);
/** Return the name of a class; "" if its number has none. */
const char *vj_clips_classes_name(const vj_clips_classes *classes, int64_t number);

/** Copy names, numbers as they are; `copy` must be empty. */
vj_status vj_clips_copy_classes(vj_clips_classes *copy, const vj_clips_classes *classes);

/** Write /classes/LABEL; or read it, giving count 0 if the file has none. */
vj_status vj_clips_put_classes(hid_t file, const char *path, const char *label, const vj_clips_classes *classes);
vj_status vj_clips_get_classes(hid_t file, const char *path, const char *label, vj_clips_classes *classes);

/**
 * Merge the class names `more` of one store (`path`, for messages) into the names `all` of the stores before it, and
 * renumber the store's labels, n values at values[i * stride], to the numbers their names have in `all`. Refuses a
 * value that is not one of the store's classes.
 */
vj_status vj_clips_join_classes(vj_clips_classes *all, const vj_clips_classes *more, const char *path,
                                const char *label, int32_t *values, int64_t stride, int64_t n);

/** If the class names of a label differ, print how many differ and the first of them. Returns whether they differ. */
bool vj_clips_compare_classes(const char *label, const vj_clips_classes *a, const vj_clips_classes *b, FILE *out);

#endif
