/* Counts what training must compute, read and write, from the model and the masks of the first steps. */
#include <math.h>

#include "model/flops.h"
#include "plan/forecast.h"
#include "train/precision.h"
#include "train/pretrain.h"
#include "train/weight_gather.h"

enum { LOOK_STEPS = 32 }; /* steps whose masks are drawn, for one group of clips each (mask.group) */

/* Return the floats that a tensor group sums in the blocks of a stack: two sums of `rows` rows in each block, in each
 * pass (forward, backward, and recomputation if there is any). */
static double summed(const vj_stack *s, double rows, int passes)
{
    return 2.0 * passes * s->depth * rows * s->width;
}

static void count(vj_train_work *w, const vj_network *net, const vj_mask_lists *lists, vj_recompute recompute)
{
    const int passes = recompute == VJ_RECOMPUTE_NONE ? 2 : 3;
    const bool feature = net->shape.objective == VJ_OBJECTIVE_FEATURE;
    double computed_again = 0, floats = feature ? (double)lists->clips * summed(&net->encoder, net->tokens, 1) : 0;
    for (int64_t i = 0; i < lists->masks * lists->clips; i++) {
        const double context = lists->contexts[i], all = context + lists->targets[i];
        computed_again += vj_recomputed_flops(&net->encoder, context, recompute) +
                          vj_recomputed_flops(&net->predictor, all, recompute);
        floats += summed(&net->encoder, context, passes) + summed(&net->predictor, all, passes);
        w->context_tokens += context;
        w->target_tokens += lists->targets[i];
    }
    const double flops = vj_step_flops(net, lists);
    w->clip_flops += flops;
    w->clip_work_flops += flops + computed_again;
    w->tensor_sum_bytes += floats * sizeof(float);
}

static vj_status count_masks(vj_train_work *w, const vj_config *c, const vj_network *net)
{
    const int64_t wanted = c->mask.cut == VJ_CUT_GROUP ? c->mask.group : 1;
    const int64_t clips = wanted < c->train.batch ? wanted : c->train.batch;
    vj_mask_lists lists;
    vj_status status = vj_mask_lists_create(&lists, c->mask.count, clips, net->tokens);
    for (int64_t step = 0; step < LOOK_STEPS && status == VJ_OK; step++) {
        status = vj_masks_sample(&lists, c, net->grid, step, step * c->train.batch, clips);
        if (status == VJ_OK) count(w, net, &lists, (vj_recompute)c->train.recompute);
    }
    vj_mask_lists_release(&lists);
    double *const sums[] = {&w->context_tokens, &w->target_tokens, &w->clip_flops, &w->clip_work_flops,
                            &w->tensor_sum_bytes};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) *sums[i] /= (double)(LOOK_STEPS * clips);
    return status;
}

/* Return the bytes of a checkpoint: weights, both moments and the target encoder, in fp32 (docs/design.md, section 6).
 */
static double checkpoint_bytes(const vj_network *net)
{
    double encoder = 0;
    for (int i = 0; i < net->params.count; i++)
        if (net->params.item[i].part == VJ_ENCODER) encoder += (double)net->params.item[i].whole;
    const double target = net->shape.objective == VJ_OBJECTIVE_FEATURE ? encoder : 0;
    return (3 * (double)net->params.elements + target) * sizeof(float);
}

/* Compute the length of a rank's flat vectors for each size of tensor group that divides the network. */
static void measure_shares(vj_train_work *w, const vj_shape *shape, vj_precision precision)
{
    for (int size = 1; size <= VJ_TENSOR_MAX; size++) {
        vj_tensor tensor = {.size = size};
        vj_network net;
        if (!vj_stack_divides(shape->heads, shape->hidden, size)) continue;
        vj_network_describe(&net, shape, 0, size > 1 ? &tensor : NULL);
        w->weight_floats[size] = net.params.total;
        for (int gpus = 0; gpus < 2; gpus++)
            w->gathered_bytes[size][gpus] =
                vj_weight_gather_bytes(&net.params, w->feature, vj_weights_are_rounded(!gpus, precision));
        vj_network_release(&net);
    }
}

vj_status vj_train_work_count(vj_train_work *w, const vj_config *c, const vj_pack_forecast *pack)
{
    const vj_shape shape = vj_shape_from(c);
    const int64_t every = c->checkpoint.every;
    vj_network net;
    vj_network_describe(&net, &shape, 0, NULL);
    *w = (vj_train_work){.parameters = net.params.elements,
                         .tokens = net.tokens,
                         .steps = vj_pretrain_steps(c),
                         .feature = shape.objective == VJ_OBJECTIVE_FEATURE,
                         .raw_clip_bytes = pack->raw_clip_bytes,
                         .clip_bytes = pack->clip_bytes,
                         .checkpoint_bytes = checkpoint_bytes(&net)};
    if (every > 0) w->checkpoints = w->steps / every;
    if (c->checkpoint.at_end && (every == 0 || w->steps % every != 0)) w->checkpoints++;
    measure_shares(w, &shape, vj_precision_of(c));
    vj_status status = count_masks(w, c, &net);
    if (c->watch.every > 0 && status == VJ_OK)
        w->watch_steps = ceil((double)w->steps / (double)c->watch.every) * 2.0 * (double)c->watch.clips *
                         vj_encoder_flops(&net) / ((double)c->train.batch * w->clip_work_flops);
    vj_network_release(&net);
    return status;
}
