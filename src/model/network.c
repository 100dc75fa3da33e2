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
    net->tokens = vj_grid_tokens(net->grid);
    net->out = s->objective == VJ_OBJECTIVE_PIXEL ? net->patch_values : s->width;

    vj_params *ps = &net->params;
    if (tensor) ps->share = tensor->rank, ps->shares = tensor->size;
    const int64_t D = s->width, Dp = s->predictor_width;
    net->patch_weight =
        vj_params_add(ps, VJ_ENCODER, VJ_START_WEIGHT, 0, VJ_SHARE_WHOLE, 5,
                      (const int64_t[]){D, s->channels, s->tubelet, s->patch, s->patch}, "patch_embed.proj.weight");
    net->patch_bias = vj_params_add(ps, VJ_ENCODER, VJ_START_ZERO, 0, VJ_SHARE_WHOLE, 1, &D, "patch_embed.proj.bias");
    vj_stack_add(&net->encoder, ps, VJ_ENCODER, "blocks", "norm", s->depth, s->width, s->heads, s->hidden, tensor);
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
                 s->predictor_width, s->predictor_heads, s->predictor_hidden, divides ? tensor : NULL);
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
    const int64_t n = (int64_t)net->tokens * width;
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

void vj_network_encode(const vj_network *net, vj_backend *be, const float *w, const float *table,
                       vj_stack_memory *memory, const int32_t *offset, const float *patches, int64_t clips,
                       float *features)
{
    const int D = net->shape.width;
    const vj_rows rows = {.rows = clips * net->tokens,
                          .longest = net->tokens,
                          .segments = (int)clips,
                          .offset = offset,
                          .squares = (double)clips * net->tokens * net->tokens};
    vj_linear_forward(be, vj_f32(memory->x[0]), vj_f32(patches), vj_f32(w + net->patch_weight), w + net->patch_bias,
                      table, net->tokens, rows.rows, D, net->patch_values);
    vj_stack_forward(&net->encoder, be, w, memory, &rows);
    vj_layernorm_forward(be, vj_f32(features), NULL, NULL, memory->x[net->shape.depth], w + net->encoder.norm_weight,
                         w + net->encoder.norm_bias, rows.rows, D, VJ_MODEL_EPS);
}
