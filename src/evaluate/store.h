/*
 * Features of training samples that are encoded once and read in every epoch (probe.features stored): writing the
 * files, and reading them ahead. Private to this folder.
 */
#ifndef VJ_EVALUATE_STORE_H
#define VJ_EVALUATE_STORE_H

#include "evaluate/parts.h"

/* ------------------------------------------------------------------------------------------------ store.c */

enum { VJ_EVAL_FILES = 32, VJ_EVAL_STORE_PATH = VJ_PATH + VJ_ENCODER_NAME + 64 };

/* The samples of one copy of the features, and how they are divided over files; the same for each encoder. */
typedef struct {
    int64_t *sample, count; /* [count] ascending, owned */
    int64_t each;           /* samples in a file; the last may have fewer */
    int files;
} vj_eval_copy;

/** List the samples that the epochs need which read this copy: those with epoch mod e->stored.copies = copy. Free
 * list->sample. Not collective. */
vj_status vj_eval_copy_of(vj_eval_copy *list, const vj_evaluation *e, int64_t copy);
/** Make the path of a file: DIR/features/ENCODER-COPY-FILE.h5. */
void vj_eval_copy_path(char path[VJ_EVAL_STORE_PATH], const vj_evaluation *e, int i, int64_t copy, int file);
/** Return the number of tokens that are stored for a clip: all, or 1 if only their mean is stored. */
int64_t vj_eval_store_tokens(const vj_evaluation *e);
/** Return the bytes of all files on disk, without their headers. */
double vj_eval_store_bytes(const vj_evaluation *e);
/** Return how many sums of products [width, width] are in memory at a time while features of one encoder are stored
 * (train/spectrum.h). */
int vj_eval_store_sums(const vj_evaluation *e);
/**
 * Encode the samples of all copies that will be read from e->stream.epoch on, and write their features, except for
 * files that exist. Afterwards training encodes nothing. A file appears only when it is whole. Before the first one a
 * checkpoint is written, whose description of the evaluation (vj_eval_describe()) the files refer to: another version
 * of vjepa that goes on takes it over, and finds the files. *stop is set if the evaluation was asked to stop; the file
 * that was being written is then given up. Collective, agreed.
 */
vj_status vj_eval_store(vj_evaluation *e, int *stop);
/** Remove the files, unless request->keep_features. On rank 0. */
vj_status vj_eval_store_remove(const vj_evaluation *e);
/** Return the effective rank of the features in the first file of encoder i; NaN if there is no file. On rank 0. */
double vj_eval_store_rank(const vj_evaluation *e, int i);

/* ------------------------------------------------------------------------------------------------ reader.c */

/** Start to read features of samples [n] from the copy for e->stream.epoch, in batches of evaluate.batch samples: first
 * batch 0 of each encoder, then batch 1 of each, and so on, two buffers ahead. Collective, agreed. */
vj_status vj_eval_reader_start(vj_evaluation *e, const int64_t *samples, int64_t n);
/** Copy the next features to e->encoded.raw: [samples, tokens, width], or mean tokens (e->encoded.raw_means). *wait_s:
 * seconds that it waited for them. Not collective. */
vj_status vj_eval_reader_next(vj_evaluation *e, int64_t samples, double *wait_s);
void vj_eval_reader_close(vj_eval_reader *reader);

#endif
