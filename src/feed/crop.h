/* From the frames of a stored clip to the pixels that an encoder takes. */
#ifndef VJ_FEED_CROP_H
#define VJ_FEED_CROP_H

#include "base/config.h"

typedef struct {
    int top, left, height, width; /* box in the source frame */
    int flip;
} vj_crop;

/** The random resized crop of spec 10.3 for global sample `sample`: a function of (seed, sample) and the geometry
 * alone. */
vj_crop vj_crop_draw(const vj_config *config, uint64_t seed, int64_t sample, int height, int width);
/** The evaluation crop: the largest centred square. */
vj_crop vj_crop_centre(int height, int width);

/* A view: what a sample shows of its clip, whose frames are height x width. Called by several threads at once. */
typedef vj_crop (*vj_view)(const vj_config *config, int64_t sample, int height, int width);

/** Of training: vj_crop_draw() with run.seed. */
vj_crop vj_view_random(const vj_config *config, int64_t sample, int height, int width);
/** Of evaluation: vj_crop_centre(). */
vj_crop vj_view_centre(const vj_config *config, int64_t sample, int height, int width);

/**
 * Crop, bilinear resize to size x size (half-pixel centres, no antialias), mirror, normalise (x - 255 mean)/(255 std):
 * out f32 [3, T, size, size] from frames u8 [T, height, width, 3]. Spec 10.3; exact arithmetic as the data fixture.
 */
void vj_crop_apply(float *out, const uint8_t *frames, int T, int height, int width, const vj_crop *crop, int size,
                   const double mean[3], const double std[3]);

#endif
