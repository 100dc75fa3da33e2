/*
 * The state of an evaluation: its samples, splits and heads, which are the same on every rank, and the buffers of a
 * rank; and the functions by which the files of this folder use one another. heads.h, exchange.h, store.h and partial.h
 * declare what belongs to one subject. Read evaluate.c first. Private to this folder.
 *
 * The stream of an epoch is a keyed permutation of all training samples, without those that no head needs which still
 * trains in this epoch (stream.c). It is cut into rounds: each rank encodes evaluate.batch consecutive samples
 * (pass.c), then the heads learn from the whole round (round.c). A head sees the samples of its split in the order of
 * the permutation, whatever else is encoded. It is updated after each probe.batch of them and at the end of the epoch.
 */
#ifndef VJ_EVALUATE_PARTS_H
#define VJ_EVALUATE_PARTS_H

#include "base/lease.h"
#include "base/progress.h"
#include "evaluate/evaluate.h"
#include "feed/eval_set.h"
#include "feed/loader.h"
#include "h5/h5.h"
#include "parallel/parallel.h"
#include "probe/belong.h"
#include "probe/frozen.h"
#include "probe/head.h"
#include "probe/predictions.h"
#include "probe/probe_file.h"
#include "probe/recipe.h"
#include "probe/report.h"
#include "train/stop.h"

/* The training or the validation samples. */
typedef struct {
    const char *paths; /* of the stores, as the user gave them */
    vj_clips *clips;
    vj_eval_set set;
    vj_eval_views views;
    int label[VJ_MAX_LABELS]; /* [tasks] index of the task's label in these stores */
    int64_t wanted;           /* number of samples that the evaluation uses */
    uint8_t *damaged;         /* [clips] bool: known to be damaged; between rounds the same on all ranks */
} vj_eval_side;

/* A row of the result table. It stands for the heads of all seeds and of the whole sweep. */
typedef struct {
    int task, pooling, share, encoder; /* indices in probe.tasks, .pooling and .labels, and among the encoders */
    int64_t number;                    /* index in the whole table */
} vj_eval_row;

/* The training samples for the heads of one task, share of the labels and seed. */
typedef struct {
    int task, share; /* index of the share in probe.labels */
    double labels;   /* percent */
    uint64_t seed, digest;
    int64_t *sample, count;    /* [count] indices of training samples, ascending */
    int64_t *held, held_count; /* [held_count] those of `sample` that are held out to choose from the sweep */
    uint8_t *member;           /* [all training samples] bool: heads learn from it: in `sample`, not in `held` */
    int64_t learned;           /* count - held_count */
    int64_t epochs;
    /* Progress of its heads, which is the same for all of them; between rounds the same on all ranks. */
    int64_t update; /* updates made */
    int64_t done;   /* samples of this epoch that updates have used */
    int64_t seen;   /* samples of this epoch that the stream has passed */
} vj_eval_split;

/* A probe of the campaign. */
typedef struct {
    int encoder, task, split;
    int lr, wd; /* indices in the sweep's lists */
    uint64_t seed;
    vj_head_shape shape;
    int on_tokens; /* bool: its blocks work on all tokens (probe/token_probe.h), else on the query */
    vj_recipe recipe;
    int owner;      /* the rank that holds its predictions, and its weights (on_tokens: all ranks hold its weights) */
    int64_t key_at; /* index of its key in e->encoded.keys[encoder]; -1: no key */
    const vj_probe_file *measured; /* the file that it was read from if it is only measured; else NULL */
    /* Only on its owner and if not on_tokens, else NULL. */
    vj_head *head;
    float *dkeys; /* device, [batch, key floats] */
    /* On all ranks if on_tokens, else NULL. */
    vj_token_probe *token_probe;
    int64_t *sum; /* device, [vj_token_probe_size()] summed gradient of this rank's samples in the current batch; NULL:
                     not trained */
} vj_eval_head;

