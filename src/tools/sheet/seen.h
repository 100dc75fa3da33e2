/*
 * A clip as a training run sees it for the first time: cropped, and masked. Both are functions of the sample, so they
 * are drawn here by the same code (feed/crop.c, model/masks.c).
 */
#ifndef VJ_SHEET_SEEN_H
#define VJ_SHEET_SEEN_H

#include "clips/clips.h"
#include "feed/crop.h"
#include "model/masks.h"

typedef struct {
    const vj_config *config; /* borrowed */
    vj_grid grid;
    int frames, side; /* pixels of the crop */
    float *pixels;    /* [3, frames, side, side] scratch, owned */

    /* of the clip looked at last; owned */
    int64_t sample;
    vj_crop crop;
    uint8_t *rgb; /* [frames, side, side, 3] */
    vj_mask_lists lists;
} vj_seen;

/** Memory for one clip. Refuses stores whose clips have other than data.frames frames. Release also after a failure. */
vj_status vj_seen_create(vj_seen *seen, const vj_config *config, const vj_clips *clips);
void vj_seen_release(vj_seen *seen);

/**
 * The first sample of a run on this store alone that shows clip first + i: samples [count], -1 where none of the first
 * samples, 64 times as many as there are clips, does (data.weights).
 */
vj_status vj_seen_samples(const vj_seen *seen, const vj_clips *clips, int64_t first, int64_t count, int64_t *samples);

/** Crop frames u8 [T, height, width, 3] and draw the masks as for `sample`. */
vj_status vj_seen_look(vj_seen *seen, int64_t sample, const uint8_t *frames, int height, int width);

/**
 * Darken what mask `mask` hides in frame `t` of the clip looked at last, drawn as picture u8 [side, side, 3]: hatched
 * where the predictor must say what is there, plain where a cut list leaves a patch out of both.
 */
void vj_seen_mask(const vj_seen *seen, int mask, int t, uint8_t *picture, int side);

#endif
