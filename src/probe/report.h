/* The result table of a probe campaign, for programs (JSON, CSV) and for people (Markdown). */
#ifndef VJ_PROBE_REPORT_H
#define VJ_PROBE_REPORT_H

#include "clips/clips.h"
#include "probe/belong.h"
#include "probe/probe.h"

enum { VJ_MAX_ENCODERS = 16, VJ_ENCODER_NAME = 64 };

/* One encoder, task, pooling and share of the labels, over all seeds. */
typedef struct {
    char task[VJ_LABEL_NAME], encoder[VJ_ENCODER_NAME];
    vj_pooling pooling;
    double labels;            /* share in percent */
    int64_t training_clips;   /* clips that share is, of the first seed */
    int64_t validation_clips; /* clips top-1 was counted on */
    int64_t seeds;
    double top1_mean, top1_std; /* percent; sample standard deviation over seeds, 0 for one seed */
    double effective_rank;      /* of the encoder's token features; NaN: not known */
    int width;                  /* of the features */
} vj_probe_row;

/**
 * Standard error of a row's mean, in percent: scatter of the seeds, and of the validation clips (binomial).
 */
double vj_probe_row_error(const vj_probe_row *row);

/**
 * Could vj_report_write() write there? Refuses a folder that cannot be made or written, and files of these names that
 * are not earlier results. `option` names DIR in the message. Not collective.
 */
vj_status vj_report_check(const char *option, const char *dir);

/**
 * Write DIR/results.json, results.csv and results.md (each whole or not at all), with the notes in the first and the
 * last. Not collective: one rank writes.
 */
vj_status vj_report_write(const char *dir, const vj_probe_row *rows, int64_t count, const vj_notes *notes);

/**
 * Print the Markdown table: one line per task, pooling and share, one column per encoder. Encoders whose name starts
 * with "random" are the baseline: every other one is compared with the best of them, and "helps" is only said of a gain
 * of more than two standard errors; the notes below it. Rows as vj_campaign_run() orders them.
 */
void vj_report_print(FILE *out, const vj_probe_row *rows, int64_t count, const vj_notes *notes);

#endif
