/*
 * Predicts the class of a query from votes of its nearest neighbours, for several k, and counts correct predictions.
 * docs/method.md, section 15.5.
 */
#ifndef VJ_SPECTRUM_VOTES_H
#define VJ_SPECTRUM_VOTES_H

#include <mpi.h>

#include "spectrum/neighbours.h"

enum { VJ_MAX_K = 16, VJ_VOTES = 2 };
typedef enum { VJ_VOTE_MAJORITY, VJ_VOTE_WEIGHTED } vj_vote; /* weighted: exp(similarity / temperature) */

/* Counts of correct predictions for one representation and one task. Arrays are owned. */
typedef struct {
    int kinds;       /* 1: majority votes; 2: weighted votes too */
    int k_count;     /* number of values of k */
    int k[VJ_MAX_K]; /* ascending */
    int classes;
    double temperature;
    int64_t *total;                            /* [classes] queries of each class */
    int64_t *first[VJ_VOTES], *five[VJ_VOTES]; /* [k_count, classes] correct queries by top-1, by top-5 */
    double *votes;                             /* [classes] votes for one query */
    int *nearest;                              /* [classes] index of a class's nearest neighbour; -1: none */
    int32_t *voted;                            /* [classes] list of the classes that have votes */
} vj_ballot;

/** Allocate the counts, all 0. Release them with vj_ballot_release(), also after a failure. `k` [k_count] is ascending,
 * with at most VJ_MAX_K values. */
vj_status vj_ballot_create(vj_ballot *ballot, int classes, const int *k, int k_count, int kinds, double temperature);
void vj_ballot_release(vj_ballot *ballot);

/**
 * Count one query of class `truth`. Row i of the training clips has the label labels[i * stride]; all rows in
 * `neighbours` must have one. There must be as many neighbours as the largest k.
 */
void vj_ballot_count(vj_ballot *ballot, const vj_neighbour *neighbours, const int32_t *labels, int64_t stride,
                     int32_t truth);

/** Sum the counts over all ranks. Collective. */
void vj_ballot_sum(vj_ballot *ballot, MPI_Comm comm);

/* Accuracies in percent. */
typedef struct {
    int64_t queries;
    double top1, top5, class_mean; /* class_mean: mean of top-1 over the classes that queries have */
} vj_accuracy;
/** Return the accuracies of a kind of vote with the which_k-th number of neighbours. */
vj_accuracy vj_ballot_accuracy(const vj_ballot *ballot, vj_vote kind, int which_k);

#endif
