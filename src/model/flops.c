/* Counting the products of a step. */
#include "model/flops.h"

/* A stack's blocks on one sequence of n tokens: qkv and projection, MLP, scores and weighted sum. */
static double stack_flops(const vj_stack *s, double n)
{
    const double D = s->width, H = s->hidden;
    return s->depth * n * (8.0 * D * D + 4.0 * D * H + 4.0 * n * D);
}

double vj_encoder_flops(const vj_network *net)
{
    return 2.0 * net->tokens * (double)net->patch_values * net->shape.width + stack_flops(&net->encoder, net->tokens);
}

double vj_step_flops(const vj_network *net, const vj_mask_lists *lists)
{
    const vj_shape *s = &net->shape;
    const double D = s->width, Dp = s->predictor_width, clips = (double)lists->clips;
    const double embedding = 2.0 * net->tokens * (double)net->patch_values * D;
    double target = 0, trained = clips * embedding;
    if (s->objective == VJ_OBJECTIVE_FEATURE) target = clips * vj_encoder_flops(net);
    for (int64_t i = 0; i < lists->masks * lists->clips; i++) {
        const double contexts = lists->contexts[i], targets = lists->targets[i];
        trained += stack_flops(&net->encoder, contexts) + stack_flops(&net->predictor, contexts + targets) +
                   2.0 * contexts * D * Dp + 2.0 * targets * Dp * net->out;
    }
    return (target + 3.0 * trained) / (net->tensor ? net->tensor->size : 1);
}

double vj_recomputed_flops(const vj_stack *s, double n, vj_recompute recompute)
{
    const double D = s->width, H = s->hidden, attention = n * (6.0 * D * D + 4.0 * n * D);
    if (recompute == VJ_RECOMPUTE_NONE) return 0;
    return s->depth * (attention + (recompute == VJ_RECOMPUTE_BLOCK ? n * (2.0 * D * D + 2.0 * D * H) : 0));
}

double vj_step_work(const vj_network *net, const vj_mask_lists *lists, vj_recompute recompute)
{
    const vj_stack *const stacks[] = {&net->encoder, &net->predictor};
    const double pixels = 2.0 * net->tokens * (double)net->patch_values * net->shape.width;
    double more = -(double)lists->clips * pixels;
    for (int64_t i = 0; i < lists->masks * lists->clips; i++)
        for (int k = 0; k < 2; k++) {
            const double n = lists->contexts[i] + (k == 1 ? (double)lists->targets[i] : 0);
            more += 2.0 * stacks[k]->depth * n * n * stacks[k]->width + vj_recomputed_flops(stacks[k], n, recompute);
        }
    return vj_step_flops(net, lists) + more / (net->tensor ? net->tensor->size : 1);
}
