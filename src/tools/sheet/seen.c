/* Crops and masks of clips as pictures. */
#include "sheet/seen.h"

#include <math.h>
#include <stdlib.h>

#include "feed/crop.h"
#include "feed/order.h"
#include "model/network.h"

vj_status vj_seen_create(vj_seen *s, const vj_config *c, const vj_clips *clips)
{
    const vj_shape shape = vj_shape_from(c);
    *s = (vj_seen){
        .config = c, .grid = vj_shape_grid(&shape), .frames = vj_clips_frames(clips), .side = (int)c->data.crop};
    if (s->frames != c->data.frames)
        return vj_raise(VJ_ERR_USAGE, "the store has %d frames a clip, data.frames is %lld: these masks do not fit it",
                        s->frames, (long long)c->data.frames);
    const int64_t values = INT64_C(3) * s->frames * s->side * s->side;
    s->pixels = vj_calloc(values, sizeof *s->pixels);
    s->rgb = vj_calloc(values, 1);
    if (!s->pixels || !s->rgb) return vj_raise(VJ_ERR_MEMORY, "no memory for a clip of %lld values", (long long)values);
    return vj_mask_lists_create(&s->lists, c->mask.count, 1, vj_grid_tokens(s->grid));
}

void vj_seen_release(vj_seen *s)
{
    vj_mask_lists_release(&s->lists);
    free(s->pixels);
    free(s->rgb);
    *s = (vj_seen){0};
}

vj_status vj_seen_samples(const vj_seen *s, const vj_clips *clips, int64_t first, int64_t count, int64_t *samples)
{
    enum { LOOKS = 64 };
    vj_order *order = NULL;
    int64_t left = count;
    vj_status status = vj_order_of_clips(&order, clips, s->config);
    for (int64_t k = 0; k < count; k++) samples[k] = -1;
    for (int64_t sample = 0; status == VJ_OK && left > 0 && sample < LOOKS * vj_clips_count(clips); sample++) {
        const int64_t clip = vj_order_clip(order, sample, 0);
        if (clip < first || clip >= first + count || samples[clip - first] >= 0) continue;
        samples[clip - first] = sample;
        left--;
    }
    vj_order_destroy(order);
    return status;
}

/* Convert values in [0, 1], [3, plane], to bytes, [plane, 3]. */
static void to_bytes(uint8_t *rgb, const float *pixels, int64_t plane)
{
    for (int64_t i = 0; i < plane; i++)
        for (int c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)lrintf(255.0F * pixels[c * plane + i]);
}

vj_status vj_seen_prepare(vj_seen *s, int64_t sample, const uint8_t *frames, int height, int width)
{
    static const double as_it_is[3] = {0, 0, 0}, unit[3] = {1, 1, 1};
    const vj_config *c = s->config;
    s->sample = sample;
    s->crop = vj_crop_draw(c, (uint64_t)c->run.seed, sample, height, width);
    vj_host_crop(s->pixels, frames, &(vj_clip_view){0, height, width, s->crop}, s->frames, s->side, as_it_is, unit);
    to_bytes(s->rgb, s->pixels, (int64_t)s->frames * s->side * s->side);
    return vj_masks_sample(&s->lists, c, s->grid, sample / c->train.batch, sample, 1);
}

/* ------------------------------------------------------------------------------------------------ overlay */

enum { HATCH = 8, LINE = 2 }; /* distance and width of lines in pixels */

static void darken(uint8_t rgb[3], int percent, int red, int green, int blue)
{
    const int tint[3] = {red, green, blue};
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(rgb[c] * percent / 100 + tint[c]);
}

/* Return whether token n is in an ascending list. */
static bool listed(const int32_t *list, int32_t length, int32_t n)
{
    for (int32_t i = 0; i < length && list[i] <= n; i++)
        if (list[i] == n) return true;
    return false;
}

static void mask_patch(uint8_t *picture, int side, const int from[2], const int to[2], bool target)
{
    for (int y = from[0]; y < to[0]; y++)
        for (int x = from[1]; x < to[1]; x++) {
            uint8_t *rgb = picture + 3 * ((size_t)y * (size_t)side + (size_t)x);
            if (target && (x + y) % HATCH < LINE)
                darken(rgb, 30, 90, 55, 0);
            else
                darken(rgb, target ? 30 : 10, 0, 0, 0);
        }
}

void vj_seen_mask(const vj_seen *s, int mask, int t, uint8_t *picture, int side)
{
    const vj_mask_lists *l = &s->lists;
    const int32_t *context = l->context + (int64_t)mask * l->tokens, *target = l->target + (int64_t)mask * l->tokens;
    const int tubelet = t / (s->frames / s->grid.t);
    for (int y = 0; y < s->grid.y; y++)
        for (int x = 0; x < s->grid.x; x++) {
            const int32_t n = (tubelet * s->grid.y + y) * s->grid.x + x;
            const int from[2] = {y * side / s->grid.y, x * side / s->grid.x};
            const int to[2] = {(y + 1) * side / s->grid.y, (x + 1) * side / s->grid.x};
            if (!listed(context, l->contexts[mask], n))
                mask_patch(picture, side, from, to, listed(target, l->targets[mask], n));
        }
}
