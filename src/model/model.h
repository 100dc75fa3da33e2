/*
 * V-JEPA's training network: context encoder, predictor, target encoder, loss, and their backward pass, for one
 * microbatch at a time (docs/method.md, sections 3-6). What surrounds it - data, schedules, reduction, update - is
 * train/'s.
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
} vj_objective_settings;

/*
 * One rank's network. All pointers are device memory; what is under "of the last microbatch" may be looked at until the
 * next one, after vj_sync().
 */
typedef struct {
    vj_backend *be; /* borrowed */
    vj_network net;
    vj_objective_settings settings;
    vj_ragged_bounds bounds;
    vj_trainable trained; /* weights, gradient, target encoder (none for the pixel objective) */
    double *losses;       /* [masks] loss by mask, then the spread penalty: sums since vj_model_losses() */

    /* of the last microbatch */
    vj_ragged packing;
    float *features;         /* [clips*tokens, width] target encoder after its final norm */
    float *target;           /* [clips*tokens, out] what is predicted: normalised features, or pixels */
    float *patches, *tokens; /* [clips*tokens, patch_values], [clips*tokens, width] with positions */
    float *encoded;          /* [context rows, width] context encoder after its final norm */
    float *predicted;        /* [target rows, out] */
    vj_stack_memory context_memory, predictor_memory, target_memory;

    /* own */
    float *memory, *clips, *table, *predictor_table;
    float *by_rows; /* [by_rows_count] gradients of own rows, on their way through the tensor group */
    int64_t by_rows_count;
    float *encoded_mean, *encoded_rstd, *embedded, *dembedded, *picked, *picked_norm, *picked_mean, *picked_rstd;
    float *dpicked, *dpicked_norm, *dpredicted, *dencoded;
    vj_stack_scratch encoder_scratch, predictor_scratch;
    vj_frame_room room;
    vj_arena arena;      /* what follows the part that is placed once */
    int64_t arena_bytes; /* reserved, for the most rows there can be */
    int64_t used_bytes;  /* of these the most that a microbatch has needed so far */
} vj_model;

/** What a configuration says of the objective. */
vj_objective_settings vj_objective_from(const vj_config *config);

/**
 * A model without memory, for its sizes: net, arena_bytes and vj_model_activations() are meaningful, nothing else. With
 * `tensor` NULL or one whose rank and size alone are set. Release with vj_model_destroy(), also after a failure.
 */
vj_status vj_model_sketch(vj_model **model, const vj_shape *shape, const vj_objective_settings *settings,
                          const vj_ragged_bounds *bounds, vj_tensor *tensor, vj_precision precision);

/**
 * Allocate everything a run needs, once. Weights are zero: draw them with vj_model_init_weights() or read a checkpoint.
 * bounds->clips is the microbatch. With `tensor` (borrowed; NULL: alone) its ranks share the network (stack.h), and all
 * of them work on the same clips. Not collective. Release with vj_model_destroy(), also after a failure.
 */
vj_status vj_model_create(vj_model **model, const vj_shape *shape, const vj_objective_settings *settings,
                          const vj_ragged_bounds *bounds, vj_tensor *tensor, vj_backend *be);
void vj_model_destroy(vj_model *model);

/** Starting weights (docs/method.md, section 5); the target encoder becomes an exact copy of the encoder. */
void vj_model_init_weights(vj_model *model, vj_init init, int zero_mask_tokens, int64_t seed);

/**
 * Make room for frames of clips of at most `clip_bytes` bytes, where the device makes their pixels: once, before the
 * first microbatch whose input has frames.
 */
vj_status vj_model_accept_frames(vj_model *model, int64_t clip_bytes);

/**
 * Place the activations of a microbatch with these masks; their bytes, of the arena_bytes that are reserved for the
 * most any masks can need. vj_model_microbatch() does it for itself.
 */
int64_t vj_model_activations(vj_model *model, const vj_mask_lists *lists);

/** Write to so many bytes of the arena, by all threads: first touches are slow, and better made before the first step.
 */
void vj_model_touch(vj_model *model, int64_t bytes);

/**
 * Forward, loss and backward of one microbatch: gradient (added if `accumulate`, else written) of the global batch's
 * loss, so that the sum over all microbatches of all ranks is the gradient.
 *
 * @param clips  host; as many as the lists have
 * @param lists  the masks of these clips
 * @param batch  clips of the global batch
 *
 * Collective over the tensor group.
 */
void vj_model_microbatch(vj_model *model, const vj_input *clips, const vj_mask_lists *lists, int64_t batch,
                         int accumulate);

/**
 * Once for all microbatches of a step: add up what each rank of a tensor group found for its own rows (tensor_sequence;
 * otherwise there is nothing to do). May come before or after the sum over data ranks. Collective over the tensor
 * group.
 */
void vj_model_complete_gradient(vj_model *model);

/** Loss by mask [masks], each already divided by the number of masks, and the spread penalty, since the last call. */
void vj_model_losses(vj_model *model, double *by_mask, double *penalty);

/* ------------------------------------------------------------------------------------------------ frozen encoder */

/* An encoder for evaluation: weights, and memory to encode `clips` clips at a time, nothing else. */
typedef struct {
    vj_backend *be; /* borrowed */
    vj_network net;
    float *weights; /* [net.params.total] */
    int64_t clips;
    float *memory, *pixels, *patches, *features, *table;
    int32_t *offset;
    vj_stack_memory stack;
    vj_frame_room room;
} vj_encoder;

/** Allocate. Fill the weights with vj_encoder_init_weights() or from a checkpoint's model/target. Release with
 * vj_encoder_close(). */
vj_status vj_encoder_open(vj_encoder **encoder, const vj_shape *shape, int64_t clips, vj_backend *be);
void vj_encoder_close(vj_encoder *encoder);
void vj_encoder_init_weights(vj_encoder *encoder, vj_init init, int64_t seed);

/**
 * Encode `count` <= clips clips on the device: pixels [count, C, T, H, W] to features [count, tokens, width], final
 * norm included, which are the encoder's and stand until the next call. Waits for nothing.
 */
const float *vj_encoder_run(vj_encoder *encoder, const float *pixels, int64_t count);
/** vj_model_accept_frames() of an encoder. */
vj_status vj_encoder_accept_frames(vj_encoder *encoder, int64_t clip_bytes);
/** Clips of the host as pixels on the device, in the encoder's memory: what vj_encoder_run() takes. */
const float *vj_encoder_upload(vj_encoder *encoder, const vj_input *clips, int64_t count);
/** The features of the last run to the host. */
vj_status vj_encoder_download(vj_encoder *encoder, float *features, int64_t count);

#endif
