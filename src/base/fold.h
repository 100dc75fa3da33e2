/*
 * What many ranks report alike, in one line: "vjepa: warning: rank 3 and 996 others: ...". Until ranks meet, messages
 * are kept by base/status.h.
 */
#ifndef VJ_BASE_FOLD_H
#define VJ_BASE_FOLD_H

#include <mpi.h>

#include "base/status.h"

/**
 * Print on standard error, from rank 0, what the ranks of `comm` have kept. Messages of the same place in the code
 * become one, the first rank's, with the number of ranks; up to VJ_FOLD_FROM of a kind are printed one by one.
 * After VJ_FOLD_OFTEN times a kind is printed each time that the number of its messages has doubled, with that number.
 * Collective.
 */
enum { VJ_FOLD_FROM = 3, VJ_FOLD_OFTEN = 8 };
void vj_fold(MPI_Comm comm);

/**
 * The same for messages [count] in any order of ranks, of which each rank kept more than it could hold in `dropped`
 * cases together. Reorders them. Not collective.
 */
void vj_fold_print(vj_message *messages, int count, int64_t dropped);

#endif
