/* What several commands need: sums over ranks, the memory of a node, means, progress. */
#ifndef VJ_SPECTRUM_PARTS_H
#define VJ_SPECTRUM_PARTS_H

#include "base/config.h"
#include "linear/matrix.h"
#include "source/source.h"

/** Parse a number above 0 that an option was given. VJ_ERR_USAGE, naming the option. */
vj_status vj_parse_number(const char *option, const char *text, double *value);

/** Sum any number of doubles over all ranks, in place; all ranks get the same bits. Collective. */
void vj_sum_many(MPI_Comm comm, double *values, int64_t count);

/**
 * Return the bytes that each rank of a node can still have, if all take alike: what the system says is available, over
 * the node's ranks; the least of all nodes, on all ranks. INT64_MAX where the system does not say. Collective.
 */
int64_t vj_rank_memory(MPI_Comm comm);

/**
 * Refuse, with VJ_ERR_USAGE, work for which a rank needs more bytes than its node has for it. `what` and `advice` are
 * parts of the message: "N MiB a rank for WHAT, and the node has M MiB: ADVICE". Collective, agreed.
 */
vj_status vj_check_memory(MPI_Comm comm, int64_t bytes, const char *what, const char *advice);

/**
 * The bytes that each rank may give to sums of its own rows, for vj_begin_sums(): as many MiB as `option`, the text of
 * --memory, says; without it, half of what vj_rank_memory() leaves beside the `needed` bytes. VJ_ERR_USAGE: not a
 * number. Collective.
 */
vj_status vj_memory_for_sums(int64_t *bytes, MPI_Comm comm, const char *option, int64_t needed);
/** vj_matrix_begin_sums() if its bytes are there, which *bytes then has less of. Collective, agreed. */
vj_status vj_begin_sums(vj_matrix *matrix, int64_t *bytes);

/**
 * rows [count, width] = x - minus, as doubles, ready for products; their sum is added to sum [width]. Not collective.
 */
void vj_rows_widen(double *rows, const float *x, int64_t count, int width, const double *minus, double *sum);

/**
 * The labels that a command is about: the numbers of those named in probe.tasks, or of all. labels [VJ_MAX_LABELS].
 * Refuses sources whose rows are tokens (a label is a clip's) or that have no labels, and names that none has.
 * VJ_ERR_USAGE, VJ_ERR_FORMAT. Not collective.
 */
vj_status vj_choose_labels(int *labels, int *count, const vj_source *source, const vj_config *config);

/**
 * Count the queries whose content a training clip has, by the clips' checksums; -1 if these are not known. Clips of one
 * source are not copies of themselves. Not collective.
 */
vj_status vj_count_copies(int64_t *copies, const vj_source *training, const vj_source *queries);

/* Progress of passes over sources, which rank 0 logs every few seconds; its own share stands for all ranks'. */
typedef struct {
    const char *name; /* "compare". Borrowed */
    double start, last;
    int64_t done, mine, all; /* clips, in all passes: this rank has read, and will read; all ranks will */
} vj_progress;

vj_progress vj_progress_begin(const char *name);
/** So many passes over a source will be made. */
void vj_progress_expect(vj_progress *progress, const vj_source *source, int64_t passes);
/** This rank has read so many clips. */
void vj_progress_add(vj_progress *progress, int64_t clips);
/** All passes are done: logs how fast they were. */
void vj_progress_end(const vj_progress *progress);

/**
 * The mean rows of all representations, mean[i] [width], on all ranks, in one pass, of which `progress` is told.
 * Collective, agreed.
 */
vj_status vj_source_means(vj_source *source, MPI_Comm comm, double *const *mean, vj_progress *progress);

#endif
