/*
 * Differences between the encoders of a campaign: for each task, kind of probe and share of the labels that of every
 * two encoders, paired by the seed of the probe (which also draws the split) and by the clip, from the campaign's file
 * of predictions (docs/method.md, section 12.3). vjepa-compare compares two files by the same numbers.
 */
#ifndef VJ_PROBE_DIFFERENCES_H
#define VJ_PROBE_DIFFERENCES_H

#include <jansson.h>

#include "probe/belong.h"
#include "probe/metrics.h"
#include "probe/predictions.h"

enum { VJ_DIFFERENCE_RESAMPLES = 2000 }; /* resamples of the bootstrap, whose seed is 0 */

/* Encoder a minus encoder b, in percentage points of top-1; intervals of 95 %. */
typedef struct {
    char task[VJ_LABEL_NAME], kind[VJ_HEAD_WORD], a[VJ_HEAD_NAME], b[VJ_HEAD_NAME];
    double labels;          /* share, percent */
    int64_t clips, seeds;   /* that both encoders have */
    vj_runs_summary over;   /* mean over seeds, and its t-interval */
    double low, high;       /* of the mean, by the paired bootstrap over clips; NaN: the seeds have different clips */
    double p_least, p_most; /* p of McNemar's exact test: the smallest and the largest over the seeds */
    int64_t line;           /* place of its task, kind and share in the file; the differences are sorted by it */
} vj_difference;

typedef struct {
    vj_difference *item; /* [count] owned */
    int64_t count;
} vj_differences;

/**
 * Compare the encoders of a file of predictions, the one named first in the file minus the other. Two encoders that
 * were measured on different clips are not compared; a note says so. With one encoder there are no differences. Logs
 * progress if it takes long. Release also after a failure. Not collective.
 */
vj_status vj_differences_read(vj_differences *differences, const char *predictions, vj_notes *notes);
void vj_differences_release(vj_differences *differences);

/** Write in a few words whether the difference of a and b is significant: over the seeds, if there are several, and
 * over the clips. */
void vj_difference_verdict(char *text, size_t bytes, const vj_difference *difference);

/* The first characters of a CSV file of differences. */
#define VJ_DIFFERENCES_CSV_BEGIN "task,pooling,labels_percent,encoder,minus,"

/** Print them as a Markdown table with a sentence on its columns, at most 100 lines; nothing if there are none. */
void vj_differences_print(FILE *out, const vj_differences *differences);
/** Write them as CSV. Unknown values are empty. */
void vj_differences_csv(FILE *out, const vj_differences *differences);
/** Make a JSON array of the differences of one task, kind and share with encoder a `encoder`; NULL: out of memory. */
json_t *vj_differences_json(const vj_differences *differences, const char *task, const char *kind, double labels,
                            const char *encoder);
/** Add the differences of such an array; malformed entries are left out. VJ_ERR_MEMORY. */
vj_status vj_differences_add_json(vj_differences *differences, const char *task, const char *kind, double labels,
                                  const char *encoder, const json_t *array);

#endif
