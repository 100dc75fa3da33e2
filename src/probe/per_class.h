/*
 * Results of a probe by class: accuracy with its interval, and which classes are confused (docs/method.md,
 * section 12.3). Memory grows with the number of classes and of different mistakes, not with classes squared.
 */
#ifndef VJ_PROBE_PER_CLASS_H
#define VJ_PROBE_PER_CLASS_H

#include "probe/predictions.h"

/* A class that has clips. Counts are of all runs (seeds) together. */
typedef struct {
    int class;
    double clips, right;
    double top1, low, high; /* percent, with Wilson's 95 % interval for the clips of one run */
    int taken_for;          /* the wrong class that its clips are predicted as most often; -1: none */
    double taken;           /* number of these clips */
} vj_class_result;

/* Clips of class `from` that are predicted as class `to`, in all runs together. */
typedef struct {
    int from, to;
    double clips, percent; /* percent of the clips of `from` */
} vj_class_pair;

typedef struct {
    int classes;           /* of the task */
    int64_t runs;          /* number of runs counted */
    vj_class_result *item; /* [count] classes with clips, the lowest accuracy first; owned */
    int count;
    vj_class_pair *pair; /* [pairs] the most clips first; owned */
    int64_t pairs, room;
} vj_per_class;

/**
 * Begin to count; add clips of class `from` that are predicted as class `to`, both in [0, classes); when all are added,
 * compute the results of `runs` runs on the same clips. VJ_ERR_MEMORY. Release also after a failure.
 */
vj_status vj_per_class_begin(vj_per_class *p, int classes);
vj_status vj_per_class_add(vj_per_class *p, int from, int to, double clips);
vj_status vj_per_class_finish(vj_per_class *p, int64_t runs);
void vj_per_class_release(vj_per_class *p);

/** Do all three for heads [count] of a file: probes of one task that differ in the seed. VJ_ERR_FORMAT if they have
 * different numbers of classes. */
vj_status vj_per_class_read(vj_per_class *p, const vj_predictions *file, const int64_t *heads, int64_t count);

#endif
