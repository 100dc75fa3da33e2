/*
 * Prints messages that many ranks have in common as one line: "vjepa: warning: rank 3 and 996 others: ...". Until
 * vj_fold() is called, base/status.h keeps the messages of each rank.
 */
#ifndef VJ_BASE_FOLD_H
#define VJ_BASE_FOLD_H

#include <mpi.h>

#include "base/status.h"

enum {
    VJ_FOLD_FROM = 3, /* as many messages of one kind are still printed one by one */
    VJ_FOLD_OFTEN = 8 /* as many lines of one kind are printed before they become rare */
};

/**
 * Send the kept messages of all ranks to rank 0, which prints them on standard error. Messages from the same place in
 * the code are of one kind. If there are more than VJ_FOLD_FROM of a kind, only the one of the lowest rank is printed,
 * with the number of ranks. A kind that was printed VJ_FOLD_OFTEN times in this job is printed again only when the
 * number of its messages has doubled, with that number. Collective.
 */
void vj_fold(MPI_Comm comm);

/**
 * Print messages [count], in any order, as vj_fold() does; reorders them. `dropped`: number of further messages that
 * ranks could not keep for lack of room. Not collective.
 */
void vj_fold_print(vj_message *messages, int count, int64_t dropped);

#endif
