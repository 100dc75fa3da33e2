/* What vjepa-spectrum knn is to do: the options, the labels that can be answered, and what is said before it begins. */
#ifndef VJ_SPECTRUM_KNN_PLAN_H
#define VJ_SPECTRUM_KNN_PLAN_H

#include "spectrum/commands.h"
#include "spectrum/votes.h"

/* A label with which answers are counted. */
typedef struct {
    int label;     /* of training and queries */
    int list;      /* of the search: 0, or the nearest among the training clips that have this label */
    bool *allowed; /* [training clips], owned: those clips; NULL with list 0 */
    int k_count;   /* how many of the values of k there are neighbours for */
    int classes;
} vj_knn_task;

typedef struct {
    vj_source *training, *queries; /* borrowed; the same: each clip is a query to all others */
    bool leave_one_out;
    vj_distance distance;
    double temperature, memory_mib; /* memory_mib 0: not given */
    int k[VJ_MAX_K], k_count, most_k;
    int tasks, lists; /* lists of the search: of all training clips, and of those that a task allows */
    vj_knn_task task[VJ_MAX_LABELS];
    const bool *allowed[VJ_MAX_LABELS + 1]; /* [lists] of the tasks */
    int64_t copies;                         /* queries whose content a training clip has; negative: not known */
} vj_knn_plan;

/**
 * Read the options, find the labels, count copies; what users should know is logged. VJ_ERR_USAGE: a wrong option, or
 * nothing to find out. Release with vj_knn_plan_release(), also after a failure. Not collective; the same on all ranks.
 */
vj_status vj_knn_plan_make(vj_knn_plan *plan, const vj_analysis *analysis);
void vj_knn_plan_release(vj_knn_plan *plan);

#endif
