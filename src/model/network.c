/* Layout of the network's tensors and the plain encoding of whole clips. */
#include "model/network.h"

#include <stdlib.h>

#include "model/positions.h"

vj_shape vj_shape_from(const vj_config *c)
{
    const int width = (int)c->model.width, predictor = (int)c->predictor.width;
    return (vj_shape){.channels = 3,
                      .frames = (int)c->data.frames,
                      .height = (int)c->data.crop,
                      .width_px = (int)c->data.crop,
                      .tubelet = (int)c->model.tubelet,
                      .patch = (int)c->model.patch,
                      .width = width,
                      .depth = (int)c->model.depth,
                      .heads = (int)c->model.heads,
                      .hidden = (int)(width * c->model.mlp_ratio),
                      .predictor_width = predictor,
                      .predictor_depth = (int)c->predictor.depth,
                      .predictor_heads = (int)c->predictor.heads,
                      .predictor_hidden = (int)(predictor * c->model.mlp_ratio),
                      .mask_tokens = c->mask.count,
                      .uniform_power = c->model.uniform_power,
                      .positions = VJ_POSITIONS_SINCOS,
                      .eps = VJ_SHAPE_EPS,
                      .objective = (vj_objective)c->objective.kind};
}

vj_grid vj_shape_grid(const vj_shape *s)
{
    return (vj_grid){.t = s->frames / s->tubelet, .y = s->height / s->patch, .x = s->width_px / s->patch};
}

int vj_shape_patch_values(const vj_shape *s)
{
    return s->channels * s->tubelet * s->patch * s->patch;
}

void vj_network_describe(vj_network *net, const vj_shape *s, int encoder_only, vj_tensor *tensor)
{
    *net =
        (vj_network){.shape = *s, .grid = vj_shape_grid(s), .patch_values = vj_shape_patch_values(s), .tensor = tensor};
    net->grid_tokens = vj_grid_tokens(net->grid);
    net->tokens = s->prefix_tokens + net->grid_tokens;
    VJ_ASSERT(s->prefix_tokens == 0 && s->positions == VJ_POSITIONS_SINCOS && s->eps > 0); /* all there is so far */
    net->out = s->objective == VJ_OBJECTIVE_PIXEL ? net->patch_values : s->width;

    vj_params *ps = &net->params;
    if (tensor) ps->share = tensor->rank, ps->shares = tensor->size;
    const int64_t D = s->width, Dp = s->predictor_width;
    net->patch_weight =
        vj_params_add(ps, VJ_ENCODER, VJ_START_WEIGHT, 0, VJ_SHARE_WHOLE, 5,
                      (const int64_t[]){D, s->channels, s->tubelet, s->patch, s->patch}, "patch_embed.proj.weight");
    net->patch_bias = vj_params_add(ps, VJ_ENCODER, VJ_START_ZERO, 0, VJ_SHARE_WHOLE, 1, &D, "patch_embed.proj.bias");
    vj_stack_add(&net->encoder, ps, VJ_ENCODER, "blocks", "norm", s->depth, s->width, s->heads, s->hidden, s->eps,
                 s->positions, tensor);
    if (encoder_only) return;

    net->embed_weight = vj_params_add(ps, VJ_PREDICTOR, VJ_START_WEIGHT, 0, VJ_SHARE_WHOLE, 2, (const int64_t[]){Dp, D},
                                      "predictor_embed.weight");
    net->embed_bias = vj_params_add(ps, VJ_PREDICTOR, VJ_START_ZERO, 0, VJ_SHARE_WHOLE, 1, &Dp, "predictor_embed.bias");
    for (int i = 0; i < s->mask_tokens; i++) {
        int64_t at = vj_params_add(ps, VJ_PREDICTOR, VJ_START_MASK_TOKEN, 0, VJ_SHARE_WHOLE, 3,
                                   (const int64_t[]){1, 1, Dp}, "mask_tokens.%d", i);
        if (i == 0) net->mask_token = at;
    }
    const bool divides = !tensor || vj_stack_divides(s->predictor_heads, s->predictor_hidden, tensor->size);
    vj_stack_add(&net->predictor, ps, VJ_PREDICTOR, "predictor_blocks", "predictor_norm", s->predictor_depth,
                 s->predictor_width, s->predictor_heads, s->predictor_hidden, s->eps, VJ_POSITIONS_SINCOS,
                 divides ? tensor : NULL);
    net->out_weight = vj_params_add(ps, VJ_PREDICTOR, VJ_START_WEIGHT, 0, VJ_SHARE_WHOLE, 2,
                                    (const int64_t[]){net->out, Dp}, "predictor_proj.weight");
    net->out_bias = vj_params_add(ps, VJ_PREDICTOR, VJ_START_ZERO, 0, VJ_SHARE_WHOLE, 1, (const int64_t[]){net->out},
                                  "predictor_proj.bias");
}

