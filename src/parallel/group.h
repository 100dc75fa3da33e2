/*
 * Ranks that sum and gather floats together. Results have the same bits on all ranks: the sum is made in a fixed order
 * of ranks, whoever makes it.
 */
#ifndef VJ_PARALLEL_GROUP_H
#define VJ_PARALLEL_GROUP_H

#include <mpi.h>
#include <stdint.h>

#include "base/status.h"

typedef struct vj_group vj_group;

/** All ranks of `comm`, which is duplicated. Collective, as is everything here. */
vj_status vj_group_open(vj_group **group, MPI_Comm comm);
void vj_group_close(vj_group *group);

/** Sum x [n] over the ranks, in place. */
void vj_group_sum(vj_group *group, float *x, int64_t n);

/**
 * The sum in parts: with first [size + 1] ascending, rank r ends with the sum of [first[r], first[r+1]) in place; the
 * rest of x is undefined.
 */
void vj_group_sum_part(vj_group *group, float *x, const int64_t *first);

/** Rank r's [first[r], first[r+1]) to all, in place. */
void vj_group_gather(vj_group *group, float *x, const int64_t *first);

#endif
