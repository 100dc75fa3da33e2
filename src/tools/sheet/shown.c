/* Views of an evaluation as pictures. */
#include "sheet/shown.h"

#include <stdio.h>
#include <stdlib.h>

#include "feed/augment.h"

vj_status vj_shown_create(vj_shown *s, const vj_config *config, const vj_clips *clips)
{
    *s = (vj_shown){0};
    VJ_TRY(vj_eval_views_init(&s->training, config, clips, true));
    VJ_TRY(vj_eval_views_init(&s->test, config, clips, false));
    s->rows = VJ_SHOWN_EPOCHS + s->test.views;
    VJ_TRY(vj_eval_room_init(&s->room[0], &s->training, clips));
    VJ_TRY(vj_eval_room_init(&s->room[1], &s->test, clips));
    const int64_t values = INT64_C(3) * s->test.frames * s->test.side * s->test.side;
    s->pixels = vj_calloc(values, sizeof *s->pixels);
    s->rgb = vj_calloc(values, 1);
    return s->pixels && s->rgb ? VJ_OK
                               : vj_raise(VJ_ERR_MEMORY, "no memory for a view of %lld values", (long long)values);
}

void vj_shown_release(vj_shown *s)
{
    for (int i = 0; i < 2; i++) vj_eval_room_release(&s->room[i]);
    free(s->pixels);
    free(s->rgb);
    *s = (vj_shown){0};
}

/* Convert normalised values, channel by channel, to bytes, pixel by pixel. */
static void to_bytes(vj_shown *s, const vj_eval_views *v)
{
    const int64_t plane = (int64_t)v->frames * v->side * v->side;
    for (int64_t i = 0; i < plane; i++)
        for (int c = 0; c < 3; c++) s->rgb[3 * i + c] = vj_eval_views_byte(v, c, s->pixels[c * plane + i]);
}

void vj_shown_make(vj_shown *s, int row, int64_t clip, const uint8_t *frames, int height, int width)
{
    const bool training = row < VJ_SHOWN_EPOCHS;
    const vj_eval_views *v = training ? &s->training : &s->test;
    const vj_eval_item item = {
        .clip = clip, .key = vj_eval_key(row, 0, clip), .view = training ? 0 : row - VJ_SHOWN_EPOCHS};
    vj_eval_show(v, &s->room[!training], &item, frames, height, width, s->pixels);
    to_bytes(s, v);
    vj_augmentation a;
    vj_augment_draw(&a, &s->training, item.key, height, width);
    if (training)
        vj_augment_describe(&a, s->text, sizeof s->text);
    else
        snprintf(s->text, sizeof s->text, v->views > 1 ? "crop %d of %d" : "centre", item.view + 1, v->views);
}
