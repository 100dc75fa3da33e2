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
    vj_recipe recipe;
    int owner;                     /* the rank that has its weights */
    int64_t key_at;                /* its number among the attentive heads of its encoder; -1: no key */
    const vj_probe_file *measured; /* of which file it is, if it is only measured; else NULL */
    /* On its owner. */
    vj_head *head;
    float *dkeys; /* device, [batch, key floats] */
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

typedef struct {
    vj_config *config; /* owned */
    const vj_evaluate_request *request;
    MPI_Comm comm;
    int rank, size;
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
    int sweep;             /* heads that differ in learning rate or weight decay alone */
    int seeds;             /* heads that differ in the seed alone, beside the sweep */
    vj_frozen frozen;      /* the encoders; its clips are those of `train` */
    int64_t tokens;        /* of a sample: all its segments */
    int64_t sample_floats; /* tokens * width */
    int64_t key_floats;    /* of attentive heads: heads * width, also the length of their rows */
    int64_t key_heads;
    float *raw;                 /* device, [samples at a time, views, tokens, width] */
    float *normed;              /* the same, normalised; NULL: no head needs it */
    float *keys[VJ_MAX_LIST];   /* device, by encoder: [attentive heads, key floats] */
    int64_t keyed[VJ_MAX_LIST]; /* attentive heads of each encoder */
    vj_exchange *exchange;
    vj_loader *loader;
    vj_eval_item *items; /* [item_count] what this loader shows */
    /* The stream of the present epoch. */
    int64_t epoch;
    int64_t *stream, stream_count, place; /* [stream_count] sample numbers; the next one to take */
    vj_stop stop;
    vj_lease *lease; /* of the folder, on rank 0 */
    double saved_s, began_s, waited_s;
    int64_t encoded; /* samples, by all ranks, since the start */
    vj_notes notes;
} vj_evaluation;

/* ------------------------------------------------------------------------------------------------ plan.c */

/** List tasks, splits and heads, and divide the heads over the ranks. After the stores are open. Not collective. */
vj_status vj_eval_plan(vj_evaluation *e);
void vj_eval_plan_release(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ forecast.c */

/** Say what will be done, how many operations that takes, and how much memory. After the encoders are open, before
 * memory for heads is. Collective. */
void vj_eval_forecast(const vj_evaluation *e);

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

/** Open the device, the encoders, and all memory for heads. Collective. */
vj_status vj_eval_open(vj_evaluation *e);
void vj_eval_close(vj_evaluation *e);
/** Return the most samples that a rank encodes at a time, in training and in testing. */
int64_t vj_eval_test_batch(const vj_evaluation *e);
/** Start to load samples [n] of a side, in order, `at_once` samples a batch, each `views` times. Not collective. */
vj_status vj_eval_load(vj_evaluation *e, const vj_eval_side *side, const int64_t *samples, int64_t n, int64_t at_once,
                       int views);
/** Encode a batch by encoder i to e->raw and e->normed: [samples, views, tokens, width]. */
void vj_eval_encode(vj_evaluation *e, int i, const vj_batch *batch, int64_t samples, int views);

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

/** Measure all heads; scores [head_count] on all ranks. `write`: chosen heads into DIR/predictions.h5. Collective. */
vj_status vj_eval_measure(vj_evaluation *e, vj_eval_score *scores, bool write);

/* ------------------------------------------------------------------------------------------------ predictions.c */

/** Make a head's name: "motion.attentive.100.pretrained.234", in a sweep with ".lr0.wd1" at the end. */
void vj_eval_head_name(const vj_evaluation *e, const vj_eval_head *head, char name[VJ_HEAD_NAME]);
/** What a head is and what it is measured on, but for counts and the digest of its weights. */
vj_head_facts vj_eval_head_facts(const vj_evaluation *e, const vj_eval_head *head);
/** Write DIR/predictions.h5: rows[h] [labelled[h]] of each chosen head h, on its owner. Collective, agreed. */
vj_status vj_eval_write_predictions(vj_evaluation *e, const vj_eval_score *scores, vj_prediction *const *rows,
                                    const int64_t *labelled);

/* ------------------------------------------------------------------------------------------------ state.c */

#define VJ_EVALUATION_FILE    "evaluation.h5"
#define VJ_EVALUATION_BEFORE  "evaluation-before.h5"  /* the one before it */
#define VJ_EVALUATION_DAMAGED "evaluation-damaged.h5" /* one that could not be read, put aside */

/** Write DIR/evaluation.h5: the weights and moments of all heads as of their last updates. Collective, agreed. */
vj_status vj_eval_save(vj_evaluation *e);
/** Read it, if it is there, or the one before if it is missing or damaged; *found: there was one. VJ_ERR_USAGE if its
 * settings are not those of this evaluation. Collective. */
vj_status vj_eval_restore(vj_evaluation *e, bool *found);
/** Before the device is opened: with train.products auto, take the library that the checkpoint was made with, since
 * another one would give other bits. Collective, agreed. */
vj_status vj_eval_keep_products(vj_evaluation *e);

/* ------------------------------------------------------------------------------------------------ results.c */

/** Check that results can be written to DIR. On rank 0. */
vj_status vj_eval_report_check(const vj_evaluation *e);
/** Write the result table and the splits, and print the table. On rank 0. */
vj_status vj_eval_report(vj_evaluation *e, const vj_eval_score *scores);

#endif
