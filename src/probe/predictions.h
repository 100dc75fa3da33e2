/*
 * The predictions of probes for each sample: predictions.h5 (docs/formats.md), written by the programs that measure
 * probes and read by vjepa-compare and vjepa-report. A head is one probe of one encoder; its predictions are one table:
 *
 *   /heads/NAME     [n]  a row a sample: clip, content, label, rank, views, classes[5], probabilities[5]
 *   /classes/TASK   S [classes]  names of the classes of a task, where the store has them: row k is class k
 *
 * The attributes of each table describe its probe, encoder and samples (vj_head_facts).
 */
#ifndef VJ_PROBE_PREDICTIONS_H
#define VJ_PROBE_PREDICTIONS_H

#include <hdf5.h>
#include <mpi.h>

#include "clips/classes.h"
#include "clips/clips.h"

/** The value of the attribute "format". */
#define VJ_PREDICTIONS_FORMAT "vjepa-predictions"
enum { VJ_TOP = 5, VJ_HEAD_NAME = 256, VJ_HEAD_TEXT = 256, VJ_HEAD_WORD = 32 };

/* One sample. The layout in memory is that of the file. */
typedef struct {
    int64_t clip;         /* number of its (first) clip in the store */
    uint64_t content;     /* checksum of that clip in the store: equal for equal content; 0: not known */
    int32_t label;        /* number of its class */
    int32_t rank;         /* of the label: 0 is right, below 5 is right in top-5 */
    int32_t views;        /* number of views whose probabilities were averaged */
    int32_t top[VJ_TOP];  /* classes of highest probability, in falling order; -1 where there are fewer */
    float chance[VJ_TOP]; /* their probabilities; 0 where there are fewer */
    int32_t nothing;      /* 0: fills the row up to a multiple of 8 bytes */
} vj_prediction;

/**
 * Make a prediction from the scores [views, classes] of a sample: one view is ranked by its scores, several by their
 * averaged softmax. The caller must have set clip, content and label of `p`. memory [2 * classes] is overwritten.
 * VJ_ERR_STATE, naming the clip, for a score that is not finite; VJ_ERR_FORMAT for a label outside [0, classes).
 */
vj_status vj_predict(vj_prediction *p, double *memory, const double *scores, int views, int classes);

/* Accuracies of all predictions together, in percent; NaN: there are none. */
typedef struct {
    double top1, top5, mean_class;
    double as_published; /* top-1 as the released code counts it; NaN: not asked for (probe.as_published) */
} vj_accuracies;

/**
 * Compute the accuracies of rows [n] by vj_metrics_top(), vj_metrics_mean_class() and vj_metrics_as_published()
 * (metrics.h). VJ_ERR_MEMORY.
 */
vj_status vj_predictions_accuracies(vj_accuracies *accuracies, const vj_config *config, const vj_prediction *rows,
                                    int64_t n, int classes);

/* What a head is and what it was measured on. Texts without control characters. */
typedef struct {
    char name[VJ_HEAD_NAME]; /* unique in its file, without "/" (vj_head_name()) */
    char task[VJ_LABEL_NAME];
    char encoder[VJ_HEAD_NAME];     /* its name in the campaign */
    char kind[VJ_HEAD_WORD];        /* "attentive", "average" */
    char features[VJ_HEAD_WORD];    /* "online", "stored", "stored:4" */
    char preset[VJ_HEAD_WORD];      /* "code", "paper" */
    char precision[VJ_HEAD_WORD];   /* of the encoder's products, "fp32", "bf16"; "": not known */
    char split[VJ_HEAD_WORD];       /* "class", "uniform" */
    char description[VJ_HEAD_TEXT]; /* how it was trained, one line */
    double labels;                  /* share of the labels, percent */
    uint64_t seed;
    uint64_t encoder_digest;             /* of the encoder's weights; 0: not known */
    uint64_t train_digest, store_digest; /* fingerprints of the stores trained and measured on */
    uint64_t split_digest;               /* of the training samples (splits.h) */
    uint64_t class_digest;               /* of the class names; 0: they have none */
    uint64_t probe_digest;               /* of the probe's weights when it was measured */
    int64_t training_samples;            /* in its split */
    int64_t counted, failed;             /* samples measured (rows), and samples that could not be used */
    int classes;
} vj_head_facts;

