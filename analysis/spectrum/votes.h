/*
 * What neighbours say of a query's class: votes for several k, counted against the query's label. docs/method.md,
 * section 15.5.
 */
#ifndef VJ_SPECTRUM_VOTES_H
#define VJ_SPECTRUM_VOTES_H

#include <mpi.h>

#include "spectrum/neighbours.h"

enum { VJ_MAX_K = 16, VJ_VOTES = 2 };
typedef enum { VJ_VOTE_MAJORITY, VJ_VOTE_WEIGHTED } vj_vote; /* weighted: exp(similarity / temperature) */

/* Right answers of one representation and one task. Arrays are owned. */
typedef struct {
    int kinds;   /* 1: majority; 2: weighted too */
    int k_count; /* values of k, ascending */
    int k[VJ_MAX_K];
    int classes;
    double temperature;
    int64_t *total;                            /* [classes] queries of a class */
    int64_t *first[VJ_VOTES], *five[VJ_VOTES]; /* [k_count, classes] right as the first answer, among the first five */
    double *votes;                             /* [classes] of one query */
    int *nearest;                              /* [classes] place of a class's nearest neighbour; -1: none */
    int32_t *voted;                            /* [classes] classes that have votes */
} vj_ballot;

/** Allocate; release with vj_ballot_release(), also after a failure. `k` ascending, at most VJ_MAX_K. */
vj_status vj_ballot_create(vj_ballot *ballot, int classes, const int *k, int k_count, int kinds, double temperature);
void vj_ballot_release(vj_ballot *ballot);

/**
 * Count one query of class `truth`. `labels` [rows * stride] are those of the rows that neighbours name, all of which
 * have one; there must be as many neighbours as the largest k.
 */
void vj_ballot_count(vj_ballot *ballot, const vj_neighbour *neighbours, const int32_t *labels, int64_t stride,
                     int32_t truth);

/** Sum the counts over all ranks. Collective. */
void vj_ballot_sum(vj_ballot *ballot, MPI_Comm comm);

/* In percent. */
typedef struct {
    int64_t queries;
    double top1, top5, class_mean; /* class_mean: of top-1, over the classes that queries have */
} vj_accuracy;
vj_accuracy vj_ballot_accuracy(const vj_ballot *ballot, vj_vote kind, int which_k);

#endif