/* The result of a head. */
typedef struct {
    vj_accuracies on_validation;
    double held_top1; /* percent, on the held-out training samples; NaN: there are none */
    uint64_t digest;  /* of its weights (probe/probe_file.h) */
    int chosen;       /* bool: has the highest held_top1 of its sweep */
} vj_eval_score;

/* The buffers of a rank for rows and gradients that go to and from the owners of heads (exchange.c). */
typedef struct vj_exchange vj_exchange;

/* Reads stored features ahead of their use (reader.c). */
typedef struct vj_eval_reader vj_eval_reader;

typedef struct {
    vj_config *config; /* owned */
    const vj_evaluate_request *request;

    /* With parallel.tensor > 1 the ranks of a tensor group divide the encoders among them. Rank 0 of each group is its
     * leader. The leaders run the campaign and communicate over `comm`; the other ranks only take part in encoding
     * (vj_frozen_follow()). */
    vj_layout layout;
    vj_tensor *tensor; /* NULL: no tensor groups; every rank is a leader */
    MPI_Comm comm;     /* layout.data */
    int rank, size;    /* in comm */
    char dir[VJ_PATH]; /* folder of checkpoints and results: request->dir, for a part DIR/part_K_of_N */

    struct { /* the encoders that the rows need */
        int count;
        int at[VJ_MAX_LIST]; /* [count] their indices in request->encoders */
        char name[VJ_MAX_LIST][VJ_ENCODER_NAME];
        char from[VJ_MAX_LIST][VJ_PATH]; /* [request->encoder_count] their checkpoints, or random:... */
        uint64_t digest[VJ_MAX_LIST];
    } encoders;

    vj_eval_side train, validation;
    vj_strings tasks;
    int classes[VJ_MAX_LABELS]; /* [tasks] */

    vj_eval_row *row; /* [row_count] rows to make, of row_total in the whole table; a part may have none */
    int64_t row_count, row_total;
    vj_eval_split *split;
    int split_count;
    vj_eval_head *head;
    int64_t head_count;
    vj_probe_file *measured; /* [measured_count] owned; only with request->probes */
    int64_t measured_count;
    int64_t epochs; /* largest number of epochs of any split */

    struct {            /* stored features of training samples (store.c) */
        int64_t copies; /* 0: online, none are stored */
        bool centre;    /* they are of the test crop, not of training views */
        bool means;     /* only the mean token of each clip is stored, because no head needs more */
    } stored;

    int sweep; /* number of heads that differ only in learning rate and weight decay */
    int seeds; /* number of seeds of each row */

    int64_t max_clips;     /* most clips that an encoder takes at once */
    vj_frozen frozen;      /* the encoders; its `clips` are those of `train` */
    int64_t tokens;        /* tokens that a probe sees at once: of all segments, or of one (across_segments) */
    int64_t sample_floats; /* tokens * width */
    int64_t key_floats;    /* length of a key and of a row of attentive heads: key_heads * width */
    int64_t key_heads;     /* attention heads of an attentive probe */

    struct {                        /* of the samples that an encoder encoded last; device memory */
        float *raw;                 /* [samples at a time, views, tokens, width], as they come from the encoder */
        bool raw_means;             /* `raw` now holds mean tokens of clips instead, [samples, segments, width] */
        float *normed;              /* `raw` normalised; NULL: no head needs it */
        float *keys[VJ_MAX_LIST];   /* by encoder: [keyed, key_floats] */
        int64_t keyed[VJ_MAX_LIST]; /* by encoder: heads with a key */
    } encoded;

    vj_exchange *exchange;
    vj_eval_reader *reader; /* of stored features; NULL: online, or not started yet */
    vj_loader *loader;
    vj_eval_item *items; /* the clips that this loader loads, in order */

    struct { /* of the current epoch (stream.c) */
        int64_t epoch;
        int64_t *sample, count; /* [count] sample indices */
        int64_t place;          /* of the next one to encode */
    } stream;

    char *began_as; /* description in the checkpoint that this evaluation continues (state.c), owned; NULL: none */
    vj_stop stop;
    vj_lease *lease; /* of the folder, on rank 0 */

    struct {
        double saved_s, waited_s;       /* time of the last checkpoint, and spent waiting for clips or features */
        vj_progress_line line;          /* about training */
        int64_t encoded;                /* samples that all ranks encoded or read since the start */
        int64_t round;                  /* training samples in the present round, of all ranks; 0: between rounds */
        double train_flops, test_flops; /* of this rank, for a sample that it trains on; that it tests in all views */
    } progress;

    struct {                    /* of this rank */
        int64_t began_bytes;    /* at the start */
        int64_t forecast_bytes; /* forecast of how much the rank that needs most adds to it */
    } memory;

    vj_notes notes;
} vj_evaluation;

