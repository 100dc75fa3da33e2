/*
 * Random views of training samples of probes (docs/method.md, section 12.4). What is done to a clip is drawn first, as
 * a function of (run.seed, key) alone, and applied later (eval_views.h), so that it can be tested and printed.
 */
#ifndef VJ_FEED_AUGMENT_H
#define VJ_FEED_AUGMENT_H

#include "feed/eval_views.h"
#include "feed/picture.h"
#include "kernels/kernels.h"

enum { VJ_MAX_AUGMENTATIONS = 4 }; /* operations of a clip */

/* All that is random in one view; the same for all frames of a clip. */
typedef struct {
    int ops;
    struct {
        vj_picture_op op;
        double argument;
    } op[VJ_MAX_AUGMENTATIONS]; /* in this order */
    vj_crop crop;               /* of the stored frames, and whether the view is mirrored */
    vj_box erased;              /* of the view, filled with noise; height 0: nothing is */
    uint64_t key;               /* of the noise */
} vj_augmentation;

/**
 * Draw the training view `key` of a clip with frames of height x width pixels.
 *
 * randaugment: m7-n4-mstd0.5-inc1 (Cubuk et al. 2020): four of 15 operations, with replacement, each left out with
 * probability 1/2, its level from N(7, 0.5^2) cut to [0, 10]. autoaugment: one of 25 pairs of operations (Cubuk et al.
 * 2019, ImageNet). Crop: 8 to 100 % of the area, width over height from 3/4 to 4/3. Erasing: Zhong et al. 2020.
 */
void vj_augment_draw(vj_augmentation *a, const vj_eval_views *views, uint64_t key, int height, int width);

/** Write the value that geometric operations give to pixels from outside: grey for videos, the mean colour for images.
 */
void vj_augment_fill(const vj_eval_views *views, uint8_t fill[3]);

/** Fill the erased box with normal noise, each value its own: pixels [3, frames, side, side], normalised. */
void vj_augment_erase(const vj_augmentation *a, const vj_eval_views *views, float *pixels, int frames);

/** Describe in one line: "rotate -21.4, color 1.63, crop 120 x 80 at 3, 41, mirrored, erased 40 x 30 at 2, 7". */
void vj_augment_describe(const vj_augmentation *a, char *text, size_t bytes);

#endif
