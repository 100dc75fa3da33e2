/*
 * What the files of this folder share: the samples, splits and heads of an evaluation, all the same on every rank, and
 * what a rank holds. Read evaluate.c first. Private to this folder.
 *
 * Epoch e is one keyed permutation of all training samples, filtered to those that a head needs which still trains in
 * this epoch (stream.c). It is cut into rounds: each rank encodes evaluate.batch consecutive samples of it (pass.c),
 * then the heads learn from the whole round (round.c). A head sees the samples of its split in the order of the
 * permutation, whatever else is encoded, and is updated after each probe.batch of them and at the end of the epoch.
 */
#ifndef VJ_EVALUATE_PARTS_H
#define VJ_EVALUATE_PARTS_H

#include "base/lease.h"
#include "evaluate/evaluate.h"
#include "feed/eval_set.h"
#include "feed/loader.h"
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
    const char *paths; /* of the stores, as given */
    vj_clips *clips;
    vj_eval_set set;
    vj_eval_views views;
    int label[VJ_MAX_LABELS]; /* [tasks] number of the task's label in these stores */
    int64_t wanted;           /* samples that are encoded in all */
    uint8_t *damaged;         /* [clips] bool: found to be damaged so far; between rounds the same on all ranks */
} vj_eval_side;

/* The training samples that heads of one task, share and seed may see. */
typedef struct {
    int task;
    double labels; /* percent */
    uint64_t seed, digest;
    int64_t *sample, count;    /* [count] numbers of training samples, ascending */
    int64_t *held, held_count; /* of these, held out to choose learning rate and weight decay */
    uint8_t *member;           /* [samples] bool: a head may learn from it: in `sample`, not in `held` */
    int64_t learned;           /* count - held_count */
    int64_t epochs;
    /* Where its heads are, which go in step; between rounds the same on all ranks. */
    int64_t update; /* updates made */
    int64_t done;   /* samples of this epoch that updates have used */
    int64_t seen;   /* samples of this epoch that the stream has passed */
} vj_eval_split;

/* A probe of the campaign. */
typedef struct {
    int encoder, task, split;
    int lr, wd; /* numbers in the sweep's lists */
    uint64_t seed;
    vj_head_shape shape;
    int on_tokens; /* bool: its blocks are on all tokens (probe/token_probe.h), else on the query */
    vj_recipe recipe;
    int owner;      /* the rank that has its weights and its predictions; on_tokens: all have its weights */
    int64_t key_at; /* its number among the attentive heads of its encoder; -1: no key */
    const vj_probe_file *measured; /* of which file it is, if it is only measured; else NULL */
    /* On its owner; not on_tokens. */
    vj_head *head;
    float *dkeys; /* device, [batch, key floats] */
    /* On all ranks; on_tokens. */
    vj_token_probe *token_probe;
    int64_t *sum; /* device, [vj_token_probe_size()] gradients of this rank's samples of the present batch; NULL: not
                     trained */
} vj_eval_head;

/* What a head is worth. */
typedef struct {
    double top1, top5, mean_class; /* percent, of the validation samples */
    double held_top1;              /* of the held-out training samples; NaN: there are none */
    uint64_t digest;               /* of its weights (probe/probe_file.h) */
    int chosen;                    /* bool: best of its sweep on those */
} vj_eval_score;

/* What one rank holds of a round: tokens of its own samples, and room for what goes to and from heads' owners. */
typedef struct vj_exchange vj_exchange;

/* Reads stored features ahead. */
typedef struct vj_eval_reader vj_eval_reader;

