/*
 * The in-run watch of vjepa-pretrain: after the first step, every watch.every steps and after the last the target
 * encoder (with the pixel objective, the encoder) runs over the centre crops of some labelled clips or images, and two
 * small probes measure how useful its features are, which the loss does not show (docs/method.md, section 11): the 20
 * nearest neighbours of the mean tokens, and an attentive probe on all tokens.
 *
 * The encoder's part, nearly all of the work, is divided over the ranks; rank 0 has the probes. The clips are encoded
 * in groups of train.microbatch that are the same on any number of ranks, so the numbers are, too. Nothing that
 * training uses is written: the encoder reads the target's weights where they are and has memory of its own.
 */
#ifndef VJ_PROBE_WATCH_H
#define VJ_PROBE_WATCH_H

#include "train/watcher.h"

/** The argument for vj_pretrain(). */
extern const vj_pretrain_watch vj_watch;

/* Number of neighbours that vote. */
enum { VJ_WATCH_NEIGHBOURS = 20 };

/**
 * Compute the top-1 accuracy, in percent, of a vote of nearest neighbours for m queries [m, D]: of n samples [n, D] the
 * VJ_WATCH_NEIGHBOURS (all, if n is smaller) with the largest cosine similarity vote, of equally similar ones the
 * first. If classes have equally many votes, the one whose nearest neighbour is nearer wins. All arrays are host
 * memory. `threads` does not change the result. VJ_ERR_MEMORY. Not collective.
 */
vj_status vj_watch_knn(double *top1, const float *samples, const int32_t *sample_labels, int64_t n,
                       const float *queries, const int32_t *query_labels, int64_t m, int D, int threads);

#endif
