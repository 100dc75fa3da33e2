/*
 * How a head is built and trained (docs/method.md, section 12.2): as the released code does it, as the paper's text has
 * it where that differs, or as one of many heads in V-JEPA 2's sweep over learning rates and weight decays.
 */
#ifndef VJ_PROBE_RECIPE_H
#define VJ_PROBE_RECIPE_H

#include "probe/head.h"
#include "train/schedules.h"

typedef struct {
    int paper;               /* bool: as the paper's text has it */
    int sweep;               /* bool: lr and weight_decay are those below; else those of the settings, probe.* */
    double lr, weight_decay; /* of the sweep */
} vj_recipe;

/**
 * Return the number of heads of an attentive probe of width D on an encoder that has encoder_heads: as many (the
 * released code); `paper`: 12, or where 12 does not divide D the largest number below that does.
 */
int vj_recipe_heads(const vj_recipe *recipe, int D, int encoder_heads);

/** Return the number of heads of a probe of width D with blocks on the tokens: 16 whatever the encoder (V-JEPA 2), or
 * where 16 does not divide D the largest number below that does. */
int vj_recipe_token_heads(int D);

/** Return true if the norm stands behind the MLP (vj_head_shape.norm_last): in the paper's text, with one block. */
int vj_recipe_norm_last(const vj_recipe *recipe, vj_pooling pooling, int depth);

/**
 * Return the schedule of learning rate and weight decay for `epochs` epochs of steps_per_epoch updates: that of
 * vj_schedules_probe(), but with the weight decay constant in the paper's text and in a sweep, and a sweep's own
 * numbers.
 */
vj_schedule vj_recipe_schedule(const vj_recipe *recipe, const vj_config *config, int64_t epochs,
                               int64_t steps_per_epoch);

/** Return what update number `update` = 1, 2, ... does. In a sweep nothing is clipped, and all tensors decay. */
vj_head_step vj_recipe_step(const vj_recipe *recipe, const vj_config *config, const vj_schedule *schedule,
                            int64_t update);

#endif
