/* Results of probe campaigns (docs/formats.md, "Results of probes"), from results.json or results.csv. */
#ifndef VJ_REPORT_CAMPAIGN_H
#define VJ_REPORT_CAMPAIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "probe/per_class.h"
#include "report/document.h"

/* The difference of one encoder minus another in results.json, in percentage points of top-1. Texts are owned; NaN: not
 * known. */
typedef struct {
    char *minus;
    double difference, seeds;
    double low, high;             /* 95 % t-interval over the seeds */
    double clips_low, clips_high; /* 95 % interval by a paired bootstrap of the clips */
    double p_least, p_most;       /* of McNemar's test, over seeds */
    char *verdict;
} vj_result_difference;

/* One row: a task, an encoder, a kind of probe, a share of the labels. Texts are owned; percent; NaN: not known. */
typedef struct {
    char *task, *encoder, *probe;
    double labels, training_clips, validation_clips, seeds;
    double top1, sd, effective_rank;
    double top5, mean_class;           /* means over seeds */
    double low, high;                  /* 95 % t-interval over the seeds */
    double wilson_low, wilson_high;    /* 95 % interval of the mean, by the number of validation clips */
    vj_per_class by_class;             /* confusion counts; classes 0: not known. Owned */
    char **class_names;                /* [by_class.classes]; NULL: none */
    vj_result_difference *differences; /* [difference_count] this encoder minus others; owned */
    int64_t difference_count;
} vj_result;

typedef struct {
    vj_result *rows;
    int64_t count, odd; /* odd: number of incomplete entries, which were left out */
    char **notes;       /* [note_count] warnings about the results, each once. Owned */
    int note_count;
} vj_campaign_results;

/** Read `path`: a file, or a folder with results.json or otherwise results.csv. Release the results also after a
 * failure. Not collective. */
vj_status vj_campaign_read(vj_campaign_results *campaign, const char *path);
void vj_campaign_release(vj_campaign_results *campaign);

/** Return whether two results are of the same task and kind of probe. */
bool vj_result_same_probe(const vj_result *a, const vj_result *b);

/** Begin a row of a table with a result's task, probe and encoder. */
void vj_campaign_put(vj_table *table, const vj_result *result);

#endif
