/* Counts votes and correct predictions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spectrum/votes.h"

vj_status vj_ballot_create(vj_ballot *b, int classes, const int *k, int k_count, int kinds, double temperature)
{
    const int64_t cells = (int64_t)k_count * classes;
    *b = (vj_ballot){.kinds = kinds, .k_count = k_count, .classes = classes, .temperature = temperature};
    memcpy(b->k, k, (size_t)k_count * sizeof *k);
    b->total = vj_calloc(classes, sizeof *b->total);
    b->votes = vj_calloc(classes, sizeof *b->votes);
    b->nearest = vj_calloc(classes, sizeof *b->nearest);
    b->voted = vj_calloc(classes, sizeof *b->voted);
    bool all = b->total && b->votes && b->nearest && b->voted;
    for (int c = 0; b->nearest && c < classes; c++) b->nearest[c] = -1;
    for (int kind = 0; kind < kinds; kind++) {
        b->first[kind] = vj_calloc(cells, sizeof *b->first[kind]);
        b->five[kind] = vj_calloc(cells, sizeof *b->five[kind]);
        all = all && b->first[kind] && b->five[kind];
    }
    return all ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to count the answers for %d classes", classes);
}

void vj_ballot_release(vj_ballot *b)
{
    free(b->total);
    free(b->votes);
    free(b->nearest);
    free(b->voted);
    for (int kind = 0; kind < VJ_VOTES; kind++) {
        free(b->first[kind]);
        free(b->five[kind]);
    }
    *b = (vj_ballot){0};
}

/* Return how many classes come before a class: those with more votes, or with as many votes and a nearer neighbour. */
static int place_of(const vj_ballot *b, int voted, int32_t class)
{
    int before = 0;
    for (int i = 0; i < voted; i++) {
        const int32_t other = b->voted[i];
        before += b->votes[other] > b->votes[class] ||
                  (b->votes[other] == b->votes[class] && b->nearest[other] < b->nearest[class]);
    }
    return before;
}

/* Count the votes of one query. Weights are relative to that of the nearest neighbour, which does not change the order
 * and keeps exponentials finite. */
static void count_votes(vj_ballot *b, vj_vote kind, const vj_neighbour *neighbours, const int32_t *labels,
                        int64_t stride, int32_t truth)
{
    int voted = 0, i = 0;
    for (int which = 0; which < b->k_count; which++) {
        for (; i < b->k[which]; i++) {
            const int32_t class = labels[neighbours[i].row * stride];
            const double less = neighbours[i].similarity - neighbours[0].similarity;
            if (b->nearest[class] < 0) {
                b->voted[voted++] = class;
                b->nearest[class] = i;
            }
            b->votes[class] += kind == VJ_VOTE_MAJORITY ? 1.0 : exp(less / b->temperature);
        }
        if (b->nearest[truth] < 0) continue;
        const int place = place_of(b, voted, truth);
        b->first[kind][which * (int64_t)b->classes + truth] += place == 0;
        b->five[kind][which * (int64_t)b->classes + truth] += place < 5;
    }
    for (int v = 0; v < voted; v++) {
        b->votes[b->voted[v]] = 0;
        b->nearest[b->voted[v]] = -1;
    }
}

void vj_ballot_count(vj_ballot *b, const vj_neighbour *neighbours, const int32_t *labels, int64_t stride, int32_t truth)
{
    b->total[truth]++;
    for (int kind = 0; kind < b->kinds; kind++) count_votes(b, (vj_vote)kind, neighbours, labels, stride, truth);
}

void vj_ballot_sum(vj_ballot *b, MPI_Comm comm)
{
    const int cells = b->k_count * b->classes;
    MPI_Allreduce(MPI_IN_PLACE, b->total, b->classes, MPI_INT64_T, MPI_SUM, comm);
    for (int kind = 0; kind < b->kinds; kind++) {
        MPI_Allreduce(MPI_IN_PLACE, b->first[kind], cells, MPI_INT64_T, MPI_SUM, comm);
        MPI_Allreduce(MPI_IN_PLACE, b->five[kind], cells, MPI_INT64_T, MPI_SUM, comm);
    }
}

vj_accuracy vj_ballot_accuracy(const vj_ballot *b, vj_vote kind, int which)
{
    vj_accuracy a = {0};
    int64_t first = 0, five = 0, classes = 0;
    for (int c = 0; c < b->classes; c++) {
        const int64_t right = b->first[kind][which * (int64_t)b->classes + c];
        a.queries += b->total[c];
        first += right;
        five += b->five[kind][which * (int64_t)b->classes + c];
        if (b->total[c] == 0) continue;
        a.class_mean += (double)right / (double)b->total[c];
        classes++;
    }
    a.top1 = 100.0 * (double)first / (double)a.queries;
    a.top5 = 100.0 * (double)five / (double)a.queries;
    a.class_mean *= 100.0 / (double)classes;
    return a;
}
