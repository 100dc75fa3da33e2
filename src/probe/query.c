/*
 * The part of a probe that works on its query alone (docs/method.md, section 12.1): the MLP of the cross-attention
 * block, and the further blocks of a deeper probe (V-JEPA, 2024). In such a block the one token attends to itself with
 * the weight 1: only its values matter, and the rows of qkv for queries and keys have the gradient zero.
 */
#include <math.h>
#include <stdio.h>

#include "probe/parts.h"

#define W(id) vj_probe_weight(p, id)
#define G(id) vj_probe_gradient(p, id)

/* Return the number of tensor k of block 1, 2, ... */
static int block_tensor(int block, int k)
{
    return TENSORS + BLOCK_TENSORS * (block - 1) + k;
}

static vj_probe_mlp mlp_of(int stage)
{
    if (stage == 0) return (vj_probe_mlp){NORM2_WEIGHT, NORM2_BIAS, FC1_WEIGHT, FC1_BIAS, FC2_WEIGHT, FC2_BIAS};
    return (vj_probe_mlp){block_tensor(stage, BLOCK_NORM2_WEIGHT), block_tensor(stage, BLOCK_NORM2_BIAS),
                          block_tensor(stage, BLOCK_FC1_WEIGHT),   block_tensor(stage, BLOCK_FC1_BIAS),
                          block_tensor(stage, BLOCK_FC2_WEIGHT),   block_tensor(stage, BLOCK_FC2_BIAS)};
}

/* ------------------------------------------------------------------------------------------------ memory */

void vj_probe_describe_blocks(struct vj_probe *p)
{
    static const struct {
        const char *name;
        int rows, cols; /* in multiples of D; cols 0: a vector */
        vj_probe_draw start;
        int scaled; /* bool: divided by sqrt(2(i+1)) */
    } kinds[BLOCK_TENSORS] = {
        [BLOCK_NORM1_WEIGHT] = {"norm1.weight", 1, 0, VJ_DRAW_ONE, 0},
        [BLOCK_NORM1_BIAS] = {"norm1.bias", 1, 0, VJ_DRAW_ZERO, 0},
        [BLOCK_QKV_WEIGHT] = {"attn.qkv.weight", 3, 1, VJ_DRAW_NORMAL, 0},
        [BLOCK_QKV_BIAS] = {"attn.qkv.bias", 3, 0, VJ_DRAW_ZERO, 0},
        [BLOCK_PROJ_WEIGHT] = {"attn.proj.weight", 1, 1, VJ_DRAW_NORMAL, 1},
        [BLOCK_PROJ_BIAS] = {"attn.proj.bias", 1, 0, VJ_DRAW_ZERO, 0},
        [BLOCK_NORM2_WEIGHT] = {"norm2.weight", 1, 0, VJ_DRAW_ONE, 0},
        [BLOCK_NORM2_BIAS] = {"norm2.bias", 1, 0, VJ_DRAW_ZERO, 0},
        [BLOCK_FC1_WEIGHT] = {"mlp.fc1.weight", 4, 1, VJ_DRAW_NORMAL, 0},
        [BLOCK_FC1_BIAS] = {"mlp.fc1.bias", 4, 0, VJ_DRAW_ZERO, 0},
        [BLOCK_FC2_WEIGHT] = {"mlp.fc2.weight", 1, 4, VJ_DRAW_NORMAL, 1},
        [BLOCK_FC2_BIAS] = {"mlp.fc2.bias", 1, 0, VJ_DRAW_ZERO, 0},
    };
    int64_t D = p->shape.D;
    for (int i = 0; i < BLOCK_TENSORS * p->shape.blocks; i++) {
        int block = i / BLOCK_TENSORS + 1, k = i % BLOCK_TENSORS, matrix = kinds[k].cols > 0;
        snprintf(p->block_name[i], sizeof p->block_name[i], "pooler.blocks.%d.%s", block - 1, kinds[k].name);
        p->tensor[TENSORS + i] = (vj_probe_tensor){.name = p->block_name[i],
                                                   .rows = kinds[k].rows * D,
                                                   .cols = matrix ? kinds[k].cols * D : 1,
                                                   .decay = matrix,
                                                   .start = kinds[k].start,
                                                   .divisor = kinds[k].scaled ? sqrt(2.0 * (block + 1)) : 1.0};
    }
}

