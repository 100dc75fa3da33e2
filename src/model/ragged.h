/*
 * Ragged packing (docs/design.md, section 3): the contexts of all clips and masks of a microbatch become one matrix
 * with an offsets array, the predictor's sequences another, so every product is one large one and no list needs
 * padding. Segment i*clips + b is mask i of clip b.
 */
#ifndef VJ_MODEL_RAGGED_H
#define VJ_MODEL_RAGGED_H

#include "model/arena.h"
#include "model/masks.h"
#include "model/stack.h"

/* The largest number of rows a microbatch can have. */
typedef struct {
    int masks;
    int64_t clips, context, target, predictor; /* rows in all */
} vj_ragged_bounds;

/** From the settings: the sums of vj_masks_bounds() over the generators, times `clips`. */
vj_ragged_bounds vj_ragged_bounds_from(const vj_config *config, vj_grid grid, int64_t clips);

typedef struct {
    vj_rows context;   /* segments of context tokens */
    vj_rows predictor; /* per segment: context rows, then target rows */
    vj_rows clips;     /* per clip: all its tokens */
    int64_t targets;   /* target rows in all */
    /* device, int32 unless said otherwise */
    int32_t *context_token; /* [context.rows] row of the clips' token matrix [clips*tokens] */
    int32_t *source;        /* [predictor.rows] context row, or -1 - mask token */
    int32_t *position;      /* [predictor.rows] token number inside the clip */
    int32_t *target_row;    /* [targets] row of the predictor's matrix */
    int32_t *target_token;  /* [targets] row of the clips' token matrix */
    int32_t *target_offset; /* [segments + 1] segments of target rows */
    int32_t *group;         /* [targets] mask number */
    float *weight;          /* [targets] share of a row in the loss, over the width too */
    /* own */
    int32_t *host; /* what is uploaded */
    int32_t *device;
    int64_t words;
    int32_t *context_offset, *predictor_offset, *clip_offset; /* clip_offset: [clips + 1] k*tokens */
} vj_ragged;

/** Take device memory from the arena; on the first call host memory too. */
vj_status vj_ragged_take(vj_ragged *p, const vj_ragged_bounds *bounds, vj_arena *arena);
void vj_ragged_release(vj_ragged *p);

/**
 * Fill the arrays from the lists of lists->clips clips and upload them. The loss of the whole batch is
 * (1/batch) sum over clips of (1/masks) sum over masks of the mean over that mask's targets and the features
 * (`feature_share`: 1/width). Where all lists of a mask group have one length this is the published mean over groups,
 * and it does not depend on how clips are divided into ranks and microbatches.
 */
void vj_ragged_fill(vj_ragged *p, const vj_ragged_bounds *bounds, vj_backend *be, const vj_mask_lists *lists,
                    int mask_tokens, int64_t batch, double feature_share);

#endif