/** Make a head's name: "motion.attentive.100.pretrained.234": task, kind, share, encoder, seed; "/" becomes "|". */
void vj_head_name(vj_head_facts *head);

/** Add a tensor to the digest of a probe's weights, which starts with 0; the order of the tensors does not matter. */
uint64_t vj_probe_digest_add(uint64_t digest, const char *name, const float *weight, int64_t count);

/* ------------------------------------------------------------------------------------------------ writing */

/** Return VJ_OK if PATH does not exist or is a file of predictions, else VJ_ERR_USAGE. Not collective. */
vj_status vj_predictions_may_replace(const char *path);

/* A task and the names of its classes, borrowed; count 0: none. */
typedef struct {
    const char *task;
    const vj_clips_classes *classes;
} vj_task_classes;

typedef struct vj_predictions_writer vj_predictions_writer;

/**
 * Create PATH.<number>.part with room for the rows (`counted`) of all heads. The arguments are the same on all ranks;
 * `comm` is borrowed until commit and may be VJ_ALONE. Collective, agreed.
 */
vj_status vj_predictions_create(vj_predictions_writer **writer, const char *path, const vj_head_facts *heads,
                                int64_t count, const vj_task_classes *tasks, int task_count, const char *config,
                                MPI_Comm comm);

/** Write rows [first, first + count) of a head. Each row is written once, by any rank. Not collective. */
vj_status vj_predictions_write(vj_predictions_writer *writer, int64_t head, int64_t first, int64_t count,
                               const vj_prediction *rows);

/**
 * Finish the file. probe_digest [heads]: rank 0's are stored. If a rank's `status` is a failure, or rows are missing,
 * no file is left. Frees the writer in any case. Collective, agreed.
 */
vj_status vj_predictions_commit(vj_predictions_writer *writer, vj_status status, const uint64_t *probe_digest);

/** Give up: rank 0 removes the .part file. Does nothing for NULL. Not collective. */
void vj_predictions_abandon(vj_predictions_writer *writer);

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct {
    char path[VJ_PATH];
    char *config; /* settings of the probes as text; owned */
    int64_t count;
    vj_head_facts *head; /* [count] in the order in which they were written; owned */
} vj_predictions;

/** Read the list of heads of a file. Release also after a failure. Not collective, like all that read here. */
vj_status vj_predictions_open(vj_predictions *predictions, const char *path);
void vj_predictions_release(vj_predictions *predictions);

/** Return the number of the head called `name`, or -1. */
int64_t vj_predictions_find(const vj_predictions *predictions, const char *name);

/** Read all rows of a head, [counted]; free() them. VJ_ERR_FORMAT for classes or ranks out of range. */
vj_status vj_predictions_read(const vj_predictions *predictions, int64_t head, vj_prediction **rows);

/** Read the names of the classes of a task; count 0: they have none. Release with vj_clips_classes_release(). */
vj_status vj_predictions_classes(const vj_predictions *predictions, const char *task, vj_clips_classes *classes);

/** Print the heads of a file, a line each with accuracies and Wilson's interval, and the origin of the file. */
vj_status vj_predictions_print(const char *path, FILE *out);

/**
 * Print results by class of a file's probes; probes that differ only in the seed are counted together. Prints the
 * `limit` classes of lowest accuracy, with Wilson's interval and the class they are most often confused with, and the
 * `limit` pairs that are confused most. `which`: the name of a head or of an encoder, or "" for all. VJ_ERR_USAGE if
 * nothing has that name.
 */
vj_status vj_predictions_print_classes(const char *path, const char *which, int64_t limit, FILE *out);

/** Check every head of a file; *damaged counts those that cannot be read, each reported. */
vj_status vj_predictions_verify(const char *path, int64_t *heads, int64_t *damaged);

/* Returns a number to sort heads by, lowest first; equal ones stay in the order of the files. */
typedef int64_t vj_head_place(const void *table, const vj_head_facts *head);

/**
 * Write the heads of `count` files (at least 1), those of the parts of a campaign, into one file. They are ordered by
 * place(table, head), or file by file if it is NULL. VJ_ERR_FORMAT if two heads have the same name. Not collective.
 */
vj_status vj_predictions_join(const char *path, const char *const *paths, int count, vj_head_place *place,
                              const void *table);

#endif
