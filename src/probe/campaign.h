/*
 * A campaign: every task x pooling x share of the labels x seed x encoder of config.probe, each an independent probe,
 * divided over the ranks. The table does not depend on the number of ranks, bit for bit.
 */
#ifndef VJ_PROBE_CAMPAIGN_H
#define VJ_PROBE_CAMPAIGN_H

#include <mpi.h>

#include "probe/belong.h"
#include "probe/report.h"

/* An encoder's features of the training and of the validation clips: two feature stores. */
typedef struct {
    char name[VJ_ENCODER_NAME];
    char train[VJ_PATH], validation[VJ_PATH];
} vj_probe_encoder;

/** Parse "NAME=TRAIN.h5,VALIDATION.h5". */
vj_status vj_probe_encoder_parse(vj_probe_encoder *encoder, const char *text);

/**
 * Train and measure all probes. `notes` get what is to be known about the features (vj_notes_release() them). *rows
 * (free() it) and *row_count, on all ranks: by task, pooling, share, then encoder in the order given. Rank 0 says how
 * far it is and how long it takes. Seeds are run.seed, run.seed + 1, ... Collective.
 */
vj_status vj_campaign_run(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const vj_config *config,
                          const vj_probe_encoder *encoders, int encoder_count, MPI_Comm comm);

/**
 * Open and check all stores and print what vj_campaign_run() would do, without doing it. Collective.
 */
vj_status vj_campaign_plan(const vj_config *config, const vj_probe_encoder *encoders, int encoder_count, MPI_Comm comm);

#endif
