/* The differences between the released code, the paper's text and V-JEPA 2's sweep in the training of a head. */
#include "probe/recipe.h"

enum { PAPER_HEADS = 12, TOKEN_HEADS = 16 };

/* Return the largest number up to `limit` that divides D. */
static int divisor(int D, int limit)
{
    while (D % limit != 0) limit--;
    return limit;
}

int vj_recipe_heads(const vj_recipe *recipe, int D, int encoder_heads)
{
    return recipe->paper ? divisor(D, PAPER_HEADS) : encoder_heads;
}

int vj_recipe_token_heads(int D)
{
    return divisor(D, TOKEN_HEADS);
}

int vj_recipe_norm_last(const vj_recipe *recipe, vj_pooling pooling, int depth)
{
    return recipe->paper && pooling == VJ_POOL_ATTENTIVE && depth == 1;
}

vj_schedule vj_recipe_schedule(const vj_recipe *recipe, const vj_config *config, int64_t epochs,
                               int64_t steps_per_epoch)
{
    vj_schedule schedule = vj_schedules_probe(config, epochs, steps_per_epoch);
    if (recipe->sweep) {
        schedule.lr = recipe->lr;
        schedule.weight_decay = recipe->weight_decay;
    }
    if (recipe->more)
        schedule.warmup_steps = 0;
    else if (recipe->sweep || recipe->paper)
        schedule.final_weight_decay = schedule.weight_decay;
    return schedule;
}

vj_head_step vj_recipe_step(const vj_recipe *recipe, const vj_config *config, const vj_schedule *schedule,
                            int64_t update)
{
    return (vj_head_step){.update = update,
                          .lr = vj_schedule_lr(schedule, update),
                          .weight_decay = vj_schedule_weight_decay(schedule, update),
                          .clip = recipe->sweep ? 0.0 : config->probe.clip_grad,
                          .decay_all = recipe->sweep};
}
