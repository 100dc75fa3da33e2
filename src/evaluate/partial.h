/*
 * The checkpoint of a measuring pass, measured-NAME.h5: the predictions so far, from which a restart continues. Private
 * to this folder.
 */
#ifndef VJ_EVALUATE_PARTIAL_H
#define VJ_EVALUATE_PARTIAL_H

#include "evaluate/parts.h"

#define VJ_PASS_VALIDATION "validation"
#define VJ_PASS_HELD_OUT   "held-out"

/* A list of samples to measure, and the predictions so far. */
typedef struct {
    const char *name;           /* VJ_PASS_... */
    vj_eval_side *side;         /* borrowed */
    const int64_t *sample;      /* [count] borrowed */
    int64_t count, place;       /* samples [0, place) are measured */
    vj_prediction **prediction; /* [heads][count] on the owner of each head; clip -1: the sample is not counted */
} vj_eval_measured;

/** Write DIR/measured-NAME.h5. Collective, agreed. */
vj_status vj_eval_save_measured(vj_evaluation *e, const vj_eval_measured *measured);
/** Read DIR/measured-NAME.h5 if it exists: place, predictions of the heads that this rank owns, and marks of damaged
 * clips. A damaged file, or one of other probes or samples, is ignored: place is 0 then. Collective, agreed. */
vj_status vj_eval_find_measured(vj_evaluation *e, vj_eval_measured *measured);
/** Remove files that only a restart needs: results of an unfinished measurement, and the checkpoint before the last
 * one. On rank 0. */
void vj_eval_remove_restart_files(const vj_evaluation *e);

#endif
