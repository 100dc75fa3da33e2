/*
 * Prints a progress line: how many files are done on all ranks. The other ranks now and then send their counts to rank
 * 0 without waiting for it; rank 0 receives them between its own files.
 */
#ifndef VJ_PACK_PROGRESS_H
#define VJ_PACK_PROGRESS_H

#include <mpi.h>
#include <stdint.h>

#include "base/status.h"

/* Counts of one rank, as sent to rank 0; all double, so that one MPI type serves. `begun`: files that are not written
 * yet, each counted by the part of it that is decoded. */
typedef struct {
    double files, bytes, clips, begun, finished;
} vj_pack_progress_counts;

typedef struct {
    MPI_Comm comm; /* borrowed; until vj_pack_progress_end() no other point-to-point messages may be sent on it */
    int rank, size;
    int64_t total; /* files of all ranks */
    double begin_s, next_s;
    vj_pack_progress_counts mine, sent; /* sent: the send buffer, must not change until `request` completes */
    MPI_Request request;
    vj_pack_progress_counts *of_rank; /* [size] on rank 0, owned */
} vj_pack_progress;

vj_status vj_pack_progress_begin(vj_pack_progress *progress, int64_t total, MPI_Comm comm);

/** Count one more file as done. */
void vj_pack_progress_add(vj_pack_progress *progress, int64_t bytes, int64_t clips);

/**
 * Without counting a file: receive the other ranks' counts and print the line if it is time (rank 0), or send this
 * rank's counts if it is time (others). To be called while waiting. `begun`: as in the counts.
 */
void vj_pack_progress_wait(vj_pack_progress *progress, double begun);

/** Wait for all ranks, while rank 0 goes on printing the line; *all: the sums, on rank 0. Collective. */
void vj_pack_progress_end(vj_pack_progress *progress, vj_pack_progress_counts *all);

#endif
