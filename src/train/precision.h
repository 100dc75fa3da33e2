/* train.precision: what the settings say, and what "auto" takes on this machine. */
#ifndef VJ_TRAIN_PRECISION_H
#define VJ_TRAIN_PRECISION_H

#include <mpi.h>

#include "base/config.h"
#include "kernels/kernels.h"

/** Return the precision of settings whose train.precision is not, or no longer, "auto". */
vj_precision vj_precision_of(const vj_config *config);

/**
 * Which precision "auto" takes where products of bf16 and of fp32 run at these rates, in any unit: bf16 if it is faster
 * by a quarter, as it is wherever a processor or GPU multiplies bf16 itself. Else fp32, which is more exact: a choice
 * by a hair would differ from one start to the next.
 */
vj_precision vj_precision_pick(double fp32_rate, double bf16_rate);

/**
 * Replace train.precision "auto" in `config`: times the products of both precisions on all ranks at once, takes what
 * vj_precision_pick() takes of their means, the same on all, and logs it. With products by a library of fp32 it is
 * fp32. Does nothing if the precision is given. A run that goes on takes the precision of its checkpoint instead
 * (vj_run_folder_keep()). Collective.
 */
vj_status vj_precision_settle(vj_config *config, MPI_Comm comm);

/** Write a precision into the settings. */
void vj_precision_set(vj_config *config, vj_precision precision);

#endif
