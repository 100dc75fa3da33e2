/*
 * Scaling studies. They write measured points (points.c) and points of a model (model.c) as rows of a CSV file, which
 * vjepa-report shows (docs/formats.md, "Scaling studies").
 */
#ifndef VJ_SCALING_H
#define VJ_SCALING_H

#include "base/config.h"

/* Values of the column "source", by which vjepa-report tells models from measurements. */
#define VJ_SCALING_MEASURED "measured"
#define VJ_SCALING_MODEL    "model"

/* How scaling.csv of both sources begins, and phases.csv. */
#define VJ_SCALING_CSV_BEGIN    "ranks,nodes,study,source,"
#define VJ_SCALING_PHASES_BEGIN "phase,study,tensor,ranks,"

/**
 * Convert JSON files of vjepa-bench step, named STUDY.ANYTHING.json, to points of a study. Files of a study with the
 * same ranks and tensor groups are repetitions: their point has the smallest and the largest of their times, and the
 * median of their medians. Writes FOLDER/scaling.csv and FOLDER/phases.csv. Not collective.
 */
vj_status vj_scaling_points(const char *const *files, int count, const char *folder);

/* What to simulate, in addition to the configuration and its cluster. */
typedef struct {
    const char *study;  /* name of the study; NULL: from the configuration */
    const char *nodes;  /* numbers of nodes, "1,2,4" */
    int node_ranks;     /* ranks on each node; 0: one for each GPU or memory domain */
    int64_t weak_clips; /* weak scaling: clips of a rank or tensor group; 0: the batch of the configuration */
} vj_scaling_model;

/**
 * Simulate a training step on each number of nodes with SimGrid SMPI, and write the points to `file`. Communication is
 * simulated with the code of src/parallel (analysis/scaling/simulation); the time of computing is vjepa-plan's
 * forecast. VJ_ERR_LIBRARY if SimGrid is not installed. Changes the configuration. Not collective.
 */
vj_status vj_scaling_simulate(const vj_scaling_model *model, vj_config *config, const char *config_path,
                              const char *file);

#endif
