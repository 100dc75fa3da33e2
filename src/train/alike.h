/*
 * Checks that all ranks of a job compute with the same kernels. Results of different instruction sets or libraries
 * differ in their last bits, so otherwise a result would depend on which rank computed it.
 */
#ifndef VJ_TRAIN_ALIKE_H
#define VJ_TRAIN_ALIKE_H

#include <mpi.h>

#include "kernels/kernels.h"
#include "parallel/parallel.h"

/**
 * Call vj_backend_open() with place->threads on every rank, then vj_kernels_agree(). Every program that computes on
 * several ranks opens its backend with this function. Collective.
 */
vj_status vj_backend_open_alike(vj_backend **be, const char *name, vj_precision precision, const vj_place *place,
                                MPI_Comm comm);

/**
 * VJ_ERR_USAGE unless vj_backend_kernels() returns the same on all ranks; the message names the first rank that
 * differs, rank 0, and the kernels of both. Collective.
 */
vj_status vj_kernels_agree(const vj_backend *be, MPI_Comm comm);

#endif
