/* Functions that several commands need: sums over ranks, memory of a node, means, progress. */
#ifndef VJ_SPECTRUM_PARTS_H
#define VJ_SPECTRUM_PARTS_H

#include "base/config.h"
#include "base/progress.h"
#include "linear/matrix.h"
#include "source/source.h"

/** Sum `count` doubles over all ranks, in place. All ranks get the same bits. Collective. */
void vj_sum_many(MPI_Comm comm, double *values, int64_t count);

/**
 * Fail with VJ_ERR_USAGE if a rank needs more bytes than its node has for it. `what` and `advice` are parts of the
 * message: "N MiB a rank are needed for WHAT, and its node has M MiB a rank: ADVICE". Collective, agreed.
 */
vj_status vj_check_memory(MPI_Comm comm, int64_t bytes, const char *what, const char *advice);

/**
 * Compute the bytes that each rank may use for sums of its own rows, for vj_begin_sums(): the MiB of `option`, which is
 * the text of --memory, or if that is NULL half of vj_rank_memory() minus the `needed` bytes. VJ_ERR_USAGE: not a
 * number. Collective.
 */
vj_status vj_memory_for_sums(int64_t *bytes, MPI_Comm comm, const char *option, int64_t needed);
/** Call vj_matrix_begin_sums() if the memory it needs is at most *bytes, and subtract it from *bytes. Collective,
 * agreed. */
vj_status vj_begin_sums(vj_matrix *matrix, int64_t *bytes);

/**
 * rows [count, width] = x - minus [width], as doubles for matrix products. Adds the sum of these rows to sum [width].
 * Not collective.
 */
void vj_rows_widen(double *rows, const float *x, int64_t count, int width, const double *minus, double *sum);

/**
 * List the labels that a command uses: the indices of those named in probe.tasks, or of all labels, in labels
 * [VJ_MAX_LABELS]. Fails if the source has no labels, if its rows are tokens (labels belong to clips), or if a name is
 * unknown. VJ_ERR_USAGE, VJ_ERR_FORMAT. Not collective.
 */
vj_status vj_choose_labels(int *labels, int *count, const vj_source *source, const vj_config *config);

/**
 * Count the queries with the same content as a training clip, compared by checksum; -1 if checksums are not known. If
 * both are the same source, a clip is not a copy of itself. Not collective.
 */
vj_status vj_count_copies(int64_t *copies, const vj_source *training, const vj_source *queries);

/* Progress of passes over sources. Rank 0 logs its own progress every few seconds, as an estimate for all ranks. */
typedef struct {
    const char *name; /* "compare". Borrowed */
    vj_progress_line line;
    int64_t done, mine, all; /* clips over all passes: read by this rank so far, by this rank in total, by all ranks */
    vj_source *source[2];    /* those that tell it how far they are; borrowed */
} vj_progress;

vj_progress vj_progress_begin(const char *name);
/** Announce that `passes` passes over a source, one of two at most, will be made. Until vj_progress_end() the source
 * tells how far it is within a slab, so `progress` must stay where it is. */
void vj_progress_expect(vj_progress *progress, vj_source *source, int64_t passes);
/** Add `clips` clips that this rank has read. */
void vj_progress_add(vj_progress *progress, int64_t clips);
/** Log the speed of all passes after the last one. */
void vj_progress_end(vj_progress *progress);

/**
 * Compute the mean row of each representation, mean[i] [width], on all ranks, in one pass over the source. Its clips
 * are added to `progress`. Collective, agreed.
 */
vj_status vj_source_means(vj_source *source, MPI_Comm comm, double *const *mean, vj_progress *progress);

#endif
