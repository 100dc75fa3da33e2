/* train.precision: what the settings say, and what "auto" takes on this machine. */
#ifndef VJ_TRAIN_PRECISION_H
#define VJ_TRAIN_PRECISION_H

#include <mpi.h>

#include "base/config.h"
#include "kernels/kernels.h"

/** Return the precision of settings whose train.precision is not, or no longer, "auto". */
vj_precision vj_precision_of(const vj_config *config);

/**
 * Replace train.precision "auto" in `config`: bf16 where the processor or GPU multiplies bf16 itself, else fp32, which
 * is more exact and then about as fast; the same on all ranks, logged. Nothing is timed: on equal machines all programs
 * take the same, however busy they are, so files that two of them make fit one another. With products by a library of
 * fp32 it is fp32. Does nothing if the precision is given. A run that goes on takes the precision of its checkpoint
 * instead (vj_run_folder_keep()). Collective.
 */
vj_status vj_precision_settle(vj_config *config, MPI_Comm comm);

/** Write a precision into the settings. */
void vj_precision_set(vj_config *config, vj_precision precision);

#endif
