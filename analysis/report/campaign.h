/* Results of probe campaigns (docs/formats.md, "Results of probes"), from results.json or results.csv. */
#ifndef VJ_REPORT_CAMPAIGN_H
#define VJ_REPORT_CAMPAIGN_H

#include <stdint.h>

#include "base/status.h"

/* One row: a task, an encoder, a kind of probe, a share of the labels. Texts are owned; percent; NaN: not known. */
typedef struct {
    char *task, *encoder, *probe;
    double labels, training_clips, validation_clips, seeds;
    double top1, sd, effective_rank;
    double top5, mean_class;        /* means over seeds */
    double low, high;               /* 95 % t-interval over the seeds */
    double wilson_low, wilson_high; /* 95 % interval of the mean, by the number of validation clips */
    double *confusion;              /* [classes, classes] clips of a true class (row) by predicted class; NULL: none */
    char **class_names;             /* [classes]; NULL: none */
    int classes;
} vj_result;

typedef struct {
    vj_result *rows;
    int64_t count, odd; /* odd: entries without what makes a result, left out */
    char **notes;       /* [note_count] what may mislead, each once. Owned */
    int note_count;
} vj_campaign;

/** Read a file, or FOLDER/results.json, or else FOLDER/results.csv. Release also after a failure. Not collective. */
vj_status vj_campaign_read(vj_campaign *campaign, const char *path);
void vj_campaign_release(vj_campaign *campaign);

#endif
