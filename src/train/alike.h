/*
 * All ranks of a job compute with the same kernels: results differ in their last bits from one instruction set or
 * library to another, so ranks that differ would make results that depend on which rank made them.
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
 * VJ_ERR_USAGE unless vj_backend_kernels() is the same on all ranks; the first rank that differs from rank 0 names both
 * and what each has. Collective.
 */
vj_status vj_kernels_agree(const vj_backend *be, MPI_Comm comm);

#endif
