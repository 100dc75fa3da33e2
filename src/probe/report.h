/* Writes and prints the result table of a probe campaign: JSON and CSV for programs, Markdown for people. */
#ifndef VJ_PROBE_REPORT_H
#define VJ_PROBE_REPORT_H

#include <math.h>

#include "clips/clips.h"
#include "probe/belong.h"
#include "probe/differences.h"
#include "probe/predictions.h"
#include "probe/probe.h"

enum {
    VJ_MAX_ENCODERS = 64,
    VJ_ENCODER_NAME = 96,
    VJ_PROBE_KIND = VJ_HEAD_WORD,
    VJ_PAPER_CELL = 128,
    VJ_MAX_SEEDS = 1000 /* probe.seeds */
};

/* A row of the table: the results of one encoder, task, kind of probe and share of the labels, over all seeds. */
typedef struct {
    char task[VJ_LABEL_NAME], encoder[VJ_ENCODER_NAME];
    char kind[VJ_PROBE_KIND]; /* vj_pooling_name(), or "ridge" */
    double labels;            /* share in percent */
    int64_t training_clips;   /* labelled clips trained on, for the first seed */
    int64_t validation_clips; /* labelled clips that top-1 was measured on */
    int64_t seeds;
    double top1_mean, top1_std; /* percent; sample standard deviation over seeds, 0 for one seed */
    double effective_rank;      /* of the encoder's token features; NaN: not known */
    int width;                  /* of the features */
    /* Members that may be unknown. Percentages; NaN, 0 or "": not known. */
    double top5, mean_class; /* means over seeds */
    int classes;
    int64_t epochs;          /* of training; 0: not trained in epochs */
    int64_t failed;          /* validation samples that could not be used */
    int64_t training_failed; /* training samples that could not be used, among training_clips */
    char features[VJ_HEAD_WORD], preset[VJ_HEAD_WORD], split[VJ_HEAD_WORD]; /* as in vj_head_facts */
    char precision[VJ_HEAD_WORD];                                           /* likewise */
    char views[VJ_HEAD_WORD]; /* views of a test sample: frames x clips x crops, as in papers: "16x8x3" */
    uint64_t encoder_digest, train_digest, validation_digest, class_digest;
    uint64_t split_digest, probe_digest; /* of the one seed; with several seeds, all combined */
    double as_published;                 /* top-1 as the released code counts it, mean over seeds */
    double paper;                        /* published top-1 (paper.h) */
    char paper_cell[VJ_PAPER_CELL];      /* where that is published */
} vj_probe_row;

/**
 * Check that a name of an encoder can be told from that of another: they differ, also in files, where "/" becomes "|".
 * VJ_ERR_USAGE. Not collective.
 */
vj_status vj_encoder_names_check(const char *name, const char *other);

/** Initial values of a row: the members that are NaN while they are not known. */
#define VJ_PROBE_ROW_UNKNOWN .effective_rank = NAN, .top5 = NAN, .mean_class = NAN, .as_published = NAN, .paper = NAN

/* The results of one seed of a row, and digests of the probe's weights and of its training samples. */
typedef struct {
    vj_accuracies accuracies;
    uint64_t probe_digest, split_digest;
} vj_probe_seed;

/** Return a row with the facts of the head of its first seed; the caller sets the encoder's name and the counts of
 * clips. */
vj_probe_row vj_probe_row_of(const vj_head_facts *first);
/** Set row->views: frames of a clip, clips of a sample, crops of a clip. */
void vj_probe_row_views(vj_probe_row *row, int64_t frames, int64_t clips, int64_t crops);
/** Set a row's means, standard deviation and digests from the results of all seeds, 1 or more. */
void vj_probe_row_summarise(vj_probe_row *row, const vj_probe_seed *seed, int64_t count);

/**
 * The 95 % interval of a row's top1_mean, in percent: Student's over the seeds, or with one seed Wilson's, of the
 * validation clips (metrics.h).
 */
void vj_probe_row_interval(const vj_probe_row *row, double *low, double *high);

/**
 * Return the standard error of a row's top1_mean, in percent: from the variance over the seeds plus the binomial
 * variance of the validation clips.
 */
double vj_probe_row_error(const vj_probe_row *row);

/**
 * Check that vj_report_write() can write to DIR. VJ_ERR_USAGE if the folder cannot be created or written, or if it has
 * files of the names below that are not earlier results. `option` names DIR in the message. Not collective.
 */
vj_status vj_report_check(const char *option, const char *dir);

/* The contents of a result table, all borrowed. Rows must be in the order of vj_campaign_run(). */
typedef struct {
    const vj_probe_row *rows;
    int64_t count;
    const vj_differences *differences; /* of the encoders; count 0: there is one, or their predictions are not known */
    const vj_notes *notes;
} vj_report;

/**
 * Write DIR/results.json, results.csv and results.md, each atomically, and DIR/differences.csv if there are
 * differences. The notes are in the JSON and Markdown files. Not collective: one rank must call it.
 */
vj_status vj_report_write(const char *dir, const vj_report *report);

/**
 * Print the Markdown table, one line per task, kind of probe and share, one column per encoder, followed by the notes.
 * Encoders whose name starts with "random" are baselines: every other encoder is compared with the best of them, and
 * "helps" is printed only if the gain is more than two standard errors.
 */
void vj_report_print(FILE *out, const vj_report *report);

#endif
