/*
 * V-JEPA's training network: context encoder, predictor, target encoder, loss, and their backward pass, for one
 * microbatch at a time (docs/method.md, sections 3-6). Data, schedules, reduction and the update are in src/train.
 */
#ifndef VJ_MODEL_MODEL_H
#define VJ_MODEL_MODEL_H

#include "model/input.h"
#include "model/network.h"
#include "model/ragged.h"

typedef struct {
    double loss_exp, reg_coeff;
    int normalise_pixels; /* pixel objective: per-tubelet normalised targets */
    vj_recompute recompute;
    int64_t microbatches; /* of this rank in each step; 0: any number */
    bool copies_stay; /* bf16 copies of weights must stay: the matrices that they are copies of are not up to date */
    bool separate;    /* no activations share memory, so that all of a microbatch can be looked at after it */
} vj_objective_settings;

/*
 * One rank's network. All pointers are device memory. What belongs to one pass of a microbatch is in the struct of that
 * pass. The contents are those of the last microbatch: valid after vj_sync() and until the next microbatch, all but
 * packing, patches and target.values only with settings.separate, because memory is used again as soon as its contents
 * are not needed any more (place() in model.c).
 */
typedef struct {
    vj_backend *be; /* borrowed */
    vj_network net;
    vj_objective_settings settings;
    vj_ragged_bounds bounds;
    bool rounds;          /* products read bf16 copies of weights */
    vj_trainable trained; /* weights, gradient, target encoder (none for the pixel objective), copies for products */
    double *losses; /* device [masks] loss by mask, then the spread penalty: sums since vj_model_download_losses() */
    float *table;   /* [tokens, width] positions, for both encoders */

    vj_frame_room room;
    vj_ragged packing; /* which rows the passes see */
    float *pixels;     /* [clips*tokens, patch_values] the clips */
    vj_array patches;  /* the same, a row for each token */

    struct { /* the target encoder's pass; with the pixel objective only `values` */
        vj_stack_memory memory;
        float *features; /* [clips*tokens, width] after its final norm */
        float *values;   /* [clips*tokens, out] what is predicted: normalised features, or pixels */
    } target;

    struct { /* the context encoder's passes */
        vj_stack_memory memory;
        vj_stack_scratch scratch;
        float *tokens;      /* [clips*tokens, width] with positions */
        vj_array encoded;   /* [context rows, width] after its final norm */
        float *mean, *rstd; /* [context rows] of that norm */
        float *dencoded;
    } context;

    struct { /* the predictor's passes */
        vj_stack_memory memory;
        vj_stack_scratch scratch;
        float *table;                /* [tokens, predictor width] positions */
        float *embedded, *dembedded; /* [context rows, predictor width] */
        float *picked, *dpicked;     /* [target rows, predictor width] the targets' rows of the last block's output */
        vj_array picked_norm;        /* the same after the final norm */
        float *picked_mean, *picked_rstd, *dpicked_norm;
        float *predicted, *dpredicted; /* [target rows, out] */
        vj_array dpredicted_copy; /* of dpredicted as operand of products; none where activations are kept as floats */
    } predictor;

    struct {           /* gradients of which each rank of the tensor group has its own rows' part (vj_param.by_rows) */
        float *packed; /* [count] staging buffer, to sum them over the group */
        int64_t count;
    } by_rows;

    void *fixed;             /* owned, losses and packing */
    float *activations;      /* owned */
    vj_arena arena;          /* places them anew for each microbatch, from the beginning of `activations` on */
    uint16_t *rounded_block; /* owned, bf16 copy of one of the encoder's blocks (vj_weights.block), or NULL. If there is
                                one, there is no copy of the target encoder's weights, and that of the context encoder's
                                is lent to the predictor's activations: each step has one microbatch, and the update
                                makes the copy anew */
    struct {
        int64_t fixed;     /* size of `fixed` */
        int64_t largest;   /* of activations, for the largest possible number of rows, if the gradient is not lent */
        int64_t used;      /* of activations, the most that a microbatch has needed so far */
        int64_t allocated; /* size of `activations`. On the host it is `largest`, of which the system provides only the
                              pages that are touched */
    } bytes;
} vj_model;

