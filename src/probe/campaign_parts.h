/* The state of a campaign while it is planned, run and written; private to campaign*.c. */
#ifndef VJ_PROBE_CAMPAIGN_PARTS_H
#define VJ_PROBE_CAMPAIGN_PARTS_H

#include "probe/campaign.h"
#include "probe/predictions.h"
#include "probe/samples.h"

/* One probe. */
typedef struct {
    int task, share, encoder;
    vj_pooling pooling;
    uint64_t seed;
    int64_t number; /* place in the order of the table */
    double cost;    /* estimated operations */
    int part;       /* part of the campaign that has it, from 1 */
    int rank;       /* rank that trains it; -1: none, it belongs to another part */
    int64_t head;   /* its number among the heads of the file of predictions */
} vj_job;

/* The training samples of a task, share and seed, the same for all encoders and poolings. */
typedef struct {
    int64_t *chosen, count; /* [count] rows of the training features; owned */
    uint64_t digest;
} vj_split_drawn;

typedef struct {
    vj_config *config; /* owned; probe.weight_decay has its final value */
    const vj_probe_encoder *encoders;
    int encoder_count;
    vj_campaign_part *part; /* borrowed; NULL: all */
    vj_samples train[VJ_MAX_ENCODERS], validation[VJ_MAX_ENCODERS];
    vj_notes *notes; /* borrowed */
    vj_strings tasks;
    vj_job *jobs;
    int64_t job_count;
    vj_split_drawn *splits;   /* [tasks, shares, seeds] */
    vj_probe_result *results; /* [job_count] without rows; allocated by divide() */
    vj_head_facts *heads;     /* [head_count] heads of this part, in the order of jobs; NULL: no file of predictions */
    int64_t head_count;
    vj_predictions_writer *predictions; /* NULL: none */
    const char *dir;                    /* folder for predictions and splits; borrowed; NULL: they are not written */
    bool made_dir, made_splits;         /* vj_campaign_write_splits() has created the folder, and splits/ in it */
    int rank, size;
    MPI_Comm comm;
} vj_campaign;

/** Open and check the stores, list the probes, choose their training samples, and divide the probes over parts and
 * ranks. Collective. (campaign_plan.c) */
vj_status vj_campaign_prepare(vj_campaign *c);

/** Return the number of classes of a task, in training and validation of encoder `e`. */
int vj_campaign_classes(const vj_campaign *c, int e, int task);
/** Return the training samples of a job. */
const vj_split_drawn *vj_campaign_split(const vj_campaign *c, const vj_job *job);

/** Write the training samples of all probes as files below c->dir (splits.h). Not collective. (campaign_results.c) */
vj_status vj_campaign_write_splits(vj_campaign *c);
/** Remove these files and the folders that were created for them, when the campaign cannot begin. Not collective. */
void vj_campaign_remove_splits(const vj_campaign *c);
/** Create the file of predictions below c->dir, for the heads of this part, if there are any. Collective. */
vj_status vj_campaign_begin_predictions(vj_campaign *c);
/** Make the rows of the table, or of this part of it, from the results of all ranks. */
vj_status vj_campaign_make_rows(const vj_campaign *c, vj_probe_row **rows, int64_t *row_count);

#endif
