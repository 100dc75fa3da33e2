/*
 * Clips of a store and frozen encoders that run over them: what embedding (embed.h) and analysis on the fly share. Of
 * videos the encoder sees the centre, of images (one frame a clip) the test view of an evaluation, repeated
 * evaluate.image_frames times (feed/eval_views.h). Whole batches are read ahead.
 */
#ifndef VJ_PROBE_FROZEN_H
#define VJ_PROBE_FROZEN_H

#include <mpi.h>

#include "base/config.h"
#include "clips/clips.h"
#include "feed/loader.h"
#include "model/model.h"
#include "model/tensor.h"
#include "train/products.h"

/* All owned but `config`. */
typedef struct {
    const vj_config *config; /* `own`, or a caller's whose train.precision is not auto */
    vj_config *own;          /* vj_frozen_open_clips()'s copy, whose precision is settled when encoders are opened */
    MPI_Comm comm;
    int rank, size;
    vj_clips *clips;
    int64_t *chosen, n; /* [n] clip numbers, ascending */
    bool images;        /* clips are shown as `shown` says; else as vj_view_centre() */
    vj_eval_views shown;
    vj_eval_item *items; /* [n] of images: what the present loader shows */
    int64_t batch;       /* embed.batch: the most clips of a batch */
    vj_tensor *tensor;   /* borrowed: the group whose ranks share the encoders; NULL: each rank has whole ones */
    vj_status lost;      /* on rank 0: what failed on another rank of the group */
    bool marks; /* a damaged clip is marked in its batch (loader.h) instead of being an error; false at first */
    vj_backend *be;
    vj_products products; /* how fast it multiplies */
    int count;            /* of encoders, all of the configuration's shape */
    vj_encoder *encoder[VJ_MAX_LIST];
    vj_loader *loader;
    int64_t *damaged, damaged_count; /* with marks: clips that this rank has found damaged (vj_frozen_next()) */
} vj_frozen;

/** Split "A.clips,B.clips" or "A.h5,B.h5" at the commas. VJ_ERR_USAGE. */
vj_status vj_frozen_split_paths(vj_strings *paths, const char *text);

/**
 * Open clip stores, "A.clips,B.clips", and choose the clips: all, or embed.limit of them by a permutation keyed with
 * run.seed. Zeroes `frozen` first; release it with vj_frozen_release(), also after a failure. Collective.
 */
vj_status vj_frozen_open_clips(vj_frozen *frozen, const vj_config *config, const char *stores, MPI_Comm comm);
/**
 * Settle how the clips of frozen->clips are shown; open_clips does. VJ_ERR_USAGE, naming the stores and the setting
 * they are from ("": none), if they have neither data.frames frames nor one. Not collective.
 */
vj_status vj_frozen_show(vj_frozen *frozen, const char *setting, const char *stores);
/**
 * Open the device and encoders: each a checkpoint, or random:published[:SEED], random:fan_in[:SEED] (SEED: run.seed).
 * Call after vj_frozen_open_clips(). Collective.
 */
vj_status vj_frozen_open_encoders(vj_frozen *frozen, const vj_strings *encoders);
/** Not collective; releasing twice is harmless. */
void vj_frozen_release(vj_frozen *frozen);

/** Describe an encoder: "run/step_00001200.h5", or "random published seed 3". */
void vj_frozen_describe_encoder(const vj_config *config, const char *encoder, char *text, size_t bytes);
/** Describe all between a stored clip and the encoder's first product that changes what it sees, in one line. */
void vj_frozen_describe_preprocessing(const vj_frozen *frozen, char *text, size_t bytes);
/** The grid of an encoder's tokens: in time, rows, columns. Tokens that belong to no cell come before them. */
void vj_frozen_grid(const vj_encoder *encoder, uint64_t grid[3]);
/** Digest weights, tensor by tensor, and shape: tells one encoder from another, wherever its file lies. In a group only
 * rank 0 gets it; collective over the group. */
vj_status vj_frozen_digest(const vj_encoder *encoder, uint64_t *digest);

/**
 * Start to read clips chosen[begin .. end), each once, in order, in batches of embed.batch, the last with what is left;
 * the next batch is read while one is encoded. Stops what was started before. Every checksum is compared, whatever
 * training may leave out. Then take batches by vj_frozen_next(). Not collective.
 */
vj_status vj_frozen_start(vj_frozen *frozen, int64_t begin, int64_t end);
/**
 * The next batch, and how long this rank waited for it. A damaged clip is an error, or with `marks` remembered for
 * vj_frozen_leave_out(). Not collective.
 */
vj_status vj_frozen_next(vj_frozen *frozen, vj_batch *batch, double *wait_s);
/**
 * Take the damaged clips that this rank and others have found out of the chosen ones; *count is their number. Nothing
 * is remembered then. VJ_ERR_FORMAT if they are too many (vj_too_damaged()), or no other is left. failed [labels]
 * counts those that have a label. Collective, agreed.
 */
vj_status vj_frozen_leave_out(vj_frozen *frozen, int64_t *count, uint64_t *failed);
/**
 * Run encoder i over a batch. Returns features on the device as vj_encoder_run(). Not collective. In a group rank 0
 * calls it; the others are in vj_frozen_follow(), get its clips, and compute their shares; frozen->lost says whether
 * one of them has failed before.
 */
const float *vj_frozen_encode(vj_frozen *frozen, int i, const vj_batch *batch);
/**
 * Log "WHAT at least 3.5 minutes": what the ranks need together for so many clips, each by all encoders, if nothing but
 * products takes time; nothing where these were not timed. Not collective.
 */
void vj_frozen_say_least(const vj_frozen *frozen, const char *what, int64_t clips);
/**
 * In a group, on all ranks but 0: take part in all that rank 0 encodes, until it calls vj_frozen_dismiss(). What this
 * rank is asked for (train/stop.h) rank 0 is asked for then. Returns the device's status.
 */
vj_status vj_frozen_follow(vj_frozen *frozen);
/** In a group, on rank 0: let the others go; nothing can be encoded from then on. Does nothing without a group. */
void vj_frozen_dismiss(vj_frozen *frozen);

#endif
