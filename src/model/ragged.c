/* Index arrays of a packed microbatch. */
#include "model/ragged.h"

#include <stdlib.h>

vj_ragged_bounds vj_ragged_bounds_from(const vj_config *config, vj_grid grid, int64_t clips)
{
    const int64_t N = vj_grid_tokens(grid);
    vj_ragged_bounds b = {.masks = config->mask.count, .clips = clips};
    for (int i = 0; i < config->mask.count; i++) {
        int64_t context, target;
        vj_masks_bounds(config, grid, i, &context, &target);
        b.context += clips * context;
        b.target += clips * target;
        b.predictor += clips * (context + target < N ? context + target : N);
    }
    return b;
}

/* Give each array its place in one block of 32-bit words that starts at `base`: at a multiple of 16 bytes, as kernels
 * on a GPU read indices fastest. */
static int64_t place(vj_ragged *p, const vj_ragged_bounds *b, int32_t *base)
{
    const int64_t segments = b->masks * b->clips;
    int64_t at = 0;
#define PLACE(field, count)                                                                                            \
    p->field = (void *)(base + at);                                                                                    \
    at += ((count) + 3) / 4 * 4
    PLACE(context_offset, segments + 1);
    PLACE(predictor_offset, segments + 1);
    PLACE(target_offset, segments + 1);
    PLACE(clip_offset, b->clips + 1);
    PLACE(context_token, b->context);
    PLACE(source, b->predictor);
    PLACE(position, b->predictor);
    PLACE(target_row, b->target);
    PLACE(target_token, b->target);
    PLACE(group, b->target);
    PLACE(weight, b->target);
#undef PLACE
    return at;
}

vj_status vj_ragged_take(vj_ragged *p, const vj_ragged_bounds *bounds, vj_arena *arena)
{
    if (!p->host) {
        p->words = place(p, bounds, NULL);
        p->host = vj_calloc(p->words, sizeof *p->host);
        if (!p->host) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld index words", (long long)p->words);
    }
    p->device = vj_arena_ints(arena, p->words);
    return VJ_OK;
}

void vj_ragged_release(vj_ragged *p)
{
    free(p->host);
    *p = (vj_ragged){0};
}

void vj_ragged_fill(vj_ragged *p, const vj_ragged_bounds *bounds, vj_backend *be, const vj_mask_lists *lists,
                    int mask_tokens, int64_t batch, double feature_share)
{
    VJ_ASSERT(lists->masks == bounds->masks && lists->clips <= bounds->clips);
    place(p, bounds, p->host);
    int64_t contexts = 0, rows = 0, targets = 0;
    for (int i = 0; i < lists->masks; i++)
        for (int64_t b = 0; b < lists->clips; b++) {
            const int64_t s = i * lists->clips + b, first = contexts;
            const int32_t *context = lists->context + s * lists->tokens, *target = lists->target + s * lists->tokens;
            const int64_t K = lists->contexts[s], M = lists->targets[s];
            p->context_offset[s] = (int32_t)contexts;
            p->predictor_offset[s] = (int32_t)rows;
            p->target_offset[s] = (int32_t)targets;
            VJ_ASSERT(contexts + K <= bounds->context && rows + K + M <= bounds->predictor &&
                      targets + M <= bounds->target);
            for (int64_t k = 0; k < K; k++, rows++) {
                p->context_token[contexts++] = (int32_t)(b * lists->tokens + context[k]);
                p->source[rows] = (int32_t)(first + k);
                p->position[rows] = context[k];
            }
            for (int64_t m = 0; m < M; m++, rows++, targets++) {
                p->source[rows] = -1 - i % mask_tokens;
                p->position[rows] = target[m];
                p->target_row[targets] = (int32_t)rows;
                p->target_token[targets] = (int32_t)(b * lists->tokens + target[m]);
                p->group[targets] = i;
                p->weight[targets] = (float)(feature_share / ((double)batch * lists->masks * (double)M));
            }
        }
    const int segments = (int)(lists->masks * lists->clips);
    p->context_offset[segments] = (int32_t)contexts;
    p->predictor_offset[segments] = (int32_t)rows;
    p->target_offset[segments] = (int32_t)targets;
    for (int64_t b = 0; b <= lists->clips; b++) p->clip_offset[b] = (int32_t)(b * lists->tokens);

    vj_upload(be, p->device, p->host, p->words * (int64_t)sizeof *p->host);
    p->targets = targets;
    p->context = vj_rows_from(p->context_offset, NULL, segments);
    p->predictor = vj_rows_from(p->predictor_offset, NULL, segments);
    p->clips = vj_rows_from(p->clip_offset, NULL, (int)lists->clips);
    place(p, bounds, p->device);
    p->clips.offset = p->clip_offset;
    p->context.offset = p->context_offset;
    p->predictor.offset = p->predictor_offset;
}
