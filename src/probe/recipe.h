/*
 * How a head is built and trained (docs/method.md, section 12.2): as in the released code, as in the paper's text where
 * that differs, or as one of many heads in V-JEPA 2's sweep over learning rates and weight decays.
 */
#ifndef VJ_PROBE_RECIPE_H
#define VJ_PROBE_RECIPE_H

#include "probe/head.h"
#include "train/schedules.h"

typedef struct {
    int paper;               /* bool: as in the paper's text */
    int sweep;               /* bool: use lr and weight_decay below; else those of the settings, probe.* */
    int more;                /* bool, with sweep: the head of evaluate.sweep_more: no warm-up, and the decay falls */
    double lr, weight_decay; /* with sweep */
} vj_recipe;

/**
 * Return the number of heads of an attentive probe of width D on an encoder with encoder_heads heads: the same number
 * (the released code), or with `paper` the largest number up to 12 that divides D.
 */
int vj_recipe_heads(const vj_recipe *recipe, int D, int encoder_heads);

/** Return the number of heads of a probe of width D with blocks on the tokens: the largest number up to 16 that divides
 * D, whatever the encoder (V-JEPA 2). */
int vj_recipe_token_heads(int D);

/** Return whether the norm follows the MLP (vj_head_shape.norm_last): in the paper's text, with one block. */
int vj_recipe_norm_last(const vj_recipe *recipe, vj_pooling pooling, int depth);

/**
 * Return the schedule of learning rate and weight decay for `epochs` epochs of steps_per_epoch updates: that of
 * vj_schedules_probe(), except that the weight decay is constant with `paper` and `sweep`, and a sweep uses its own lr
 * and weight_decay. A head with `more` has no warm-up, and its weight decay falls to probe.final_weight_decay.
 */
vj_schedule vj_recipe_schedule(const vj_recipe *recipe, const vj_config *config, int64_t epochs,
                               int64_t steps_per_epoch);

/** Return the parameters of update number `update` = 1, 2, ... In a sweep the gradient is not clipped, and weight decay
 * applies to all tensors. */
vj_head_step vj_recipe_step(const vj_recipe *recipe, const vj_config *config, const vj_schedule *schedule,
                            int64_t update);

#endif
