/* The plan of vjepa-spectrum knn: its options, the labels that can be predicted, and messages before it begins. */
#ifndef VJ_SPECTRUM_KNN_PLAN_H
#define VJ_SPECTRUM_KNN_PLAN_H

#include "spectrum/commands.h"
#include "spectrum/votes.h"

/* A label whose predictions are counted. */
typedef struct {
    int label;     /* index, in training and queries */
    int list;      /* which list of the search to use: 0, all training clips, or one of those that have this label */
    bool *allowed; /* [training clips] the training clip has this label. Owned; NULL if list is 0 */
    int k_count;   /* how many of the values of k have enough neighbours */
    int classes;
} vj_knn_task;

typedef struct {
    vj_source *training, *queries; /* borrowed; equal if leave_one_out */
    bool leave_one_out;
    vj_distance distance;
    double temperature, memory_mib; /* memory_mib 0: not given */
    int k[VJ_MAX_K], k_count, max_k;
    int tasks, lists; /* lists of the search: one of all training clips, and those that tasks need besides */
    vj_knn_task task[VJ_MAX_LABELS];
    const bool *allowed[VJ_MAX_LABELS + 1]; /* [lists] as vj_search.allowed; borrowed from the tasks */
    int64_t copies;                         /* queries with the same content as a training clip; negative: not known */
} vj_knn_plan;

/**
 * Read the options, find the labels, count copies, and log what users should know. VJ_ERR_USAGE: a wrong option, or
 * nothing to compute. Release the plan with vj_knn_plan_release(), also after a failure. Not collective; the plan is
 * the same on all ranks.
 */
vj_status vj_knn_plan_make(vj_knn_plan *plan, const vj_analysis *analysis);
void vj_knn_plan_release(vj_knn_plan *plan);

#endif