void vj_probe_place_stages(struct vj_probe *p, vj_arena *arena)
{
    const int64_t B = p->shape.batch, D = p->shape.D;
    for (int i = 0; i <= p->shape.blocks; i++) {
        vj_probe_stage *s = &p->stage[i];
        s->x = vj_arena_floats(arena, B * D);
        s->dx = vj_arena_floats(arena, B * D);
        s->normed = vj_arena_floats(arena, B * D);
        s->dnormed = vj_arena_floats(arena, B * D);
        s->mean = vj_arena_floats(arena, B);
        s->rstd = vj_arena_floats(arena, B);
        s->pre = vj_arena_floats(arena, B * 4 * D);
        s->hidden = vj_arena_floats(arena, B * 4 * D);
        s->after = vj_arena_floats(arena, B * D);
        s->dafter = vj_arena_floats(arena, B * D);
        if (i == 0) continue;
        s->first_normed = vj_arena_floats(arena, B * D);
        s->dfirst_normed = vj_arena_floats(arena, B * D);
        s->first_mean = vj_arena_floats(arena, B);
        s->first_rstd = vj_arena_floats(arena, B);
        s->value = vj_arena_floats(arena, B * D);
        s->dvalue = vj_arena_floats(arena, B * D);
    }
    p->y = p->stage[0].x;
    p->dy = p->stage[0].dx;
    p->pooled = p->stage[p->shape.blocks].after;
    p->dpooled = p->stage[p->shape.blocks].dafter;
    p->sink = vj_arena_floats(arena, B * D);
}

/* ------------------------------------------------------------------------------------------------ forward */

static void mlp(struct vj_probe *p, int stage, int64_t first, int64_t count)
{
    const vj_probe_stage *s = &p->stage[stage];
    const vj_probe_mlp m = mlp_of(stage);
    const int D = p->shape.D, last = p->shape.norm_last;
    const int64_t at = first * D;
    if (!last)
        vj_layernorm_forward(p->be, vj_f32(s->normed + at), s->mean + first, s->rstd + first, s->x + at,
                             W(m.norm_weight), W(m.norm_bias), count, D, VJ_PROBE_EPS);
    vj_linear_gelu_forward(p->be, vj_f32(s->hidden + 4 * at), vj_f32(s->pre + 4 * at),
                           vj_f32((last ? s->x : s->normed) + at), vj_f32(W(m.fc1_weight)), W(m.fc1_bias), count, 4 * D,
                           D);
    vj_linear_forward(p->be, vj_f32((last ? s->normed : s->after) + at), vj_f32(s->hidden + 4 * at),
                      vj_f32(W(m.fc2_weight)), W(m.fc2_bias), last ? NULL : s->x + at, last ? 0 : count, count, D,
                      4 * D);
    if (last)
        vj_layernorm_forward(p->be, vj_f32(s->after + at), s->mean + first, s->rstd + first, s->normed + at,
                             W(m.norm_weight), W(m.norm_bias), count, D, VJ_PROBE_EPS);
}

/* Compute x of a block from the result of the stage before. */
static void attend_to_itself(struct vj_probe *p, int block, int64_t first, int64_t count)
{
    const vj_probe_stage *s = &p->stage[block];
    const float *before = p->stage[block - 1].after;
    const int D = p->shape.D;
    const int64_t at = first * D, values = (int64_t)2 * D; /* the first row of qkv for values */
    vj_layernorm_forward(p->be, vj_f32(s->first_normed + at), s->first_mean + first, s->first_rstd + first, before + at,
                         W(block_tensor(block, BLOCK_NORM1_WEIGHT)), W(block_tensor(block, BLOCK_NORM1_BIAS)), count, D,
                         VJ_PROBE_EPS);
    vj_linear_forward(p->be, vj_f32(s->value + at), vj_f32(s->first_normed + at),
                      vj_f32(W(block_tensor(block, BLOCK_QKV_WEIGHT)) + values * D),
                      W(block_tensor(block, BLOCK_QKV_BIAS)) + values, NULL, 0, count, D, D);
    vj_linear_forward(p->be, vj_f32(s->x + at), vj_f32(s->value + at),
                      vj_f32(W(block_tensor(block, BLOCK_PROJ_WEIGHT))), W(block_tensor(block, BLOCK_PROJ_BIAS)),
                      before + at, count, count, D, D);
}

void vj_probe_stages(struct vj_probe *p, int64_t first, int64_t count)
{
    mlp(p, 0, first, count);
    for (int block = 1; block <= p->shape.blocks; block++) {
        attend_to_itself(p, block, first, count);
        mlp(p, block, first, count);
    }
}

/* ------------------------------------------------------------------------------------------------ backward */

/* Compute dx from dafter; pre is overwritten by its gradient. */
static void mlp_backward(struct vj_probe *p, int stage, int64_t first, int64_t count)
{
    const vj_probe_stage *s = &p->stage[stage];
    const vj_probe_mlp m = mlp_of(stage);
    const int D = p->shape.D, last = p->shape.norm_last;
    const int64_t at = first * D;
    if (last)
        vj_layernorm_backward(p->be, s->dnormed + at, (vj_array){0}, (vj_array){0}, NULL, NULL, NULL,
                              vj_f32(s->dafter + at), s->normed + at, s->mean + first, s->rstd + first,
                              W(m.norm_weight), NULL, 0, 0, count, D);
    vj_linear_gelu_backward_input(p->be, vj_f32(s->pre + 4 * at), (vj_array){0}, NULL,
                                  vj_f32((last ? s->dnormed : s->dafter) + at), vj_f32(W(m.fc2_weight)),
                                  vj_f32(s->pre + 4 * at), 0, count, D, 4 * D);
    vj_linear_backward_input(p->be, vj_f32((last ? s->dx : s->dnormed) + at), vj_f32(s->pre + 4 * at),
                             vj_f32(W(m.fc1_weight)), count, 4 * D, D);
    if (last) return;
    vj_copy(p->be, s->dx + at, s->dafter + at, count * D);
    vj_layernorm_backward(p->be, s->dx + at, (vj_array){0}, (vj_array){0}, NULL, NULL, NULL, vj_f32(s->dnormed + at),
                          s->x + at, s->mean + first, s->rstd + first, W(m.norm_weight), NULL, 1, 0, count, D);
}

