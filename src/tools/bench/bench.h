/*
 * Measurements of everything that costs time: kernels, the training step, loading, checkpoints, communication. Each is
 * a command of vjepa-bench, a file of this folder, and a function that fills a report. Times are the slowest rank's.
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
    bool cold;                     /* load: from disk */
    bool views;                    /* load: views of an evaluation, too */
    bool profile;                  /* step: operations by phase, too */
    bool as_configured;            /* step: the file's batch and microbatch */
} vj_bench;

/** The commands, NULL-terminated. */
extern const char *const vj_bench_commands[];

/** Run one of the commands and fill `report`, an empty object; it is complete on rank 0. Collective. */
vj_status vj_bench_run(const vj_bench *bench, const char *command, json_t *report);

#endif
