/*
 * The progress line: how many files are done on all ranks. The others send rank 0 their counts now and then without
 * waiting for it; rank 0 looks for them while it works itself.
 */
#ifndef VJ_PACK_PROGRESS_H
#define VJ_PACK_PROGRESS_H

#include <mpi.h>
#include <stdint.h>

#include "base/status.h"

/* Counts of one rank as sent; doubles so that one message type serves. */
typedef struct {
    double files, bytes, clips, finished;
} vj_progress_counts;

typedef struct {
    MPI_Comm comm; /* borrowed; no other point-to-point messages may run on it meanwhile */
    int rank, size;
    int64_t total; /* files of all ranks */
    double begin_s, next_s;
    vj_progress_counts mine, sent; /* sent: must stay until the request is done */
    MPI_Request request;
    vj_progress_counts *of_rank; /* [size] on rank 0, owned */
} vj_progress;

vj_status vj_progress_begin(vj_progress *progress, int64_t total, MPI_Comm comm);

/** One more file is done. */
void vj_progress_add(vj_progress *progress, int64_t bytes, int64_t clips);

/** Nothing new: hear the others, and speak if it is time. */
void vj_progress_wait(vj_progress *progress);

/** Wait for all ranks while rank 0 goes on speaking; *all: the sums, on rank 0. Collective. */
void vj_progress_end(vj_progress *progress, vj_progress_counts *all);

#endif
