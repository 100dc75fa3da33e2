/* Chooses the crop box of a stored clip. Pixels are cropped and resized in kernels: vj_crop_clips(), vj_host_crop(). */
#ifndef VJ_FEED_CROP_H
#define VJ_FEED_CROP_H

#include "base/config.h"
#include "base/rng.h"
#include "kernels/kernels.h"

/** Draw a random resized crop (docs/method.md, section 10.3) from a stream: its share of the area in `scale`, its width
 * over height in `aspect`, mirrored with probability `flip`. Frames of height x width pixels. */
vj_crop vj_crop_draw_from(vj_rng *rng, const double scale[2], const double aspect[2], double flip, int height,
                          int width);

/** Draw the random resized crop of docs/method.md, section 10.3, for global sample number `sample`. Depends only on
 * (seed, sample), the settings and the size of the frames, height x width pixels. */
vj_crop vj_crop_draw(const vj_config *config, uint64_t seed, int64_t sample, int height, int width);
/** Return the evaluation crop: the largest centred square. */
vj_crop vj_crop_centre(int height, int width);

/* Chooses the crop box of sample number `sample`, whose clip has frames of height x width pixels. Thread-safe. */
typedef vj_crop (*vj_view)(const vj_config *config, int64_t sample, int height, int width);

/** The view for training: vj_crop_draw() with run.seed. */
vj_crop vj_view_random(const vj_config *config, int64_t sample, int height, int width);
/** The view for evaluation: vj_crop_centre(). */
vj_crop vj_view_centre(const vj_config *config, int64_t sample, int height, int width);

#endif