typedef struct {
    vj_config *config; /* owned */
    const vj_evaluate_request *request;
    /* With parallel.tensor > 1 groups of ranks share the encoders. Rank 0 of a group leads it: the leaders make the
     * campaign, `comm` joins them; the others take part in encoding alone (vj_frozen_follow()). */
    vj_layout layout;
    vj_tensor *tensor; /* NULL: each rank leads itself */
    MPI_Comm comm;     /* layout.data */
    int rank, size;    /* in comm */
    char encoder_name[VJ_MAX_LIST][VJ_ENCODER_NAME];
    uint64_t encoder_digest[VJ_MAX_LIST];
    vj_eval_side train, validation;
    vj_strings tasks;
    int classes[VJ_MAX_LABELS]; /* [tasks] */
    vj_eval_split *split;
    int split_count;
    vj_eval_head *head;
    int64_t head_count;
    vj_probe_file *measured; /* [measured_count] owned; only with request->probes */
    int64_t measured_count;
    int64_t epochs;        /* of the head that has most */
    int64_t copies;        /* of the features of training samples that are stored (store.c); 0: online */
    bool centre;           /* they are of the test crop, not of training views */
    bool means;            /* they are the mean tokens of clips, since no head needs more */
    int sweep;             /* heads that differ in learning rate or weight decay alone */
    int seeds;             /* heads that differ in the seed alone, beside the sweep */
    int64_t most_clips;    /* that an encoder takes at once */
    vj_frozen frozen;      /* the encoders; its clips are those of `train` */
    int64_t tokens;        /* that a probe sees at once: of all segments of a sample, or of one (across_segments) */
    int64_t sample_floats; /* tokens * width */
    int64_t key_floats;    /* of attentive heads: heads * width, also the length of their rows */
    int64_t key_heads;
    float *raw;                 /* device, [samples at a time, views, tokens, width] */
    bool raw_means;             /* at present the mean tokens of clips instead, [samples, segments, width] */
    float *normed;              /* the same, normalised; NULL: no head needs it */
    float *keys[VJ_MAX_LIST];   /* device, by encoder: [attentive heads, key floats] */
    int64_t keyed[VJ_MAX_LIST]; /* attentive heads of each encoder */
    vj_exchange *exchange;
    vj_eval_reader *reader; /* of stored features; NULL: online, or not begun */
    vj_loader *loader;
    vj_eval_item *items; /* [item_count] what this loader shows */
    /* The stream of the present epoch. */
    int64_t epoch;
    int64_t *stream, stream_count, place; /* [stream_count] sample numbers; the next one to take */
    vj_stop stop;
    vj_lease *lease; /* of the folder, on rank 0 */
    double saved_s, began_s, waited_s;
    int64_t encoded;                     /* samples, by all ranks, since the start */
    int64_t began_bytes, forecast_bytes; /* memory of this rank at the start; by how much one will grow at most */
    vj_notes notes;
} vj_evaluation;

/* ------------------------------------------------------------------------------------------------ evaluate.c */

/** After each round, `rounds` so far: *stop, *write: is it time to stop, or to write a checkpoint, which the caller
 * then does? Stopping wants both. Collective. */
void vj_eval_look(vj_evaluation *e, int64_t rounds, int *stop, bool *write);

/** Say what can be done if clips were waited for during more than 2 % of the time, unless that is a few seconds. */
void vj_eval_say_wait(double waited_s, double spent_s);

/* ------------------------------------------------------------------------------------------------ plan.c */

/** List tasks, splits and heads, and divide the heads over the ranks. After the stores are open. Not collective. */
vj_status vj_eval_plan(vj_evaluation *e);
void vj_eval_plan_release(vj_evaluation *e);
/** Note that the classes of a task could not be compared, since in one of two files they have no names. */
vj_status vj_eval_note_unnamed(vj_evaluation *e, const char *task, const vj_clips_classes *a, const char *a_path,
                               const vj_clips_classes *b, const char *b_path);

/* ------------------------------------------------------------------------------------------------ heads.c */

/* What the two kinds of heads have in common: those cut in a token part and a row part (probe/head.h), and those with
 * blocks on the tokens, which every rank trains on the samples that it encodes. */

/** Write "attentive", "average" or "tokens4" to kind. Returns it. */
const char *vj_eval_kind(const vj_eval_head *h, char kind[VJ_HEAD_WORD]);
/** Create this rank's part of all heads, with their initial weights. */
vj_status vj_eval_open_heads(vj_evaluation *e);
void vj_eval_close_heads(vj_evaluation *e);
/** Return the bytes of device and host memory that vj_eval_open_heads() takes. */
int64_t vj_eval_heads_bytes(const vj_evaluation *e);
/** Return the operations of a head, forward and backward, for one sample. */
double vj_eval_head_flops(const vj_evaluation *e, const vj_eval_head *h);
/** Does this rank have the weights? */
bool vj_eval_has_weights(const vj_evaluation *e, const vj_eval_head *h);
/** Where it does: weights, first and second moments [3, count] (device); after writing to them vj_eval_changed(). */
float *vj_eval_head_state(const vj_eval_head *h, int64_t *count);
void vj_eval_changed(vj_eval_head *h);
vj_status vj_eval_head_digest(uint64_t *digest, const vj_evaluation *e, const vj_eval_head *h);
/** Return the floats that a rank sends to the owner for each sample: a row, or with blocks on the tokens the class
 * scores. vj_eval_most_floats(): the largest of all heads. */
int64_t vj_eval_row_floats(const vj_eval_head *h);
int64_t vj_eval_most_floats(const vj_evaluation *e);

