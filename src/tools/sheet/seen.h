/*
 * A clip as a training run first sees it: cropped and masked. Crop and masks are functions of the sample number, so the
 * same code draws them here (feed/crop.c, model/masks.c).
 */
#ifndef VJ_SHEET_SEEN_H
#define VJ_SHEET_SEEN_H

#include "clips/clips.h"
#include "feed/crop.h"
#include "model/masks.h"

typedef struct {
    const vj_config *config; /* borrowed */
    vj_grid grid;
    int frames, side; /* side of the crop in pixels */
    float *pixels;    /* [3, frames, side, side] scratch, owned */

    /* Of the clip in the last vj_seen_prepare(); owned. */
    int64_t sample;
    vj_crop crop;
    uint8_t *rgb; /* [frames, side, side, 3] */
    vj_mask_lists lists;
} vj_seen;

/** Allocate memory for one clip. Fails if the clips of the store do not have data.frames frames. Release it also after
 * a failure. */
vj_status vj_seen_create(vj_seen *seen, const vj_config *config, const vj_clips *clips);
void vj_seen_release(vj_seen *seen);

/**
 * For each clip first + i find the first sample that shows it in a run on this store alone: samples [count]. -1 if it
 * is not among the first 64 * (number of clips) samples, which may happen with data.weights.
 */
vj_status vj_seen_samples(const vj_seen *seen, const vj_clips *clips, int64_t first, int64_t count, int64_t *samples);

/** Crop the frames u8 [T, height, width, 3] of sample number `sample`, and draw its masks. */
vj_status vj_seen_prepare(vj_seen *seen, int64_t sample, const uint8_t *frames, int height, int width);

/**
 * In picture u8 [side, side, 3] darken the patches that mask `mask` hides in frame `t` of the clip in the last
 * vj_seen_prepare(). Patches that the predictor must predict are hatched; those that are in neither list, because lists
 * were cut, are plain.
 */
void vj_seen_mask(const vj_seen *seen, int mask, int t, uint8_t *picture, int side);

#endif