/** Read the objective's settings from a configuration, for a rank that has so many microbatches in each step. */
vj_objective_settings vj_objective_from(const vj_config *config, int data_ranks, int64_t microbatches);

/** Return whether there is a rounded_block. */
bool vj_model_copies_are_brief(const vj_model *model);
/** Return how many weights there is memory for bf16 copies of. */
int64_t vj_model_rounded_weights(const vj_model *model);

/**
 * Create a model without device memory, to learn its sizes: only net, bytes, vj_model_activations(),
 * vj_model_rounded_weights() and vj_model_frame_buffers() may be used. `tensor` may be NULL, or have only rank and size
 * set. `host`: of a model whose device is the host. Release with vj_model_destroy(), also after a failure.
 */
vj_status vj_model_sketch(vj_model **model, const vj_shape *shape, const vj_objective_settings *settings,
                          const vj_ragged_bounds *bounds, vj_tensor *tensor, bool host, vj_precision precision);

/**
 * Allocate everything a run needs, but on a device that is not the host the activations, for which see
 * vj_model_reserve(). Weights are zero: draw them with vj_model_init_weights() or read a checkpoint.
 * bounds->clips is the microbatch size. The ranks of `tensor` (borrowed; NULL: no group) divide the network between
 * them (stack.h) and work on the same clips. Not collective. Release with vj_model_destroy(), also after a failure.
 */
vj_status vj_model_create(vj_model **model, const vj_shape *shape, const vj_objective_settings *settings,
                          const vj_ragged_bounds *bounds, vj_tensor *tensor, vj_backend *be);
void vj_model_destroy(vj_model *model);

/** Starting weights (docs/method.md, section 5); the target encoder becomes an exact copy of the encoder. */
void vj_model_init_weights(vj_model *model, vj_init init, int zero_mask_tokens, int64_t seed);

/** Return how many buffers for frames vj_model_accept_frames() allocates where the device makes pixels of them: one if
 * each step has one microbatch, because a step begins when the GPU has finished the one before. */
int vj_model_frame_buffers(const vj_model *model);

/**
 * Allocate memory for the u8 frames of clips of at most `clip_bytes` bytes, if the device converts frames to pixels.
 * Call once, before the first microbatch whose input has frames.
 */
vj_status vj_model_accept_frames(vj_model *model, int64_t clip_bytes);

/**
 * Place the activations of a microbatch with these masks in the arena. Returns their bytes, at most bytes.largest. If
 * the microbatch does not `accumulate` gradients, some are in the gradient's memory and not counted.
 */
int64_t vj_model_activations(vj_model *model, const vj_mask_lists *lists, bool accumulate);

enum { VJ_RESERVE_SHARE = 32 }; /* a 32nd of the activations is allocated in addition, as a reserve */

/**
 * Make sure that memory for `bytes` bytes of activations is allocated. On the host it always is (see bytes.allocated).
 * On other devices memory that is allocated is in use at once, and the largest activations that masks could need are
 * several times those that they do need. So there only `bytes` plus a reserve (VJ_RESERVE_SHARE) are allocated; if a
 * later microbatch needs more, the memory is replaced by a larger one, for which the host waits. VJ_ERR_MEMORY.
 */
vj_status vj_model_reserve(vj_model *model, int64_t bytes);
/** Return the size that vj_model_reserve() allocates on a device that is not the host. */
int64_t vj_model_reserved(const vj_model *model, int64_t bytes);

/** Reserve, and write to the first `bytes` bytes of activations with all threads, so that page faults do not slow down
 * the first step. */
vj_status vj_model_touch(vj_model *model, int64_t bytes);

/**
 * Run forward, loss and backward of one microbatch. Writes this microbatch's part of the gradient of the global batch's
 * loss, or adds it if `accumulate`; the sum over all microbatches of all ranks is the whole gradient.
 *
 * @param clips  host; as many as the lists have
 * @param lists  the masks of these clips
 * @param batch  clips of the global batch
 *
 * Fails only without memory for the activations. Collective over the tensor group.
 */
vj_status vj_model_microbatch(vj_model *model, const vj_input *clips, const vj_mask_lists *lists, int64_t batch,
                              int accumulate);