/* ------------------------------------------------------------------------------------------------ evaluate.c */

/** For vj_work_begin() in a round of training: from time to time log how far training is. */
void vj_eval_log_progress(void *evaluation, double share, double now_s);
/** Decide after a round, the `rounds`-th, whether to stop (*stop) and whether to write a checkpoint (*write), which the
 * caller must do. Before stopping a checkpoint is always written. Collective. */
void vj_eval_poll(vj_evaluation *e, int64_t rounds, int *stop, bool *write);

/** Return `status`, the outcome of writing a checkpoint, but VJ_OK after a warning for an I/O error such as a full
 * disk, unless `stop` is set: an evaluation that does not stop can go on without this checkpoint. */
vj_status vj_eval_tolerate(const vj_evaluation *e, vj_status status, int stop);

/** Print advice if waiting for clips took more than 2 % of the time and more than one second. */
void vj_eval_log_wait(double waited_s, double spent_s);

/* ------------------------------------------------------------------------------------------------ plan.c */

/** List tasks, splits and heads, and divide the heads over the ranks. The stores must be open. Release with
 * vj_eval_plan_release(), also after a failure. Not collective. */
vj_status vj_eval_plan(vj_evaluation *e);
void vj_eval_plan_release(vj_evaluation *e);

/** Add a note that the classes of a task could not be compared, because in one of two files they have no names. */
vj_status vj_eval_note_unnamed(vj_evaluation *e, const char *task, const vj_clips_classes *a, const char *a_path,
                               const vj_clips_classes *b, const char *b_path);

/* ------------------------------------------------------------------------------------------------ division.c */

/** List the rows of the table, ordered by task, pooling, share and encoder. For a part, keep only its own rows and the
 * encoders that they need. The tasks must be listed before. Not collective. */
