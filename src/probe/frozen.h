/*
 * Clips of a store and frozen encoders that run over them; shared by embedding (embed.h) and analysis on the fly. The
 * encoder sees the centre crop of videos, and of images (clips of one frame) the test view of an evaluation, repeated
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

/* All members are owned, except `config` and those marked. */
typedef struct {
    const vj_config *config; /* `own`, or the caller's, if its train.precision is not auto */
    vj_config *own;          /* copy by vj_frozen_open_clips(); its precision is decided when encoders are opened */
    MPI_Comm comm;
    int rank, size;
    vj_clips *clips;
    int64_t *chosen, n; /* [n] clip numbers, ascending */
    bool images;        /* the clips are images, and `shown` says how they are shown; else vj_view_centre() is used */
    vj_eval_views shown;
    vj_eval_item *items; /* [n] with images: the items of the present loader */
    int64_t batch;       /* embed.batch, the largest number of clips in a batch */
    vj_tensor *tensor;   /* borrowed: the group whose ranks share the encoders; NULL: each rank has whole ones */
    vj_status lost;      /* on rank 0 of a group: the first failure of another rank of it */
    bool marks; /* a damaged clip is marked in its batch (loader.h) instead of being an error; false at first */
    vj_backend *be;
    vj_products products; /* measured rates of matrix products */
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
 * Decide how the clips of frozen->clips are shown; vj_frozen_open_clips() calls it. VJ_ERR_USAGE, naming the stores and
 * the setting that names them ("": none), if the clips have neither data.frames frames nor one. Not collective.
 */
vj_status vj_frozen_show(vj_frozen *frozen, const char *setting, const char *stores);
/**
 * Replace the folder of a run by the path of its newest checkpoint, which is logged. A file and "random:..." stay as
 * they are. VJ_ERR_USAGE if the folder holds no checkpoint, or the text is empty. Collective over comm, agreed; only
 * rank 0 looks.
 */
vj_status vj_frozen_find_encoder(char encoder[VJ_PATH], MPI_Comm comm);
/**
 * Open the device and encoders: each a checkpoint (vj_frozen_find_encoder()), or random:published[:SEED],
 * random:fan_in[:SEED] (SEED: run.seed). Call after vj_frozen_open_clips(). Collective.
 */
vj_status vj_frozen_open_encoders(vj_frozen *frozen, const vj_strings *encoders);
/** Not collective; releasing twice is harmless. */
void vj_frozen_release(vj_frozen *frozen);

/** Describe an encoder: "run/step_00001200.h5", or "random published seed 3". */
void vj_frozen_describe_encoder(const vj_config *config, const char *encoder, char *text, size_t bytes);
/** Describe in one line all that is done to a stored clip before the encoder sees it. */
void vj_frozen_describe_preprocessing(const vj_frozen *frozen, char *text, size_t bytes);
/** Return whether such a description says that images were shown, as equal frames. */
bool vj_frozen_showed_images(const char *preprocessing);
/** Get the grid of an encoder's tokens: time, rows, columns. Tokens that belong to no cell come first. */
void vj_frozen_grid(const vj_encoder *encoder, uint64_t grid[3]);
/** Compute a digest of weights, tensor by tensor, and shape, which identifies an encoder wherever its file is. In a
 * group only rank 0 gets it; collective over the group. */
vj_status vj_frozen_digest(const vj_encoder *encoder, uint64_t *digest);

/**
 * Start to read clips chosen[begin .. end), each once, in order, in batches of embed.batch (the last one may be
 * smaller); the next batch is read while one is encoded. Stops an earlier pass. Each checksum is compared, also if
 * training is set to skip that. Then take batches by vj_frozen_next(). Not collective.
 */
vj_status vj_frozen_start(vj_frozen *frozen, int64_t begin, int64_t end);
/**
 * Get the next batch, and how long this rank waited for it. A damaged clip is an error, or with `marks` is remembered
 * for vj_frozen_leave_out(). Not collective.
 */
vj_status vj_frozen_next(vj_frozen *frozen, vj_batch *batch, double *wait_s);
/**
 * Remove from `chosen` the damaged clips that any rank has found since the last call; *count gets their number, and
 * failed [labels] is increased by the number of those that have each label. VJ_ERR_FORMAT if they are too many
 * (vj_too_damaged()), or if no other clip is left. Collective, agreed.
 */
vj_status vj_frozen_leave_out(vj_frozen *frozen, int64_t *count, uint64_t *failed);
/**
 * Run encoder i over a batch. Returns features on the device as vj_encoder_run(). Not collective. In a group rank 0
 * calls it; the others are in vj_frozen_follow(), receive its clips, and compute their shares; frozen->lost is then the
 * first failure of one of them.
 */
const float *vj_frozen_encode(vj_frozen *frozen, int i, const vj_batch *batch);
/** Return the operations of this rank, as vj_backend_flops() counts them, to encode `clips` clips by all encoders: for
 * vj_work_begin(). */
double vj_frozen_flops(const vj_frozen *frozen, int64_t clips);
/**
 * Log "WHAT about 3.5 minutes in products alone": what all ranks together need to encode `clips` clips by all encoders,
 * if only matrix products took time. Logs nothing if products were not timed. Not collective.
 */
void vj_frozen_log_time(const vj_frozen *frozen, const char *what, int64_t clips);
/**
 * In a group, on all ranks but 0: take part in everything that rank 0 encodes, until rank 0 calls vj_frozen_dismiss().
 * Requests to this rank (train/stop.h) are passed on to rank 0. Returns the device's status.
 */
vj_status vj_frozen_follow(vj_frozen *frozen);
/** In a group, on rank 0: end vj_frozen_follow() on the other ranks; nothing can be encoded afterwards. Does nothing
 * without a group. */
void vj_frozen_dismiss(vj_frozen *frozen);

#endif