void vj_network_release(vj_network *net)
{
    vj_stack_release(&net->encoder);
    vj_stack_release(&net->predictor);
    vj_params_release(&net->params);
}

float *vj_network_table(const vj_network *net, vj_backend *be, int width)
{
    const int64_t n = (int64_t)net->grid_tokens * width;
    double *exact = vj_calloc(n, sizeof *exact);
    float *rounded = vj_calloc(n, sizeof *rounded), *device = NULL;
    if (exact && rounded) device = vj_device_alloc(be, n * (int64_t)sizeof *device);
    if (device) {
        vj_positions_video(exact, width, net->grid, net->shape.uniform_power);
        for (int64_t i = 0; i < n; i++) rounded[i] = (float)exact[i];
        vj_upload(be, device, rounded, n * (int64_t)sizeof *device);
    }
    free(exact);
    free(rounded);
    return device;
}

void vj_network_encode(const vj_network *net, vj_backend *be, vj_weights weights, const float *table,
                       vj_stack_memory *memory, const vj_encoder_pass *e)
{
    const float *w = weights.exact;
    const int D = net->shape.width;
    const vj_rows *rows = e->rows;
    float *tokens = e->picked ? e->tokens : memory->x[0];
    vj_linear_forward(be, vj_f32(tokens), e->patches, vj_weight_matrix(weights, net->patch_weight), w + net->patch_bias,
                      table, net->grid_tokens, e->clips * net->grid_tokens, D, net->patch_values);
    if (e->picked) vj_gather_rows(be, memory->x[0], tokens, e->picked, rows->rows, D);
    vj_stack_forward(&net->encoder, be, weights, memory, rows);
    vj_layernorm_forward(be, e->features, e->mean, e->rstd, memory->x[net->encoder.depth], w + net->encoder.norm_weight,
                         w + net->encoder.norm_bias, rows->rows, D, net->shape.eps);
}

void vj_network_backward(const vj_network *net, vj_backend *be, vj_weights weights, float *g, vj_stack_memory *memory,
                         vj_stack_scratch *scratch, const vj_encoder_pass *e, const float *dfeatures, int accumulate,
                         const vj_gradient_hook *hook)
{
    const float *w = weights.exact;
    const int D = net->shape.width;
    const vj_rows *rows = e->rows;
    vj_layernorm_backward(be, scratch->dx, (vj_array){0}, (vj_array){0}, g + net->encoder.norm_weight,
                          g + net->encoder.norm_bias, NULL, vj_f32(dfeatures), memory->x[net->encoder.depth], e->mean,
                          e->rstd, w + net->encoder.norm_weight, NULL, 0, accumulate, rows->rows, D);
    vj_gradient_made(hook, be, net->encoder.norm_weight);
    vj_stack_backward(&net->encoder, be, weights, g, memory, rows, scratch, accumulate, hook);
    float *dtokens = e->picked ? e->tokens : scratch->dx; /* tokens are not needed after the gather */
    if (e->picked) {
        vj_fill(be, dtokens, 0.0f, e->clips * net->tokens * D);
        vj_scatter_add_rows(be, dtokens, scratch->dx, e->picked, rows->rows, D);
    }
    vj_linear_backward_weight(be, g + net->patch_weight, g + net->patch_bias, vj_f32(dtokens), e->patches, accumulate,
                              e->clips * net->grid_tokens, D, net->patch_values);
    vj_gradient_made(hook, be, net->patch_weight);
}
