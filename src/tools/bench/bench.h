/*
 * Measurements of everything that takes time: kernels, the training step, loading, packing, checkpoints, communication.
 * Each is a command of vjepa-bench, implemented in its own file of this folder by a function that fills a report. Times
 * are those of the slowest rank.
 */
#ifndef VJ_BENCH_BENCH_H
#define VJ_BENCH_BENCH_H

#include <jansson.h>
#include <mpi.h>

#include "base/config.h"
#include "bench/spread.h"

typedef struct {
    const vj_config *config; /* borrowed */
    const char *config_path; /* NULL: the defaults */
    MPI_Comm comm;
    const char *repeats, *seconds; /* texts of the options; NULL: not given */
    const char *clips;             /* step: "synthetic", or a store */
    const char *dir;               /* checkpoint: where to write */
    bool cold;                     /* load: read from disk, not from the system's cache */
    bool views;                    /* load: also measure views of an evaluation */
    bool profile;                  /* step: also measure operations by phase */
    bool as_configured;            /* step: use batch and microbatch of the configuration */
} vj_bench;

/** The commands, NULL-terminated. */
extern const char *const vj_bench_commands[];

/** Run one of the commands and fill `report`, which must be an empty object. It is complete on rank 0. Collective. */
vj_status vj_bench_run(const vj_bench *bench, const char *command, json_t *report);

#endif
