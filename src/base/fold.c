/* Gathers the messages of all ranks, and prints one line for each kind. */
#include "base/fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 256 };

/* How often each kind of message was printed, for jobs that repeat a message in thousands of steps. */
static struct {
    uint64_t kind;
    int64_t messages, lines, next; /* so far; `next`: messages at which the next line is printed */
} said[KINDS];
static int kinds;

/*
 * Decide whether `count` more messages of this kind are printed: yes for the first VJ_FOLD_OFTEN lines, later only when
 * their number has doubled since the last line; *so_far is then that number, else 0. Messages of more than KINDS kinds
 * are always printed.
 */
static bool is_due(uint64_t kind, int64_t count, int64_t *so_far)
{
    int i = 0;
    *so_far = 0;
    while (i < kinds && said[i].kind != kind) i++;
    if (i == KINDS) return true;
    if (i == kinds) said[kinds++].kind = kind;
    said[i].messages += count;
    if (said[i].lines >= VJ_FOLD_OFTEN) *so_far = said[i].messages;
    if (*so_far < said[i].next && said[i].lines >= VJ_FOLD_OFTEN) return false;
    said[i].next = 2 * said[i].messages;
    said[i].lines++;
    return true;
}

/* By kind, then by rank. */
static int compare(const void *a, const void *b)
{
    const vj_message *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Print messages of one kind, which are sorted by rank. */
static void print_kind(const vj_message *message, int count)
{
    int ranks = 1;
    int64_t so_far;
    bool alike = true;
    char more[128] = "";
    if (!is_due(message->kind, count, &so_far)) return;
    for (int i = 1; i < count; i++) {
        ranks += message[i].rank != message[i - 1].rank;
        alike &= strcmp(message[i].text, message[0].text) == 0;
    }
    for (int i = 0; count <= VJ_FOLD_FROM && so_far == 0 && i < count; i++)
        if (i == 0 || !alike || ranks > 1) vj_status_print(&message[i], 1, "");
    if (count <= VJ_FOLD_FROM && so_far == 0) return;
    if (so_far > 0)
        snprintf(more, sizeof more, " (%lld such messages so far; the next line when there are twice as many)",
                 (long long)so_far);
    else if (!alike)
        snprintf(more, sizeof more, " (one of %d such messages, which differ in what they name)", count);
    else if (count > ranks)
        snprintf(more, sizeof more, " (%d times)", count);
    vj_status_print(message, ranks, more);
}

void vj_fold_print(vj_message *messages, int count, int64_t dropped)
{
    int64_t so_far;
    if (count > 0) qsort(messages, (size_t)count, sizeof *messages, compare);
    for (int i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && messages[i + n].kind == messages[i].kind;) n++;
        print_kind(&messages[i], n);
    }
    if (dropped > 0 && is_due(0, dropped, &so_far))
        fprintf(stderr, "vjepa: warning: %lld more messages of ranks that had more than %d each are left out\n",
                (long long)dropped, VJ_KEPT);
}

void vj_fold(MPI_Comm comm)
{
    int rank, size;
    MPI_Datatype type;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    vj_message *mine = malloc(VJ_KEPT * sizeof *mine), *all = NULL;
    int *counts = malloc(2 * (size_t)size * sizeof *counts), *at = counts + size, total = 0;
    VJ_ASSERT(mine && counts);
    int64_t dropped = vj_status_kept();
    const int count = vj_status_take(mine);
    dropped -= count;
    MPI_Gather(&count, 1, MPI_INT, counts, 1, MPI_INT, 0, comm);
    MPI_Reduce(rank == 0 ? MPI_IN_PLACE : &dropped, &dropped, 1, MPI_INT64_T, MPI_SUM, 0, comm);
    for (int r = 0; rank == 0 && r < size; r++) {
        at[r] = total;
        total += counts[r];
    }
    if (rank == 0) all = malloc((size_t)(total + 1) * sizeof *all);
    VJ_ASSERT(rank != 0 || all);
    MPI_Type_contiguous((int)sizeof *mine, MPI_BYTE, &type);
    MPI_Type_commit(&type);
    MPI_Gatherv(mine, count, type, all, counts, at, type, 0, comm);
    MPI_Type_free(&type);
    if (rank == 0) vj_fold_print(all, total, dropped);
    free(all);
    free(mine);
    free(counts);
}
