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
/** "" for numbers without a name. */
const char *vj_clips_classes_name(const vj_clips_classes *classes, int64_t number);

/** Write /classes/LABEL; read it, into no classes if there is none. */
vj_status vj_clips_put_classes(hid_t file, const char *path, const char *label, const vj_clips_classes *classes);
vj_status vj_clips_get_classes(hid_t file, const char *path, const char *label, vj_clips_classes *classes);

/**
 * Add the names of one store (`path`, for messages) to those of the stores before it, and change its labels, n values
 * at values[i * stride], to the numbers that their names have in `all`. Refuses a value that is none of its classes.
 */
vj_status vj_clips_join_classes(vj_clips_classes *all, const vj_clips_classes *more, const char *path,
                                const char *label, int32_t *values, int64_t stride, int64_t n);

/** Print, where the classes of a label have other names, how many, and the first of them; returns whether they have. */
bool vj_clips_compare_classes(const char *label, const vj_clips_classes *a, const vj_clips_classes *b, FILE *out);

#endif
