/* What of the frames of a stored clip is seen. The pixels are made by kernels: vj_crop_clips(), vj_host_crop(). */
#ifndef VJ_FEED_CROP_H
#define VJ_FEED_CROP_H

#include "base/config.h"
#include "kernels/kernels.h"

/** The random resized crop of docs/method.md, section 10.3 for global sample `sample`: a function of (seed, sample) and
 * the geometry alone. */
vj_crop vj_crop_draw(const vj_config *config, uint64_t seed, int64_t sample, int height, int width);
/** The evaluation crop: the largest centred square. */
vj_crop vj_crop_centre(int height, int width);

/* A view: what a sample shows of its clip, whose frames are height x width. Called by several threads at once. */
typedef vj_crop (*vj_view)(const vj_config *config, int64_t sample, int height, int width);

/** Of training: vj_crop_draw() with run.seed. */
vj_crop vj_view_random(const vj_config *config, int64_t sample, int height, int width);
/** Of evaluation: vj_crop_centre(). */
vj_crop vj_view_centre(const vj_config *config, int64_t sample, int height, int width);

#endif
