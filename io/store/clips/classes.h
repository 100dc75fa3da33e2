/*
 * The names of a label's classes, as clip stores and feature files keep them: dataset /classes/LABEL, fixed-length
 * UTF-8, row k is the name of class k.
 */
#ifndef VJ_CLIPS_CLASSES_H
#define VJ_CLIPS_CLASSES_H

#include <hdf5.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>

#include "h5/h5.h"

/** The names of one label's classes. */
typedef struct vj_clips_classes {
    int64_t count, bytes; /* 0: the numbers have no names; bytes of each name with its zero */
    char *names;          /* [count, bytes], owned; "": no class has this number */
} vj_clips_classes;

void vj_clips_classes_release(vj_clips_classes *classes);
/** Return the name of a class; "" if its number has none. */
const char *vj_clips_classes_name(const vj_clips_classes *classes, int64_t number);

/**
 * Return the digest of the names and their numbers: the XXH3-64 of each name with its terminating zero, in order, up to
 * the last number that has a name, each with the digest of those before it as seed (the first: 0). 0: the numbers have
 * no names. Equal for the store, the features made of it, and the probes trained on these.
 */
uint64_t vj_clips_classes_digest(const vj_clips_classes *classes);

/**
 * Refuse (VJ_ERR_USAGE) two lists of class names in which a number stands for different classes; the message shows the
 * first difference ("class 17 is 'abseiling' in A and 'archery' in B"), and what to do. A class that only one of the
 * two has is no difference unless its number is another class's. Where labels are renumbered by name
 * (vj_clips_join_classes()) this check is not needed. *compared (may be NULL): false if one or both have no names, so
 * that nothing could be checked. `a_path` and `b_path` are used in messages. Not collective.
 */
vj_status vj_clips_check_classes(const char *label, const vj_clips_classes *a, const char *a_path,
                                 const vj_clips_classes *b, const char *b_path, bool *compared);

/** Copy names, numbers as they are; `copy` must be empty. */
vj_status vj_clips_copy_classes(vj_clips_classes *copy, const vj_clips_classes *classes);

/** Copy the names that rank 0 has to the other ranks, which have none. Collective, agreed. */
vj_status vj_clips_broadcast_classes(vj_clips_classes *classes, MPI_Comm comm);

/** Write /classes/LABEL; or read it, giving count 0 if the file has none. */
vj_status vj_clips_put_classes(hid_t file, const char *path, const char *label, const vj_clips_classes *classes);
vj_status vj_clips_get_classes(hid_t file, const char *path, const char *label, vj_clips_classes *classes);

/**
 * The same in a file that ranks write together (h5/h5.h): on rank 0, create /classes/LABEL, where there are names, in
 * phase 1 and write them to `place` in phase 2.
 */
vj_status vj_clips_lay_out_classes(vj_h5_writer *writer, const char *label, const vj_clips_classes *classes,
                                   int64_t *place);
vj_status vj_clips_write_classes(vj_h5_writer *writer, const vj_clips_classes *classes, int64_t place);

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
