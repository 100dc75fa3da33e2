/* train.precision: reads the setting, and replaces "auto". */
#ifndef VJ_TRAIN_PRECISION_H
#define VJ_TRAIN_PRECISION_H

#include <mpi.h>

#include "base/config.h"
#include "kernels/kernels.h"

/** Return the precision that the settings name; train.precision must not be "auto" (any more). */
vj_precision vj_precision_of(const vj_config *config);

/**
 * Replace train.precision "auto" in `config`: by bf16 if the processors or GPUs of all ranks have instructions for
 * products of bf16, else by fp32, which is more exact and then about as fast; also by fp32 if a library multiplies,
 * since libraries do so in fp32. The choice is logged. Nothing is timed, so programs on equal machines choose alike,
 * however busy the machines are, and their files fit together. Does nothing if the settings name a precision. A resumed
 * run keeps the precision of its checkpoint instead (vj_run_folder_keep()). Collective.
 */
vj_status vj_precision_choose(vj_config *config, MPI_Comm comm);

/** Write a precision into the settings. */
void vj_precision_set(vj_config *config, vj_precision precision);

#endif
