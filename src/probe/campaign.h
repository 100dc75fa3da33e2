/*
 * A campaign trains one probe for every combination of task, pooling, share of the labels, seed (config.probe) and
 * encoder. The probes are independent and divided over the ranks. The result table is bitwise equal on any number of
 * ranks.
 */
#ifndef VJ_PROBE_CAMPAIGN_H
#define VJ_PROBE_CAMPAIGN_H

#include <mpi.h>

#include "base/file.h"
#include "probe/belong.h"
#include "probe/report.h"

/* An encoder: its name, and the paths of the two feature stores with its training and validation features. */
typedef struct {
    char name[VJ_ENCODER_NAME];
    char train[VJ_PATH], validation[VJ_PATH];
} vj_probe_encoder;

/*
 * A share of a campaign, for jobs that each train some of the probes: whole rows of the table, divided by cost, the
 * same on any number of ranks. part.h writes and merges them.
 */
typedef struct {
    int index, count; /* given: part `index` of `count`, from 1 */
    int64_t total;    /* rows of the whole table */
    int64_t *number;  /* [row_count] place of each row in the whole table; owned */
    char *campaign;   /* the settings, encoders and features as text, equal for all parts of one campaign; owned */
} vj_campaign_part;

void vj_campaign_part_release(vj_campaign_part *part);

/** Parse "NAME=TRAIN.h5,VALIDATION.h5". */
vj_status vj_probe_encoder_parse(vj_probe_encoder *encoder, const char *text);

/**
 * Train and evaluate all probes. *rows (to be freed with free()) and *row_count are set on all ranks; rows are ordered
 * by task, pooling, share, then encoder in the order given. `notes` gets remarks on the features (belong.h); free it
 * with vj_notes_release(). Seeds are run.seed, run.seed + 1, ... Rank 0 logs progress and the time left. `part`: train
 * only its rows, which may be none; NULL: all. `dir`: a folder, created if needed, for the training samples of all
 * probes, DIR/splits/ (splits.h), and their predictions on the validation clips, DIR/predictions.h5 (predictions.h) or
 * for a part DIR/predictions_K_of_N.h5; NULL: neither is written. Collective.
 */
vj_status vj_campaign_run(vj_probe_row **rows, int64_t *row_count, vj_notes *notes, const vj_config *config,
                          const vj_probe_encoder *encoders, int encoder_count, vj_campaign_part *part, const char *dir,
                          MPI_Comm comm);

/**
 * Write the results of a campaign into DIR (report.h) and print them. If DIR/predictions.h5 exists, the differences of
 * the encoders are included, and their notes are added to `notes`. Not collective: one rank must call it.
 */
vj_status vj_campaign_report(const char *dir, const vj_probe_row *rows, int64_t count, vj_notes *notes);

/** Make the path of the file of predictions of a campaign, or of a part of it (NULL: all). */
void vj_campaign_predictions_path(char path[VJ_FILE_PATH], const char *dir, const vj_campaign_part *part);

/**
 * Open and check all stores and print what vj_campaign_run() would do, without doing it. Collective.
 */
vj_status vj_campaign_plan(const vj_config *config, const vj_probe_encoder *encoders, int encoder_count, MPI_Comm comm);

#endif