vj_status vj_eval_list_rows(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ forecast.c */

/** Print the plan and its operations and memory, and set e->memory.forecast_bytes to the bytes of the rank that needs
 * most. VJ_ERR_USAGE if the probes take more operations than evaluate.sweep_flops allows. Call after the encoders are
 * open and before memory for heads is allocated. Collective. */
vj_status vj_eval_forecast(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ probes.c */

/* Only with request->probes: heads are read from files and measured without training. */

/** Open the files of request->probes and list their tasks; once the stores are open, list the files as heads; once the
 * heads are open, read their weights. Not collective. */
vj_status vj_eval_find_probes(vj_evaluation *e);
vj_status vj_eval_plan_probes(vj_evaluation *e);
vj_status vj_eval_read_probes(vj_evaluation *e);
/** Write the heads that this rank owns to DIR/probes/NAME.h5, with the digests of `scores` [head_count]. Not
 * collective.
 */
vj_status vj_eval_keep_probes(vj_evaluation *e, const vj_eval_score *scores);

/* ------------------------------------------------------------------------------------------------ stream.c */

/**
 * Make the stream of epoch e->stream.epoch, and set e->stream.place to the first sample that some head has not used
 * yet: 0, or later after a restart. VJ_ERR_MEMORY. Not collective.
 */
vj_status vj_eval_stream_begin(vj_evaluation *e);
/** End the epoch: check that all splits have used all their samples, and reset their progress. */
void vj_eval_stream_end(vj_evaluation *e);
/** Return whether a split still learns in epoch e->stream.epoch. Splits can have different numbers of epochs. */
bool vj_eval_learns(const vj_evaluation *e, const vj_eval_split *split);

/* ------------------------------------------------------------------------------------------------ pass.c */

/** Return the most clips that an encoder takes at once: those of a batch of training samples, or of a batch of test
 * samples in all views, whichever are more. */
int64_t vj_eval_max_clips(const vj_evaluation *e);
/** Open the device and the encoders, and on leaders allocate all memory for heads. Collective over all ranks, agreed.
 */
vj_status vj_eval_open(vj_evaluation *e);
void vj_eval_close(vj_evaluation *e);
/** Return the most samples that a rank encodes at a time in testing. */
int64_t vj_eval_test_batch(const vj_evaluation *e);
/** Return the number of views of a test sample, over which probabilities are averaged: the crops, or, if a probe sees
 * one segment at a time, the crops of all segments. In that case view s * crops + c is crop c of segment s. */
int vj_eval_test_views(const vj_evaluation *e);
/** Start to load samples [n] of a side, in order, in batches of `at_once` samples, with `crops` crops of each segment.
 * Training views are those of `epoch`. Not collective. */
vj_status vj_eval_load(vj_evaluation *e, const vj_eval_side *side, const int64_t *samples, int64_t n, int64_t at_once,
                       int crops, int64_t epoch);
/** Encode a batch with encoder i to e->encoded.raw and e->encoded.normed: [samples, views, tokens, width]. Fails if
 * another rank of the tensor group has failed. */
vj_status vj_eval_encode(vj_evaluation *e, int i, const vj_batch *batch, int64_t samples, int views);

/** For training, start to load the clips of samples [n] of epoch e->stream.epoch, or to read their stored features, in
 * batches of evaluate.batch samples. Collective. */
vj_status vj_eval_start(vj_evaluation *e, const int64_t *samples, int64_t n);
/** Take the next batch with vj_eval_next(). Then call vj_eval_tokens() for each encoder in turn, which writes the
 * tokens of the samples to e->encoded.raw and e->encoded.normed, encoded or read. Not collective. */
vj_status vj_eval_next(vj_evaluation *e, vj_batch *clips);
vj_status vj_eval_tokens(vj_evaluation *e, int i, const vj_batch *clips, int64_t samples);

/* ------------------------------------------------------------------------------------------------ damage.c */

/** Allocate side->damaged. It is freed with the side. */
vj_status vj_eval_damage_open(vj_eval_side *side);
/**
 * Mark on all ranks the damaged clips of the batches that the ranks now hold. `batch` is the batch of this rank; NULL:
 * it has none. VJ_ERR_FORMAT if too many samples are lost: more than 1 % and more than 10, or all that a head learns
 * from. Collective, agreed.
 */
vj_status vj_eval_note_damage(vj_evaluation *e, vj_eval_side *side, const vj_batch *batch);
/** Return whether a clip that shows this sample in this epoch (for measuring: 0) is damaged. Such a sample is encoded
 * like others, from pixels that are zero, but nothing is learned from it and it is not counted. */
bool vj_eval_is_lost(const vj_eval_side *side, int64_t sample, int64_t epoch);
/** Return the same for a training sample in epoch e->stream.epoch, or in the stored copy that this epoch reads. */
bool vj_eval_lost_in_training(const vj_evaluation *e, int64_t sample);
/** Count the validation samples with a label of a task: those that can be used, and those lost. */
void vj_eval_count_tested(const vj_evaluation *e, int task, int64_t *used, int64_t *lost);
/** Return the number of samples with a damaged clip: among all samples of a side, or among those that the heads of a
 * split learn from. */
int64_t vj_eval_damaged_samples(const vj_eval_side *side);
int64_t vj_eval_damaged_in_split(const vj_evaluation *e, const vj_eval_split *split);

/* ------------------------------------------------------------------------------------------------ round.c */

/** Encode the next round of the stream, exchange rows, and train the heads on it. Collective, agreed. */
vj_status vj_eval_round(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ measure.c */

/**
 * Measure all heads: scores [head_count], on all ranks. With `final`, write the predictions of the chosen heads to
 * DIR/predictions.h5, and write checkpoints of the measuring (partial.c), from which a restart continues. *stop is set
 * if the evaluation was asked to stop; there are no scores then. Collective.
 */
vj_status vj_eval_measure(vj_evaluation *e, vj_eval_score *scores, bool final, int *stop);

/* ------------------------------------------------------------------------------------------------ predictions.c */

/** Make the name of a head: "motion.attentive.100.pretrained.234", in a sweep with ".lr0.wd1" at the end. A head from a
 * file is named like the file. */
void vj_eval_head_name(const vj_evaluation *e, const vj_eval_head *head, char name[VJ_HEAD_NAME]);
/** Return the description of a head and of the stores it is measured on, without counts and the digest of its weights.
 */
vj_head_facts vj_eval_head_facts(const vj_evaluation *e, const vj_eval_head *head);
/** Write DIR/predictions.h5 with the predictions rows[h] [labelled[h]] of each chosen head h, which its owner has.
 * Collective, agreed. */
vj_status vj_eval_write_predictions(vj_evaluation *e, const vj_eval_score *scores, vj_prediction *const *rows,
                                    const int64_t *labelled);

/* ------------------------------------------------------------------------------------------------ attention.c */

#define VJ_ATTENTION_FILE "attention.h5"

/** Write DIR/attention.h5 with the attention weights of attentive probes on request->attention validation samples (0:
 * write nothing). On rank 0, after vj_eval_measure(). */
vj_status vj_eval_write_attention(vj_evaluation *e, const vj_eval_score *scores);

/* ------------------------------------------------------------------------------------------------ state.c */

#define VJ_EVALUATION_BEFORE  "evaluation-before.h5"  /* the previous one */
#define VJ_EVALUATION_DAMAGED "evaluation-damaged.h5" /* one that could not be read, renamed */

/** Return a text with everything that the results depend on except the weights of the heads, one line each. Free it
 * with free(). NULL: no memory. */
char *vj_eval_describe(const vj_evaluation *e);
/** Return the same kind of text with what all parts of a campaign have in common. */
char *vj_eval_describe_campaign(const vj_evaluation *e);
/** Commit a checkpoint whose data all ranks have written, each with its `status`. Keep the file that it replaces, if
 * there is one, as `before` too; NULL: do not. Nothing is committed if another job has taken the folder's lease.
 * Collective, agreed. */
vj_status vj_eval_publish(vj_evaluation *e, vj_h5_writer *out, const char *before, vj_status status);
/** Write DIR/evaluation.h5: the weights and moments of all heads after their last updates. Collective, agreed. */
vj_status vj_eval_save(vj_evaluation *e);
/** Read DIR/evaluation.h5, or the previous one if it is missing or damaged. *found: one of them exists. VJ_ERR_USAGE if
 * its settings are not those of this evaluation. Collective. */
vj_status vj_eval_restore(vj_evaluation *e, bool *found);
/** Compute the digest of the text of vj_eval_describe(). VJ_ERR_MEMORY. */
vj_status vj_eval_digest(const vj_evaluation *e, uint64_t *digest);
/** With train.products auto, set it to the library that the checkpoint was made with, because another one would give
 * other bits. Call before the device is opened. Collective, agreed. */
vj_status vj_eval_keep_products(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ results.c */

/** Write the results of a part without rows, for vj_evaluate_merge(). On rank 0. */
vj_status vj_eval_report_nothing(vj_evaluation *e);
/** Check before the work begins that results can be written to DIR. On rank 0. */
vj_status vj_eval_report_check(const vj_evaluation *e);
/** Write the result table and the splits, and print the table. On rank 0. */
vj_status vj_eval_report(vj_evaluation *e, const vj_eval_score *scores);

#endif
