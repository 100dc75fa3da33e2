/*
 * Scaling studies: points that were measured (points.c) and points of a model (model.c), as rows of a CSV file that
 * vjepa-report shows (docs/formats.md, "Scaling studies").
 */
#ifndef VJ_SCALING_H
#define VJ_SCALING_H

#include "base/config.h"

/* What the column "source" says, and what vjepa-report tells a model by. */
#define VJ_SCALING_MEASURED "measured"
#define VJ_SCALING_MODEL    "model"

/**
 * Measured points: JSON files of vjepa-bench step, named STUDY.ANYTHING.json. Points of a study with the same ranks and
 * tensor groups are repetitions: the smallest and the largest of their times, and the median of their medians. Writes
 * FOLDER/scaling.csv and FOLDER/phases.csv. Not collective.
 */
vj_status vj_scaling_points(const char *const *files, int count, const char *folder);

/* What is simulated beside configuration and cluster. */
typedef struct {
    const char *study; /* name of the rows; NULL: from the configuration */
    const char *nodes; /* "1,2,4": numbers of nodes */
    const char *ranks; /* on each node; NULL: one for each GPU or memory domain */
    const char *weak;  /* clips of a rank or tensor group; NULL: the configuration's batch for all */
} vj_scaling_model;

/**
 * Simulate a training step on each number of nodes with SimGrid SMPI and write FILE.csv. The exchanges are those of
 * src/parallel (analysis/scaling/simulation), computing is vjepa-plan's forecast. VJ_ERR_LIBRARY if SimGrid is not
 * there. Changes the configuration. Not collective.
 */
vj_status vj_scaling_simulate(const vj_scaling_model *model, vj_config *config, const char *config_path,
                              const char *file);

#endif
