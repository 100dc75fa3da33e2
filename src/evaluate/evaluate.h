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

/* All borrowed. */
typedef struct {
    const char *train, *validation; /* clip stores, "A.clips,B.clips" */
    const char *const *encoders;    /* [encoder_count] "NAME=CHECKPOINT", or "NAME=random:published:7" */
    int encoder_count;
    const char *probes; /* files of probes to measure without training, "A.h5,B.h5", or folders of them; NULL: train */
    int keep_probes;    /* bool: write every probe as a file, DIR/probes/NAME.h5 */
    int keep_features;  /* bool: leave stored features in DIR/features (probe.features) */
    int64_t attention;  /* validation samples whose attention is written to DIR/attention.h5; 0: none */
    const char *dir;    /* folder for checkpoints and results */
    int dry_run;        /* bool: check everything and print the plan */
} vj_evaluate_request;

typedef enum { VJ_EVALUATE_DONE, VJ_EVALUATE_STOPPED } vj_evaluate_outcome;

/**
 * Train and measure all probes that sections `probe` and `evaluate` ask for, and write results.json, results.csv,
 * results.md, predictions.h5 and the splits into request->dir. Goes on from DIR/evaluation.h5 if it is there
 * (VJ_ERR_USAGE if its settings are others); *outcome is VJ_EVALUATE_STOPPED if it was asked to stop (train/stop.h)
 * and has written a checkpoint. Collective.
 */
vj_status vj_evaluate(const vj_config *config, const vj_evaluate_request *request, MPI_Comm comm,
                      vj_evaluate_outcome *outcome);

#endif