/**
 * Sum the gradients that each rank of a tensor group computed from its own rows only (vj_param.by_rows), once per step
 * after all microbatches. Does nothing without tensor_sequence. May come before or after the sum over data ranks.
 * Collective over the tensor group.
 */
void vj_model_complete_gradient(vj_model *model);

/**
 * Losses, in two calls so that the host waits only once for all that it downloads: vj_model_download_losses() queues
 * the download to `downloaded` (host, [masks + 1]) and starts new sums; after vj_sync(), vj_model_losses() returns from
 * it the loss by mask [masks], each already divided by the number of masks, and the spread penalty, summed since the
 * download before.
 */
void vj_model_download_losses(vj_model *model, double *downloaded);
void vj_model_losses(const vj_model *model, const double *downloaded, double *by_mask, double *penalty);

/* ------------------------------------------------------------------------------------------------ frozen encoder */

/* An encoder for evaluation: weights, and memory to encode `clips` clips at a time, nothing else. */
typedef struct {
    vj_backend *be;    /* borrowed */
    vj_tensor *tensor; /* borrowed; the ranks that share it; NULL: this one alone */
    vj_network net;
    float *weights;          /* [net.params.total] */
    uint16_t *rounded;       /* bf16 copy of all weights, of the caller, who updates it; or NULL */
    uint16_t *rounded_block; /* without: bf16 copy of one block (vj_weights.block), or NULL */
    bool borrowed;           /* `weights` belongs to the caller */
    int64_t clips;
    float *memory, *pixels, *features, *table;
    vj_array patches;
    int32_t *offset;
    vj_stack_memory stack; /* the buffers in stack.copy are owned by the encoder (vj_encoder_keep_layer()) */
    vj_frame_room room;
} vj_encoder;

/**
 * Allocate. Fill the weights with vj_encoder_init_weights() or from a checkpoint's model/target. Release with
 * vj_encoder_close(). `tensor`, borrowed, not NULL: this rank holds its share (vj_stack_divides() must hold), and
 * vj_encoder_run() is collective over the group, whose ranks give it the same clips.
 */
vj_status vj_encoder_open(vj_encoder **encoder, const vj_shape *shape, int64_t clips, vj_backend *be,
                          vj_tensor *tensor);
/** The same with weights, and their bf16 copy if there is one, that belong to the caller, who may change them between
 * runs. Both are device memory. */
vj_status vj_encoder_open_over(vj_encoder **encoder, const vj_shape *shape, int64_t clips, vj_backend *be,
                               float *weights, uint16_t *rounded);
/** Device memory of an encoder for so many clips a run, without its weights and bf16 copies of them, in bytes. Not
 * collective. */
int64_t vj_encoder_bytes(const vj_shape *shape, int64_t clips, vj_precision precision);
void vj_encoder_close(vj_encoder *encoder);
void vj_encoder_init_weights(vj_encoder *encoder, vj_init init, int64_t seed);

/**
 * Encode `count` <= clips clips on the device: pixels [count, C, T, H, W] to features [count, tokens, width], final
 * norm included. The result is owned by the encoder and valid until the next call. Does not synchronise.
 */
const float *vj_encoder_run(vj_encoder *encoder, const float *pixels, int64_t count);
/** As vj_model_accept_frames(), for an encoder. */
vj_status vj_encoder_accept_frames(vj_encoder *encoder, int64_t clip_bytes);
/** Upload clips as pixels into the encoder's device memory; returns the pointer to pass to vj_encoder_run(). */
const float *vj_encoder_upload(vj_encoder *encoder, const vj_input *clips, int64_t count);
/** Copy the features of the last run to the host. */
vj_status vj_encoder_download(vj_encoder *encoder, float *features, int64_t count);

/**
 * Have each run keep the residual stream after block `layer` (1 to depth: after that many blocks, before the final
 * norm), which takes [clips, tokens, width] floats on the device. Call before the run. VJ_ERR_MEMORY.
 */
vj_status vj_encoder_keep_layer(vj_encoder *encoder, int layer);
/** Copy what the last run kept of a layer to the host, [count, tokens, width]. */
vj_status vj_encoder_download_layer(vj_encoder *encoder, int layer, float *stream, int64_t count);

#endif