/** on_tokens: add the gradient of the sample at `slot` of e->raw, of a batch of `batch`. *loss is the sample's. */
vj_status vj_eval_token_learn(vj_evaluation *e, vj_eval_head *h, int64_t slot, int32_t label, int64_t batch,
                              double *loss);
/** on_tokens: sum the gradients of all ranks, and update the weights on each. Collective. */
vj_status vj_eval_token_update(vj_evaluation *e, vj_eval_head *h, int64_t batch, const vj_head_step *step);

/* ------------------------------------------------------------------------------------------------ forecast.c */

/** Say what will be done, how many operations that takes, and how much memory; e->forecast_bytes: of the rank that
 * takes most. VJ_ERR_USAGE if the probes take more operations than evaluate.sweep_flops allows. After the encoders are
 * open, before memory for heads is. Collective. */
vj_status vj_eval_forecast(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ probes.c */

/** Evaluate only: open the files of request->probes and list their tasks; then, with stores open, list them as heads;
 * then, with heads open, read their weights. Not collective. */
vj_status vj_eval_find_probes(vj_evaluation *e);
vj_status vj_eval_plan_probes(vj_evaluation *e);
vj_status vj_eval_read_probes(vj_evaluation *e);
/** Write this rank's heads to DIR/probes/NAME.h5. */
vj_status vj_eval_keep_probes(vj_evaluation *e, const vj_eval_score *scores);

/* ------------------------------------------------------------------------------------------------ stream.c */

/**
 * Make the stream of epoch e->epoch, and set e->place to the first sample that a head has not used: 0, or later after a
 * restart. VJ_ERR_MEMORY. Not collective.
 */
vj_status vj_eval_stream_begin(vj_evaluation *e);
/** The epoch is over: all splits are at its end. */
void vj_eval_stream_end(vj_evaluation *e);
/** May split s learn in this epoch? Those with fewer epochs than others end earlier. */
bool vj_eval_learns(const vj_evaluation *e, const vj_eval_split *split);

/* ------------------------------------------------------------------------------------------------ pass.c */

/** Return the clips that an encoder takes at once: those of a batch of training samples, or of test samples in all
 * views. */
int64_t vj_eval_most_clips(const vj_evaluation *e);
/** Open the device, the encoders, and on leaders all memory for heads. Collective over all ranks, agreed. */
vj_status vj_eval_open(vj_evaluation *e);
void vj_eval_close(vj_evaluation *e);
/** Return the most samples that a rank encodes at a time in testing. */
int64_t vj_eval_test_batch(const vj_evaluation *e);
/** Return the views of a test sample, over which probabilities are averaged: crops, of each segment where probes see
 * them apart. View s * crops + c is crop c of segment s then. */
int vj_eval_test_views(const vj_evaluation *e);
/** Start to load samples [n] of a side, in order, `at_once` samples a batch, each of their segments in `crops` crops;
 * training views are those of `epoch`. Not collective. */
vj_status vj_eval_load(vj_evaluation *e, const vj_eval_side *side, const int64_t *samples, int64_t n, int64_t at_once,
                       int crops, int64_t epoch);
/** Encode a batch by encoder i to e->raw and e->normed: [samples, views, tokens, width]. Fails if another rank of the
 * group has. */
vj_status vj_eval_encode(vj_evaluation *e, int i, const vj_batch *batch, int64_t samples, int views);

/** In training: start to load, or to read the stored features of, samples [n] of epoch e->epoch, evaluate.batch of them
 * a batch. Collective. */
vj_status vj_eval_start(vj_evaluation *e, const int64_t *samples, int64_t n);
/** Take the next batch; then for each encoder in turn the tokens of its samples, encoded or read, to e->raw and
 * e->normed. Not collective. */
vj_status vj_eval_next(vj_evaluation *e, vj_batch *clips);
vj_status vj_eval_tokens(vj_evaluation *e, int i, const vj_batch *clips, int64_t samples);

/* ------------------------------------------------------------------------------------------------ store.c */

enum { VJ_EVAL_FILES = 32, VJ_EVAL_STORE_PATH = VJ_PATH + VJ_ENCODER_NAME + 64 };

/* A copy of the features of training samples: which, and how they are divided over files, the same for each encoder. */
typedef struct {
    int64_t *sample, count; /* [count] ascending, owned */
    int64_t each;           /* samples in a file; the last may have fewer */
    int files;
} vj_eval_copy;

/** List the samples that epochs e with e mod copies = copy need. Free copy->sample. Not collective. */
vj_status vj_eval_copy_of(vj_eval_copy *list, const vj_evaluation *e, int64_t copy);
/** The path of a file: DIR/features/ENCODER-COPY-FILE.h5. */
void vj_eval_copy_path(char path[VJ_EVAL_STORE_PATH], const vj_evaluation *e, int i, int64_t copy, int file);
/** The tokens that are stored of a clip: all, or 1, their mean. */
int64_t vj_eval_store_tokens(const vj_evaluation *e);
/** The bytes of all files on disk, but for their headers. */
double vj_eval_store_bytes(const vj_evaluation *e);
/** Running sums of products that are kept at a time while features of an encoder are stored: see train/spectrum.h. */
int vj_eval_store_sums(const vj_evaluation *e);
/**
 * Encode all samples of all copies that epochs from e->epoch on read, but for files that are there, and write their
 * features. Afterwards nothing is left to encode in training. A file appears when it is whole; *stop: asked to stop,
 * what was under way is given up. Collective, agreed.
 */
vj_status vj_eval_store(vj_evaluation *e, int *stop);
/** Remove the files, unless they are to be kept. On rank 0. */
vj_status vj_eval_store_remove(const vj_evaluation *e);
/** The effective rank of the features in an encoder's first file; NaN: there is none. On rank 0. */
double vj_eval_store_rank(const vj_evaluation *e, int i);

/* ------------------------------------------------------------------------------------------------ reader.c */

/** Start to read features of samples [n] of the copy for e->epoch, evaluate.batch samples a batch, all encoders' of one
 * batch before the next batch, two ahead. Collective, agreed. */
vj_status vj_eval_reader_start(vj_evaluation *e, const int64_t *samples, int64_t n);
/** The next features to e->raw: [samples, tokens, width], or means (e->raw_means). Not collective. */
vj_status vj_eval_reader_next(vj_evaluation *e, int64_t samples, double *wait_s);
void vj_eval_reader_close(vj_eval_reader *reader);

/* ------------------------------------------------------------------------------------------------ damage.c */

/** Allocate a side's marks. Freed with the side. */
vj_status vj_eval_damage_open(vj_eval_side *side);
/**
 * Mark, on all ranks, the clips that are damaged in the batches which the ranks now hold; `batch`: this rank's, NULL:
 * none. VJ_ERR_FORMAT if too few samples are left: more than 1 % and more than 10 are lost, or all that a head learns
 * from. Collective, agreed.
 */
vj_status vj_eval_note_damage(vj_evaluation *e, vj_eval_side *side, const vj_batch *batch);
/** Is a clip damaged which shows this sample in this epoch (measuring: 0)? Then it is encoded like others, of pixels
 * that are zero, and counts for nothing. */
bool vj_eval_is_lost(const vj_eval_side *side, int64_t sample, int64_t epoch);
/** The same of a training sample in epoch e->epoch, or in the stored copy that it reads. */
bool vj_eval_lost_in_training(const vj_evaluation *e, int64_t sample);
/** Count the validation samples with a label of a task: those that can be used, and those lost. */
void vj_eval_count_tested(const vj_evaluation *e, int task, int64_t *used, int64_t *lost);
/** Return the number of samples with a damaged clip. */
int64_t vj_eval_damaged_samples(const vj_eval_side *side);

/* ------------------------------------------------------------------------------------------------ round.c */

/** Learn from the next round of the stream: encode, exchange rows, update the heads. Collective, agreed. */
vj_status vj_eval_round(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ exchange.c */

/* A row to compute: of one head and one sample. */
typedef struct {
    int64_t head, sample; /* numbers of the head and of the sample in its set */
    int64_t row;          /* its number: place in the head's batch, or among all that are measured */
    int rank;             /* which encodes the sample */
    int slot;             /* its place among that rank's samples and views */
} vj_entry;

/** Room for exchanges. */
vj_status vj_exchange_open(vj_exchange **exchange, vj_evaluation *e);
void vj_exchange_close(vj_exchange *exchange);
/** Send the keys of heads [n] of encoder i from their owners to all. Collective. */
vj_status vj_exchange_keys(vj_evaluation *e, int i, const int64_t *heads, int64_t n);
/**
 * Compute the rows of entries [n], the same on all ranks, in order of ranks, slots and heads, and send them to the
 * heads' owners. Collective, agreed.
 */
vj_status vj_exchange_rows(vj_evaluation *e, int i, const vj_entry *entries, int64_t n);
/** On an owner: the row of entry k of the last vj_exchange_rows() (host), and where to put the gradient of it. */
const float *vj_exchange_row(const vj_exchange *x, int64_t k);
float *vj_exchange_drow(vj_exchange *x, int64_t k);
/** Send the gradients back, compute those of the keys, and send them to the owners. Collective, agreed. */
vj_status vj_exchange_back(vj_evaluation *e);
/** On an owner: the gradient of the key, from entry k (host). */
const float *vj_exchange_dkey(const vj_exchange *x, int64_t k);

/* ------------------------------------------------------------------------------------------------ measure.c */

/**
 * Measure all heads; scores [head_count] on all ranks. `final`: chosen heads into DIR/predictions.h5, and what is
 * measured is kept as training is (partial.c), so that a restart goes on. *stop: asked to stop; then there are no
 * scores. Collective.
 */
vj_status vj_eval_measure(vj_evaluation *e, vj_eval_score *scores, bool final, int *stop);

/* ------------------------------------------------------------------------------------------------ partial.c */

#define VJ_PASS_VALIDATION "validation"
#define VJ_PASS_HELD_OUT   "held-out"

/* A list of samples to measure, and how far that has come. */
typedef struct {
    const char *name;           /* VJ_PASS_... */
    vj_eval_side *side;         /* borrowed */
    const int64_t *sample;      /* [count] borrowed */
    int64_t count, place;       /* samples [0, place) are measured */
    vj_prediction **prediction; /* [heads][count] on the heads' owners, in the order of samples; clip -1: not counted */
} vj_eval_measured;

/** Write DIR/measured-NAME.h5. Collective, agreed. */
vj_status vj_eval_save_measured(vj_evaluation *e, const vj_eval_measured *measured);
/** Read it if it is there: place, predictions of this rank's heads and marks of damaged clips. One of other probes or
 * samples, or a damaged one, is not taken: place 0. Collective, agreed. */
vj_status vj_eval_find_measured(vj_evaluation *e, vj_eval_measured *measured);
/** Remove all of them. On rank 0. */
void vj_eval_forget_measured(const vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ predictions.c */

/** Make a head's name: "motion.attentive.100.pretrained.234", in a sweep with ".lr0.wd1" at the end; of a file, like
 * that. */
void vj_eval_head_name(const vj_evaluation *e, const vj_eval_head *head, char name[VJ_HEAD_NAME]);
/** What a head is and what it is measured on, but for counts and the digest of its weights. */
vj_head_facts vj_eval_head_facts(const vj_evaluation *e, const vj_eval_head *head);
/** Write DIR/predictions.h5: rows[h] [labelled[h]] of each chosen head h, on its owner. Collective, agreed. */
vj_status vj_eval_write_predictions(vj_evaluation *e, const vj_eval_score *scores, vj_prediction *const *rows,
                                    const int64_t *labelled);

/* ------------------------------------------------------------------------------------------------ attention.c */

#define VJ_ATTENTION_FILE "attention.h5"

/** Write DIR/attention.h5: what attentive probes attend to in request->attention validation samples (0: nothing). On
 * rank 0, after vj_eval_measure(). */
vj_status vj_eval_write_attention(vj_evaluation *e, const vj_eval_score *scores);

/* ------------------------------------------------------------------------------------------------ state.c */

#define VJ_EVALUATION_FILE    "evaluation.h5"
#define VJ_EVALUATION_BEFORE  "evaluation-before.h5"  /* the one before it */
#define VJ_EVALUATION_DAMAGED "evaluation-damaged.h5" /* one that could not be read, put aside */

/** Return all that the results depend on but the heads' weights, a line each, to be freed with free(); NULL: no memory.
 */
char *vj_eval_describe(const vj_evaluation *e);
/** Write DIR/evaluation.h5: the weights and moments of all heads as of their last updates. Collective, agreed. */
vj_status vj_eval_save(vj_evaluation *e);
/** Read it, if it is there, or the one before if it is missing or damaged; *found: there was one. VJ_ERR_USAGE if its
 * settings are not those of this evaluation. Collective. */
vj_status vj_eval_restore(vj_evaluation *e, bool *found);
/** Digest all that the results depend on: settings, encoders, clips, splits, kernels. VJ_ERR_MEMORY. */
vj_status vj_eval_digest(const vj_evaluation *e, uint64_t *digest);
/** Before the device is opened: with train.products auto, take the library that the checkpoint was made with, since
 * another one would give other bits. Collective, agreed. */
vj_status vj_eval_keep_products(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ results.c */

/** Check that results can be written to DIR. On rank 0. */
vj_status vj_eval_report_check(const vj_evaluation *e);
/** Write the result table and the splits, and print the table. On rank 0. */
vj_status vj_eval_report(vj_evaluation *e, const vj_eval_score *scores);

#endif
