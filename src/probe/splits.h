/*
 * Splits of low-shot evaluation: the labelled training samples that a probe is trained on. They are drawn by a rule or
 * read from a file, and written as files, so that other programs can use the same samples.
 *
 * A split file is text: the first line is "# SHARE SEED DIGEST", then one sample number a line, in ascending order. The
 * digest (16 hexadecimal digits) is that of the store's fingerprint and the numbers, so a file that was made for
 * another store, or changed by hand, is detected. A file written by hand has "-" for the digest.
 */
#ifndef VJ_PROBE_SPLITS_H
#define VJ_PROBE_SPLITS_H

#include "base/file.h"

/* How a share of the labels is drawn. */
typedef enum {
    VJ_SPLIT_CLASS,  /* the same share of each class, at least one sample of each */
    VJ_SPLIT_UNIFORM /* the share of all labelled samples, whatever their classes; at least one */
} vj_split_rule;

/**
 * Choose the training clips for a share of the labels: `share` percent of `clips` labelled clips (of all labelled clips
 * if `clips` is 0 or more than there are). Every class is reduced by the same factor, but keeps at least one clip. From
 * each class the first clips of a keyed permutation are taken, so a smaller share is a subset of a larger one. chosen
 * [count] gets *chosen_count clip numbers in ascending order. Depends only on its arguments.
 */
vj_status vj_probe_subset(int64_t *chosen, int64_t *chosen_count, const int32_t *labels, int64_t count, int classes,
                          int64_t clips, double share, uint64_t seed);

/**
 * The same by either rule. VJ_SPLIT_UNIFORM takes the first samples of one keyed permutation of all labelled ones, so
 * that here too a smaller share is a subset of a larger one. chosen [count] gets positions in `labels`, in ascending
 * order.
 */
vj_status vj_split_choose(int64_t *chosen, int64_t *chosen_count, vj_split_rule rule, const int32_t *labels,
                          int64_t count, int classes, int64_t clips, double share, uint64_t seed);

/* The samples that a split is a part of. All borrowed. */
typedef struct {
    const int64_t *id;     /* [count] the numbers of the samples in files, ascending; NULL: 0 to count - 1 */
    const int32_t *labels; /* [count] -1: no label */
    int64_t count;
    uint64_t fingerprint; /* of the store that the numbers refer to */
    const char *name;     /* of the store, for messages */
} vj_split_samples;

/** Return the digest of a split file with the samples at positions chosen [n]. */
uint64_t vj_split_digest(const vj_split_samples *samples, const int64_t *chosen, int64_t n);

enum { VJ_SPLIT_PATH = VJ_PATH + 256 };

/** Make the name of a split's file: DIR/TASK_class_5_234.split; characters that files may not have become %XX. */
void vj_split_path(char path[VJ_SPLIT_PATH], const char *dir, const char *task, vj_split_rule rule, double share,
                   uint64_t seed);

/** Write a split file, atomically. Not collective. */
vj_status vj_split_write(const char *path, const vj_split_samples *samples, const int64_t *chosen, int64_t n,
                         double share, uint64_t seed);

/**
 * Read a split file: chosen [samples->count] gets *n positions in ascending order. VJ_ERR_FORMAT, naming file and line,
 * if it is not a split file, for a number that is not a sample of the store or has no label, for numbers that do not
 * ascend, for a share or seed other than requested, and for a wrong digest. Not collective.
 */
vj_status vj_split_read(int64_t *chosen, int64_t *n, const char *path, const vj_split_samples *samples, double share,
                        uint64_t seed);

#endif