static void attend_to_itself_backward(struct vj_probe *p, int block, int64_t first, int64_t count)
{
    const vj_probe_stage *s = &p->stage[block], *before = &p->stage[block - 1];
    const int D = p->shape.D;
    const int64_t at = first * D, values = (int64_t)2 * D;
    vj_linear_backward_input(p->be, vj_f32(s->dvalue + at), vj_f32(s->dx + at),
                             vj_f32(W(block_tensor(block, BLOCK_PROJ_WEIGHT))), count, D, D);
    vj_linear_backward_input(p->be, vj_f32(s->dfirst_normed + at), vj_f32(s->dvalue + at),
                             vj_f32(W(block_tensor(block, BLOCK_QKV_WEIGHT)) + values * D), count, D, D);
    vj_copy(p->be, before->dafter + at, s->dx + at, count * D);
    vj_layernorm_backward(p->be, before->dafter + at, (vj_array){0}, (vj_array){0}, NULL, NULL, NULL,
                          vj_f32(s->dfirst_normed + at), before->after + at, s->first_mean + first,
                          s->first_rstd + first, W(block_tensor(block, BLOCK_NORM1_WEIGHT)), NULL, 1, 0, count, D);
}

void vj_probe_stages_backward(struct vj_probe *p, int64_t first, int64_t count)
{
    for (int block = p->shape.blocks; block >= 1; block--) {
        mlp_backward(p, block, first, count);
        attend_to_itself_backward(p, block, first, count);
    }
    mlp_backward(p, 0, first, count);
}

/* ------------------------------------------------------------------------------------------------ gradients */

static void mlp_gradients(struct vj_probe *p, int stage, int64_t B)
{
    const vj_probe_stage *s = &p->stage[stage];
    const vj_probe_mlp m = mlp_of(stage);
    const int D = p->shape.D, last = p->shape.norm_last;
    const float *normed_in = last ? s->normed : s->x, *normed_out = last ? s->dafter : s->dnormed;
    vj_linear_backward_weight(p->be, G(m.fc2_weight), G(m.fc2_bias), vj_f32(last ? s->dnormed : s->dafter),
                              vj_f32(s->hidden), 0, B, D, 4 * D);
    vj_linear_backward_weight(p->be, G(m.fc1_weight), G(m.fc1_bias), vj_f32(s->pre), vj_f32(last ? s->x : s->normed), 0,
                              B, 4 * D, D);
    vj_layernorm_backward(p->be, p->sink, (vj_array){0}, (vj_array){0}, G(m.norm_weight), G(m.norm_bias), NULL,
                          vj_f32(normed_out), normed_in, s->mean, s->rstd, W(m.norm_weight), NULL, 0, 0, B, D);
}

/* The gradients of the query's and key's rows of qkv stay zero, as they were created. */
static void itself_gradients(struct vj_probe *p, int block, int64_t B)
{
    const vj_probe_stage *s = &p->stage[block];
    const int D = p->shape.D;
    const int64_t values = (int64_t)2 * D;
    vj_linear_backward_weight(p->be, G(block_tensor(block, BLOCK_PROJ_WEIGHT)), G(block_tensor(block, BLOCK_PROJ_BIAS)),
                              vj_f32(s->dx), vj_f32(s->value), 0, B, D, D);
    vj_linear_backward_weight(p->be, G(block_tensor(block, BLOCK_QKV_WEIGHT)) + values * D,
                              G(block_tensor(block, BLOCK_QKV_BIAS)) + values, vj_f32(s->dvalue),
                              vj_f32(s->first_normed), 0, B, D, D);
    vj_layernorm_backward(p->be, p->sink, (vj_array){0}, (vj_array){0}, G(block_tensor(block, BLOCK_NORM1_WEIGHT)),
                          G(block_tensor(block, BLOCK_NORM1_BIAS)), NULL, vj_f32(s->dfirst_normed),
                          p->stage[block - 1].after, s->first_mean, s->first_rstd,
                          W(block_tensor(block, BLOCK_NORM1_WEIGHT)), NULL, 0, 0, B, D);
}

void vj_probe_stages_gradients(struct vj_probe *p, int64_t B)
{
    for (int block = p->shape.blocks; block >= 1; block--) {
        mlp_gradients(p, block, B);
        itself_gradients(p, block, B);
    }
    mlp_gradients(p, 0, B);
}
