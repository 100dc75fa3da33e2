/*
 * Evaluation from clips: frozen encoders run over the clips of a training store, epoch by epoch, and every batch feeds
 * all probes of a campaign at once; then the probes are measured on a validation store (docs/method.md, section 12).
 * A probe gets the same bits as if it were trained alone, on any number of ranks, also after being killed and started
 * again.
 */
#ifndef VJ_EVALUATE_H
#define VJ_EVALUATE_H

#include <mpi.h>

#include "base/config.h"
#include "probe/campaign.h"

#define VJ_EVALUATION_FILE "evaluation.h5" /* the checkpoint of an evaluation, in its folder; it stays there */

/* All borrowed. */
typedef struct {
    const char *train, *validation; /* clip stores, "A.clips,B.clips" */
    const char *const *encoders;    /* [encoder_count] "NAME=CHECKPOINT", "NAME=RUN" or "NAME=random:published:7" */
    int encoder_count;
    const char *probes; /* files of probes to measure without training, "A.h5,B.h5", or folders of them; NULL: train */
    int keep_probes;    /* bool: write every probe to a file DIR/probes/NAME.h5 */
    int keep_features;  /* bool: do not remove stored features from DIR/features (probe.features) */
    int64_t attention;  /* validation samples whose attention is written to DIR/attention.h5; 0: none */
    const char *dir;    /* folder for checkpoints and results */
    vj_campaign_part *part; /* index and count: make only this part of the table, in DIR/part_K_of_N; NULL: all rows.
                               vj_evaluate() sets the other members; free them with vj_campaign_part_release() */
    int dry_run;            /* bool: check everything and print the plan */
} vj_evaluate_request;

typedef enum { VJ_EVALUATE_DONE, VJ_EVALUATE_STOPPED } vj_evaluate_outcome;

/**
 * Train and measure all probes that sections `probe` and `evaluate` ask for, and write results.json, results.csv,
 * results.md, predictions.h5 and the splits into request->dir. Continues from the checkpoint DIR/evaluation.h5 if it
 * exists (VJ_ERR_USAGE if its settings differ). *outcome is VJ_EVALUATE_STOPPED if the evaluation was asked to stop
 * (train/stop.h) and has written a checkpoint. A part writes its checkpoints and results to DIR/part_K_of_N, and its
 * splits, kept probes, predictions and table rows to DIR for vj_evaluate_merge(). Collective.
 */
vj_status vj_evaluate(const vj_config *config, const vj_evaluate_request *request, MPI_Comm comm,
                      vj_evaluate_outcome *outcome);

/**
 * Merge the results of the `parts` parts of a campaign into DIR, and write DIR/complete. The files are those that one
 * evaluation of the whole campaign would have written. VJ_ERR_IO, with their names, if parts are missing. Not
 * collective.
 */
vj_status vj_evaluate_merge(const char *dir, int parts);

#endif
